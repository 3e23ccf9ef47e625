"""The archive's raw events, in the journal's order, through the rules of *this* configuration, into a fresh
prefix.

Windows are as they were, time is that of the recorded ticks; validation, identities, profiles, tags and
triggers are made again. What was announced in the past (rules, models) is left out, absorbs come from the new
shards themselves, and facts that were put aside come with their windows. Triggers go nowhere unless asked
for; then each says which run fired it. Events of erased customers are left out.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count

import msgspec

from connectors.raw.redis_log import reserve
from flows.archive import Archiver
from flows.profile import Worker
from flows.resolve import ALIAS_OF_USERS, Resolver
from flows.runtime.archived_windows import events_of, match_packer, unpacked
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop
from flows.runtime.windows import Judged, Window
from flows.services import switching
from flows.services.restore import DRAIN_EVERY, ROOM, Quiet, drained
from flows.services.subjects import returning
from flows.services.subjects.erasing import ORDERED
from flows.services.subjects.erasing import PARTITION as PRIVACY
from schemas.config import Config
from schemas.errors import Foreign
from schemas.records.identity_graph import ID_BYTES
from schemas.records.journal import JournalKind, WindowContent
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import Tick
from schemas.wire.events import DeadLetter, RawEvent
from schemas.wire.triggers import Absorb, Trigger
from state.directory.matches import PARTITION as MATCH
from state.history.archive_files import Found
from state.history.key_snapshot import UNFINISHED, begin_anew
from state.history.prefix_switch import LOADED, pending
from state.shards.redis_shards import RedisShards
from state.shards.shard_protocols import ShardCommit

INTERNAL = "internal"  # who has taken what lies in the lane i
NOBODY = "nobody"  # and in the lane t, besides the connectors
_PAGE = 500
_tick = msgspec.msgpack.Decoder(Tick).decode
_encode = msgspec.msgpack.Encoder().encode
_letter = msgspec.msgpack.Decoder(DeadLetter).decode
_trigger = msgspec.msgpack.Decoder(Trigger).decode
_absorb = msgspec.msgpack.Decoder(Absorb).decode


class Built(msgspec.Struct, frozen=True):
    """What was made."""

    run_id: str
    windows: int
    events: int
    erased: int  # events of erased customers, which were left out
    fired: int  # triggers
    seconds: float


def begin(deployment: Deployment, then_switch: bool) -> str | None:
    """Check that a rebuild may begin. Return the id of one that is built and only has to be switched to.
    Raises `Foreign`, `Unreachable`; `Fenced` where flows run that must not."""
    unfinished = pending(deployment.client, deployment.names)
    if unfinished is not None and not then_switch:
        raise Foreign(f"a switch to {unfinished} is under way: finish it with `millrace switch {unfinished}`")
    if then_switch:
        switching.stopped(deployment)
    return unfinished


def build(deployment: Deployment, deliver: bool, step: Callable[[], None]) -> Built:
    """Rebuild beside what runs. `step` is called with each entry of the archive. Raises `Foreign`,
    `Unreachable`."""
    config, archive = deployment.config, deployment.archive
    started, run_id = time.monotonic(), f"{datetime.now(UTC):%Y%m%d%H%M%S}"
    if not archive.newest():
        raise Foreign(f"there is no archive in {archive.folder}")
    rebuilt = Rebuild(Deployment(beside(config, run_id)), run_id if deliver else "")
    for found in archive.entries(0):
        rebuilt.apply(found)
        step()
    rebuilt.finish(config.name)
    return Built(
        run_id=run_id,
        windows=rebuilt.windows,
        events=rebuilt.events,
        erased=rebuilt.erased,
        fired=rebuilt.fired,
        seconds=time.monotonic() - started,
    )


def beside(config: Config, run_id: str) -> Config:
    """Return the same deployment under another prefix, with an archive of its own; under a name that no flow
    takes until it is whole."""
    replace, there = msgspec.structs.replace, switching.at(config, run_id)
    return replace(there, name=UNFINISHED, archive=replace(there.archive, enabled=True, journal_max=ROOM))


class Stamped(RedisShards):
    """Triggers say which run fired them."""

    run = ""
    fired = 0

    def commit(self, commits: Sequence[ShardCommit], stamp_ms: int) -> None:
        for commit in commits:
            commit.outbox = [
                (lane, seq, self._stamped(body) if lane == Lane.TRIGGERS else body)
                for lane, seq, body in commit.outbox
            ]
        super().commit(commits, stamp_ms)

    def _stamped(self, body: bytes) -> bytes:
        self.fired += 1
        return _encode(msgspec.structs.replace(_trigger(body), run=self.run)) if self.run else body


class Rebuild:
    """`run`: its id, if triggers are to be delivered; empty if not."""

    def __init__(self, deployment: Deployment, run: str) -> None:
        """Begin. Raises `Foreign` where the prefix is taken."""
        config = deployment.config
        self._client, self._names = deployment.client, deployment.names
        begin_anew(self._client, self._names, deployment.layout)
        self._load_keys(deployment)
        deployment.prepare()
        self._deployment = deployment
        self._delivered = bool(run)
        self._now_s = 0.0
        self._keys = deployment.data_keys
        layout = deployment.layout
        self._directory = Quiet(
            self._client, self._names, layout, log_max=config.shards.log_max, journal_max=ROOM
        )
        self._resolver = Resolver(
            config,
            deployment.validator(),
            self._directory,
            self._keys,
            deployment.log_seal,
            Stop(),
            clock=lambda: self._now_s,
        )
        self._shards = Stamped(self._client, self._names, layout.shards, layout.shard_buckets)
        self._shards.run = run
        self._outbox = deployment.outbox
        self._connectors = [NOBODY, *(connector.name for connector in config.connector)]
        self._worker = Worker(
            range(config.shards.count),
            self._directory,
            self._shards,
            deployment.machine(),
            cache=config.shards.cache,
            outbox_max=ROOM,
            clock_ms=lambda: int(self._now_s * 1000),
            clock=count(step=10).__next__,
        )
        self._pack_match = match_packer(config, deployment.log_seal)
        self._archiver = Archiver(
            config,
            deployment.journal,
            deployment.archive,
            deployment.log_seal,
            lambda: None,
        )
        # identifiers of erased customers, up to their erasure -> the origin whose key is destroyed
        self._gone: dict[bytes, bytes] = {}
        self.windows = self.events = self.erased = 0
        self._raw_is_redis, self._prefix = config.raw.log == "redis", config.redis.prefix

    @property
    def fired(self) -> int:
        return self._shards.fired

    def apply(self, found: Found) -> None:
        """Apply an entry. Raises `Foreign`."""
        entry, place = found
        match entry.kind:
            case JournalKind.TICK:
                self._now_s = _tick(entry.body).now_ms / 1000
                self._directory.replay(entry)
            case JournalKind.WINDOW:
                if entry.bare:
                    raise Foreign(
                        f"{place}: entry {entry.seq} was written without its content: "
                        "it cannot be built again"
                    )
                self._window(unpacked(entry.content))
        if entry.seq % DRAIN_EVERY == 0:
            self._settle()

    def _window(self, content: WindowContent) -> None:
        if content.commit.partition in (
            MATCH,
            PRIVACY,
            ORDERED,
        ):  # without events: what was decided then holds
            if content.commit.partition == PRIVACY:
                self._forget(content)
            self._directory.commit(content.commit, self._pack_match(content.commit))
            self._resolver.take_again()
            return
        self._note_erased(content)
        events = events_of(content, self._keys)
        left = [index for index, event in enumerate(events) if event is not None]
        judged = self._judged(content, events, left)
        if self._gone and any(checked.identifiers[0].hash in self._gone for checked in judged.checked):
            gone = {
                left[place]
                for place, checked in zip(judged.places(), judged.checked, strict=True)
                if checked.identifiers[0].hash in self._gone
            }
            judged = self._judged(content, events, [index for index in left if index not in gone])
        self._resolver.commit(judged)
        self.windows += 1
        self.events += len(judged.window.events)
        self.erased += len(content.events) - len(judged.window.events)

    def _forget(self, content: WindowContent) -> None:
        """An erasure: what was on its way has arrived by then, and who comes after it is somebody else."""
        self._settle()
        for order in content.commit.orders:
            gone = {order.note[at : at + ID_BYTES] for at in range(0, len(order.note), ID_BYTES)}
            self._gone = {one: origin for one, origin in self._gone.items() if origin not in gone}

    def _judged(
        self, content: WindowContent, events: Sequence[RawEvent | None], left: Sequence[int]
    ) -> Judged:
        """Judge these events. Which aliases were refused then holds: it was a question of who was known at
        that moment."""
        commit, positions = content.commit, [content.positions[index] for index in left]
        letters = [letter for letter in map(_letter, commit.dead) if letter.reason == ALIAS_OF_USERS.reason]
        refused = {content.positions.index(letter.position) + letter.index for letter in letters}
        found = [event for index in left if (event := events[index]) is not None]
        window = Window(
            partition=commit.partition,
            before=commit.before,
            after=commit.after,
            events=found,
            positions=positions,
            opened=0.0,
        )
        return self._resolver.judge(window, [place for place, index in enumerate(left) if index in refused])

    def _note_erased(self, content: WindowContent) -> None:
        """Who has no key any more. Other events of theirs hold no personal data but the user id, and are left
        out as well."""
        held = self._keys.of(origin for origin in content.origins if origin)
        for group in content.commit.groups:
            sealed_for = {fact.expected for fact in group.facts if fact.expected is not None}
            for origin in sealed_for - held.keys():
                users = [identifier.hash for identifier in group.identifiers if identifier.strength == 0]
                theirs = users or [identifier.hash for identifier in group.identifiers]
                self._gone.update(dict.fromkeys(theirs, origin))

    def finish(self, name: str) -> None:
        """Make it a deployment: as whole as the archive was, without whoever was erased since."""
        self._settle()
        returning.erase_again(self._deployment, self._directory, self._settle)
        self._archiver.close()
        if self._raw_is_redis:
            reserve(self._client, self._prefix, self._directory.offsets())
        self._client.hset(self._names.meta, "name", name)

    def _settle(self) -> None:
        """The shards apply their logs, and hand over to one another until nobody has anything left for
        another."""
        drained(self._worker)
        while self._forward():
            drained(self._worker)
        if not self._delivered:
            self._take(
                Lane.TRIGGERS,
                self._connectors,
                {shard: head.outbox.get(Lane.TRIGGERS, 0) for shard, head in self._shards.heads().items()},
            )
        while self._archiver.round(block_ms=0):
            pass

    def _forward(self) -> bool:
        found = self._outbox.read(Lane.ABSORBS, self._outbox.cursors(Lane.ABSORBS, INTERNAL), _PAGE, 0)
        for one in found:
            self._directory.forward(one.shard, one.seq, _absorb(one.body))
        self._take(Lane.ABSORBS, [INTERNAL], {one.shard: one.seq for one in found})
        return bool(found)

    def _take(self, lane: str, consumers: Sequence[str], upto: Mapping[int, int]) -> None:
        for consumer in consumers:
            self._outbox.advance(lane, consumer, upto)
        self._outbox.trim(lane, consumers)

    def _load_keys(self, deployment: Deployment) -> None:
        copy = deployment.key_copy()
        try:
            loaded = copy.load(self._client, self._names)
        finally:
            copy.close()
        self._client.hset(self._names.meta, LOADED, loaded)
