"""What another policy would have earned, from a log of decisions with their propensities, and whether that
can be told.

IPS reweights what was earned (Horvitz and Thompson, 1952); SNIPS divides by the sum of the weights
(Swaminathan and Joachims, 2015); DR adds a model of the rewards and is right if either the propensities or
the model is (Dudik, Langford and Li, 2011). The model is fitted on one half and used on the other, so that it
never predicts what it has seen.
"""

from math import sqrt
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from flows.logic.bandit.intervals import interval
from flows.logic.bandit.scale import Floats

SAMPLE_LEAST = 200.0  # effective decisions: below it no interval is trusted
REWARDED_LEAST = 20.0  # effective rewarded decisions: a few clicks that happen to fit are no evidence
# of the mean weight from 1, which it is in truth: beyond it the rare large weights are missing, or too many
WEIGHT_OFF_MOST = 0.2
_RIDGE = 10.0
# times the number of decisions: one so heavy is as good as never logged, and a heavier one says no more
_WEIGHT_FAR = 10.0
_MODEL_OFF = 5.0  # deviations of the model over all decisions, by which it may be off in an effective one

Verdict = Literal["better", "worse", "cannot tell"]


class Logged(msgspec.Struct, frozen=True):
    """n decisions. Raises `ValueError` for propensities outside of (0, 1]: they cannot be reweighted."""

    contexts: Floats  # (n, d), scaled
    actions: NDArray[np.int64]  # (n,), 0 ... k - 1
    rewards: Floats  # (n,)
    propensities: Floats  # (n,), of the action that was taken

    def __post_init__(self) -> None:
        if not ((self.propensities > 0.0) & (self.propensities <= 1.0)).all():
            raise ValueError("a logged propensity is not above 0 and at most 1")
        if not np.isfinite(self.rewards).all():
            raise ValueError("a logged reward is not finite")


class Estimate(msgspec.Struct, frozen=True):
    """IPS and SNIPS have one interval, as both look for the same: it knows that weights average 1, so IPS may
    even lie outside of it."""

    value: float
    low: float  # of the 95 % interval
    high: float


class Evaluation(msgspec.Struct, frozen=True):
    """One policy against the one that wrote the log."""

    ips: Estimate
    snips: Estimate
    dr: Estimate
    gain: Estimate  # of DR over what the logging policy earned in the same decisions
    effective_sample_size: float  # decisions of its own that the log is worth (Kish)
    effective_rewards: float  # the same, among the rewarded decisions
    verdict: Verdict
    reason: str


def evaluate(logged: Logged, policy: Floats) -> Evaluation:
    """Evaluate `policy` (n, k), the probability of each action in each logged context, and return what it
    would have earned."""
    rows = np.arange(len(logged.actions))
    weights = policy[rows, logged.actions] / logged.propensities
    paid = weights * logged.rewards
    expected = rewards_model(logged, policy.shape[1])
    taken, base = expected[rows, logged.actions], (policy * expected).sum(axis=1)
    doubly = base + weights * (logged.rewards - taken)
    sample, rewarded = effective(weights), effective(weights[logged.rewards != 0.0])
    heavy = heaviest(logged, policy, weights)
    corner_weights, corner_rewards, corner_doubly = corners(weights, logged.rewards, base, taken, heavy)
    possible_paid = np.column_stack((corner_weights, corner_weights * corner_rewards))
    possible_doubly = np.column_stack((corner_weights, corner_doubly))
    possible_gain = np.column_stack((corner_weights, corner_doubly - corner_rewards))
    low, high = interval(paid, weights, possible_paid)
    snips = float(paid.sum() / weights.sum()) if weights.any() else float("nan")
    gains = doubly - logged.rewards
    gain = Estimate(float(gains.mean()), *interval(gains, weights, possible_gain))
    verdict, reason = judge(gain, sample, rewarded, float(weights.mean()))
    return Evaluation(
        ips=Estimate(float(paid.mean()), low, high),
        snips=Estimate(snips, low, high),
        dr=Estimate(float(doubly.mean()), *interval(doubly, weights, possible_doubly)),
        gain=gain,
        effective_sample_size=sample,
        effective_rewards=rewarded,
        verdict=verdict,
        reason=reason,
    )


