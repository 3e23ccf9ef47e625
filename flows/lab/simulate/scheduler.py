"""One run: a scheduler that a seed drives lets workers take turns and lets things go wrong; then all is
drained and judged."""

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from random import Random
from typing import Any

import msgspec
from structlog.testing import capture_logs

from flows.lab.simulate import oracle
from flows.lab.simulate.defects import planted
from flows.lab.simulate.drawn_traffic import DOCUMENTS, Traffic
from flows.lab.simulate.failures import Crash, Faults, Rates
from flows.lab.simulate.workers import LIVES, Life, Site
from flows.lab.simulate.world import CONFIG, PLENTY, World
from schemas.errors import Damaged, MillraceError, Torn
from schemas.records.outbox_lanes import QUEUES
from schemas.records.privacy_requests import PrivacyRequest
from schemas.records.shard_log import LogKind

STEPS = 500
DEPTH_MAX = 2  # of turns inside a turn
ROUNDS_MAX = 300  # until a drained world must rest
ERASING, ERASED = 0.4, 0.015  # part of the runs, and of their steps, in which somebody is erased
KEPT = 6  # states that the server may go back to
RULES = "rules"
Broken = Callable[[], AbstractContextManager[None]]  # what is broken on purpose, while it lasts


class Outcome(msgspec.Struct, frozen=True):
    """What came of one seed. Without problems nothing was lost and nothing was doubled."""

    seed: int
    problems: tuple[str, ...]
    messages: int
    triggers: int
    faults: dict[str, int]
    counts: oracle.Counts


