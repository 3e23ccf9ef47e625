"""The learner: regret, snapshots, checkpoints, bad examples, actions that come and go; and the decisions of a
shard."""

import msgspec
import numpy as np
import pytest

from flows.logic.bandit.choose import ActionSet, probabilities, uniform
from flows.logic.bandit.learner import Learner, Rewarded
from flows.logic.bandit.rewards import Ledger, Repeat, packed
from flows.logic.bandit.settings import POLICIES, Action, Policy, Settings
from flows.logic.bandit.snapshot import Decider, Snapshot
from schemas.errors import Foreign
from schemas.records.customer_profile import Open

FEATURES = ("x", "y", "z")
ACTIONS = [Action(name=name) for name in ("a", "b", "c")]
ACTION_SET = ActionSet(ACTIONS)
WEIGHTS = np.array([[1.5, 0.0, 0.0], [0.0, 1.5, 0.0], [-1.0, -1.0, 0.0]])


def examples(n: int, seed: int = 0) -> list[Rewarded]:
    chance = np.random.default_rng(seed)
    made = []
    for number in range(n):
        context, arm = chance.standard_normal(3), int(chance.integers(3))
        reward = float(chance.random() < 1.0 / (1.0 + np.exp(-WEIGHTS[arm] @ context)))
        made.append(
            Rewarded(
                decision=str(number),
                decided_ms=number,
                answered_ms=number + 10,
                context=context.tolist(),
                action="abc"[arm],
                propensity=1 / 3,
                reward=reward,
                version=0,
            )
        )
    return made


def trained(n: int = 600, **settings: object) -> Learner:
    # keywords of a test
    learner = Learner("next", FEATURES, ACTIONS, Settings(**settings))  # type: ignore[arg-type]
    learner.learn(examples(n))
    return learner


@pytest.mark.parametrize("policy", POLICIES)
def test_it_earns_most_of_what_the_oracle_earns(policy: Policy) -> None:
    settings = Settings(policy=policy)
    learner = Learner("next", FEATURES, ACTIONS, settings)
    chance = np.random.default_rng(7)
    earned = best = constant = 0.0
    for number in range(3_000):
        context = chance.standard_normal(3)
        truth = 1.0 / (1.0 + np.exp(-(WEIGHTS @ context)))
        shares = np.cumsum(probabilities(learner.forecast(context), ACTION_SET, settings))
        arm = min(int(np.searchsorted(shares, uniform(b"%d" % number))), 2)
        learner.add(context, arm, float(chance.random() < truth[arm]))
        if number >= 1_000:
            earned, best, constant = earned + truth[arm], best + truth.max(), constant + truth[0]
    assert earned > constant + 0.8 * (best - constant)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shared", [False, True])
def test_a_shard_decides_as_the_learner_believes(policy: Policy, shared: bool) -> None:
    actions = [Action(name=name, features=tuple(np.eye(3)[row])) for row, name in enumerate("abc")]
    learner = Learner("next", FEATURES, actions, Settings(policy=policy, shared=shared))
    learner.learn(examples(300))
    action_set = ActionSet(actions)
    decider = Decider.from_snapshot(learner.snapshot().pack(), FEATURES)
    for context in np.random.default_rng(1).standard_normal((20, 3)):
        believed, told = learner.forecast(context), decider.forecast(context, action_set)
        np.testing.assert_allclose(told.means, believed.means, atol=1e-9)
        np.testing.assert_allclose(told.deviations, believed.deviations, rtol=1e-4)


def test_a_decision_is_a_function_of_its_inputs() -> None:
    body = trained().snapshot().pack()
    context, draw = [0.5, float("nan"), -1.0], uniform(b"decision 1")
    choices = {Decider.from_snapshot(body).decide(context, ACTION_SET, draw) for _ in range(3)}
    assert len(choices) == 1


def test_an_action_that_the_snapshot_does_not_know_is_explored() -> None:
    decider = Decider(trained(3_000).snapshot())
    new = Action(name="new")
    forecast = decider.forecast(np.zeros(3), ActionSet([*ACTIONS, new]))
    assert forecast.deviations[3] > 3 * forecast.deviations[:3].max()
    assert decider.decide([0.0, 0.0, 0.0], ActionSet([new]), 0.5).propensities == (1.0,)


def test_the_same_examples_give_the_same_bytes_however_often_it_was_stopped() -> None:
    given = examples(1_100)
    whole = Learner("next", FEATURES, ACTIONS, Settings(half_life=300))
    snapshots = whole.learn(given)
    stopped = Learner("next", FEATURES, ACTIONS, Settings(half_life=300))
    for start in range(0, len(given), 97):
        fresh = Learner("next", FEATURES, ACTIONS, Settings(half_life=300))
        assert fresh.load(stopped.dump())
        fresh.learn(given[start : start + 97])
        stopped = fresh
    assert stopped.dump() == whole.dump()
    assert stopped.snapshot().digest == whole.snapshot().digest
    assert [snapshot.version for snapshot in snapshots] == list(range(1, len(snapshots) + 1))


