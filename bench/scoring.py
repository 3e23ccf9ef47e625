"""What models cost an event in `profile`: the same log entries applied with all models in force, with the
binary ones, with none.

    python -m bench.scoring [customers] [events each] [rounds]

All in one process and in memory, in turns; of each batch the least of several rounds, so that a busy machine
disturbs little. What models have learnt does not matter for what they cost: they learn from the features and
interactions of the load, with labels by chance.
"""

import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.steps import configuration, fill
from connectors.raw.log import START
from flows.logic.bandit.snapshot import Decider
from flows.logic.facets.vocabulary import compile_rules
from flows.logic.models import best_action, cluster_assigner, recommendation_index
from flows.logic.models.binary import BINARY
from flows.logic.models.cluster_assigner import Assigner
from flows.logic.models.linear import Scorer
from flows.logic.models.recommendation_index import RecommendationIndex
from flows.logic.models.trainers import binary_trainers, other_trainers
from flows.logic.rules.ruleset import still
from flows.logic.shard.changes import Changes
from flows.logic.shard.machine import ShardMachine
from flows.logic.shard.state import Loaded, ShardState
from flows.resolve import Resolver
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop, tune_collector
from flows.runtime.windows import Windows
from schemas.config import BEST, Config, Rules
from schemas.records.customer_profile import Head
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogEntry
from schemas.wire.triggers import Example
from state.redis.embedded import embedded

TAUGHT = 2_000  # examples of each model
BATCH = 2  # entries of a shard between two commits, as in `profile`
_decode = msgspec.msgpack.Decoder(Example).decode
Models = dict[str, Loaded]


def entries(config: Config) -> dict[int, list[LogEntry]]:
    """What `resolve` writes to the log of each shard."""
    reader, directory = Deployment(config).raw_reader(), Deployment(config).directory
    positions = dict.fromkeys(reader.partitions(), START)
    reader.assign(positions)
    windows = Windows(reader, config.window, positions)
    resolver = Resolver(
        config,
        Deployment(config).validator(),
        directory,
        Deployment(config).data_keys,
        Deployment(config).log_seal,
        Stop(),
    )
    while ready := windows.poll() or windows.poll():
        for window in ready:
            resolver.commit(resolver.judge(window))
    reader.close()
    found: dict[int, list[LogEntry]] = {}
    for shard in range(config.shards.count):
        found[shard] = directory.read({shard: 0}, 1_000_000, 0)
    return found


def apply(
    config: Config, rules: Rules, models: Models, logs: Mapping[int, list[LogEntry]]
) -> tuple[list[float], list[ShardState], list[Example]]:
    """Seconds for each batch, the shards afterwards, and the examples that left."""
    compiled = compile_rules(rules, 1, config.shards.dedupe, config.shards.count)
    machine = ShardMachine(lambda _: compiled, lambda sender, _: models.get(sender.partition(":")[2]))
    states, examples, seconds = [], [], []
    for shard, log in logs.items():
        state = ShardState(shard, Head(rules=1, models={f"learn:{name}": 1 for name in models}), {})
        machine.open(state)
        # c and m would bring the rules of the deployment
        plain = [entry for entry in log if entry.kind not in "cm"]
        for at in range(0, len(plain), BATCH):
            began = time.perf_counter()
            machine.apply(state, plain[at : at + BATCH])
            seconds.append(time.perf_counter() - began)
            examples += [_decode(body) for lane, _, body in state.changes.outbox if lane == Lane.EXAMPLES]
            state.changes = Changes()
        states.append(state)
    return seconds, states, examples


