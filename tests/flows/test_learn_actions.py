"""`learn` with what it teaches besides probabilities: each model is a function of the lanes, whatever dies
when."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from flows.learn import Learning
from flows.logic.bandit import choose
from flows.logic.bandit.settings import POLICIES
from flows.logic.bandit.snapshot import Decider
from flows.logic.models import best_action, challenger, cluster_assigner, recommendation_index
from flows.logic.models.best_action_trainer import BestActionTrainer
from flows.logic.models.binary import BINARY
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.cluster_assigner import Assigner
from flows.logic.models.cluster_trainer import ClusterTrainer
from flows.logic.models.recommendation_index import RecommendationIndex
from flows.logic.models.recommendation_trainer import RecommendationTrainer
from flows.logic.models.trainer import Trainer
from flows.logic.models.trainers import binary_trainers
from flows.runtime.deployment import Deployment
from flows.runtime.snapshots import open_snapshot, scorers, sender, sign_snapshot
from schemas.config import Config, Rules
from schemas.config.toml import load, rules_from
from schemas.errors import Foreign
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import UNANSWERED, Example
from state.directory.layout import Layout
from state.directory.redis_directory import RedisDirectory
from state.model_store import RedisModels, Signer
from state.redis.names import Names
from state.shards.redis_shards import RedisOutbox, RedisShards
from tests.key_files import load_keys
from tests.learning import SHARDS, SIGNER, Killed, World, drain, encode, killed_everywhere, killing
from tests.world import document

TAUGHT = """
[best_action]
half_life = 1_000
reward = [{event = "Bought"}]
[[action]]
name = "mail"
[[action]]
name = "call"
cost = 0.2
[recommendation]
touch = [{event = "Viewed"}]
[clusters]
enabled = true
k = 3
"""
RULES: Rules = rules_from(document(TAUGHT))
EFFECTS = 5  # of one batch: checkpoint, announcement, two of the outbox; and there is no fifth
MODELS = [best_action.NAME, recommendation_index.NAME, cluster_assigner.NAME]
ASKED = """
[churn]
enabled = true
""" + "".join(f'[[model]]\nname = "{name}"\nyes = ["Bought"]\n' for name in BINARY if name != "churn")


def _bandit(policy: str) -> Callable[[], Trainer]:
    return lambda: BestActionTrainer(
        msgspec.structs.replace(RULES, best_action=msgspec.structs.replace(RULES.best_action, policy=policy))
    )


def _binary(name: str) -> Callable[[], Trainer]:
    return lambda: next(
        trainer for trainer in binary_trainers(rules_from(document(ASKED))) if trainer.name == name
    )


TRAINERS: dict[str, Callable[[], Trainer]] = {
    best_action.NAME: lambda: BestActionTrainer(RULES),
    recommendation_index.NAME: lambda: RecommendationTrainer(RULES),
    cluster_assigner.NAME: lambda: ClusterTrainer(RULES),
    **{policy: _bandit(policy) for policy in POLICIES},
    **{name: _binary(name) for name in BINARY},
}
KINDS = [kind if kind in MODELS else pytest.param(kind, marks=pytest.mark.slow) for kind in TRAINERS]


class Taught(World):
    """The world of one of these models."""

    def __init__(self, kind: str, *parts: Any) -> None:
        super().__init__(*parts)
        self.kind, self.model = kind, TRAINERS[kind]().name

    def trainer(self) -> Trainer:
        return TRAINERS[self.kind]()

    def learning(self) -> Learning:
        return Learning(
            self.trainer(), self.outbox, self.directory, self.store, SIGNER, SHARDS, [sender(self.model)]
        )

    def outcome(self) -> Any:
        _, checkpoint = self.store.take(self.model)
        return (
            known(self.trainer(), checkpoint.trainer),
            checkpoint.positions,
            checkpoint.tick,
            checkpoint.metrics,
            self.announced(),
            self.outbox.cursors(Lane.EXAMPLES, sender(self.model)),
        )


def known(trainer: Trainer, packed: bytes) -> Any:
    """What a checkpoint holds: bit for bit, but for the pickles of River's parts, which may share their
    strings or not."""
    if not isinstance(trainer, BinaryTrainer):
        return packed
    assert trainer.load(packed)
    return trainer.snapshot().digest, trainer.contest(), trainer.drifts, trainer.delays, trainer.history


def example(model: str, luck: random.Random, answered_ms: int) -> Example:
    context = [luck.gauss(0, 1) for _ in best_action.FEATURES]
    made = Example(
        model, b"c%011d" % luck.randrange(40), answered_ms - 500, answered_ms, context, None, 0, 0.0
    )
    if model == best_action.NAME:
        made.action = luck.choice(["mail", "call", "letter"])  # `letter` was added while learn was running
        made.eligible = ["mail", "call"] if made.action != "letter" else ["mail", "call", "letter"]
        made.propensity, made.decision = 1 / len(made.eligible), f"trg_{answered_ms}"
        made.label = float(luck.random() < (0.8 if (context[0] > 0) == (made.action == "mail") else 0.1))
    elif model == recommendation_index.NAME:
        group = luck.choice(["tea", "garden"])
        made.features, made.action, made.label = [], f"{group}-{luck.randrange(4)}", luck.choice([0.2, 2.0])
        made.recent, made.segment = [f"{group}-{luck.randrange(4)}"], group
    elif model in BINARY:
        # as asked just above
        made.features = [luck.gauss(0, 1) for _ in BINARY[model].features]  # type: ignore[index]
        made.label = float(luck.random() < (0.8 if made.features[0] > 0.3 else 0.2))
        if BINARY[model].unsupervised and luck.random() < 0.5:  # type: ignore[index]
            made.label = UNANSWERED
    else:
        made.features = [value + 9 * luck.randrange(3) for value in context]
    return made


def lanes(kind: str, count: int, seed: int = 1, seconds: int = 40) -> list[list[tuple[int, bytes]]]:
    luck, model = random.Random(seed), TRAINERS[kind]().name
    found: list[list[tuple[int, bytes]]] = [[] for _ in range(SHARDS)]
    for at in range(count):
        second = 1 + at * seconds // count
        found[luck.randrange(SHARDS)].append(
            (second, encode(example(model, luck, second * 1000 + luck.randrange(1000))))
        )
    return found


def filled(kind: str, given: list[list[tuple[int, bytes]]]) -> Taught:
    world = Taught(kind)
    world.fill(given, end=42)
    return world


@pytest.mark.parametrize("model", MODELS)
def test_it_is_learnt_announced_and_opened_by_the_shards(model: str) -> None:
    world = filled(model, lanes(model, 1_150))
    drain(world.learning())
    announced = world.announced()
    assert [version for version, _ in announced] == list(range(1, len(announced) + 1)) != []
    opened = scorers(world.directory, SIGNER)(sender(model), announced[-1][0])
    assert isinstance(
        opened,
        {
            best_action.NAME: Decider,
            recommendation_index.NAME: RecommendationIndex,
            cluster_assigner.NAME: Assigner,
        }[model],
    )
    assert world.outbox.read(Lane.EXAMPLES, dict.fromkeys(range(SHARDS), 0), 10, 0) == []


@pytest.mark.parametrize("model", MODELS)
def test_a_forged_snapshot_and_that_of_another_model_are_refused(model: str) -> None:
    world = filled(model, lanes(model, 700))
    drain(world.learning())
    body = world.announced()[-1][1]
    other = next(name for name in MODELS if name != model)
    for forged in (b"", body[:-1], body[:40] + bytes([body[40] ^ 1]) + body[41:], b"\0" * len(body)):
        with pytest.raises(Foreign):
            open_snapshot(SIGNER, model, forged)
    with pytest.raises(Foreign):
        open_snapshot(SIGNER, other, body)
    with pytest.raises(Foreign):
        open_snapshot(SIGNER, model, SIGNER.sign(f"snapshot:{model}", b"\x90"))
    # all have one
    assert sign_snapshot(SIGNER, open_snapshot(SIGNER, model, body).snapshot) == body  # type: ignore[union-attr]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_effect_it_ends_as_if_it_had_not_been(kind: str, after: bool) -> None:
    given = lanes(kind, 1_150)
    undisturbed = filled(kind, given)
    drain(undisturbed.learning())
    expected = undisturbed.outcome()
    for at, world in killed_everywhere(
        lambda: filled(kind, given), lambda world: drain(world.learning()), after
    ):
        assert world.outcome() == expected, f"killed {'after' if after else 'before'} effect {at}"
    assert at > 6


@pytest.mark.parametrize("kind", KINDS)
def test_pace_batches_and_restarts_change_nothing(kind: str) -> None:
    given = lanes(kind, 900, seed=7)
    whole, world = filled(kind, given), Taught(kind)
    drain(whole.learning())
    luck, learning = random.Random(7), world.learning()
    at, clock = [0] * SHARDS, [0] * SHARDS
    while min(clock) < 42:
        shard = luck.randrange(SHARDS)
        clock[shard] = min(42, clock[shard] + luck.randint(0, 4))
        bodies = []
        while at[shard] < len(given[shard]) and given[shard][at[shard]][0] <= clock[shard]:
            bodies.append(given[shard][at[shard]][1])
            at[shard] += 1
        world.commit(shard, clock[shard], bodies)
        if luck.random() < 0.3:
            learning = world.learning()
        drain(learning)
    assert world.outcome() == whole.outcome()


def test_the_bandit_learns_which_action_suits_whom_and_an_action_added_on_the_way() -> None:
    world = filled(best_action.NAME, lanes(best_action.NAME, 3_000))
    drain(world.learning())
    _, checkpoint = world.store.take(best_action.NAME)
    figures = checkpoint.metrics
    assert figures["tried_letter"] > 900
    assert figures["reward_mail"] == pytest.approx(0.45, abs=0.05)
    decider = open_snapshot(SIGNER, best_action.NAME, world.announced()[-1][1])
    assert isinstance(decider, Decider)
    actions = choose.ActionSet(best_action.actions_of(RULES))
    liked = decider.decide([2.0] + [0.0] * (len(best_action.FEATURES) - 1), actions, 0.5)
    assert (liked.action, liked.propensity > 0.9) == ("mail", True)
    assert decider.decide([-2.0] + [0.0] * (len(best_action.FEATURES) - 1), actions, 0.5).action == "call"


def test_policies_in_the_shadow_are_judged_and_one_is_made_champion_by_hand() -> None:
    world = filled(best_action.NAME, lanes(best_action.NAME, 4_000))
    drain(world.learning())
    trainer = world.trainer()
    trainer.load(world.store.last(best_action.NAME).trainer)  # type: ignore[union-attr]  # there is one
    assert isinstance(trainer, BestActionTrainer)
    assert set(trainer.contest()) == set(POLICIES)
    assert all(
        figures["gain_low"] > 0.0 for figures in trainer.contest().values()
    )  # what was done was done by lot
    assert {verdict for verdict, _ in trainer.verdicts().values()} == {"better"}
    before = world.announced()
    world.store.request_promotion(best_action.NAME, "linear_thompson")
    world.fill(lanes(best_action.NAME, 100, seed=2), end=43)
    drain(world.learning())
    for number, (version, body) in enumerate(
        world.announced()[len(before) :], before[-1][0] + 1
    ):  # at once, and as it falls due
        decider = open_snapshot(SIGNER, best_action.NAME, body)
        assert isinstance(decider, Decider)
        assert version == number == decider.version
        assert decider.snapshot.settings.policy == "linear_thompson"
    assert version > before[-1][0]
    again = world.trainer()
    again.load(world.store.last(best_action.NAME).trainer)  # type: ignore[union-attr]  # as above
    assert (again.champion, again.promotions) == ("linear_thompson", 1)
    other = TRAINERS["epsilon_greedy"]()  # the operator names another one in the configuration
    other.load(world.store.last(best_action.NAME).trainer)  # type: ignore[union-attr]  # as above
    assert other.champion == "epsilon_greedy"
    assert other.examples == again.examples


def test_a_bandit_of_a_release_without_shadows_goes_on() -> None:
    world = filled(best_action.NAME, lanes(best_action.NAME, 600))
    drain(world.learning())
    # there is one
    kept = msgspec.msgpack.decode(world.store.last(best_action.NAME).trainer)  # type: ignore[union-attr]
    del kept[-1]["beside"]
    trainer = BestActionTrainer(RULES)
    assert trainer.load(msgspec.msgpack.encode(kept))
    assert (trainer.examples, trainer.champion) == (600, "logistic_ucb")
    assert not any(trainer.contest().values())
    luck = random.Random(3)
    snapshots = trainer.learn([example(best_action.NAME, luck, 50_000) for _ in range(600)])
    assert [snapshot.version for snapshot in snapshots] == [kept[1] + 1]
    assert all(trainer.contest().values())


BAD = {
    "nan": {"features": [float("nan")] * len(best_action.FEATURES)},  # counts as average: not dropped
    "features_count": {"features": [0.0]},
    "reward_range": {"label": float("nan")},
    "propensity_range": {"propensity": 0.0},
    "unknown_action": {"action": ""},
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_examples_are_counted_and_not_learnt(fault: str) -> None:
    luck = random.Random(2)
    good = example(best_action.NAME, luck, 5_000)
    trainer = BestActionTrainer(RULES)
    trainer.learn([msgspec.structs.replace(good, **BAD[fault]), None])
    assert trainer.dropped == ({"undecodable": 1} if fault == "nan" else {fault: 1, "undecodable": 1})


def test_touches_and_points_that_are_none_are_counted() -> None:
    recommendations, groups = RecommendationTrainer(RULES), ClusterTrainer(RULES)
    touch = example(recommendation_index.NAME, random.Random(2), 5_000)
    recommendations.learn(
        [
            touch,
            None,
            msgspec.structs.replace(touch, action=""),
            msgspec.structs.replace(touch, label=float("nan")),
        ]
    )
    assert (recommendations.examples, recommendations.dropped) == (1, {"undecodable": 1, "touch": 2})
    groups.learn([None, msgspec.structs.replace(touch, features=[1.0])])
    assert (groups.examples, groups.dropped) == (0, {"undecodable": 1, "features_count": 1})


@pytest.mark.parametrize("model", MODELS)
def test_a_checkpoint_that_is_none_is_refused(model: str) -> None:
    with pytest.raises(Foreign):
        Taught(model).trainer().load(b"\x90")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_recommender_promoted_by_hand_reaches_the_shards_whatever_dies(after: bool) -> None:
    def learnt(at: int) -> Taught:
        """Killed at this effect (0: not at all) of what follows the operator's word."""
        world = filled(recommendation_index.NAME, lanes(recommendation_index.NAME, 900))
        drain(world.learning())
        world.store.request_promotion(recommendation_index.NAME, challenger.NAME)
        world.fill(lanes(recommendation_index.NAME, 100, seed=2), end=43)
        killer = killing(world, at, after)
        next(killer)
        try:
            drain(world.learning())
        except Killed:
            drain(world.learning())
        else:
            assert at in (0, EFFECTS)
        return world

    expected = learnt(0).outcome()
    for at in range(1, EFFECTS):
        world = learnt(at)
        assert world.outcome() == expected
        version, _ = world.announced()[-1]
        served = scorers(world.directory, SIGNER)(sender(recommendation_index.NAME), version)
        assert isinstance(served, RecommendationIndex)
        assert (served.snapshot.learner, served.version) == (challenger.NAME, version)


