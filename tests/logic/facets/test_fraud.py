"""An abnormal purchase is seen in the window in which it comes: before any fraud is confirmed, and after."""

import random
from collections.abc import Iterable

import pytest

from flows.logic.models.binary import BINARY
from flows.logic.models.binary_trainer import CONFIRMED_LEAST, UNSUPERVISED, BinaryTrainer
from flows.logic.models.features import LATEST
from flows.logic.models.linear import Scorer
from schemas.records.identity_graph import Identifier
from schemas.wire.triggers import UNANSWERED, Trigger
from tests.world import DAY, HOUR, MINUTE, World, person

FRAUD = BINARY["fraud"]
RULES = """
[value]
events = ["Bought"]

[[model]]
name = "fraud"
yes = ["Chargeback"]
on = ["Bought"]
horizon = "30d"
every = "1d"

[[trigger]]
name = "check"
on = {score_above = {fraud = 0.5}}
"""
USUAL = 40.0
CUSTOMERS = [person(f"c{n}") for n in range(100)]


class Shop:
    """Customers who mostly buy what they always buy, and a trainer that is told what the shards say."""

    def __init__(self) -> None:
        self.luck = random.Random(7)
        self.world = World(RULES)
        self.trainer = BinaryTrainer("fraud", FRAUD.features, 0.05, unsupervised=FRAUD.unsupervised)
        self._learnt_ms = 0

    def buys(self, who: Identifier, times: float = 1.0) -> list[Trigger]:
        """A purchase of so many times the usual, and the triggers that it fires."""
        before = len(self.world.triggers())
        self.world.send(who, "Bought", total=round(USUAL * times * self.luck.lognormvariate(0, 0.3), 2))
        return self.world.triggers()[before:]

    def days(self, customers: Iterable[Identifier], days: int, share: float) -> None:
        """Each day such a share of them buys."""
        customers = list(customers)
        for _ in range(days):
            self.world.later(DAY)
            for who in customers:
                if self.luck.random() < share:
                    self.buys(who)

    def learn(self) -> None:
        """All that was said since, and a version of it that the shards take up."""
        fresh = [example for example in self.world.examples() if example.answered_ms > self._learnt_ms]
        self.trainer.learn(sorted(fresh, key=lambda example: example.answered_ms))
        self._learnt_ms = self.world.now_ms
        snapshot = self.trainer.next_snapshot()
        self.world.scorers[snapshot.version] = Scorer.from_snapshot(snapshot.pack(), FRAUD.features)
        self.world.announce_model(snapshot.version, "fraud")

    def score(self, who: Identifier) -> float:
        return self.world.profile(who).scores["fraud"][0]

    def regular(self, name: str) -> Identifier:
        """One who has bought the usual twenty times."""
        who = person(name)
        for _ in range(20):
            self.world.later(2 * DAY)
            self.buys(who)
        return who


def shop_without_answers() -> Shop:
    shop = Shop()
    shop.days(CUSTOMERS, 60, 0.1)
    shop.learn()
    return shop


def shop_with_chargebacks() -> Shop:
    """Of some customers' purchases one was ten to fifty times the usual, and the bank took it back a week
    later."""
    shop = shop_without_answers()
    victims = [person(f"v{n}") for n in range(CONFIRMED_LEAST + 5)]
    shop.days(CUSTOMERS + victims, 12, 0.3)
    for who in victims:
        shop.world.later(shop.luck.randrange(3 * HOUR))
        shop.buys(who, shop.luck.uniform(10, 50))
    shop.days(CUSTOMERS, 7, 0.1)
    for who in victims:
        shop.world.send(who, "Chargeback")
    shop.days(CUSTOMERS, 40, 0.1)
    shop.learn()
    return shop


@pytest.mark.parametrize(
    ("made", "learner"), [(shop_without_answers, UNSUPERVISED), (shop_with_chargebacks, "newton")]
)
def test_thirty_times_the_usual_raises_a_risk_event_and_the_usual_does_not(made, learner) -> None:  # type: ignore[no-untyped-def]  # a table
    shop = made()
    assert shop.trainer.snapshot().learner == learner
    odd, usual = shop.regular("odd"), shop.regular("usual")
    before = shop.score(odd)
    (risk,) = shop.buys(odd, 30.0)
    assert shop.score(odd) > max(0.5, 5 * before)
    assert risk.rule == "check"
    assert risk.receipt.received_ms == shop.world.now_ms  # at once: no timer, no later event
    (first, _), *_ = (
        (name, part) for name, part in risk.reasons.items() if name.startswith("score.fraud because of ")
    )
    assert first.removeprefix("score.fraud because of ") in LATEST
    assert "score.fraud because of latest_jump" in risk.reasons
    before = shop.score(usual)
    shop.world.later(2 * DAY)
    assert shop.buys(usual) == []
    assert shop.score(usual) < 0.1
    assert shop.score(usual) < 5 * max(before, 0.02)


def test_what_is_learnt_of_a_chargeback_is_the_purchase_it_is_about() -> None:
    """Not the first of the month, which may long have been asked about."""
    shop = shop_without_answers()
    victim = shop.regular("victim")
    shop.buys(victim, 30.0)
    shop.world.later(MINUTE)
    for _ in range(3):  # usual ones after it are no reason to ask anew
        shop.world.later(3 * DAY)
        shop.buys(victim)
    shop.world.send(victim, "Chargeback")
    shop.world.later(31 * DAY)
    (charged,) = [example for example in shop.world.examples() if example.label == 1.0]
    assert charged.features[FRAUD.features.index("latest_jump")] > 2.5
    assert charged.predicted is not None
    assert charged.predicted > 0.5


def test_every_purchase_is_told_so_that_what_is_usual_is_not_what_is_first() -> None:
    shop = Shop()
    who = person("one")
    for _ in range(5):
        shop.world.later(DAY)
        shop.buys(who)
    told = [example for example in shop.world.examples() if example.label == UNANSWERED]
    assert len(told) == 5
    assert [question.asked_ms for question in shop.world.profile(who).questions] == [
        told[0].asked_ms
    ]  # one question all the same
