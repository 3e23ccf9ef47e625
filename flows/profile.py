"""Flow `profile`: shard logs -> load -> apply (aggregate, tag, segment, score, decide) -> one commit for all
shards touched.

Worker k of n owns the shards at k modulo n and is their only writer; `claim` makes any earlier writer a stale
one.

If logic raises on something, its shard goes back to the last commit and over what it has read since with a
net (`flows.logic.shard.quarantine`): what raised is put aside, and the flow goes on.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from bytewax import operators as op
from bytewax.dataflow import Dataflow

from flows.logic.shard.changes import Changes
from flows.logic.shard.machine import DUE_MAX, ShardMachine
from flows.logic.shard.quarantine import Careful, places
from flows.logic.shard.state import Needs, ShardState, add_sensitive, decode_sensitive, encode, needs_of
from flows.runtime.engine import Stop, run_flow
from flows.runtime.limits import PoisonBrake
from flows.runtime.outbox_room import Room
from flows.runtime.patience import patiently
from flows.runtime.release import BUILD
from flows.runtime.steps import each, steps_sink, steps_source
from schemas import metrics
from schemas.errors import Damaged, Fatal, Fenced, LogFull, MillraceError, Torn
from schemas.records.customer_profile import Head, Sensitive
from schemas.records.shard_log import LogEntry, mark_of
from state.damage import CHANGED, GONE, RESTORE, UNREADABLE, of_customer
from state.directory.directory_protocol import Directory
from state.shards.shard_protocols import ShardCommit, Shards

if TYPE_CHECKING:  # who runs this flow has made one; others need only its steps
    from flows.runtime.deployment import Deployment

log = structlog.get_logger()

READ_ENTRIES = 8  # of one shard in one batch; an entry is what one window had for the shard
BLOCK_MS = 250
IDLE_COMMIT_S = 2.0  # a shard that only saw ticks commits its clock so often, for `learn` waits for it
ROOM_EVERY_S = 1.0
_EVER_MS = 1 << 52


class Worker:
    """Reads, applies and commits the shards of one worker. One call of `step` is one batch."""

    def __init__(
        self,
        shards: Sequence[int],
        directory: Directory,
        store: Shards,
        machine: ShardMachine,
        *,
        cache: int,
        outbox_max: int,
        clock_ms: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        rest: Callable[[float], object] = time.sleep,
        poison: PoisonBrake | None = None,
    ) -> None:
        """Claim the shards. `rest` waits for so many seconds, and says True if there is no more time. Raises
        `Torn`, `Damaged`."""
        self._directory = directory
        self._store = store
        self._machine = machine
        self._careful = Careful(machine, BUILD)
        self._poison = poison
        self._cache_max = max(1, cache // max(1, len(shards)))
        self._room = Room(store, outbox_max, clock)
        self._clock_ms = clock_ms
        self._clock = clock
        self._rest = rest
        heads, counters = store.claim(shards), store.counters()
        uncounted = [shard for shard in shards if not counters[shard]]
        for shard, waiting in store.due(dict.fromkeys(uncounted, (_EVER_MS, 1))).items():
            if waiting:
                raise Damaged(f"shard {shard}: {{s{shard:02d}}}:counters {GONE}: {RESTORE}")
        self._states = {shard: ShardState(shard, heads[shard], counters[shard]) for shard in shards}
        self._committed = {shard: head.copy() for shard, head in heads.items()}
        self._read = {shard: head.offset for shard, head in heads.items()}
        self._since: dict[int, list[LogEntry]] = {shard: [] for shard in shards}  # the last commit
        self._full: set[int] = set()
        self._idle_since = self._room_at = 0.0
        self._check_logs()
        self._check_marks()
        for state in self._states.values():
            machine.open(state)

    def read(self) -> list[LogEntry]:
        """Return the next entries of all shards with room in their outbox."""
        now = self._clock()
        if now - self._room_at >= ROOM_EVERY_S:
            self._room_at = now
            self._check_logs()
            with suppress(LogFull):  # time stands still while Redis has no room
                self._directory.tick()
            self._full = self._room.full(
                {shard: state.head.clock_ms for shard, state in self._states.items()}
            )
            if self._full:
                # the clock, which `learn` waits for: where all shards wait no batch comes that would bring it
                self.commit([])
        wanted = {shard: seq for shard, seq in self._read.items() if shard not in self._full}
        if not wanted:
            self._rest(BLOCK_MS / 1000)
            return []
        return self._directory.read(wanted, READ_ENTRIES, BLOCK_MS)

    def _check_logs(self) -> None:
        """Check that every log reaches as far as its shard has read. Raises `Torn`."""
        ends = self._directory.heads()
        for shard, seq in self._read.items():
            if seq > ends[shard]:
                raise Torn(
                    f"shard {shard} has read its log up to entry {seq}, and the log ends at {ends[shard]}:"
                    " the directory has lost its tail. Restore a backup, or run `millrace repair shard"
                    f" {shard}` (docs/faults.md says what that costs)"
                )

    def _check_marks(self) -> None:
        """Check that every log is the one that its shard has read. Raises `Torn`.

        Once is enough: if the directory's server comes back later, this process ends
        (`state.redis.client.stay_with_server`).
        """
        for shard, seq in parted(self._directory, self._committed).items():
            raise Torn(
                f"shard {shard} has read another entry {seq} than its log has now: the directory has lost its"
                f" tail, and has grown again. Restore a backup, or run `millrace repair shard {shard}`"
                " (docs/faults.md says what that costs)"
            )

    def _check_ours(self, shard: int) -> None:
        """Check that nobody has gone on in our place, and trimmed what we would have read. Raises
        `Fenced`."""
        found = self._store.heads()[shard]
        if found != self._committed[shard]:
            raise Fenced(
                f"shard {shard}: its head is {found}, expected {self._committed[shard]}: another worker has "
                "claimed it"
            )

    def apply(self, entries: Sequence[LogEntry]) -> list[int]:
        """Apply a batch in memory; return the shards that have something to commit."""
        by_shard: dict[int, list[LogEntry]] = {}
        for entry in entries:
            by_shard.setdefault(entry.shard, []).append(entry)
        needs = {shard: self._needs(shard, found) for shard, found in by_shard.items()}
        self._load(needs)
        raised = []
        for shard, found in by_shard.items():
            if found[0].seq != self._read[shard] + 1:
                self._check_ours(shard)
                raise Torn(
                    f"shard {shard} has read its log up to entry {self._read[shard]}, and the next one there "
                    f"is {found[0].seq}: what lies"
                    " between is gone, so the shard has lost its tail. Restore a backup"
                )
            self._read[shard] = found[-1].seq
            self._since[shard] += found
            try:
                self._machine.apply(self._states[shard], found)
            except (MillraceError, MemoryError):
                raise
            except Exception:  # noqa: BLE001  # `_again` finds out what it was, and keeps it
                raised.append(shard)
        self._join_sealed(needs)
        for shard in raised:
            self._again(shard)
        return list(by_shard)

    def _again(self, shard: int) -> None:
        """Apply what came since the last commit once more, with a net. Raises `Fatal` if what our logic
        raises on is not an event."""
        state = self._states[shard] = ShardState(
            shard, self._committed[shard].copy(), self._store.counters()[shard]
        )
        self._machine.open(state)
        needs = {shard: self._needs(shard, self._since[shard])}
        self._load(needs)
        try:
            self._careful.apply(state, self._since[shard])
        except (MillraceError, MemoryError):
            raise
        except Exception as error:
            raise Fatal(
                f"shard {shard}: entry {state.head.offset + 1} of its log cannot be applied: "
                f"{type(error).__name__} at {places(error)[-1]}."
                " This is a defect of millrace, or the entry was changed in Redis. Nothing is lost: install "
                "a build without it,"
                " or restore a backup"
            ) from error
        self._join_sealed(needs)
        for where, n in Counter(found.where for found in state.changes.poisoned).items():
            log.error(
                "events_quarantined",
                shard=shard,
                where=where,
                count=n,
                see="millrace dead list --reason poison",
            )

    def _needs(self, shard: int, entries: Sequence[LogEntry]) -> Needs:
        """Return what these entries need. Raises `Damaged`."""
        try:
            return needs_of(entries)
        except UNREADABLE as error:
            first, last = entries[0].seq, entries[-1].seq
            raise Damaged(
                f"shard {shard}: an entry of its log from {first} to {last} {CHANGED} ({error}): {RESTORE}"
            ) from error

    def _load(self, needs: dict[int, Needs]) -> None:
        ticked = {
            shard: (need.tick_ms, DUE_MAX * need.ticks + len(need.profiles))
            for shard, need in needs.items()
            if need.ticks
        }
        for shard, due in (self._store.due(ticked) if ticked else {}).items():
            self._states[shard].changes.due = due
            needs[shard].profiles.update(root for _, root in due)
        profiles = {}
        for shard, need in needs.items():
            state = self._states[shard]
            missing = sorted(
                root for root in need.profiles if root not in state.live
            )  # in the same order whenever it is replayed
            if missing and state.rules is not None:  # before its first rules a shard has stored nothing
                profiles[shard] = missing
        sensitive = {shard: list(need.sensitive) for shard, need in needs.items() if need.sensitive}
        if not profiles and not sensitive:
            return
        packed, sealed = self._store.load_many(profiles, sensitive)
        pasts = {shard: sorted(need.histories) for shard, need in needs.items() if need.histories}
        whole = iter(self._store.load_past(pasts) if pasts else ())
        for shard, roots in pasts.items():
            self._states[shard].changes.histories |= {root: next(whole) for root in roots}
        self._put(profiles, packed)
        opened = iter(sealed)
        for shard, roots in sensitive.items():
            for root in roots:
                if (found := next(opened)) is not None:
                    self._states[shard].changes.sensitive[root] = self._decoded(shard, root, found)

    def _put(self, wanted: Mapping[int, Sequence[bytes]], packed: Sequence[bytes | None]) -> None:
        """Put profiles into memory. A customer without one is new, or the profile is gone. Raises
        `Damaged`."""
        loaded = iter(packed)
        unknown: dict[int, list[bytes]] = {}
        for shard, roots in wanted.items():
            state = self._states[shard]
            for root in roots:
                found = next(loaded)
                if found is None:
                    unknown.setdefault(shard, []).append(root)
                try:
                    self._machine.put(state, root, found)
                except UNREADABLE as error:
                    raise of_customer(
                        self._store.key("p", shard, root), shard, root, f"{CHANGED} ({error})"
                    ) from error
        for shard, root in self._store.traces(unknown) if unknown else ():
            raise of_customer(self._store.key("p", shard, root), shard, root, GONE)

    def _decoded(self, shard: int, root: bytes, packed: bytes) -> Sensitive:
        """Decode a sealed record. Raises `Damaged`."""
        try:
            return decode_sensitive(packed)
        except UNREADABLE as error:
            raise of_customer(
                self._store.key("xs", shard, root), shard, root, f"{CHANGED} ({error})"
            ) from error

    def _join_sealed(self, needs: dict[int, Needs]) -> None:
        """Add what was sealed in this batch to what is stored. Few facts hold personal data, so their records
        are read only now."""
        late = {
            shard: list(self._states[shard].changes.sensitive_dirty - need.sensitive)
            for shard, need in needs.items()
        }
        if not any(late.values()):
            return
        stored = iter(self._store.load_many({}, late)[1])
        for shard, roots in late.items():
            sensitive = self._states[shard].changes.sensitive
            for root in roots:
                if (found := next(stored)) is not None:
                    record = self._decoded(shard, root, found)
                    add_sensitive(record, sensitive[root])
                    sensitive[root] = record

    def commit(self, shards: Sequence[int]) -> None:
        """Commit all that changed, in one transaction. Raises `Fenced`."""
        now = self._clock()
        if now - self._idle_since >= IDLE_COMMIT_S:
            self._idle_since = now
            changed = [
                shard
                for shard, state in self._states.items()
                if state.head.offset != self._committed[shard].offset
            ]
        else:
            changed = [shard for shard in shards if self._states[shard].changed]
        if not changed:
            return
        commits = [self._packed(shard) for shard in changed]
        self._count_poison(changed)
        stamp = self._clock_ms()
        if not self._patiently(lambda: self._store.commit(commits, stamp)):
            return
        for shard in changed:
            state = self._states[shard]
            self._committed[shard] = state.head.copy()
            self._since[shard] = []
            _measure(state, stamp)
            state.changes = Changes()
            self._evict(shard)
        with suppress(LogFull):  # a later commit trims as far
            self._directory.trim({shard: self._states[shard].head.offset for shard in changed})

    def _patiently(self, commit: Callable[[], None]) -> bool:
        """Commit, waiting while Redis has no room. Return False if there is no more time."""

        def done() -> bool:
            with metrics.COMMIT_SECONDS.labels("profile").time():
                commit()
            return True

        return bool(patiently(done, self._rest, _commit_waits))

    def _count_poison(self, shards: Sequence[int]) -> None:
        """Count, before the commit, so that a source is suspended as soon as it can be."""
        if self._poison is None:
            return
        came = Counter[str]()
        for shard in shards:
            came.update(self._states[shard].changes.came)
        self._poison.count(
            came, [found for shard in shards for found in self._states[shard].changes.poisoned]
        )

    def _packed(self, shard: int) -> ShardCommit:
        try:
            return self._pack(self._states[shard])
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  # as in `apply`; for one, a figure that no record can hold
            self._again(shard)
            return self._pack(self._states[shard])

    def _pack(self, state: ShardState) -> ShardCommit:
        changes = state.changes
        profiles: dict[bytes, bytes | None] = dict.fromkeys(changes.deleted)
        for root in changes.dirty:
            held = state.live[root]
            if held is not None:
                profiles[root] = encode(held.profile)
        sensitive: dict[bytes, bytes | None] = dict.fromkeys(changes.deleted)
        sensitive |= {root: encode(changes.sensitive[root]) for root in changes.sensitive_dirty}
        return ShardCommit(
            shard=state.number,
            before=self._committed[state.number],
            head=state.head,
            counters=state.counters,
            profiles=profiles,
            sensitive=sensitive,
            timers=changes.timers,
            outbox=changes.outbox,
            past={root: changes.histories[root] for root in changes.histories_set},
            past_more=changes.histories_more,
        )

    def _evict(self, shard: int) -> None:
        """Forget the profiles that came first, where there are too many. Between commits nothing in the cache
        is dirty."""
        live = self._states[shard].live
        while len(live) > self._cache_max:
            del live[next(iter(live))]


def _commit_waits(full: LogFull) -> None:
    log.warning("commit_waits", reason=str(full))


def parted(directory: Directory, heads: Mapping[int, Head]) -> dict[int, int]:
    """Return the shards that have applied something else at their position than their log holds there now,
    with that position.

    A log that lost its tail and grew beyond the old end still holds that entry: only what its shard has
    committed since is trimmed.
    """
    after = {shard: head.offset - 1 for shard, head in heads.items() if head.mark}
    entries = directory.read(after, 1, 0) if after else []
    return {
        entry.shard: entry.seq
        for entry in entries
        if entry.seq == heads[entry.shard].offset and mark_of(entry) != heads[entry.shard].mark
    }


def _measure(state: ShardState, stamp_ms: int) -> None:
    for rule, received_ms in state.changes.fired:
        metrics.TRIGGERS_EMITTED.labels(rule).inc()
        metrics.TRIGGER_SECONDS.observe(max(0, stamp_ms - received_ms) / 1000)
    metrics.EVENTS_APPLIED.inc(state.changes.applied)
    metrics.DUPLICATES.inc(state.changes.duplicates)
    metrics.REPEATS.inc(state.changes.repeats)
    for (source, field, outcome), n in Counter(state.changes.stated).items():
        metrics.QUALITY.labels(source, field, outcome).inc(n)
    for (action, outcome), n in Counter(state.changes.chosen).items():
        metrics.ACTIONS.labels(action, outcome).inc(n)
    for outcome in state.changes.rewarded:
        metrics.REWARDS.labels(outcome).inc()
    for found in state.changes.poisoned:
        metrics.EVENTS_QUARANTINED.labels(found.where).inc()


def dataflow(worker: Worker, stop: Stop) -> Dataflow:
    """Make the flow: shard logs -> apply -> commit."""

    def read() -> list[list[LogEntry]]:
        entries = worker.read()
        return [entries] if entries else []

    flow = Dataflow("profile")
    entries = op.input("read", flow, steps_source(read, stop))
    touched = op.filter_map("apply", entries, stop.guard(worker.apply))
    op.output("commit", touched, steps_sink(each(worker.commit), stop))
    return flow


def run(deployment: "Deployment", worker: int, workers: int) -> None:
    """Be worker `worker` of `workers`, until a signal. Raises `Fatal`."""
    stop, config = Stop(), deployment.config
    owned = range(worker, config.shards.count, workers)
    made = Worker(
        owned,
        deployment.directory,
        deployment.shards,
        deployment.machine(),
        cache=config.shards.cache,
        outbox_max=config.shards.outbox_max,
        clock_ms=lambda: int(time.time() * 1000),
        rest=stop.wait,
        poison=deployment.poison_brake(),
    )
    log.info("profile_starts", worker=worker, workers=workers, shards=len(owned))
    run_flow(dataflow(made, stop), stop)
