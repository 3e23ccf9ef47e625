"""The same content under another messageId: a button pressed twice, an importer run twice.

Content is who (the strongest identifier), the source, type and name, properties and traits; not times, ids
and context. An event gets three marks: its content in its own slot of `within`, in the slot before and in the
one after. The first is kept in the customer's ring of messages, beside the message's own; an event of which
any is there is a repetition. So what is less than `within` apart is always known, what is two of it or more
never is, as long as it is among the customer's last events (each takes two places of the ring).
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final

import msgspec

from schemas.config import Repeat

MARK: Final = 6  # bytes, as a message in the ring
_encode = msgspec.msgpack.Encoder(order="sorted").encode


class Repeats:
    """The rules, resolved once: (source, event) -> how long."""

    def __init__(self, rules: tuple[Repeat, ...]) -> None:
        self._within = {
            (source, event): int(rule.within)
            for rule in rules
            for source in rule.sources
            for event in rule.events
        }

    def __bool__(self) -> bool:
        return bool(self._within)

    def marks(self, source: str, event: str, time_ms: int, content: Iterable[Any]) -> bytes:
        """Return the marks of an event; b"" where no rule is for it. `content` must be fit for a log
        record."""
        of = self._within
        within = (
            of.get((source, event)) or of.get(("*", event)) or of.get((source, "*")) or of.get(("*", "*"))
        )
        if not within:
            return b""
        said = blake2b(_encode([source, event, *content]), digest_size=16).digest()
        slot = time_ms // within
        return b"".join(
            blake2b(b"%s%d" % (said, slot + step), digest_size=MARK).digest() for step in (0, -1, 1)
        )


def split(marks: bytes) -> list[bytes]:
    """Return the marks, the event's own first."""
    return [marks[at : at + MARK] for at in range(0, len(marks), MARK)]
