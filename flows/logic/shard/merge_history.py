"""What a united customer was made of, so that a union can be undone exactly.

Stage, tags, cooldowns and the like depend on what happened when, so they cannot be taken apart like sums.
Instead a customer that absorbs another keeps, in a record of its own, what both were and each fact since.
Undoing a union is then living those days once more without it, in silence: nothing is sent, asked or counted.
The record is appended to and never read on the hot path. It is given up when it is too long or too old; then
fragments are still taken apart exactly, and what follows from them is derived anew.
"""

from collections.abc import Collection, Iterable, Iterator
from copy import deepcopy
from typing import Final, Protocol

import msgspec

from flows.logic.shard.changes import Changes
from flows.logic.shard.state import Live, ShardState, decode_profile, encode, rules_of
from schemas.records.customer_profile import Head, Profile
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Absorb, Trigger

HISTORY_MAX: Final = 256 * 1024  # bytes of one customer; some thousand facts
KEEP_MS: Final = 30 * 86_400_000  # after the last union
_SIZE: Final = 4


class Began(msgspec.Struct, array_like=True, tag="s"):
    """What a customer was when it was united for the first time."""

    clock_ms: int
    root: bytes
    origins: list[bytes]
    profile: bytes  # packed; empty where nothing was ever seen of it


class Counted(msgspec.Struct, array_like=True, tag="f"):
    """A fact since then."""

    clock_ms: int
    root: bytes
    origin: bytes
    payload: bytes


class Joined(msgspec.Struct, array_like=True, tag="j"):
    """A union."""

    clock_ms: int
    union: int  # number in the ledger
    retired: bytes
    survivor: bytes
    one: bytes  # the origins that the evidence is about
    other: bytes
    muted: bool = False  # history brought them together: nothing was sent


class Sent(msgspec.Struct, array_like=True, tag="t"):
    """A trigger that went out while they were one."""

    clock_ms: int
    rule: str
    cause: str


Entry = Began | Counted | Joined | Sent
_decode_trigger = msgspec.msgpack.Decoder(Trigger).decode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Lives(Protocol):
    """What lives a customer's days."""

    def count(self, state: ShardState, root: bytes, origin: bytes, payload: bytes, live: Live) -> None:
        """Count a packed fact."""

    def wake(self, state: ShardState, root: bytes, due: int) -> None:
        """Look at a customer whose timer is due."""

    def unite(self, state: ShardState, root: bytes, live: Live, message: Absorb, muted: bool) -> None:
        """Add up two customers. `muted`: history brought them together."""


def remember(state: ShardState, root: bytes, live: Live, *entries: Entry) -> None:
    """Append to a customer's history; give it up where that grows too long or is too old."""
    profile, now = live.profile, state.head.clock_ms
    packed = b"".join(map(_pack, entries))
    if profile.history_bytes + len(packed) > HISTORY_MAX or now - profile.joined_ms > KEEP_MS:
        forget(state, root, live)
        return
    profile.history_bytes += len(packed)
    state.append_history(root, packed)


def sent_of(clock_ms: int, outbox: Iterable[tuple[str, int, bytes]]) -> list[Sent]:
    """Return the triggers among what was just put into the outbox."""
    sent = [_decode_trigger(body) for lane, _seq, body in outbox if lane == Lane.TRIGGERS]
    return [Sent(clock_ms, trigger.rule, trigger.cause) for trigger in sent]


def forget(state: ShardState, root: bytes, live: Live) -> None:
    """Give the merge history up: from here on the unions of this customer are undone by its fragments
    alone."""
    live.profile.history_bytes = live.profile.joined_ms = 0
    state.set_history(root, None)


def join(state: ShardState, root: bytes, live: Live, message: Absorb, muted: bool) -> None:
    """Note a union just before the other customer is taken in."""
    profile, now = live.profile, state.head.clock_ms
    begun = b"" if profile.history_bytes else _pack(_began(now, root, list(profile.fragments), profile))
    theirs = message.history or _pack(Began(now, message.retired, message.origins, _bare(message.general)))
    union = Joined(
        clock_ms=now,
        union=message.union,
        retired=message.retired,
        survivor=root,
        one=message.one,
        other=message.other,
        muted=muted,
    )
    packed = begun + theirs + _pack(union)
    profile.joined_ms = now
    if profile.history_bytes + len(packed) > HISTORY_MAX:
        forget(state, root, live)
        return
    profile.history_bytes += len(packed)
    state.append_history(root, packed)


class Part:
    """A customer that is being lived once more."""

    __slots__ = ("entries", "joined_ms", "live", "origins")

    def __init__(self, origins: Iterable[bytes], live: Live) -> None:
        self.origins = list(origins)
        self.live = live
        self.entries: list[bytes] = []  # its own history
        self.joined_ms = 0  # its last union

    def finish(self) -> tuple[Profile, bytes]:
        """Return its profile and its merge history, if it still has one."""
        history = b"".join(self.entries) if self.joined_ms else b""
        self.live.profile.history_bytes, self.live.profile.joined_ms = len(history), self.joined_ms
        return self.live.profile, history


