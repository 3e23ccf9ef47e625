"""What one decision and one lesson of the next-best-action bandit cost: 100 actions x 50 features, by policy.

python -m bench.bandit
"""

from statistics import median
from time import perf_counter

import numpy as np

from flows.logic.bandit.choose import Menu
from flows.logic.bandit.learner import Learner
from flows.logic.bandit.settings import POLICIES, Action, Settings
from flows.logic.bandit.snapshot import Decider

ACTIONS, FEATURES, ROUNDS = 100, 50, 2_000
ROUNDS_OF_DECISIONS = 5


def main() -> None:
    chance = np.random.default_rng(0)
    actions = [Action(name=f"a{number}") for number in range(ACTIONS)]
    contexts = chance.standard_normal((ROUNDS, FEATURES))
    plain = contexts.tolist()
    for policy in POLICIES:
        learner = Learner("bench", tuple(f"x{number}" for number in range(FEATURES)), actions, Settings(policy=policy))
        lessons, times = [], []
        for number, context in enumerate(contexts):
            begun = perf_counter()
            learner.add(context, number % ACTIONS, float(context[0] > number % 3))
            lessons.append(perf_counter() - begun)
        snapshot = learner.snapshot()
        decider, menu = Decider(snapshot), Menu(actions)
        for context in plain * ROUNDS_OF_DECISIONS:
            begun = perf_counter()
            decider.decide(context, menu, 0.5)
            times.append(perf_counter() - begun)
        decide, least, learn = (1e6 * seconds for seconds in (median(times), min(times), sum(lessons) / ROUNDS))
        print(
            f"{policy:20} decide {decide:6.1f} us (least {least:.1f})  learn {learn:6.1f} us (median {1e6 * median(lessons):.1f})"
            f"  snapshot {len(snapshot.pack()) / 1e6:.2f} MB"
        )


if __name__ == "__main__":
    main()