def heaviest(logged: Logged, policy: Floats, weights: Floats) -> float:
    """Return the largest weight to reckon with: the largest seen, or that of the action most probable under
    the policy that was not taken, if the actions not taken shared equally what its propensity left to them.

    Weights of which the policy meets less than a standard error of the mean weight are left out: what could
    be missed there is within what the interval allows anyway, and one odd context must not widen it.
    """
    count = len(weights)
    others = policy.copy()
    others[np.arange(count), logged.actions] = 0.0
    likeliest = others.max(axis=1)
    left = 1.0 - logged.propensities
    possible = np.where(left > 0.0, likeliest * (policy.shape[1] - 1) / np.where(left > 0.0, left, 1.0), 0.0)
    order = np.argsort(-possible, kind="stable")
    met = np.cumsum(likeliest[order]) / count
    last = min(int(np.searchsorted(met, weights.std() / sqrt(count))), count - 1)
    return max(float(weights.max()), min(float(possible[order[last]]), _WEIGHT_FAR * count))


def corners(
    weights: Floats, rewards: Floats, base: Floats, taken: Floats, heavy: float
) -> tuple[Floats, Floats, Floats]:
    """Return weights, rewards and doubly robust values, each (4,), of decisions that could have been logged:
    light and heavy, paid and not.

    What the model expects (`base` of the policy, `taken` of the action) is that of light and of heavy
    decisions on average; for the heavy ones, the fewer were seen the more it may be off.
    """
    least, most = _range(rewards)
    light = float(weights.min())
    if weights.any():
        shares = weights * weights / float(weights @ weights)
    else:
        shares = np.full(len(weights), 1.0 / len(weights))
    off = _MODEL_OFF * float(taken.std()) / sqrt(max(effective(weights), 1.0))
    low, high = (
        min(max(float(shares @ taken) + side * off, float(taken.min())), float(taken.max()))
        for side in (-1.0, 1.0)
    )
    weight = np.array([light, light, heavy, heavy])
    reward = np.array([least, most, least, most])
    expected = np.array([float(base.mean())] * 2 + [float(shares @ base)] * 2)
    held = np.array([float(taken.mean())] * 2 + [high, low])
    return weight, reward, expected + weight * (reward - held)


def judge(gain: Estimate, sample: float, rewarded: float, mean_weight: float) -> tuple[Verdict, str]:
    """Return the verdict and its reason: better or worse only if the data are enough and the interval of the
    gain leaves 0 out."""
    if sample < SAMPLE_LEAST:
        return (
            "cannot tell",
            f"the log is worth {sample:.0f} decisions of this policy, at least {SAMPLE_LEAST:.0f} are needed",
        )
    if rewarded < REWARDED_LEAST:
        return (
            "cannot tell",
            f"the log is worth {rewarded:.0f} rewarded decisions of this policy,"
            f" at least {REWARDED_LEAST:.0f} are needed",
        )
    if abs(mean_weight - 1.0) > WEIGHT_OFF_MOST:
        return (
            "cannot tell",
            f"the weights average {mean_weight:.2f} instead of 1:"
            " this log does not show what this policy would meet",
        )
    if gain.low <= 0.0 <= gain.high:
        return "cannot tell", f"the gain may be anything from {gain.low:+.5f} to {gain.high:+.5f}"
    return ("better" if gain.low > 0.0 else "worse"), f"the gain is {gain.low:+.5f} to {gain.high:+.5f}"


def effective(weights: Floats) -> float:
    """Return the effective number of decisions, (sum w)^2 / sum w^2 (Kish, Survey Sampling, 1965)."""
    squares = float((weights * weights).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0.0 else 0.0


def rewards_model(logged: Logged, actions: int) -> Floats:
    """Return the expected reward (n, k) of each action, by ridge regression for each action, cross-fitted on
    odd and even decisions."""
    x = np.column_stack((np.ones(len(logged.rewards)), logged.contexts))
    expected = np.zeros((len(x), actions))
    penalty = _RIDGE * np.eye(x.shape[1])  # of the intercept too: an action that was rarely taken is like all
    for half in (0, 1):
        fit = np.arange(len(x)) % 2 != half
        pooled = float(logged.rewards[fit].mean()) if fit.any() else 0.0
        for action in range(actions):
            of_action = fit & (logged.actions == action)
            a, y = x[of_action], logged.rewards[of_action] - pooled
            expected[~fit, action] = pooled + x[~fit] @ np.linalg.solve(a.T @ a + penalty, a.T @ y)
    return expected


def _range(rewards: Floats) -> tuple[float, float]:
    """Return what a reward may be: 0 to 1, or where some are not, what there was."""
    least, most = float(rewards.min()), float(rewards.max())
    return (0.0, 1.0) if least >= 0.0 and most <= 1.0 else (least, most)
