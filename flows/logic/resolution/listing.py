"""What the tracking plan lists, and nothing else, of each event: `validate.collect = "listed"`.

It is taken out of the event as it came, before anything looks at it. So nothing that is not listed comes into
the archive, a profile, matching or a dead letter; only who it is about and when is always kept, what a banner
says of consent, and what the language and the time zone tell of how values are to be read.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Union

import msgspec

from flows.logic import consent
from flows.logic.fields.check import folded
from flows.logic.fields.identifiers import NAMED_BY_HASH
from schemas.wire.events import EVENT_TYPES, RawEvent

# The names that a value may have, each with those within it; None: whatever it holds.
Shape = Union[Mapping[str, "Shape"], None]  # noqa: UP007  # it names itself
_KEPT: Final = (
    *("type", "event", "name", "messageId", "userId", "anonymousId", "groupId", "previousId"),
    *("timestamp", "originalTimestamp", "sentAt"),
)
_KEPT_OF_CONTEXT: Final = (
    *("consent", "consentManagement", "gpc", "backfill", "locale", "timezone"),
    NAMED_BY_HASH,
)


class Listing:
    """What is listed."""

    def __init__(
        self, events: Mapping[str, Shape], traits: Iterable[str], identifiers: Iterable[str], depth: int
    ) -> None:
        """`events`: of tracked events by their names, of pages and screens by `page` and `screen`.
        `traits`: names, in any spelling. `identifiers`: paths of what says whose an event is. `depth`: of
        nesting; what is deeper is refused anyway."""
        self._events = events
        self._traits = frozenset(map(folded, traits))
        self._paths = [path.split(".") for path in identifiers if "." in path]
        self._depth = depth

    def of(self, raw: RawEvent) -> RawEvent:
        """Return an event without what is not listed. What cannot be read stays: it is refused."""
        try:
            event = _decode(raw.value)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return raw
        if type(event) is not dict or event.get("type") not in EVENT_TYPES:
            return raw
        return msgspec.structs.replace(raw, value=_encode(self._listed(event)))

    def _listed(self, event: dict[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {name: event[name] for name in _KEPT if name in event}
        name = event.get("event") if event["type"] == "track" else event["type"]
        shape = self._events.get(name, {}) if type(name) is str else {}
        if type(properties := event.get("properties")) is dict:
            kept["properties"] = within(properties, shape, self._depth)
        if type(traits := event.get("traits")) is dict:
            kept["traits"] = self._named(traits)
        if type(context := event.get("context")) is dict:
            kept["context"] = {name: context[name] for name in _KEPT_OF_CONTEXT if name in context}
            if type(traits := context.get("traits")) is dict:
                kept["context"]["traits"] = self._named(traits)
        for path in self._paths:
            _copy(path, event, kept)
        return kept

    def _named(self, traits: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in traits.items()
            if folded(name) in self._traits or consent.is_one(name)
        }


def within(value: Any, shape: Shape, depth: int) -> Any:
    """Return a value with the names that its shape has. What is nested more than `depth` is left out."""
    if shape is None or not isinstance(value, dict | list):
        return value
    if depth == 0:
        return None
    if type(value) is list:
        return [within(item, shape, depth - 1) for item in value]
    return {name: within(value[name], shape[name], depth - 1) for name in value if name in shape}


def _copy(path: Collection[str], source: Any, target: dict[str, Any]) -> None:
    """Copy what stands at a path, with the objects on the way to it."""
    *above, last = path
    for name in above:
        source = source.get(name)
        if type(source) is not dict:
            return
    if last not in source:
        return
    for name in above:
        target = target.setdefault(name, {})
    target.setdefault(last, source[last])


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