def taught(config: Config, rules: Rules, states: list[ShardState], examples: list[Example]) -> Models:
    """A snapshot of each model."""
    chance = random.Random(1)
    compiled = compile_rules(rules, 1, config.shards.dedupe, config.shards.count)
    customers = [live for state in states for live in state.live.values() if live is not None][:TAUGHT]
    shown = [still(compiled, live.profile, live.total, live.total.last_ms).features() for live in customers]
    found: Models = {}
    for trainer in binary_trainers(rules):
        places = BINARY[trainer.name].places  # type: ignore[index]
        taught = [
            Example(
                model=trainer.name,
                customer=b"",
                asked_ms=0,
                answered_ms=at,
                features=[x[i] for i in places],
                predicted=None,
                version=0,
                label=float(chance.random() < 0.3),
                amount=10.0,
            )
            for at, x in enumerate(shown)
        ]
        found[trainer.name] = Scorer.from_snapshot(list(trainer.learn(taught))[-1].pack())
    for trainer in other_trainers(rules):
        own = [example for example in examples if example.model == trainer.name]
        if trainer.name == best_action.NAME:
            own = list(_choices(rules, chance, [[x[i] for i in menu_places()] for x in shown]))
        packed = list(trainer.learn(own))[-1].pack()
        match trainer.name:
            case best_action.NAME:
                found[best_action.NAME] = Decider.from_snapshot(packed, best_action.FEATURES)
            case recommendation_index.NAME:
                found[recommendation_index.NAME] = RecommendationIndex.from_snapshot(packed)
            case cluster_assigner.NAME:
                found[cluster_assigner.NAME] = Assigner.from_snapshot(packed, cluster_assigner.FEATURES)
    return found


def menu_places() -> list[int]:
    from flows.logic.models.features import NAMES

    return [NAMES.index(name) for name in best_action.FEATURES]


def _choices(rules: Rules, chance: random.Random, contexts: list[list[float]]) -> Iterator[Example]:
    names = [action.name for action in rules.action]
    for at, context in enumerate(contexts):
        reward = float(chance.random() < 0.2)
        yield Example(
            model=best_action.NAME,
            customer=b"",
            asked_ms=at,
            answered_ms=at,
            features=context,
            predicted=None,
            version=0,
            label=reward,
            action=chance.choice(names),
            propensity=1 / len(names),
            decision=str(at),
        )


def without(rules: Rules, *, binary: bool) -> Rules:
    """Without actions, recommendation and groups; and without the binary models."""
    replace = msgspec.structs.replace
    lean = replace(
        rules,
        action=(),
        recommendation=replace(rules.recommendation, touch=()),
        clusters=replace(rules.clusters, enabled=False),
        trigger=tuple(trigger for trigger in rules.trigger if trigger.action != BEST),
    )
    return lean if binary else replace(lean, churn=replace(lean.churn, enabled=False), model=())


def measure(customers: int, each: int, rounds: int) -> dict[str, float]:
    """µs an event."""
    with tempfile.TemporaryDirectory(prefix="mr-") as name:
        config = configuration(Path(name))
        with embedded(config).running():
            Deployment(config).prepare()
            total = fill(config, customers, each)
            logs = entries(config)
    rules: Any = config
    _, states, examples = apply(config, rules, {}, logs)
    models = taught(config, rules, states, examples)
    binary = {name: model for name, model in models.items() if name in BINARY}
    variants: dict[str, tuple[Rules, Models]] = {
        "none": (without(rules, binary=False), {}),
        "binary": (without(rules, binary=True), binary),
        "all": (rules, models),
    }
    tune_collector()
    least: dict[str, list[float]] = {}
    for _ in range(rounds):
        for variant, (chosen, force) in variants.items():
            spent = apply(config, chosen, force, logs)[0]
            least[variant] = [*map(min, spent, least.get(variant, spent))]
    return {variant: 1e6 * sum(seconds) / total for variant, seconds in least.items()}


def main(customers: int, each: int, rounds: int) -> None:
    us = measure(customers, each, rounds)
    for variant, cost in us.items():
        print(f"{variant:8} {cost:7.2f} us/event")
    print(f"{'scores':8} {us['binary'] - us['none']:7.2f} us/event")
    print(f"{'models':8} {us['all'] - us['none']:7.2f} us/event")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*given, *(1000, 15, 15)[len(given) :])
