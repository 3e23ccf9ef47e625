"""How often the 95 % intervals of off-policy evaluation cover the truth: logs of four kinds of policies, three rates of rewards.

python -m bench.coverage [RESAMPLES] [DECISIONS]
"""

import sys
from collections.abc import Callable

import numpy as np

from flows.logic.bandit.offpolicy import Evaluation, Logged, evaluate
from flows.logic.bandit.scale import Floats

ARMS = 4  # whose log-odds of a reward are linear in two features
WEIGHTS = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
RATES = (0.5, 0.05, 0.005)  # of the average context
_MANY = 400_000


def softmax(scores: Floats) -> Floats:
    raised: Floats = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def pays(contexts: Floats, rate: float) -> Floats:
    return np.asarray(1.0 / (1.0 + (1.0 / rate - 1.0) * np.exp(-contexts @ WEIGHTS.T)))


def judged(contexts: Floats) -> Floats:
    """The policy that is asked about: it prefers what pays."""
    return softmax(2.0 * contexts @ WEIGHTS.T)


def greedy(contexts: Floats, epsilon: float) -> Floats:
    best = (contexts @ WEIGHTS.T + np.array([0.5, 0.0, 0.0, -0.5])).argmax(axis=1)
    return np.asarray(epsilon / ARMS + (1.0 - epsilon) * np.eye(ARMS)[best])


LOGGING: dict[str, Callable[[Floats], Floats]] = {
    "uniform": lambda x: np.full((len(x), ARMS), 1.0 / ARMS),
    "softmax, the better ones": lambda x: softmax(x @ WEIGHTS.T),
    "softmax, the worse ones": lambda x: 0.2 / ARMS + 0.8 * softmax(-1.5 * x @ WEIGHTS.T),
    "epsilon 0.1": lambda x: greedy(x, 0.1),
    "epsilon 0.01": lambda x: greedy(x, 0.01),
}


def main() -> None:
    resamples, decisions = (int(text) for text in (*sys.argv[1:], *("1000", "3000")[len(sys.argv) - 1 :]))
    many = np.random.default_rng(0).standard_normal((_MANY, 2))
    print("| log | rate | effective sample | IPS, SNIPS | DR | gain | cannot tell | wrong |\n|---|---|---|---|---|---|---|---|")
    for kind, logging in LOGGING.items():
        for rate in RATES:
            value = float((judged(many) * pays(many, rate)).sum(axis=1).mean())
            gain = value - float((logging(many) * pays(many, rate)).sum(axis=1).mean())
            chance = np.random.default_rng(1)
            found = [
                _evaluated(chance, decisions, rate, logging(contexts := chance.standard_normal((decisions, 2))), contexts)
                for _ in range(resamples)
            ]
            covered = [[e.low <= truth <= e.high for e, truth in ((f.ips, value), (f.dr, value), (f.gain, gain))] for f in found]
            shares = " | ".join(f"{share:.1%}" for share in np.mean(covered, axis=0))
            wrong = sum(f.verdict == ("worse" if gain > 0.0 else "better") for f in found) / resamples
            silent = sum(f.verdict == "cannot tell" for f in found) / resamples
            sample = float(np.median([f.effective_sample_size for f in found]))
            print(f"| {kind} | {rate} | {sample:.0f} | {shares} | {silent:.1%} | {wrong:.1%} |", flush=True)


def _evaluated(chance: np.random.Generator, decisions: int, rate: float, probabilities: Floats, contexts: Floats) -> Evaluation:
    actions = (probabilities.cumsum(axis=1) > chance.random((decisions, 1))).argmax(axis=1)
    rows = np.arange(decisions)
    rewards = (chance.random(decisions) < pays(contexts, rate)[rows, actions]).astype(float)
    return evaluate(Logged(contexts, actions, rewards, probabilities[rows, actions]), judged(contexts))


if __name__ == "__main__":
    main()
