"""How often the 95 % intervals of off-policy evaluation cover the truth: logs of four kinds of policies,
three rates of rewards.

    python -m bench.coverage [RESAMPLES] [DECISIONS] [ACTIONS]
"""

import sys
from collections.abc import Callable

import numpy as np

from flows.logic.bandit.offpolicy import Evaluation, Logged, evaluate
from flows.logic.bandit.scale import Floats

RATES = (0.5, 0.05, 0.005)  # of the average context
_MANY = 400_000


def softmax(scores: Floats) -> Floats:
    raised: Floats = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def actions(count: int) -> Floats:
    """Shape (count, 2): weights of the log-odds of a reward in two features, in all directions."""
    angles = np.arange(count) * (2.0 * np.pi / count)
    return np.column_stack((np.cos(angles), np.sin(angles)))


def pays(scores: Floats, rate: float) -> Floats:
    return np.asarray(1.0 / (1.0 + (1.0 / rate - 1.0) * np.exp(-scores)))


def judged(scores: Floats) -> Floats:
    """The policy that is asked about: it prefers what pays."""
    return softmax(2.0 * scores)


def greedy(scores: Floats, epsilon: float) -> Floats:
    arms = scores.shape[1]
    taste = np.zeros(arms)
    taste[0], taste[-1] = 0.5, -0.5
    return np.asarray(epsilon / arms + (1.0 - epsilon) * np.eye(arms)[(scores + taste).argmax(axis=1)])


LOGGING: dict[str, Callable[[Floats], Floats]] = {
    "uniform": lambda scores: np.full_like(scores, 1.0 / scores.shape[1]),
    "softmax, the better ones": softmax,
    "softmax, the worse ones": lambda scores: 0.2 / scores.shape[1] + 0.8 * softmax(-1.5 * scores),
    "epsilon 0.1": lambda scores: greedy(scores, 0.1),
    "epsilon 0.01": lambda scores: greedy(scores, 0.01),
}


def main() -> None:
    resamples, decisions, arms = (
        int(text) for text in (*sys.argv[1:], *("1000", "3000", "4")[len(sys.argv) - 1 :])
    )
    weights = actions(arms)
    many = np.random.default_rng(0).standard_normal((_MANY, 2)) @ weights.T
    print(
        "| log | rate | effective sample | IPS, SNIPS | DR | gain | cannot tell | wrong |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for kind, logging in LOGGING.items():
        for rate in RATES:
            value = float((judged(many) * pays(many, rate)).sum(axis=1).mean())
            gain = value - float((logging(many) * pays(many, rate)).sum(axis=1).mean())
            chance = np.random.default_rng(1)
            found = [
                _evaluated(chance, rate, chance.standard_normal((decisions, 2)), weights, logging)
                for _ in range(resamples)
            ]
            covered = [
                [e.low <= truth <= e.high for e, truth in ((f.ips, value), (f.dr, value), (f.gain, gain))]
                for f in found
            ]
            shares = " | ".join(f"{share:.1%}" for share in np.mean(covered, axis=0))
            wrong = sum(f.verdict == ("worse" if gain > 0.0 else "better") for f in found) / resamples
            silent = sum(f.verdict == "cannot tell" for f in found) / resamples
            sample = float(np.median([f.effective_sample_size for f in found]))
            print(f"| {kind} | {rate} | {sample:.0f} | {shares} | {silent:.1%} | {wrong:.1%} |", flush=True)


def _evaluated(
    chance: np.random.Generator,
    rate: float,
    contexts: Floats,
    weights: Floats,
    logging: Callable[[Floats], Floats],
) -> Evaluation:
    scores = contexts @ weights.T
    probabilities = logging(scores)
    taken = (probabilities.cumsum(axis=1) > chance.random((len(scores), 1))).argmax(axis=1)
    rows = np.arange(len(scores))
    rewards = (chance.random(len(scores)) < pays(scores, rate)[rows, taken]).astype(float)
    return evaluate(Logged(contexts, taken, rewards, probabilities[rows, taken]), judged(scores))


if __name__ == "__main__":
    main()