class Slot:
    """A worker's place. Whoever dies in it is followed by a new one, made from what is stored."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.life: Life | None = None
        self.busy = False


class Simulation:
    def __init__(self, seed: int, *, privacy: bool = False) -> None:
        self._seed = seed
        self._luck = luck = Random(seed)
        tight = luck.random() < 0.3
        # Where it is tight, less than one second brings: learn waits for the end of it.
        self._outbox_max = luck.choice([1, 3, 40]) if tight else PLENTY
        self.world = World(log_max=luck.randint(4, 10) if tight else PLENTY)
        self._faults = Faults(luck, Rates.drawn(luck))
        self._faults.meanwhile = self._meanwhile
        self._traffic = Traffic(luck, CONFIG, self.world.raw, privacy=privacy)
        self._slots = [Slot(name) for name in LIVES]
        self._stale: list[Slot] = []
        self._depth = 0
        self._erasures = Random(f"erasures {seed}")  # of its own: without any a run is what it was
        self._erases = self._erasures.random() < ERASING
        self._wanted = DOCUMENTS[0]
        self._announce()
        self._kept = deque([self.world.snapshot()], maxlen=KEPT)

    def run(self, broken: Broken = nullcontext) -> Outcome:
        """Run it, and return the outcome. The judge never runs what is broken."""
        with planted():
            return self._run(broken)

    def _run(self, broken: Broken) -> Outcome:
        try:
            with broken():
                for _ in range(STEPS):
                    self._step()
                self._drain()
            problems = oracle.problems(self.world, self._traffic)
            found = oracle.counts(self.world, self._traffic)
        except (AssertionError, oracle.Diverged, MillraceError) as error:
            problems, found = [str(error)], oracle.Counts()
        counts = dict(sorted(self._faults.counts.items()))
        return Outcome(
            seed=self._seed,
            problems=tuple(problems),
            messages=len(self._traffic.good),
            triggers=len(self.world.shards.emitted),
            faults=counts,
            counts=found,
        )

    # --- turns

    def _step(self) -> None:
        luck, world = self._luck, self.world
        world.now_ms += luck.randint(0, 60)
        if luck.random() < 0.12:
            self._traffic.publish(world.now_ms)
        if luck.random() < 0.03:
            world.now_ms += luck.choice([1_000, 30_000, 600_000, 3_600_000, 86_400_000])
        if self._faults.strikes("again"):
            self._wanted = luck.choice(DOCUMENTS)
            self._announce()
        if self._faults.strikes("replaced"):
            slot = luck.choice(self._slots)
            if slot.life is not None and not slot.busy:
                stale = Slot(slot.name)
                stale.life, slot.life = slot.life, None
                self._stale.append(stale)
        if self._erases and self._erasures.random() < ERASED:
            self._erase()
        if luck.random() < 0.05:
            self._kept.append(world.snapshot())
        if self._faults.strikes("back"):
            self._go_back()
        self._turn(luck.choice(self._slots + self._stale))

    def _erase(self) -> None:
        """As `millrace subject erase`, about anybody who is known."""
        customers = sorted(self.world.directory.graph.records)
        if customers:
            root = self._erasures.choice(customers)
            request = PrivacyRequest(
                id=f"erase-{root.hex()}",
                right="erase",
                customer=root,
                regime="gdpr",
                asked_ms=self.world.now_ms,
                due_ms=0,
                by="simulation",
            )
            self._faults.counts["erasures"] += self.world.requests.add(request)

    def _announce(self) -> None:
        """As `millrace reload`."""
        directory = self.world.directory
        version = directory.sent(RULES)
        if version == 0 or directory.body(LogKind.CONFIG, RULES, version) != self._wanted:
            directory.announce(LogKind.CONFIG, RULES, version + 1, version + 1, self._wanted)

    def _go_back(self) -> None:
        """What was kept later than this is a future that will not be."""
        at = self._luck.randrange(len(self._kept))
        self.world.go_back(self._kept[at])
        while len(self._kept) > at + 1:
            self._kept.pop()
        self._announce()

    def _turn(self, slot: Slot) -> None:
        """One step of one worker. What it dies of on purpose ends it; everything else is a defect."""
        if slot.busy or (slot.life is None and slot not in self._slots):  # nobody follows a stale one
            return
        if slot.life is None:
            slot.life = LIVES[slot.name](Site(self.world, self._luck, self._faults, self._outbox_max))
        slot.busy = True
        try:
            next(slot.life)
        except (Crash, MillraceError) as death:
            self._faults.counts[f"died: {type(death).__name__.lower()}"] += 1
            slot.life = None
            if slot in self._stale:
                self._stale.remove(slot)
            elif isinstance(death, (Torn, Damaged)):
                raise AssertionError(str(death)) from death
        finally:
            slot.busy = False

    def _meanwhile(self) -> None:
        if self._depth < DEPTH_MAX:
            self._depth += 1
            slot = self._luck.choice(self._slots + self._stale)
            for _ in range(self._luck.randint(1, 6)):
                self._turn(slot)
            self._depth -= 1

    # --- the end

    def _drain(self) -> None:
        """Nothing goes wrong any more, after perhaps one last time: everything must come to rest."""
        if self._faults.rates.back and self._luck.random() < 0.5:
            self._go_back()
        if self._luck.random() < 0.5:
            for slot in self._slots:
                slot.life = None
        self._stale.clear()
        self._faults.calm()
        for _ in range(ROUNDS_MAX):
            self.world.now_ms += 2_100
            for slot in self._slots:
                for _ in range(8):
                    self._turn(slot)
            if not (restless := self._restless()):
                return
        raise AssertionError(f"does not come to rest: {restless}")

    def _restless(self) -> dict[str, Any]:
        """What has not been read to its end."""
        world = self.world
        offsets, heads = world.directory.offsets(), world.shards.heads()
        found: dict[str, Any] = {
            partition: (offsets.get(partition, -1), len(entries) - 1)
            for partition, entries in world.raw.items()
            if offsets.get(partition, -1) != len(entries) - 1
        }
        matched, said = world.directory.position(), world.directory.said_last()
        if matched != said:
            found["match"] = (matched, said)
        if world.requests.open:
            found["erasures"] = sorted(request.step for request in world.requests.unfinished())
        ends = world.directory.heads()
        found |= {
            f"shard {shard}": (head.offset, ends[shard])
            for shard, head in heads.items()
            if head.offset != ends[shard]
        }
        found |= {
            f"lane {lane} of {shard}": len(entries)
            for (shard, lane), entries in world.shards.outbox.items()
            if lane in QUEUES and entries
        }
        return found


def simulate(seed: int, broken: Broken = nullcontext, *, privacy: bool = False) -> Outcome:
    """Simulate one seed. The same seed is the same run. What the workers log of their deaths is not shown.

    `privacy`: customers say what they allow, and take it back, all the time.
    """
    with capture_logs():
        return Simulation(seed, privacy=privacy).run(broken)
