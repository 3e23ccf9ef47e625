"""What people write in words of their own, as the reason of an order or a request: it stays where no key of
a customer seals it."""

from functools import cache
from typing import Final

from flows.logic.fields.field_names import Named, Naming
from flows.logic.fields.personal import Personal, year_of
from flows.logic.fields.phones import Phones
from flows.logic.fields.values import cached

_HEADING: Final = "reason"  # whose name says that anything may stand in it


def without_personal(text: str, now_ms: int) -> str:
    """Return the text with `(redacted)` in the place of what is recognised as personal by itself.

    >>> without_personal("ana@example.org rang from 138 0013 8000", 1_795_000_000_000)
    '(redacted) rang from (redacted)'
    """
    return _personal().redact(text, year_of(now_ms), {}, _HEADING)


@cache
def _personal() -> Personal:
    return Personal(cached(Phones(complete=False).check, local=True), Naming(Named({})))
