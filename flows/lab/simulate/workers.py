"""The workers of the flows, each a generator that stops between any two of its steps: read, apply, commit.

They are the real ones (`Windows` and `Resolver`, `Worker`, `Steady`, `Matcher`, `Learning`); what Bytewax
does is the order of the calls. Only the dispatchers, whose sinks talk to the network, are stood in for by a
few lines.
"""

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, cast

from connectors.raw.log import START
from flows.deliver import Steady, forwarding
from flows.dispatch.admission import not_sent
from flows.dispatch.consent_gate import ConsentGate
from flows.lab.demo.malformed import Defective
from flows.lab.simulate.drawn_traffic import DOCUMENTS
from flows.lab.simulate.failures import Crash, Faults, Line
from flows.lab.simulate.world import (
    CONFIG,
    HASH_KEY,
    SHARDS,
    START_MS,
    Keys,
    Seal,
    World,
    compiled,
    decode_trigger,
)
from flows.learn import Learning
from flows.logic.delivery import Progress
from flows.logic.models import churn
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.trainer import Trainer
from flows.logic.models.trainers import other_trainers
from flows.logic.permissions.permissions import Permissions
from flows.logic.resolution.validation import Validator
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.machine import ShardMachine
from flows.match import Matcher
from flows.profile import Worker
from flows.resolve import Resolver
from flows.runtime import snapshots
from flows.runtime.engine import Stop
from flows.runtime.windows import Windows
from flows.services.subjects.erasing import Erasing, Parts
from schemas.config.toml import rules_from
from schemas.errors import LogFull
from schemas.records.outbox_lanes import Lane
from schemas.records.privacy_requests import Answer
from schemas.records.shard_log import LogKind
from schemas.wire.events import RawBatch
from schemas.wire.triggers import Example
from state.shards.shard_protocols import OutboxEntry

CRM = "crm"
SNAPSHOT_FIRST, SNAPSHOT_EVERY = 3, 4
READ_MAX, ROOM = 4, 3
BRITTLE = 40  # one second of so many has examples that a trainer raises on
NO_MESSAGE = ("timer:wake:", "absorb:")  # causes of triggers that no message is the cause of
Life = Iterator[None]


class Site:
    """What a new worker is given: lines to the servers of this moment, and the run's luck."""

    def __init__(self, world: World, luck: Random, faults: Faults, outbox_max: int) -> None:
        generation = world.generation
        self.world, self.luck, self.faults, self.outbox_max = world, luck, faults, outbox_max

        def line(server: Any) -> Any:
            return Line(server, faults, lambda: world.generation != generation)

        servers = world.directory, world.shards, world.models, world.requests
        self.directory, self.shards, self.models, self.requests = map(line, servers)
        self.keys = line(Keys(world.keys, world.destroyed))


class Reader:
    """The raw log: gives a few entries of some partitions, in any order of partitions."""

    def __init__(self, world: World, luck: Random, positions: Mapping[str, int]) -> None:
        self._world, self._luck, self._at = world, luck, dict(positions)

    def poll(self, timeout_ms: int) -> list[RawBatch]:  # noqa: ARG002  # the time does not wait for us
        batches = []
        for partition in self._luck.sample(sorted(self._at), len(self._at)):
            first = self._at[partition] + 1
            entries = self._world.raw[partition][first : first + self._luck.randint(0, READ_MAX)]
            if entries:
                self._at[partition] = first + len(entries) - 1
                positions = [first + at for at, entry in enumerate(entries) for _ in entry]
                batches.append(
                    RawBatch(
                        partition,
                        self._at[partition],
                        [event for entry in entries for event in entry],
                        positions,
                    )
                )
        return batches


