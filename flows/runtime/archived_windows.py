"""What the archive keeps of a window: packed by `resolve` at the commit, unpacked by `rebuild`.

An event that holds personal data is sealed under the data key of its customer, so that erasing the customer
erases it here too; the whole is sealed with the log key.
"""

from collections.abc import Callable

import msgspec

from flows.logic.permissions.categories import Categories
from flows.logic.permissions.withholding import rewritten
from flows.runtime.windows import Judged
from schemas.config import Config
from schemas.records.identity_graph import WindowCommit
from schemas.records.journal import WindowContent
from schemas.wire.events import RawEvent
from state.directory.policy import Policy
from state.keys import ARCHIVED, DataKeys, LogSeal

FIELD = ARCHIVED  # what the seal of an event is bound to, beside its customer
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(WindowContent).decode
_plain = msgspec.structs.replace


def packer(
    config: Config, keys: DataKeys, seal: LogSeal, categories: Categories
) -> Callable[[Judged, WindowCommit], bytes]:
    """Return what packs each window of `resolve`, without what customers do not allow us to keep."""
    pack_all = _Packer(config, seal)

    def pack(judged: Judged, commit: WindowCommit) -> bytes:
        window = judged.window
        places = judged.places()
        origins = [b""] * len(window.events)
        ruling = judged.ruling
        dropped = ruling.dropped if ruling is not None else ()
        for joint, group in zip(judged.groups, commit.groups, strict=True):
            kept = [index for index in joint if index not in dropped]
            for index, fact in zip(kept, group.facts, strict=True):
                if fact.expected is not None:
                    origins[places[index]] = fact.expected
        values = [event.value for event in window.events]
        for index, (denied, whole) in ruling.unkept.items() if ruling is not None else ():
            values[places[index]] = rewritten(categories, values[places[index]], denied, whole)
        held = keys.of(origin for origin in origins if origin)
        origins = [origin if origin in held else b"" for origin in origins]  # not all have sealed anything
        events = [
            _plain(event, value=held[origin].seal(FIELD, value) if origin else value)
            for event, value, origin in zip(window.events, values, origins, strict=True)
        ]
        return pack_all(commit, events, window.positions, origins)

    return pack


def match_packer(config: Config, seal: LogSeal) -> Callable[[WindowCommit], bytes]:
    """Return what packs the commits of `match`: no events came with them, and what they keep is sealed
    already."""
    pack_all = _Packer(config, seal)
    return lambda commit: pack_all(commit, [], [], [])


class _Packer:
    def __init__(self, config: Config, seal: LogSeal) -> None:
        self._limits = [namespace.limit for namespace in config.identity.namespace]
        self._policy = _encode(Policy.of(config.identity, config.matching))
        self._seal = seal

    def __call__(
        self, commit: WindowCommit, events: list[RawEvent], positions: list[int], origins: list[bytes]
    ) -> bytes:
        content = WindowContent(
            limits=self._limits,
            commit=_plain(commit, looked_at=[]),  # it was checked, once and for all
            events=events,
            positions=positions,
            origins=origins,
            policy=self._policy,
        )
        return self._seal.seal(_encode(content))


def unpacked(content: bytes) -> WindowContent:
    """Return what an entry of the archive holds."""
    return _decode(content)


def events_of(content: WindowContent, keys: DataKeys) -> list[RawEvent | None]:
    """Return the events as they came; None for what only the key of an erased customer could open."""
    held = keys.of(origin for origin in content.origins if origin)
    found: list[RawEvent | None] = []
    for event, origin in zip(content.events, content.origins, strict=True):
        if not origin:
            found.append(event)
            continue
        value = held[origin].open(FIELD, event.value) if origin in held else None
        found.append(None if value is None else _plain(event, value=value))
    return found
