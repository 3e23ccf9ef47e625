"""What learning costs: microseconds of CPU for each example and examples/s of one core, for every model; and
the largest checkpoint.

    python -m bench.learning [EXAMPLES]
"""

import random
import sys
from collections.abc import Callable
from functools import partial
from time import process_time

from flows.logic.bandit.settings import POLICIES
from flows.logic.models import best_action, cluster_assigner, recommendation_index
from flows.logic.models.best_action_trainer import BestActionTrainer
from flows.logic.models.binary import BINARY
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.cluster_trainer import ClusterTrainer
from flows.logic.models.recommendation_trainer import RecommendationTrainer
from flows.logic.models.trainer import Trainer
from schemas.config import Action, BestAction, Clusters, Recommendation, Reward, Rules, Touch
from schemas.wire.triggers import Example

ACTIONS, ITEMS, CUSTOMERS = 10, 2_000, 5_000
BATCH = 1_000  # examples between two checkpoints
_ON = "Order Completed"


def models() -> dict[str, Callable[[], Trainer]]:
    found: dict[str, Callable[[], Trainer]] = {
        name: partial(BinaryTrainer, model.name, model.features, 0.05, unsupervised=model.unsupervised)
        for name, model in BINARY.items()
    }
    actions = tuple(Action(name=f"a{number}") for number in range(ACTIONS))
    for policy in POLICIES:
        rules = Rules(best_action=BestAction(policy=policy, reward=(Reward(event=_ON),)), action=actions)
        found[policy] = partial(BestActionTrainer, rules)
    rules = Rules(recommendation=Recommendation(touch=(Touch(event=_ON),)), clusters=Clusters(enabled=True))
    found[recommendation_index.NAME] = partial(RecommendationTrainer, rules)
    found[cluster_assigner.NAME] = partial(ClusterTrainer, rules)
    return found


def _item(luck: random.Random) -> str:
    return f"item{int(luck.paretovariate(0.5)) % ITEMS}"


def examples(trainer: Trainer, count: int) -> list[Example]:
    luck, width = random.Random(1), len(trainer.features)
    made = []
    for at in range(count):
        x = [luck.gauss(0.0, 1.0) for _ in range(width)]
        number, label = luck.randrange(ACTIONS), float(luck.random() < (0.5 if x and x[0] > 0.0 else 0.1))
        action = f"a{number}" if trainer.name == best_action.NAME else _item(luck)
        recent = [_item(luck) for _ in range(10)]
        customer = b"%d" % luck.randrange(CUSTOMERS)
        weight = 1.0 if trainer.name == recommendation_index.NAME else label
        example = Example(
            model=trainer.name,
            customer=customer,
            asked_ms=at,
            answered_ms=at * 10,
            features=x,
            predicted=0.2,
            version=1,
            label=weight,
            action=action,
            propensity=0.1,
            recent=recent,
            segment="all",
        )
        example.eligible = [f"a{other}" for other in range(ACTIONS)]
        made.append(example)
    return made


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for name, new in models().items():
        trainer = new()
        given, learnt, dumped, largest = examples(trainer, count), 0.0, 0.0, 0
        for begin in range(0, count, BATCH):
            begun = process_time()
            trainer.learn(given[begin : begin + BATCH])
            learnt += process_time() - begun
            begun = process_time()
            largest = max(largest, len(trainer.dump()))
            dumped += process_time() - begun
        each, dump = learnt / count * 1e6, dumped / (count / BATCH) * 1e3
        speed = f"{each:7.1f} us  {1e6 / each:8,.0f} examples/s"
        print(f"{name:18} {speed}   checkpoint {dump:6.1f} ms, {largest / 1e3:7,.0f} KB", flush=True)


if __name__ == "__main__":
    main()
