"""Customers whose activity is simulated, and a trainer that has learnt from them."""

import math
import random
from collections.abc import Iterator

from flows.logic.models import churn
from flows.logic.models.binary import BINARY
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.features import DAY_MS, SLOT_MS, features
from schemas.records.customer_profile import MICRO, Fragment
from schemas.wire.triggers import Example

WIDTH = len(churn.FEATURES)
NOW = 1_700_000_000_000


def example(features: list[float], label: float, at_s: int = 0, predicted: float | None = None) -> Example:
    return Example(
        model="churn",
        customer=b"customer",
        asked_ms=at_s * 1000,
        answered_ms=at_s * 1000 + 500,
        features=features,
        predicted=predicted,
        version=0,
        label=label,
    )


def fragment(
    recency_days: float, age_days: float, events: int, orders: int, spent: float, sessions: int, channels: int
) -> Fragment:
    """A customer at `NOW` whose last order came with the last event."""
    last, first = NOW - round(recency_days * DAY_MS), NOW - round(age_days * DAY_MS)
    slots = [slot for n in range(sessions) for slot in [last // SLOT_MS - 2 * (sessions - n)] * 2]
    names = {f"channel{n}": 1 for n in range(channels)}
    return Fragment(
        first_ms=first,
        last_ms=last,
        events=events,
        orders=orders,
        spent=round(spent * MICRO),
        ordered_ms=last if orders else 0,
        channels=names,
        hours={},
        sessions=slots,
    )


def simulated(count: int, seed: int = 1, bias: float = 0.0) -> Iterator[Example]:
    """Customers whose activity is a Poisson process; whether they leave depends on what the features show."""
    luck = random.Random(seed)
    for at_s in range(count):
        rate = luck.lognormvariate(0, 1) / 5
        age = luck.expovariate(1 / 120)
        recency = min(age, luck.expovariate(rate))
        orders = int(luck.expovariate(1 / 3))
        sessions = min(int(rate * age / 4), 40)
        x = features(
            fragment(
                recency, age, max(int(rate * age), 1), orders, orders * 40.0, sessions, luck.randint(1, 4)
            ),
            NOW,
        )
        logit = bias + 0.9 * x[0] - 0.7 * x[2] + 1.5 * x[7]
        yield example(
            [x[place] for place in BINARY["churn"].places],
            float(luck.random() < 1 / (1 + math.exp(-logit))),
            at_s,
        )


def trained(count: int = 600, seed: int = 1, bias: float = 0.0) -> BinaryTrainer:
    trainer = BinaryTrainer("churn", churn.FEATURES, 0.05)
    trainer.learn(simulated(count, seed, bias))
    return trainer