class Replay:
    """Lives the days of a customer again, without one of its unions."""

    def __init__(self, turns: Lives, state: ShardState, union: int) -> None:
        self._turns = turns
        self._undone = union
        self._found = False
        self._scratch = state.scratch(Head())
        self._parts: dict[bytes, Part] = {}
        self._home: dict[bytes, bytes] = {}  # origin -> the part that it belongs to by now
        self.sent: list[Sent] = []

    def live(self, history: bytes, until_ms: int) -> bool:
        """Live up to `until_ms`. Return whether the union was among what there is to live."""
        # Customers that were joined bring histories of their own: each is in order, and so is what happened
        # in the same moment.
        for entry, packed in sorted(_entries(history), key=lambda found: found[0].clock_ms):
            if not isinstance(entry, Sent):
                self._pass_time(entry.clock_ms)
            match entry:
                case Began():
                    self._begin(entry)
                case Counted():
                    self._count(entry, packed)
                case Joined():
                    self._join(entry, packed)
                case Sent():
                    self.sent.append(entry)
        self._pass_time(until_ms)
        return self._found

    def separate(self, one: bytes, other: bytes, others: Collection[bytes]) -> bool:
        """Return whether two origins belong to different customers, there are just these two, and `others` go
        with the second and nobody else.

        They may not: a customer that came here before the one it is united with by evidence was counted to
        whoever was there.
        """
        if (
            len(self._parts) != 2
            or one not in self._home
            or other not in self._home
            or self._home[one] == self._home[other]
        ):
            return False
        leaving = {origin for origin, home in self._home.items() if home == self._home[other]}
        return leaving == {other, *others} & self._home.keys()

    def part(self, origin: bytes) -> Part:
        """Return the customer that an origin belongs to in the end."""
        return self._parts[self._home[origin]]

    def _begin(self, entry: Began) -> None:
        rules = rules_of(self._scratch)
        live = Live(decode_profile(entry.profile) if entry.profile else Profile(), rules)
        self._parts[entry.root] = Part(entry.origins, live)
        self._scratch.live[entry.root] = live
        for origin in (entry.root, *entry.origins):
            self._home[origin] = entry.root

    def _count(self, entry: Counted, packed: bytes) -> None:
        root = self._home.get(entry.origin) or self._home[entry.root]
        part = self._parts[root]
        self._turns.count(self._scratch, root, entry.origin, entry.payload, part.live)
        part.entries.append(packed)

    def _join(self, entry: Joined, packed: bytes) -> None:
        if entry.union == self._undone:
            self._found = True
            self.sent = []
            return
        names = {self._home.get(entry.one, entry.survivor), self._home.get(entry.other, entry.retired)}
        survivor = entry.survivor if entry.survivor in names else min(names)
        for retired in sorted(names - {survivor}):  # one, or none that is not part of it already
            self._unite(survivor, retired, entry, packed)

    def _unite(self, survivor: bytes, retired: bytes, entry: Joined, packed: bytes) -> None:
        part, other = self._parts[survivor], self._parts.pop(retired)
        del self._scratch.live[retired]
        entries = []
        for root, each, origins in (
            (survivor, part, [*part.live.profile.fragments]),
            (retired, other, other.origins),
        ):
            entries += (
                each.entries
                if each.joined_ms
                else [_pack(_began(entry.clock_ms, root, origins, each.live.profile))]
            )
        part.entries = [*entries, packed]
        part.joined_ms = entry.clock_ms
        if other.live.profile.fragments:
            general = encode(_still(other.live.profile))
            self._turns.unite(
                self._scratch, survivor, part.live, Absorb(survivor, retired, general, b""), entry.muted
            )
        part.origins += other.origins
        for origin in (retired, *other.origins):
            self._home[origin] = survivor

    def _pass_time(self, until_ms: int) -> None:
        """Wake whom the clock would have woken: at the first tick, which is a whole second, that is not
        before it is due."""
        while True:
            due = min(
                (
                    (part.live.profile.indexed_ms, root)
                    for root, part in self._parts.items()
                    if part.live.profile.indexed_ms
                ),
                default=None,
            )
            tick = -(-due[0] // 1000) * 1000 if due else 0
            if due is None or tick > until_ms:
                break
            self._scratch.head.clock_ms = max(self._scratch.head.clock_ms, tick)
            self._turns.wake(self._scratch, due[1], due[0])
            self._scratch.changes = Changes()
        self._scratch.head.clock_ms = max(self._scratch.head.clock_ms, until_ms)
        self._scratch.changes = Changes()


def by_fragments(profile: Profile, origins: Iterable[bytes]) -> tuple[Profile, Profile]:
    """Return what stays, and what goes with these origins, where there is no history. Only sums are exact:
    the rest is to be derived."""
    staying = deepcopy(profile)
    leaving = Profile(
        fragments={origin: staying.fragments.pop(origin) for origin in origins if origin in staying.fragments}
    )
    return staying, leaving


def _began(clock_ms: int, root: bytes, origins: list[bytes], profile: Profile) -> Began:
    return Began(clock_ms, root, origins, encode(_still(profile)) if profile.fragments else b"")


def _bare(packed: bytes) -> bytes:
    return encode(_still(decode_profile(packed))) if packed else b""


def _still(profile: Profile) -> Profile:
    """Without what is on its way, and without a history."""
    return msgspec.structs.replace(profile, in_flight=None, history_bytes=0, joined_ms=0)


def _pack(entry: Entry) -> bytes:
    packed = encode(entry)
    return len(packed).to_bytes(_SIZE) + packed


def _entries(history: bytes) -> Iterator[tuple[Entry, bytes]]:
    at = 0
    while at < len(history):
        end = at + _SIZE + int.from_bytes(history[at : at + _SIZE])
        yield _decode(history[at + _SIZE : end]), history[at:end]
        at = end
