"""What recommendations are worth on made-up streams: hit rate and reciprocal rank of what each learner would
serve, and after how many interactions a challenger took over.

    python -m bench.recommending [INTERACTIONS]
"""

import random
import sys
from collections.abc import Callable, Iterator
from itertools import accumulate

import numpy as np

from flows.logic.models import recommendation_index
from flows.logic.models.recommendation_trainer import RecommendationTrainer
from schemas.config import Recommendation, Rules, Touch
from schemas.wire.triggers import Example

Next = Callable[[int, list[str]], int]  # (customer, recent items) -> an item


def leanings(luck: random.Random, items: int, customers: int) -> Next:
    """Each customer and each item leans somewhere in six dimensions, and some items are liked by all."""
    source = np.random.default_rng(luck.randrange(1 << 32))
    people, things, liked = (
        source.normal(size=(customers, 6)),
        source.normal(size=(items, 6)),
        source.normal(size=items),
    )

    def choose(customer: int, _: list[str]) -> int:
        sums = np.exp(0.9 * things @ people[customer] + liked).cumsum()
        return int(np.searchsorted(sums, luck.random() * sums[-1]))

    return choose


def circles(luck: random.Random, items: int, customers: int) -> Next:
    """Customers keep to sixty items, four times of five; within them some are liked more."""
    sums = list(accumulate(luck.lognormvariate(0, 1) for _ in range(60)))
    of = [luck.randrange(items // 60) for _ in range(customers)]

    def choose(customer: int, _: list[str]) -> int:
        (within,) = luck.choices(range(60), cum_weights=sums)
        return 60 * of[customer] + within if luck.random() < 0.8 else luck.randrange(items)

    return choose


def mates(luck: random.Random, items: int, _: int) -> Next:
    """Half of the time one of four items that go with the last."""
    sums = list(accumulate(luck.lognormvariate(0, 1) for _ in range(items)))
    goes_with = [[luck.randrange(items) for _ in range(4)] for _ in range(items)]

    def choose(_: int, recent: list[str]) -> int:
        if recent and luck.random() < 0.5:
            return luck.choice(goes_with[int(recent[0])])
        return luck.choices(range(items), cum_weights=sums)[0]

    return choose


def chance(luck: random.Random, items: int, _: int) -> Next:
    """Some items are liked more, and that is all."""
    sums = list(accumulate(luck.lognormvariate(0, 1) for _ in range(items)))
    return lambda _customer, _recent: luck.choices(range(items), cum_weights=sums)[0]


def interactions(
    made: Callable[[random.Random, int, int], Next], items: int, customers: int, count: int
) -> Iterator[Example]:
    luck = random.Random(1)
    choose, recent = made(luck, items, customers), dict[int, list[str]]()
    for at in range(count):
        customer = luck.randrange(customers)
        known = recent.get(customer, [])
        item = str(choose(customer, known))
        yield Example(
            model=recommendation_index.NAME,
            customer=b"%d" % customer,
            asked_ms=at * 1_000,
            answered_ms=at * 1_000,
            features=[],
            predicted=None,
            version=0,
            label=1.0,
            action=item,
            recent=known,
            segment="all",
        )
        recent[customer] = [item, *(other for other in known if other != item)][
            : recommendation_index.RECENT_MAX
        ]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
    for made in (leanings, circles, mates, chance):
        for items, customers in ((480, 2_000), (1_500, 10_000)):
            trainer = RecommendationTrainer(
                Rules(recommendation=Recommendation(touch=(Touch(event="Viewed"),)))
            )
            promoted = ""
            for example in interactions(made, items, customers, count):
                before = trainer.champion
                trainer.learn([example])
                if trainer.champion != before:
                    promoted += f"  {trainer.champion} after {trainer.examples:,}"
            sides = "  ".join(
                f"{name} {side['hit_rate']:.3f} {side['mrr']:.3f}" for name, side in trainer.contest().items()
            )
            print(
                f"{made.__name__:9} {items:6,} items {customers:7,} customers"
                f"   hit rate, mrr: {sides}{promoted}",
                flush=True,
            )


if __name__ == "__main__":
    main()
