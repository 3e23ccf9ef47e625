"""The sweep: goes through what a deployment keeps, finds what is too old, and ends it.

A pass takes one class of data after the other (`PHASES`), a page at a time, and remembers after each page
where it is; so whoever is killed is followed by one who goes on. Customers come last. They are looked at
bucket by bucket of the directory, `retention.looks` a second at most: with 1,000 a second 100 million take 28
hours. (A timer of each customer in its shard would need a write for each event, or a wake-up for each
customer all the time; what is wanted is exact to some days in years.)

Who was not heard of for `retention.customers` gets a request to erase, as any other. The workflow looks again
before nothing leads to the customer any more. `retention.erasures` an hour at most are begun, and `OPEN_MAX`
are under way.

**The clock.** What is said to be now is the earlier of this machine's clock and the shards'. Where it has
jumped since the sweep was last at work, which also is how a deployment that was off or restored from an old
backup looks, or where the rule is new or shorter, nobody is erased for `retention.grace`: what would be is
counted, and people have time to see it.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec
import structlog

from flows.logic.shard.state import decode_profile
from flows.runtime.deployment import Deployment
from flows.services.retention.progress import JUMP_MS
from flows.services.retention.silence import last_heard_ms
from flows.services.retention.upkeep import END, Look, upkeep
from flows.services.subjects.clocks import due_ms
from flows.services.subjects.erasing import Erasing
from schemas import metrics
from schemas.config import Retention, Rights
from schemas.records.customer_profile import Head
from schemas.records.identity_graph import shard_of, text_id
from schemas.records.privacy_requests import PrivacyRequest, Step
from schemas.records.retention import Sweep, Swept

log = structlog.get_logger()

CUSTOMERS: Final = "customers"
PHASES: Final = ("requests", "decisions", "dead_letters", "reviews", "mandates", CUSTOMERS)
BY: Final = "retention"
EVERY_MS: Final = 3_600_000  # from the beginning of a pass to the next one, unless it takes longer
NOTED_MS: Final = 60_000  # while there is nothing to do, that it is at work is written this often
OPEN_MAX: Final = 100  # erasures by retention that are under way at once: their queues are read together
BUCKETS_MAX: Final = 200  # in one step
PAUSE_S: Final = 0.25  # between two steps of a pass


class Records(Protocol):
    """What is remembered."""

    def load(self) -> Sweep: ...

    def save(self, sweep: Sweep) -> None: ...

    def holds(self) -> Mapping[bytes, object]: ...


class Requests(Protocol):
    """Where requests are kept."""

    def add(self, request: PrivacyRequest) -> bool: ...

    def unfinished(self) -> list[PrivacyRequest]: ...


class Customers(Protocol):
    """All customers, by bucket."""

    @property
    def buckets(self) -> int: ...

    def customers(self, first: int, count: int) -> list[list[bytes]]: ...


class Directory(Protocol):
    """What this needs of the directory."""

    def erased(self, origins: Sequence[bytes]) -> list[bool]: ...


class Shards(Protocol):
    """What this needs of the shards."""

    def heads(self) -> dict[int, Head]: ...

    def load_many(
        self, wanted: Mapping[int, Sequence[bytes]], sensitive: Mapping[int, Sequence[bytes]]
    ) -> tuple[list[bytes | None], list[bytes | None]]: ...


@dataclass(frozen=True)
class Parts:
    """What a sweep works on."""

    rules: Retention
    rights: Rights
    records: Records
    requests: Requests
    tables: Customers
    directory: Directory
    members: Callable[[Sequence[bytes]], list[list[bytes]]]  # the origins of customers
    shards: Shards
    shard_count: int
    upkeep: Mapping[str, Look]
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    clock: Callable[[], float] = time.monotonic


class Sweeping:
    """Takes one step at a time."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sweep = parts.records.load()
        self._saved = msgspec.msgpack.encode(self._sweep)
        self._stepped_s = parts.clock()

    @property
    def so_far(self) -> Sweep:
        """How far it has come."""
        return self._sweep

    def step(self) -> bool:
        """Take one step, and return whether the next one may follow at once. Raises `LogFull`, `Fenced`."""
        sweep, wall_ms = self._sweep, self._parts.clock_ms()
        self._watch_clock(wall_ms)
        if not sweep.began_ms and 0 <= wall_ms - (sweep.ended_ms - sweep.took_ms) < EVERY_MS:
            return False
        if not sweep.began_ms:
            sweep.began_ms, sweep.phase, sweep.cursor = wall_ms, 0, 0
            sweep.looked, sweep.unknown, sweep.classes = 0, 0, {}
        goes_on = self._take_page(self._now_ms(wall_ms))
        sweep.clock_ms = wall_ms
        self._save()
        return goes_on

    # --- what a pass is made of

    def _take_page(self, now_ms: int) -> bool:
        sweep, phase = self._sweep, PHASES[self._sweep.phase]
        if phase == CUSTOMERS:
            return self._customers(now_ms)
        look = self._parts.upkeep.get(phase)
        if look is None:
            self._next_phase()
            return True
        page = look(now_ms, sweep.cursor)
        self._count(phase, page.removed, page.removed, page.oldest_ms, now_ms)
        if page.cursor == END:
            self._next_phase()
        else:
            sweep.cursor = page.cursor
        return True

    def _customers(self, now_ms: int) -> bool:
        sweep, parts, kept = self._sweep, self._parts, self._parts.rules.customers
        if kept is None or sweep.cursor >= parts.tables.buckets:
            self._end_pass()
            return False
        since_ms, room = now_ms - kept, self._room(now_ms)
        if room == 0:
            return False
        for roots in self._buckets():
            heard = self._heard(roots)
            old = [root for root, heard_ms in heard.items() if heard_ms is not None and heard_ms < since_ms]
            asked = self._to_ask(old)
            if room is not None and len(asked) > room:
                self._ask(asked[:room], now_ms, since_ms)
                return False  # the others of this bucket when there is room: so it is looked at again
            if room is not None:
                self._ask(asked, now_ms, since_ms)
                room -= len(asked)
            else:
                self._count(CUSTOMERS, len(asked), 0, 0, now_ms)
            sweep.cursor += 1
            sweep.looked += len(roots)
            sweep.unknown += sum(heard_ms is None for heard_ms in heard.values())
            left = [heard_ms for root, heard_ms in heard.items() if heard_ms is not None and root not in old]
            self._count(CUSTOMERS, 0, 0, min(left, default=0), now_ms)
        return True

    def _buckets(self) -> list[list[bytes]]:
        """Return the customers of the next buckets: as many as may be looked at by now, one bucket at
        least."""
        parts, now_s = self._parts, self._parts.clock()
        may = parts.rules.looks * min(1.0, now_s - self._stepped_s)
        self._stepped_s = now_s
        found = parts.tables.customers(self._sweep.cursor, BUCKETS_MAX)
        taken, looked = 0, 0
        for bucket in found:
            looked += len(bucket)
            if taken and looked > may:
                break
            taken += 1
        return found[:taken]

    def _heard(self, roots: Sequence[bytes]) -> dict[bytes, int | None]:
        """Return when each customer was last heard of; None where nobody can tell."""
        by_shard: dict[int, list[bytes]] = {}
        for root in roots:
            by_shard.setdefault(shard_of(root, self._parts.shard_count), []).append(root)
        profiles, _ = self._parts.shards.load_many(by_shard, {})
        names = [root for those in by_shard.values() for root in those]
        return {
            root: None if packed is None else last_heard_ms(decode_profile(packed))
            for root, packed in zip(names, profiles, strict=True)
        }

    def _to_ask(self, old: Sequence[bytes]) -> list[bytes]:
        """Return those of them who are not being erased already, and are not on hold."""
        if not old:
            return []
        parts = self._parts
        asked = {request.customer for request in parts.requests.unfinished()}
        held = parts.records.holds()
        gone = parts.directory.erased(old)
        members = parts.members(old)
        return [
            root
            for root, is_gone, those in zip(old, gone, members, strict=True)
            if not is_gone and root not in asked and held.keys().isdisjoint(those)
        ]

    def _room(self, now_ms: int) -> int | None:
        """Return how many erasures may be begun now; None: none at all, for one has to wait."""
        sweep, parts = self._sweep, self._parts
        if parts.clock_ms() < sweep.waits_until_ms:
            return None
        if not 0 <= now_ms - sweep.hour_ms < 3_600_000:
            sweep.hour_ms, sweep.hour_erased = now_ms, 0
        under_way = sum(request.by == BY for request in parts.requests.unfinished())
        return max(0, min(OPEN_MAX - under_way, parts.rules.erasures - sweep.hour_erased))

    def _ask(self, roots: Collection[bytes], now_ms: int, since_ms: int) -> None:
        parts = self._parts
        asked_ms = parts.clock_ms()
        for root in roots:
            request = PrivacyRequest(
                id=f"{BY}-{text_id(root)}-{asked_ms}",
                right="erase",
                customer=root,
                regime=parts.rights.regime,
                asked_ms=asked_ms,
                due_ms=due_ms(parts.rights, datetime.fromtimestamp(asked_ms / 1000, UTC)),
                by=BY,
                times={Step.ASKED: asked_ms},
                note=f"nothing came for {parts.rules.customers}",
                unheard_since_ms=since_ms,
            )
            parts.requests.add(request)
        self._sweep.hour_erased += len(roots)
        self._count(CUSTOMERS, len(roots), len(roots), 0, now_ms)

    # --- what is remembered

    def _count(self, name: str, found: int, removed: int, oldest_ms: int, now_ms: int) -> None:
        swept = self._sweep.classes.setdefault(name, Swept())
        swept.found += found
        swept.removed += removed
        swept.oldest_ms = min(filter(None, (swept.oldest_ms, oldest_ms)), default=0)
        swept.at_ms = now_ms
        if removed:
            metrics.RETENTION_REMOVED.labels(name).inc(removed)

    def _next_phase(self) -> None:
        self._sweep.phase, self._sweep.cursor = self._sweep.phase + 1, 0

    def _end_pass(self) -> None:
        sweep, wall_ms = self._sweep, self._parts.clock_ms()
        sweep.ended_ms, sweep.took_ms = wall_ms, max(0, wall_ms - sweep.began_ms)
        sweep.last, sweep.last_looked, sweep.last_unknown = sweep.classes, sweep.looked, sweep.unknown
        sweep.began_ms, sweep.phase, sweep.cursor, sweep.classes = 0, 0, 0, {}
        removed = {name: swept.removed for name, swept in sweep.last.items() if swept.removed}
        log.info("retention_swept", customers=sweep.last_looked, removed=removed)

    def _save(self) -> None:
        packed = msgspec.msgpack.encode(self._sweep)
        if packed != self._saved:
            self._parts.records.save(self._sweep)
            self._saved = packed

    # --- the clock

    def _now_ms(self, wall_ms: int) -> int:
        """Return the time that ages are counted by: a clock alone that runs ahead makes nobody old."""
        return min(wall_ms, max((head.clock_ms for head in self._parts.shards.heads().values()), default=0))

    def _watch_clock(self, wall_ms: int) -> None:
        """Wait with erasures where nobody can be sure how old things are, or how old they may become."""
        sweep, rule_ms = self._sweep, int(self._parts.rules.customers or 0)
        is_new = bool(rule_ms) and (not sweep.rule_ms or rule_ms < sweep.rule_ms)
        jumped_ms = wall_ms - sweep.clock_ms if sweep.clock_ms else 0
        if is_new or (rule_ms and abs(jumped_ms) > JUMP_MS):
            sweep.why = "rule" if is_new else "clock"
            sweep.waits_until_ms = wall_ms + self._parts.rules.grace
            log.warning(
                "retention_waits",
                why="the rule is new, or shorter"
                if is_new
                else "the clock has jumped, or nobody was at work",
                hours=round(jumped_ms / 3_600_000),
                until=datetime.fromtimestamp(sweep.waits_until_ms / 1000, UTC).isoformat(timespec="seconds"),
            )
        is_due = abs(wall_ms - sweep.clock_ms) >= NOTED_MS
        if is_new or is_due or rule_ms != sweep.rule_ms:
            sweep.rule_ms, sweep.clock_ms = rule_ms, wall_ms
            self._save()


def sweeping_of(deployment: Deployment, erasing: Erasing) -> Sweeping:
    """Return what sweeps this deployment."""
    return Sweeping(parts_of(deployment, erasing))


def parts_of(deployment: Deployment, erasing: Erasing) -> Parts:
    """Return the parts of a deployment."""
    config, ledger = deployment.config, deployment.ledger
    return Parts(
        rules=config.retention,
        rights=config.rights,
        records=deployment.sweep_records,
        requests=deployment.privacy_requests,
        tables=deployment.tables,
        directory=deployment.directory,
        members=lambda roots: [members for members, _ in ledger.holdings(roots)],
        shards=deployment.shards,
        shard_count=config.shards.count,
        upkeep=upkeep(deployment, erasing),
    )
