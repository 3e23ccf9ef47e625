"""What the archive keeps of a window: packed by `resolve` at the commit, unpacked by `rebuild`.

An event that holds personal data is sealed under the data key of its origin, one that holds no more of it
than a user id under a key that is named after that id: erasing the customer destroys both, here as well. The
whole is sealed with the log key.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from flows.logic.permissions.categories import Categories
from flows.logic.permissions.withholding import rewritten
from flows.runtime.windows import Judged
from schemas.config import Config
from schemas.errors import Stale
from schemas.records.identity_graph import WindowCommit, following
from schemas.records.journal import WindowContent
from schemas.wire.events import RawEvent
from state.directory.policy import Policy
from state.keys import ARCHIVED, DataKey, DataKeys, LogSeal

FIELD = ARCHIVED  # what the seal of an event is bound to, beside its customer
NAMES_MAX = 500_000  # users whose key this worker knows the name of
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(WindowContent).decode
_plain = msgspec.structs.replace


class WindowPacker:
    """Packs each window of `resolve`, without what customers do not allow us to keep."""

    def __init__(
        self,
        config: Config,
        keys: DataKeys,
        seal: LogSeal,
        categories: Categories,
        erased: Callable[[Sequence[bytes]], Sequence[bool]],
    ) -> None:
        """`erased` says of names whether they are of somebody who was erased."""
        self._pack = _Packer(config, seal)
        self._keys = keys
        self._categories = categories
        self._erased = erased
        self._names: dict[bytes, bytes] = {}  # user id -> what the key of its events is called

    def __call__(self, judged: Judged, commit: WindowCommit) -> bytes:
        """Return what the archive keeps of a window. Raises `Stale` where somebody was erased meanwhile."""
        window = judged.window
        places = judged.places()
        origins = [b""] * len(window.events)
        users: dict[int, bytes] = {}  # place -> the user of an event that holds nothing else
        ruling = judged.ruling
        for joint, group in zip(judged.groups, commit.groups, strict=True):
            for index, fact in zip(joint, group.facts, strict=True):
                strongest = judged.checked[index].identifiers[0]
                if fact.expected is not None:
                    origins[places[index]] = fact.expected
                elif strongest.strength == 0:
                    users[places[index]] = strongest.hash
        values = [event.value for event in window.events]
        for index, (denied, whole) in ruling.unkept.items() if ruling is not None else ():
            message = judged.checked[index].message
            values[places[index]] = rewritten(self._categories, values[places[index]], denied, whole, message)
        held = self._keys.of((origin for origin in origins if origin), create=True)
        if any(origin and origin not in held for origin in origins):
            raise Stale(f"somebody was erased since a window of {window.partition} was sealed")
        self._name(users.values(), held)
        for place, user in users.items():
            origins[place] = self._names[user]
        events = [
            _plain(event, value=held[origin].seal(FIELD, value) if origin else value)
            for event, value, origin in zip(window.events, values, origins, strict=True)
        ]
        return self._pack(commit, events, window.positions, origins)

    def forget(self) -> None:
        """Name keys anew: somebody was erased."""
        self._names.clear()

    def _name(self, users: Iterable[bytes], held: dict[bytes, DataKey]) -> None:
        """Add the keys of these users' events to `held`. Each is named after the user id; of who was erased
        and comes back it is the next name, as in the directory."""
        if len(self._names) > NAMES_MAX:
            self._names.clear()
        wanted = dict.fromkeys(users)
        asked = {user: user for user in wanted if user not in self._names}
        while asked:
            gone = dict(zip(asked, self._erased([*asked.values()]), strict=True))
            self._names |= {user: name for user, name in asked.items() if not gone[user]}
            asked = {user: following(name) for user, name in asked.items() if gone[user]}
        held |= self._keys.of((self._names[user] for user in wanted), create=True)
        for user in wanted:
            while self._names[user] not in held:  # its key was destroyed before the directory says so
                self._names[user] = following(self._names[user])
                held |= self._keys.of([self._names[user]], create=True)


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
