"""Off-policy evaluation: estimates against a known truth, coverage of the intervals, and when it cannot be
told."""

from collections.abc import Callable

import numpy as np
import pytest

from flows.logic.bandit.intervals import interval, likeliest
from flows.logic.bandit.offpolicy import Estimate, Logged, effective, evaluate, heaviest, judge
from flows.logic.bandit.scale import Floats

ARMS = 4  # whose log-odds of a reward are linear in two features
TRUTH = np.array([0.1, 0.2, 0.3, 0.5])


def softmax(scores: Floats) -> Floats:
    raised = np.exp(scores)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


WEIGHTS = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def pays(contexts: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(1.0 - contexts @ WEIGHTS.T)))


def judged(contexts: Floats) -> Floats:
    return softmax(2.0 * contexts @ WEIGHTS.T)


Logging = Callable[[Floats], Floats]


def softmax_log(sharpness: float, floor: float = 0.0) -> Logging:
    """Prefers what pays; negative, what pays least, so that the weights are skewed."""
    return lambda contexts: floor / ARMS + (1.0 - floor) * softmax(sharpness * contexts @ WEIGHTS.T)


def greedy_log(epsilon: float) -> Logging:
    return lambda contexts: (
        epsilon / ARMS
        + (1.0 - epsilon) * np.eye(ARMS)[(contexts @ WEIGHTS.T + [0.5, 0.0, 0.0, -0.5]).argmax(axis=1)]
    )


def best_alone(contexts: Floats) -> Floats:
    return np.eye(ARMS)[(contexts @ WEIGHTS.T).argmax(axis=1)]


def world(n: int, chance: np.random.Generator, log: Logging) -> Logged:
    contexts = chance.standard_normal((n, 2))
    logging = log(contexts)
    actions = (logging.cumsum(axis=1) > chance.random((n, 1))).argmax(axis=1)
    rows = np.arange(n)
    rewards = (chance.random(n) < pays(contexts)[rows, actions]).astype(float)
    return Logged(contexts, actions, rewards, logging[rows, actions])


_MANY = np.random.default_rng(0).standard_normal((400_000, 2))


def coverage(resamples: int, n: int, log: Logging, policy: Logging = judged) -> dict[str, float]:
    """How often each interval holds the truth."""
    value = float((policy(_MANY) * pays(_MANY)).sum(axis=1).mean())
    truth = {
        "ips": value,
        "snips": value,
        "dr": value,
        "gain": value - float((log(_MANY) * pays(_MANY)).sum(axis=1).mean()),
    }
    chance = np.random.default_rng(11)
    hits = dict.fromkeys(truth, 0)
    for _ in range(resamples):
        logged = world(n, chance, log)
        found = evaluate(logged, policy(logged.contexts))
        for name, true in truth.items():
            estimate: Estimate = getattr(found, name)
            hits[name] += estimate.low <= true <= estimate.high
    return {name: count / resamples for name, count in hits.items()}


@pytest.mark.long
def test_intervals_cover_the_truth() -> None:
    for name, share in coverage(120, 1_000, softmax_log(-0.5, 0.2)).items():
        assert 0.89 <= share <= 0.99, name  # four standard errors of 120 resamples


@pytest.mark.slow
@pytest.mark.parametrize(
    ("log", "policy"),
    [
        (softmax_log(0.0), judged),
        (softmax_log(-0.5, 0.2), judged),
        (softmax_log(-1.5, 0.2), judged),
        (softmax_log(1.0), judged),  # resembles the policy
        (softmax_log(2.0), softmax_log(1.0)),  # the policy does what the log hardly dared
        (greedy_log(0.1), judged),
        (greedy_log(0.1), best_alone),
    ],
    ids=["uniform", "worse", "worst", "alike", "bolder", "greedy", "greedy, best alone"],
)
def test_intervals_cover_the_truth_as_often_as_they_say(log: Logging, policy: Logging) -> None:
    for name, share in coverage(1_000, 2_000, log, policy).items():
        assert 0.93 <= share <= 0.975, name  # 93 to 97 %, and most of a standard error of 1,000 resamples


@pytest.mark.slow
def test_a_nearly_deterministic_log_errs_to_the_safe_side() -> None:
    for name, share in coverage(400, 2_000, greedy_log(0.01)).items():
        assert share >= 0.93, name


