"""Policies in the shadow: their sums against the formulas over the whole log, and what is told of them."""

import numpy as np
import pytest

from flows.logic.bandit.choose import ActionSet
from flows.logic.bandit.learner import Learner, Rewarded
from flows.logic.bandit.settings import POLICIES, Action, Settings
from flows.logic.bandit.shadow import HALF_LIFE, Shadows, Tally
from flows.logic.bandit.snapshot import Decider

ACTIONS = [Action(name="mail", value=10.0), Action(name="call", value=10.0, cost=2.0)]


def decisions(count: int, seed: int = 1) -> list[Rewarded]:
    """By lot; mail suits those whose first feature is above 0, and a call the others."""
    chance = np.random.default_rng(seed)
    found = []
    for at in range(count):
        context, mail = chance.standard_normal(3), chance.random() < 0.5
        reward = float(chance.random() < (0.7 if (context[0] > 0.0) == mail else 0.1))
        found.append(
            Rewarded(
                decision=f"d{at}",
                decided_ms=at,
                answered_ms=at,
                context=context.tolist(),
                action="mail" if mail else "call",
                propensity=0.5,
                reward=reward,
                version=0,
                eligible=["mail", "call"],
            )
        )
    return found


def taught(given: list[Rewarded]) -> Shadows:
    """What was learnt from the first half, and what it would have done in the second."""
    settings = Settings()
    shadows = Shadows(settings, ACTIONS)
    learners = [
        Learner("m", ("a", "b", "c"), ACTIONS, shadows.of(policy)) for policy in ("logistic_ucb", "linucb")
    ]
    middle = len(given) // 2
    for learner in learners:
        learner.learn(given[:middle])
    shadows.stock(learners)
    for made in given[middle:]:
        shadows.look(made)
    return shadows


def test_sums_say_what_the_whole_log_says() -> None:
    chance = np.random.default_rng(0)
    weights, earned = chance.exponential(size=500), chance.standard_normal(500)
    tally = Tally()
    for weight, amount in zip(weights.tolist(), earned.tolist(), strict=True):
        tally.add(weight, amount, True)
    keep = 0.5 ** (np.arange(499, -1, -1) / HALF_LIFE)
    value, mean = np.average(earned, weights=weights * keep), np.average(earned, weights=keep)
    influence = weights * (earned - value) / np.average(weights, weights=keep) - (earned - mean)
    error = np.sqrt((keep * influence**2).sum()) / keep.sum()
    found, figures = tally.gain(), tally.figures()
    assert found.value == pytest.approx(value - mean)
    assert (found.high - found.low) / 2.0 == pytest.approx(1.959964 * error)
    assert figures["earned"] == pytest.approx(value)
    assert figures["sample"] == pytest.approx((weights * keep).sum() ** 2 / (keep * weights**2).sum())


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    covered = []
    for seed in range(400):
        chance = np.random.default_rng(seed)
        tally, taken = Tally(), chance.random(600) < 0.5
        rewards = chance.random(600) < np.where(taken, 0.4, 0.2)
        for first, reward in zip(taken.tolist(), rewards.tolist(), strict=True):
            tally.add(1.8 if first else 0.2, float(reward), reward)  # of ten times nine it takes the first
        gain = tally.gain()
        covered.append(gain.low <= 0.08 <= gain.high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_what_has_learnt_is_better_than_the_lot() -> None:
    shadows = taught(decisions(4_000))
    for policy in POLICIES:
        assert shadows.tallies[policy].verdict()[0] == "better", policy
    assert shadows.tallies["logistic_ucb"].figures()["earned"] == pytest.approx(
        6.0, abs=0.5
    )  # (7 + 7 - 2) / 2 at best


def test_of_too_few_it_cannot_tell() -> None:
    for tally in taught(decisions(100)).tallies.values():
        assert tally.verdict()[0] == "cannot tell"
    assert Tally().verdict() == ("cannot tell", "no decision was one that it could have made")
    assert Tally().figures() == {}


@pytest.mark.parametrize("eligible", [[], ["mail", "gone"], ["call"]])
def test_a_choice_among_what_is_not_known_says_nothing(eligible: list[str]) -> None:
    shadows = taught(decisions(100))
    before = {policy: tally.n for policy, tally in shadows.tallies.items()}
    shadows.look(
        Rewarded(
            decision="d",
            decided_ms=0,
            answered_ms=0,
            context=[0.0] * 3,
            action="mail",
            propensity=0.5,
            reward=1.0,
            version=0,
            eligible=eligible,
        )
    )
    assert {policy: tally.n for policy, tally in shadows.tallies.items()} == before


def test_each_policy_decides_on_the_beliefs_of_its_kind() -> None:
    shadows = taught(decisions(400))
    for policy in POLICIES:
        snapshot = shadows.snapshot(policy)
        assert snapshot.settings == shadows.of(policy)
        assert (snapshot.noise == 1.0) == policy.startswith("logistic")  # log-odds carry their own


def test_a_policy_counts_by_how_probable_it_makes_what_was_done() -> None:
    shadows, chance = taught(decisions(400)), np.random.default_rng(5)
    for policy in POLICIES:
        shadows.tallies[policy] = Tally()
    expected = dict.fromkeys(POLICIES, 0.0)
    for made in decisions(20, seed=7):
        shadows.look(made)
        for policy in POLICIES:
            choice = Decider(shadows.snapshot(policy)).decide(
                made.context, ActionSet(ACTIONS), chance.random()
            )
            expected[policy] += choice.propensities[choice.actions.index(made.action)] / made.propensity
    for policy in POLICIES:
        assert shadows.tallies[policy].w == pytest.approx(expected[policy], rel=1e-3)  # it has faded a little
