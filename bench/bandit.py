"""What one decision and one lesson of the next-best-action bandit cost: 100 actions x 50 features, by policy.

    python -m bench.bandit

Decisions by the clock, each for itself; lessons in CPU time of one core over all, with every refresh and
every snapshot that falls due.
"""

from statistics import median
from time import perf_counter, process_time

import numpy as np

from flows.logic.bandit.choose import ActionSet
from flows.logic.bandit.learner import Learner, Rewarded
from flows.logic.bandit.settings import POLICIES, Action, Settings
from flows.logic.bandit.snapshot import Decider

ACTIONS, FEATURES = 100, 50
LESSONS, DECISIONS = 20_000, 10_000


def main() -> None:
    chance = np.random.default_rng(0)
    actions = [Action(name=f"a{number}") for number in range(ACTIONS)]
    contexts = chance.standard_normal((LESSONS, FEATURES)).tolist()
    examples = [
        Rewarded(
            decision="",
            decided_ms=0,
            answered_ms=number,
            context=context,
            action=f"a{number % ACTIONS}",
            propensity=1.0 / ACTIONS,
            reward=float(context[0] > number % 3),
            version=0,
        )
        for number, context in enumerate(contexts)
    ]
    for policy in POLICIES:
        learner = Learner(
            "bench", tuple(f"x{number}" for number in range(FEATURES)), actions, Settings(policy=policy)
        )
        begun = process_time()
        learner.learn(examples)
        learn = (process_time() - begun) / LESSONS
        snapshot = learner.snapshot()
        decider, action_set, times = Decider(snapshot), ActionSet(actions), []
        for context in contexts[:DECISIONS]:
            begun = perf_counter()
            decider.decide(context, action_set, 0.5)
            times.append(perf_counter() - begun)
        print(
            f"{policy:20} decide {1e6 * median(times):6.1f} us (least {1e6 * min(times):.1f})"
            f"  learn {1e6 * learn:6.1f} us, {1.0 / learn:7,.0f} examples/s"
            f"  snapshot {len(snapshot.pack()) / 1e6:.2f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
