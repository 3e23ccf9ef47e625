"""What a customer's words allow.

Of all words that speak of a thing, a no wins; else a yes counts; else what holds before any word. Contact for
a purpose by a channel is spoken of by the words PURPOSE, PURPOSE.CHANNEL and CHANNEL; the use of a category
of data for a purpose by PURPOSE, PURPOSE.CATEGORY and CATEGORY. CHANNEL and CATEGORY alone can only say no: a
yes to e-mail is none to a purpose. The ids of banners that mean a purpose stand for its name.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from flows.logic.permissions.statements import Words
from schemas.config import Consent, Purpose

CACHED_MAX: Final = 10_000  # answers: customers say few different things


class Permissions:
    """What one configuration makes of words."""

    def __init__(self, config: Consent, categories: Iterable[str]) -> None:
        """`categories`: all that there are."""
        self._config = config
        self._purposes = {purpose.name: purpose for purpose in config.purpose}
        self._names = {purpose.name: (purpose.name, *purpose.stated_by) for purpose in config.purpose}
        self._categories = tuple(categories)
        self._denied: dict[tuple[tuple[tuple[str, bool], ...], str], frozenset[str]] = {}
        self.unspoken = self.denied(Words({}))

    def denied(self, words: Words) -> frozenset[str]:
        """Return the categories of data that no purpose may use: they are not kept."""
        key = (tuple(words.said.items()), words.country)
        found = self._denied.get(key)
        if found is None:
            if len(self._denied) >= CACHED_MAX:
                self._denied.clear()
            found = self._denied[key] = frozenset(
                category for category in self._categories if not any(self._uses(words, category))
            )
        return found

    def _uses(self, words: Words, category: str) -> Iterable[bool]:
        for purpose in self._purposes.values():
            if not purpose.data or category in purpose.data:
                yield purpose.required or self._said(words, purpose, category)

    def may_use(self, words: Words, purpose: str, category: str) -> bool:
        """Return whether data of this category may be used for this purpose. An unknown purpose may use
        nothing."""
        known = self._purposes.get(purpose)
        if known is None or (known.data and category not in known.data):
            return False
        return known.required or self._said(words, known, category)

    def serves(self, words: Words, purpose: str) -> bool:
        """Return whether anything may be done for this purpose at all."""
        known = self._purposes.get(purpose)
        return known is not None and (known.required or self._said(words, known, ""))

    def may_contact(self, words: Words, purpose: str, channel: str) -> bool:
        """Return whether the customer may be contacted for this purpose by this channel. For an unknown
        purpose never."""
        return self.refusal(words, purpose, channel) is None

    def refusal(self, words: Words, purpose: str, channel: str) -> str | None:
        """Return why not, in words that hold no personal data; None if the customer may be contacted."""
        known = self._purposes.get(purpose)
        if known is None:
            return f"no [[consent.purpose]] is called {purpose!r}"
        if known.required or self._said(words, known, channel):
            return None
        where = f"{purpose} by {channel}" if channel else purpose
        if self._speaks(words, known, channel):
            return f"the customer has refused {where}"
        return f"the customer has not agreed to {where}"

    def _said(self, words: Words, purpose: Purpose, part: str) -> bool:
        """Return whether this is allowed: no `part` is the purpose as a whole."""
        found = self._speaks(words, purpose, part)
        if found:
            return all(found)
        before = purpose.before or self._config.regions.get(words.country) or self._config.before
        return before == "opt_out"

    def _speaks(self, words: Words, purpose: Purpose, part: str) -> list[bool]:
        said: Mapping[str, bool] = words.said
        if not said:
            return []
        names = self._names[purpose.name]
        things = [*names, *(f"{name}.{part}" for name in names)] if part else names
        found = [said[thing] for thing in things if thing in said]
        if part and said.get(part) is False:
            found.append(False)
        return found