def test_memory_is_bounded() -> None:
    learner = trained(50)
    before = len(learner.dump())
    learner.learn(examples(3_000, seed=1))
    assert len(learner.dump()) < before + 100


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"action": "removed"}, "unknown_action"),
        ({"context": [1.0]}, "features_count"),
        ({"reward": float("nan")}, "reward_range"),
        ({"reward": 1.5}, "reward_range"),
        ({"propensity": 0.0}, "propensity_range"),
    ],
)
def test_bad_examples_are_counted_and_teach_nothing(wrong: dict[str, object], fault: str) -> None:
    learner = trained(100)
    before = learner.snapshot().digest
    assert learner.learn([msgspec.structs.replace(examples(1)[0], **wrong), None]) == []
    assert learner.dropped == {fault: 1, "undecodable": 1}
    assert learner.snapshot().digest == before


def test_wild_features_leave_the_model_finite() -> None:
    learner = trained(100)
    wild = [[float("nan")] * 3, [float("inf"), -float("inf"), 1e300], [1e12, -1e12, 0.0]]
    learner.learn(msgspec.structs.replace(examples(1)[0], context=wild[number % 3]) for number in range(600))
    Decider(learner.snapshot()).decide([float("inf"), float("nan"), 1e308], ACTION_SET, 0.5)


def test_actions_come_and_go_while_what_is_known_of_the_others_stays() -> None:
    learner = trained()
    changed = Learner("next", FEATURES, [ACTIONS[2], Action(name="new"), ACTIONS[0]], learner.settings)
    assert changed.load(learner.dump())
    context = np.array([0.3, -0.2, 0.1])
    before, after = learner.forecast(context), changed.forecast(context)
    np.testing.assert_array_equal(after.means[[2, 0]], before.means[[0, 2]])
    assert after.deviations[1] > before.deviations.max()


def test_other_features_start_afresh_and_versions_go_on() -> None:
    learner = trained()
    other = Learner("next", ("x", "y"), ACTIONS, learner.settings)
    assert not other.load(learner.dump())
    assert (other.version, other.examples) == (learner.version, 0)


def test_a_damaged_snapshot_or_checkpoint_is_refused() -> None:
    learner = trained(50)
    snapshot = learner.snapshot()
    nan = msgspec.structs.replace(snapshot, weights=np.full(12, np.nan).tobytes())
    short = msgspec.structs.replace(snapshot, covariances=snapshot.covariances[:-4])
    later = msgspec.structs.replace(snapshot, format=99)
    for body in (b"", snapshot.pack()[:-3], nan.pack(), short.pack(), later.pack()):
        with pytest.raises(Foreign):
            Decider.from_snapshot(body)
    with pytest.raises(Foreign, match="expected"):
        Decider.from_snapshot(snapshot.pack(), ("other",))
    with pytest.raises(Foreign):
        learner.load(learner.dump()[:-1])
    assert msgspec.msgpack.decode(snapshot.pack(), type=Snapshot) == snapshot


def opened(at_ms: int) -> Open:
    return Open(decided_ms=at_ms, context=packed([1.0]), action="a", propensity=0.5, version=3)


@pytest.mark.parametrize(("repeat", "expected"), [("first", 0.2), ("max", 0.7), ("sum", 1.2)])
def test_repeated_rewards_become_one(repeat: Repeat, expected: float) -> None:
    ledger = Ledger(1_000, repeat)
    ledger.open("d", opened(100))
    for amount in (0.2, 0.7, 0.3):
        assert ledger.reward("d", amount, 500) is None
    assert ledger.due(1_099) == []
    [example] = ledger.due(1_100)
    assert (example.decision, example.reward, example.answered_ms) == ("d", pytest.approx(expected), 1_100)
    assert ledger.due(9_999) == []


def test_rewards_that_cannot_be_credited_say_why() -> None:
    ledger = Ledger(1_000)
    assert ledger.open("d", opened(100)) == []
    assert ledger.open("d", opened(200)) == []  # the same decision again
    assert ledger.reward("d", 1.0, 99) == "early"
    assert ledger.reward("d", float("nan"), 500) == "reward_range"
    assert ledger.reward("d", 1.0, 1_100) == "late"
    assert ledger.reward("other", 1.0, 500) == "unknown_decision"
    [example] = ledger.due(1_100)
    assert example.reward == 0.0
    assert ledger.reward("d", 1.0, 1_050) == "unknown_decision"


def test_open_decisions_are_bounded_and_packable() -> None:
    ledger = Ledger(1_000, limit=2)
    closed = [example.decision for number in range(4) for example in ledger.open(str(number), opened(number))]
    assert closed == ["0", "1"]
    again = Ledger(
        1_000,
        limit=2,
        waiting=msgspec.msgpack.decode(msgspec.msgpack.encode(ledger.waiting), type=dict[str, Open]),
    )
    assert again.due(5_000) == ledger.due(5_000)