def test_what_goes_together_is_found_and_the_rate_of_hits_says_so() -> None:
    world = filled(recommendation_index.NAME, lanes(recommendation_index.NAME, 3_000))
    drain(world.learning())
    found = open_snapshot(SIGNER, recommendation_index.NAME, world.announced()[-1][1])
    assert isinstance(found, RecommendationIndex)
    assert {item.split("-")[0] for item in found.recommend(["tea-0"], "garden", 3)} == {"tea"}
    assert {item.split("-")[0] for item in found.recommend([], "garden", 3)} == {"garden"}
    _, checkpoint = world.store.take(recommendation_index.NAME)
    assert checkpoint.metrics["hit_rate"] > 0.9  # ten of the eight items


_PROCESS = """
import sys
from pathlib import Path
from flows import learn
from flows.logic.models.trainers import binary_trainers
from flows.runtime.deployment import Deployment
from schemas.config.toml import load
learn.run(Deployment(load(Path(sys.argv[1]))))
"""
LIVES = 6


@pytest.mark.slow
def test_processes_that_are_really_killed_learn_the_same_models(redis_url: str, tmp_path: Path) -> None:
    """All kinds of models in one process, as in a deployment: killed at any moment of theirs."""
    kinds, count = [*MODELS, *BINARY], 1_150
    given: list[list[tuple[int, bytes]]] = [[] for _ in range(SHARDS)]
    for kind in kinds:
        for lane, more in zip(given, lanes(kind, count), strict=True):
            lane += more
    given = [sorted(lane, key=lambda found: found[0]) for lane in given]
    file, keys = tmp_path / "millrace.toml", tmp_path / "keys.json"
    server = (
        f'name = "test"\n[redis]\nurl = "{redis_url}"\nprefix = "test"\n[keys]\npath = "{keys}"\n'
        f"[shards]\ncount = {SHARDS}\n"
    )
    file.write_text(server + TAUGHT + ASKED)
    file.chmod(0o600)
    signer, names = Signer(load_keys(keys, create=True).sign), Names("test")
    Deployment(load(file)).check_data()  # as a deployment makes it, before there is anything else
    with redis.Redis.from_url(redis_url) as client:
        directory = RedisDirectory(
            client, names, Layout.of("test", SHARDS, Config().identity.capacity, [1, 3, 5, 20, 100])
        )
        parts = (
            RedisShards(client, names, SHARDS, 1),
            RedisOutbox(client, names, SHARDS),
            directory,
            RedisModels(client, names, signer),
        )
        worlds = {kind: Taught(kind, *parts) for kind in kinds}
        worlds[best_action.NAME].fill(given, end=42)
        whole, luck = sum(map(len, given)), random.Random(1)

        def progress() -> list[int]:
            return [
                sum(world.outbox.cursors(Lane.EXAMPLES, sender(world.model)).values())
                for world in worlds.values()
            ]

        for life in range(LIVES):
            last, began, until = life == LIVES - 1, sum(progress()), time.monotonic() + 60
            with subprocess.Popen(
                [sys.executable, "-c", _PROCESS, str(file)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
            ) as process:
                while (
                    (min(progress()) < whole if last else sum(progress()) == began)
                    and process.poll() is None
                    and time.monotonic() < until
                ):
                    time.sleep(0.002)
                if not last:
                    time.sleep(luck.uniform(0.0, 0.5))
                process.send_signal(signal.SIGTERM if last else signal.SIGKILL)
                _, said = process.communicate(timeout=10)
            assert process.returncode == (0 if last else -signal.SIGKILL), said.decode()
            assert (min(progress()) == whole) == last
        for kind, world in worlds.items():
            undisturbed = filled(kind, given)
            drain(undisturbed.learning())
            found, expected = world.store.last(world.model), undisturbed.store.last(world.model)
            assert found is not None
            assert expected is not None
            assert known(world.trainer(), found.trainer) == known(world.trainer(), expected.trainer), kind
            assert (found.positions, found.tick, found.metrics) == (
                expected.positions,
                expected.tick,
                expected.metrics,
            )
