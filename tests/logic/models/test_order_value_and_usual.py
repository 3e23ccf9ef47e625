"""What a purchase brings, and how unusual a customer is, each against what is known about the figures."""

import math
import random

import pytest

from flows.logic.models.anomaly import Usual
from flows.logic.models.binary import BINARY
from flows.logic.models.binary_trainer import CONFIRMED_LEAST, UNSUPERVISED, BinaryTrainer
from flows.logic.models.linear import Scorer
from flows.logic.models.order_value import OrderValueModel
from schemas.wire.triggers import UNANSWERED, Example

FEATURES = BINARY["fraud"].features
PLACES = range(len(FEATURES))


def test_amounts_follow_the_own_mean_as_far_as_it_says_something() -> None:
    luck, order_values = random.Random(1), OrderValueModel()
    for _ in range(3_000):
        own = luck.uniform(10, 200)
        order_values.learn(math.log1p(own), 20 + 0.5 * own + luck.gauss(0, 5))
        order_values.learn(0.0, luck.uniform(5, 15))
    learnt = order_values.learnt()
    assert learnt.of(math.log1p(100)) == pytest.approx(70, rel=0.03)
    assert learnt.of(0.0) == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("amount", [math.nan, math.inf, -1.0])
def test_amounts_that_are_none_say_nothing(amount: float) -> None:
    order_values, clean = OrderValueModel(), OrderValueModel()
    order_values.learn(1.0, amount)
    assert order_values == clean
    assert order_values.learnt().finite


def test_few_purchases_are_not_taken_at_their_word() -> None:
    order_values = OrderValueModel()
    for own, amount in ((10.0, 10.0), (1_000.0, 1_000.0)):
        order_values.learn(math.log1p(own), amount)
    assert order_values.learnt().slope < 0.2


def usual(count: int, seed: int = 1) -> Usual:
    luck, made = random.Random(seed), Usual.of(len(FEATURES), PLACES)
    for _ in range(count):
        made.see([luck.gauss(0, 1) for _ in FEATURES])
    return made


def scorer(made: Usual) -> Scorer:
    trainer = BinaryTrainer("fraud", FEATURES, 0.05, unsupervised=FEATURES)
    trainer._usual = made
    snapshot = trainer.snapshot()
    assert snapshot.learner == UNSUPERVISED
    return Scorer.from_snapshot(snapshot.pack(), FEATURES)


def test_one_of_a_hundred_is_above_a_half() -> None:
    judge, luck = scorer(usual(3_000)), random.Random(9)
    above = sum(judge.score([luck.gauss(0, 1) for _ in FEATURES]) > 0.5 for _ in range(5_000)) / 5_000
    assert 0.004 < above < 0.025
    assert judge.score([3.0] * len(FEATURES)) > 0.9
    assert judge.score([0.0] * len(FEATURES)) < 0.02
    (name, part), *_ = judge.explain([0.0, 0.0, 3.5, *[0.0] * (len(FEATURES) - 3)])
    assert name == FEATURES[2]
    assert part > 0


def test_before_anything_was_seen_and_when_nothing_varies_it_is_a_probability() -> None:
    same = Usual.of(len(FEATURES), PLACES)
    for made in (Usual.of(len(FEATURES), PLACES), same):
        assert 0.0 <= scorer(made).score([1.0] * len(FEATURES)) <= 1.0
        for _ in range(10):
            same.see([1.0] * len(FEATURES))
    assert scorer(same).score([1.0] * len(FEATURES)) == pytest.approx(0.02)  # the usual, not one of a hundred


def test_only_what_is_to_be_judged_is_judged() -> None:
    luck, made = random.Random(5), Usual.of(len(FEATURES), [2, 5])
    for _ in range(1_000):
        made.see([luck.gauss(0, 1) for _ in FEATURES])
    judge, x = scorer(made), [0.0] * len(FEATURES)
    assert judge.score([9.0 if place not in (2, 5) else 0.0 for place in PLACES]) == judge.score(x)
    for place in (2, 5):
        x[place] = 4.0
        assert judge.score(x) > 0.5
        assert judge.explain(x)[0][0] == FEATURES[place]
        x[place] = 0.0


def test_what_is_usual_is_said_again_when_there_is_an_eighth_more() -> None:
    luck, trainer = random.Random(6), BinaryTrainer("fraud", FEATURES, 0.05, unsupervised=FEATURES[:1])
    at = [n for n in range(1, 12_001) if trainer.learn([example(UNANSWERED, luck)])]
    assert at == [50, *range(500, 4_096, 500), *range(4_096, 8_192, 512), *range(8_192, 12_001, 1_024)]


def example(label: float, luck: random.Random) -> Example:
    return Example(
        model="fraud",
        customer=b"c",
        asked_ms=0,
        answered_ms=0,
        features=[luck.gauss(2.0 if label == 1.0 else 0.0, 1) for _ in FEATURES],
        predicted=None,
        version=0,
        label=label,
    )


def test_it_is_by_itself_until_enough_is_confirmed() -> None:
    luck, trainer = random.Random(2), BinaryTrainer("fraud", FEATURES, 0.05, unsupervised=FEATURES)
    first = trainer.learn(example(UNANSWERED, luck) for _ in range(600))
    assert [snapshot.learner for snapshot in first] == [UNSUPERVISED] * 2
    assert trainer.examples == 0  # nothing was answered yet
    labels = [0.0] * 480 + [1.0] * CONFIRMED_LEAST
    later = trainer.learn(example(label, luck) for label in labels)
    assert [(snapshot.version, snapshot.learner) for snapshot in later] == [(3, UNSUPERVISED), (4, "newton")]


def test_however_it_is_cut_it_learns_the_same() -> None:
    luck = random.Random(3)
    examples = [example(luck.choice([UNANSWERED, 0.0, 1.0]), luck) for _ in range(1_600)]
    whole, cut = (BinaryTrainer("fraud", FEATURES, 0.05, unsupervised=FEATURES) for _ in range(2))
    expected, found = whole.learn(examples), []
    while examples:
        upto = luck.randrange(1, 60)
        found += cut.learn(examples[:upto])
        examples = examples[upto:]
        again = BinaryTrainer("fraud", FEATURES, 0.05, unsupervised=FEATURES)
        assert again.load(cut.dump())
        cut = again
    assert found == expected
    assert len(found) >= 3


def test_who_needs_answers_drops_what_has_none() -> None:
    luck, trainer = random.Random(4), BinaryTrainer("deal", FEATURES, 0.05)
    trainer.learn([example(UNANSWERED, luck)])
    assert trainer.dropped == {"label_range": 1}
