"""What would be refused behind the gateway is refused at it: its sender hears of it, and it cannot suspend
the sender's source.

Judging an event costs ten times what taking it in does. So only those are judged whose look is not that of a
good event; to look takes about a microsecond, and errs on the side of looking good: `resolve` judges
everything again.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import UNSET

from schemas.config import Config
from schemas.records.identity_graph import ID_MAX
from schemas.wire.events import EVENT_NAME_MAX, MESSAGE_ID_MAX, RawEvent, Reject

Judge = Callable[[RawEvent], Reject | None]

_PROPERTY_BYTES: Final = 5  # of the shortest, with its comma: `"":1,`
_DIGITS: Final = 19  # of the smallest number that 64 bits may not hold
_SAME: Final = 10  # times one sign alone: no id of anybody
_SHAPES: Final = dict.fromkeys(b"0123456789", ord("0")) | dict.fromkeys(b"{[", ord("["))
_SHAPE: Final = bytes(_SHAPES.get(code, ord(" ")) for code in range(256))
_BIG: Final = b"0" * _DIGITS
_tells: Final = re.compile("[1-9]").search  # somebody from somebody else, as few placeholders do
_EVERY_MS: Final = 60_000
_OF_TRAITS: Final = ("identify", "group")
_BRACE: Final = ord("{")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Door:
    """One for each gateway process."""

    def __init__(self, config: Config, judge: Judge) -> None:
        limits = config.validate
        self._bytes = int(config.gateway.event_bytes)
        self._depth, self._properties = limits.depth, limits.properties
        self._many_bytes = min(_PROPERTY_BYTES * limits.properties, self._bytes + 1)
        self._past, self._future = int(limits.past), int(limits.future)
        self._judge = judge
        self._until_ms = 0
        self._oldest = self._newest = timedelta()  # since 1970

    def refusal(self, kind: str, head: Any, message_id: Any, event: RawEvent) -> Reject | None:
        """Return why it is not taken. `head`: a `connectors.gateway.messages.Head`; `kind`, `message_id`:
        what the event has now."""
        if self._looks_good(kind, head, message_id, event.value, event.received_ms):
            return None
        try:
            return self._judge(event)
        except Exception:  # noqa: BLE001  # a defect of ours: `resolve` puts it aside, with its place
            return None

    def _looks_good(self, kind: str, head: Any, message_id: Any, value: bytes, now_ms: int) -> bool:
        name = head.event if kind == "track" else head.name
        if name is UNSET:
            if kind == "track":
                return False
        elif type(name) is not str or not 0 < len(name) <= EVENT_NAME_MAX:
            return False
        if head.groupId is not UNSET or head.previousId is not UNSET:  # seldom
            return False
        if type(message_id) is not str or len(message_id) > MESSAGE_ID_MAX:
            return False
        stated = head.traits if kind in _OF_TRAITS else head.properties
        if stated is not UNSET and memoryview(stated)[0] != _BRACE:
            return False
        if not _names_somebody(head.userId, head.anonymousId):
            return False
        moment = head.timestamp if head.originalTimestamp is UNSET else head.originalTimestamp
        if moment is not UNSET and not self._is_possible(moment, now_ms):
            return False
        shape = value.translate(_SHAPE)
        if shape.count(b"[") > self._depth or _BIG in shape:
            return False
        return len(value) < self._many_bytes or (
            len(value) <= self._bytes and value.count(b":") <= self._properties
        )

    def _is_possible(self, stated: Any, now_ms: int) -> bool:
        if now_ms >= self._until_ms:
            self._until_ms = now_ms + _EVERY_MS
            self._oldest = timedelta(milliseconds=now_ms - self._past + _EVERY_MS)
            self._newest = timedelta(milliseconds=now_ms + self._future)
        try:
            moment = datetime.fromisoformat(stated)
        except (TypeError, ValueError):
            return False
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return self._oldest < moment - _EPOCH < self._newest


def _names_somebody(user: Any, visitor: Any) -> bool:
    if user is UNSET or user is None:
        return _tells_somebody(visitor)
    if type(user) is not str or len(user) > ID_MAX:
        return False
    return _tells_somebody(user) or _tells_somebody(visitor)


def _tells_somebody(value: Any) -> bool:
    if type(value) is not str or len(value) > ID_MAX or _tells(value) is None:
        return False
    return (
        "+" not in value and value.count(value[0]) < _SAME
    )  # `1.38001E+10` is what a spreadsheet leaves of a number
