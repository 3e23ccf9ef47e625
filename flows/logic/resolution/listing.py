"""What the tracking plan lists, and nothing else, of each event: `validate.collect = "listed"`.

It is taken out of the event as it came, before anything looks at it. So nothing else of an event that can be
read comes into the archive, a profile, matching or a dead letter; only who it is about and when is always
kept, what is said of consent, and what the language and the time zone tell of how values are to be read.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Union

import msgspec

from flows.logic import consent
from flows.logic.fields.check import folded
from flows.logic.fields.identifiers import NAMED_BY_HASH, PRIVACY
from flows.logic.permissions.statements import CONFIRMED
from schemas.wire.events import EVENT_TYPES, RawEvent

# The names that a value may have, each with those within it; None: whatever it holds.
Shape = Union[Mapping[str, "Shape"], None]  # noqa: UP007  # it names itself
_KEPT: Final = (
    *("type", "event", "name", "messageId", "userId", "anonymousId", "groupId", "previousId"),
    *("timestamp", "originalTimestamp", "sentAt"),
)
_KEPT_OF_CONTEXT: Final = ("gpc", "backfill", "locale", "timezone")
# What banners write into an object of that name.
_STAMPS: Final = {
    consent.NAME: ("categoryPreferences", "tcString", "tcf"),
    "consentManagement": ("allowedConsentIds", "deniedConsentIds", "resolutionStrategy"),
}
_OURS: Final = (NAMED_BY_HASH, CONFIRMED, "by")  # in the context of events of our own
_SAID_AS_IT_IS: Final = ("mode", "version")  # of consent; all else is yes or no


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
        return msgspec.structs.replace(raw, value=_encode(self._listed(event, raw.source == PRIVACY)))

    def _listed(self, event: dict[str, Any], ours: bool) -> dict[str, Any]:
        kept = _plain(event, _KEPT)
        name = event.get("event") if event["type"] == "track" else event["type"]
        shape = self._events.get(name, {}) if type(name) is str else {}
        if type(properties := event.get("properties")) is dict:
            kept["properties"] = within(properties, shape, self._depth)
            if name in consent.CHANGED:
                kept["properties"] |= _stamps(properties)
        if type(traits := event.get("traits")) is dict:
            kept["traits"] = self._named(traits)
        if type(context := event.get("context")) is dict:
            kept["context"] = _plain(context, _KEPT_OF_CONTEXT) | _stamps(context)
            if ours:
                kept["context"] |= {name: context[name] for name in _OURS if name in context}
            if type(traits := context.get("traits")) is dict:
                kept["context"]["traits"] = self._named(traits)
        for path in self._paths:
            _copy(path, event, kept)
        return kept

    def _named(self, traits: dict[str, Any]) -> dict[str, Any]:
        kept = {}
        for name, value in traits.items():
            if folded(name) in self._traits:
                kept[name] = value
            elif consent.is_one(name) and (said := _words(name.rpartition(".")[2], value)) is not None:
                kept[name] = said
        return kept


def _plain(event: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return these values where they are plain: in an object there would be others."""
    return {name: event[name] for name in names if name in event and not isinstance(event[name], dict | list)}


def _stamps(context: dict[str, Any]) -> dict[str, Any]:
    """Return what a banner says."""
    kept = {}
    for name, parts in _STAMPS.items():
        if type(said := context.get(name)) is dict:
            kept[name] = {part: said[part] for part in parts if part in said}
    return kept


def _words(name: str, value: Any) -> Any:
    """Return what is said of consent; None for what says nothing."""
    if type(value) is dict:
        found = {inner: said for inner in value if (said := _words(inner, value[inner])) is not None}
        return found or None
    if isinstance(value, list):
        return None
    return value if name in _SAID_AS_IT_IS or consent.says(value) is not None else None


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
    if isinstance(source[last], dict | list):
        return  # it identifies nobody
    for name in above:
        target = target.setdefault(name, {})
    target.setdefault(last, source[last])


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