def test_a_weight_that_was_not_logged_is_reckoned_with() -> None:
    """The log never did what the policy always does: the weights seen are all small, and any value is
    possible."""
    logged = Logged(
        np.zeros((500, 0)), np.zeros(500, dtype=np.int64), np.tile([0.0, 1.0], 250), np.full(500, 0.99)
    )
    half = np.full((500, 2), 0.5)
    assert heaviest(logged, half, np.full(500, 0.5 / 0.99)) == pytest.approx(50.0)
    found = evaluate(logged, half)
    assert found.ips.low == pytest.approx(
        0.25, abs=0.05
    )  # the half that was seen earned 0.5, the other one 0 ...
    assert found.ips.high == pytest.approx(0.75, abs=0.05)  # ... or 1


def test_one_odd_context_does_not_make_a_weight_possible() -> None:
    chance = np.random.default_rng(4)
    actions = chance.integers(2, size=1_000)
    propensities = np.full(1_000, 0.5)
    propensities[0] = 1.0 - 1e-6
    logged = Logged(np.zeros((1_000, 0)), actions, np.zeros(1_000), propensities)
    policy = np.tile([0.3, 0.7], (1_000, 1))
    assert heaviest(logged, policy, policy[np.arange(1_000), actions] / propensities) == pytest.approx(1.4)


def test_a_log_of_the_policy_itself_is_its_mean() -> None:
    chance = np.random.default_rng(1)
    actions = chance.integers(ARMS, size=500)
    rewards = (chance.random(500) < TRUTH[actions]).astype(float)
    found = evaluate(
        Logged(np.zeros((500, 0)), actions, rewards, np.full(500, 0.25)), np.full((500, ARMS), 0.25)
    )
    assert found.ips.value == found.snips.value == pytest.approx(rewards.mean())
    assert found.effective_sample_size == pytest.approx(500.0)
    assert found.verdict == "cannot tell"


def test_what_is_clear_is_told() -> None:
    chance = np.random.default_rng(2)
    actions = chance.integers(ARMS, size=4_000)
    rewards = (chance.random(4_000) < TRUTH[actions]).astype(float)
    logged = Logged(np.zeros((4_000, 0)), actions, rewards, np.full(4_000, 0.25))
    best, worst = np.zeros((4_000, ARMS)), np.zeros((4_000, ARMS))
    best[:, 3] = worst[:, 0] = 1.0
    assert evaluate(logged, best).verdict == "better"
    assert evaluate(logged, worst).verdict == "worse"
    assert evaluate(logged, best).dr.low < 0.5 < evaluate(logged, best).dr.high


@pytest.mark.parametrize(
    ("gain", "sample", "rewarded", "weight", "reason"),
    [
        (Estimate(1.0, 0.9, 1.1), 50.0, 40.0, 1.0, "50 decisions"),
        (Estimate(1.0, 0.9, 1.1), 500.0, 7.0, 1.0, "7 rewarded"),
        (Estimate(1.0, 0.9, 1.1), 500.0, 40.0, 0.4, "average 0.40"),
        (Estimate(0.1, -0.1, 0.3), 500.0, 40.0, 1.0, "anything from -0.1"),
    ],
)
def test_it_says_when_it_cannot_tell_and_why(
    gain: Estimate, sample: float, rewarded: float, weight: float, reason: str
) -> None:
    verdict, why = judge(gain, sample, rewarded, weight)
    assert verdict == "cannot tell"
    assert reason in why


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.5, float("nan")])
def test_propensities_that_cannot_be_are_refused(propensity: float) -> None:
    with pytest.raises(ValueError, match="propensity"):
        Logged(np.zeros((1, 0)), np.array([0]), np.ones(1), np.array([propensity]))


def test_the_likelihood_is_the_one_of_a_direct_search() -> None:
    """Owen's weights 1 / (n (1 + t e)) sum to one and have mean zero; the largest sum of logarithms is that
    of a search over t."""
    errors = np.array([-1.0, -0.2, 0.1, 0.4, 2.0])
    tilts = np.linspace(-0.499, 0.999, 200_001)
    direct = max(np.log1p(tilts[:, None] * errors).sum(axis=1))
    assert likeliest(errors[:, None], np.ones(5), np.zeros(1))[1] == pytest.approx(direct, abs=1e-6)


def test_what_was_not_seen_widens_the_interval_to_its_side() -> None:
    """No reward in a thousand decisions: by the rule of three the truth may still be three in a thousand."""
    corners = np.array([[1.0, 0.0], [1.0, 1.0]])
    low, high = interval(np.zeros(1_000), np.ones(1_000), corners)
    assert low == pytest.approx(0.0, abs=1e-4)
    assert 0.001 < high < 0.004


def test_intervals_of_little() -> None:
    none = np.zeros((0, 2))
    assert interval(np.ones(1), np.ones(1), none) == (-np.inf, np.inf)
    assert interval(np.full(5, 2.0), np.ones(5), none) == (2.0, 2.0)
    assert effective(np.zeros(3)) == 0.0