class Waiting(Stop):
    """While a log is full the others go on; after a few turns this worker is asked to stop."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults
        self._turns = 20

    def wait(self, seconds: float) -> bool:  # noqa: ARG002  # as above
        self._faults.counts["log full"] += 1
        self._turns -= 1
        self._faults.meanwhile()
        return self._turns < 0


def resolver(
    world: World, directory: Any, keys: Any, stop: Stop, positions: Mapping[str, int] | None = None
) -> Resolver:
    seal: Any = Seal()
    validator: Any = Defective(Validator(CONFIG, HASH_KEY, {}))
    return Resolver(CONFIG, validator, directory, keys, seal, stop, world.clock, positions)


def resolving(site: Site, worker: int, workers: int) -> Life:
    world = site.world
    offsets = site.directory.offsets()
    positions = {partition: offsets.get(partition, START) for partition in sorted(world.raw)[worker::workers]}
    reader: Any = Reader(world, site.luck, positions)
    windows = Windows(reader, CONFIG.window, positions, world.clock)
    steps = resolver(world, site.directory, site.keys, Waiting(site.faults), positions)
    confirmed_ms = world.now_ms
    while True:
        for window in windows.poll():
            yield
            judged = steps.judge(window)
            yield
            if steps.commit(judged) is None:
                raise Crash("asked to stop while a log is full")
        if world.now_ms >= confirmed_ms + 1_000:
            confirmed_ms = world.now_ms
            steps.confirm()
        yield


def machine(directory: Any, world: World) -> ShardMachine:
    def rules_of(version: int) -> CompiledRules:
        document = directory.body(LogKind.CONFIG, "rules", version)
        assert document is not None, f"rules {version} were announced without a body"
        return compiled(document, version)

    return ShardMachine(rules_of, snapshots.scorers(directory, world.signer))


def profiling(site: Site, worker: int, workers: int) -> Life:
    world = site.world
    made = Worker(
        range(worker, SHARDS, workers),
        site.directory,
        site.shards,
        machine(site.directory, world),
        cache=site.luck.choice([1, 4, 1_000]),
        outbox_max=site.outbox_max,
        clock_ms=lambda: world.now_ms,
        clock=world.clock,
        rest=lambda _seconds: site.faults.counts.update(["outbox full"]),
    )
    while True:
        entries = made.read()
        yield
        if entries:
            touched = made.apply(entries)
            yield
            made.commit(touched)
            yield


def handing_over(site: Site) -> Life:
    def dead(connector: str, body: bytes, reason: str) -> None:
        raise AssertionError(f"{connector}: {reason}: {body!r}")

    lane = Steady(
        site.shards,
        Lane.ABSORBS,
        "internal",
        site.shards.cursors(Lane.ABSORBS, "internal"),
        forwarding(site.directory, dead),
        site.world.clock,
    )
    while True:
        entries = site.shards.read(Lane.ABSORBS, lane.positions(), min(lane.room(), ROOM), 0)
        lane.read_up_to(entries)
        yield
        if entries:
            lane.accept(lane.address(entries))
            yield


def delivering(site: Site) -> Life:
    """Deliver at least once: a cursor passes what was taken. Deliveries finish in any order."""
    cursors = site.shards.cursors(Lane.TRIGGERS, CRM)
    progress = {shard: Progress(seq) for shard, seq in cursors.items()}
    read = dict(cursors)
    waiting: list[OutboxEntry] = []
    receiver = Line(Receiver(site.world), site.faults, lambda: False)
    gate = ConsentGate(site.directory, Permissions(CONFIG.consent, ()))
    site.shards.trim(Lane.TRIGGERS, [CRM])
    while True:
        for entry in site.shards.read(Lane.TRIGGERS, read, ROOM, 0):
            progress[entry.shard].take(entry.seq)
            read[entry.shard] = entry.seq
            waiting.append(entry)
        yield
        for entry in site.luck.sample(waiting, len(waiting)):
            trigger = decode_trigger(entry.body)
            if not any(site.directory.erased([bytes.fromhex(trigger.customer)])):
                [refusal] = gate([trigger])
                if refusal is not None:
                    site.directory.not_sent(bytes.fromhex(trigger.customer), not_sent(trigger, CRM, refusal))
                elif site.faults.strikes("refused"):
                    continue
                else:
                    site.world.directory.witness.passed(trigger, site.world.directory.graph)
                    receiver.receive(entry.body)
            waiting.remove(entry)
            progress[entry.shard].finish(entry.seq)
        yield
        moved = {shard: done.cursor for shard, done in progress.items() if done.cursor != cursors[shard]}
        if moved:
            site.shards.advance(Lane.TRIGGERS, CRM, moved)
            cursors |= moved
            site.shards.trim(Lane.TRIGGERS, [CRM])


class Receiver:
    def __init__(self, world: World) -> None:
        self._world = world

    def receive(self, body: bytes) -> None:
        trigger = decode_trigger(body)
        received = self._world.received
        received[trigger.id] = received.get(trigger.id, 0) + 1
        message = trigger.cause.rpartition(":")[2]
        if not trigger.cause.startswith(NO_MESSAGE):
            self._world.told.setdefault((trigger.rule, message), set()).add(trigger.id)


class Brittle(BinaryTrainer):
    """With a defect of ours: it raises on some examples, when it has taken them. It must learn as if they had
    never come."""

    def _take(self, chunk: list[Example]) -> None:
        super()._take(chunk)
        if any(example.asked_ms // 1_000 % BRITTLE == 0 for example in chunk):
            raise ArithmeticError


def learnings(world: World, outbox: Any, directory: Any, store: Any) -> list[Learning]:
    """Return one for each model."""
    churned = Brittle(churn.NAME, churn.FEATURES, 0.05, first=SNAPSHOT_FIRST, every=SNAPSHOT_EVERY)
    taught: list[Trainer] = [churned, *other_trainers(rules_from(DOCUMENTS[0]))]
    senders = [snapshots.sender(trainer.name) for trainer in taught]
    return [Learning(trainer, outbox, directory, store, world.signer, SHARDS, senders) for trainer in taught]


def matching(site: Site) -> Life:
    seal, keys = cast(Any, Seal()), cast(Any, site.keys)
    matcher = Matcher(CONFIG, site.directory, site.directory, keys, site.world.signer, HASH_KEY, seal)
    while True:
        for said in matcher.read(0)[:READ_MAX]:
            yield
            window = matcher.judge(said)
            yield
            matcher.commit(window)
        yield


class Drained:
    """Whether all that came in before is resolved matters to customers, not to what is kept."""

    def passed(self) -> bool:
        return True

    def close(self) -> None:
        pass


def erasing(site: Site) -> Life:
    directory, shards, keys, requests = site.directory, site.shards, site.keys, site.requests
    made = Erasing(
        Parts(
            directory=directory,
            ledger=directory,
            shards=shards,
            outbox=shards,
            keys=keys,
            requests=requests,
            shard_count=SHARDS,
            connectors=(),
            matched=directory.position,
            drain=Drained,
            names=lambda _root: {},
            copy_keys=lambda _origins: None,
            seal=lambda plain: plain,
            unseal=lambda sealed: sealed,
            dead_letters=lambda _wanted: {},
            ask=lambda *_: Answer("taken"),
            sign=lambda request: request.id.encode(),
            clock_ms=lambda: START_MS,  # it never passes over somebody who is late
        )
    )
    while True:
        for request in requests.unfinished():
            try:
                made.advance(request)
            except LogFull:
                site.faults.counts["log full"] += 1
            yield
        yield


def learning(site: Site) -> Life:
    taught = learnings(site.world, site.shards, site.directory, site.models)
    while True:
        for each in taught:
            batch = each.poll()
            yield
            if batch is not None:
                checkpoint = each.learn(batch)
                yield
                each.commit(checkpoint)
                yield


# Looked up when a worker starts, so that a mutation can stand in for it.
LIVES: dict[str, Callable[[Site], Life]] = {
    "resolve 0/2": lambda site: resolving(site, 0, 2),
    "resolve 1/2": lambda site: resolving(site, 1, 2),
    "profile 0/2": lambda site: profiling(site, 0, 2),
    "profile 1/2": lambda site: profiling(site, 1, 2),
    "internal": handing_over,
    "deliver": lambda site: delivering(site),
    "match": matching,
    "privacy": erasing,
    "learn": learning,
}
