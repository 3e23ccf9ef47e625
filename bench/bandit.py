"""What one decision and one lesson of the next-best-action bandit cost: 100 actions x 50 features, by policy.

python -m bench.bandit
"""

from time import perf_counter

import numpy as np

from flows.logic.bandit.choose import Menu
from flows.logic.bandit.learner import Learner
from flows.logic.bandit.settings import POLICIES, Action, Settings
from flows.logic.bandit.snapshot import Decider

ACTIONS, FEATURES, ROUNDS = 100, 50, 2_000


def main() -> None:
    chance = np.random.default_rng(0)
    actions = [Action(name=f"a{number}") for number in range(ACTIONS)]
    contexts = chance.standard_normal((ROUNDS, FEATURES))
    plain = contexts.tolist()
    for policy in POLICIES:
        learner = Learner("bench", tuple(f"x{number}" for number in range(FEATURES)), actions, Settings(policy=policy))
        begun = perf_counter()
        for number, context in enumerate(contexts):
            learner.add(context, number % ACTIONS, float(context[0] > number % 3))
        learnt = (perf_counter() - begun) / ROUNDS * 1e6
        snapshot = learner.snapshot()
        decider, menu = Decider(snapshot), Menu(actions)
        times = []
        for _ in range(5):
            begun = perf_counter()
            for context in plain:
                decider.decide(context, menu, 0.5)
            times.append((perf_counter() - begun) / ROUNDS * 1e6)
        print(f"{policy:20} decide {min(times):6.1f} us  learn {learnt:6.1f} us  snapshot {len(snapshot.pack()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
