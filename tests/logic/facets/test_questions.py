"""What models are asked, what answers them, and what does not."""

import math
import random

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from flows.logic.models.binary import BINARY
from flows.logic.models.features import NAMES
from flows.logic.models.linear import KNOTS, Scorer, Snapshot, probability
from flows.logic.models.order_value import OrderValue
from flows.logic.profile import sparse
from flows.logic.shard.machine import ShardMachine
from flows.profile import Worker
from flows.runtime.snapshots import scorers, sign_snapshot
from schemas.records.shard_log import LogKind
from schemas.wire.triggers import UNANSWERED, Example
from state.memory.memory_shards import MemoryShards
from state.model_store import Signer
from tests.world import DAY, HOUR, MINUTE, SHARDS, START_MS, World, person, visitor

ANA, BOB, EVE = person("ana"), person("bob"), visitor("eve")
RULES = """
[value]
events = ["Bought"]
middle = 10.0
high = 50.0

[[model]]
name = "purchase"
yes = ["Bought"]
when = "properties.total > 1"
horizon = "2d"
every = "1d"

[[model]]
name = "deal"
yes = ["Won"]
no = ["Lost"]
on = ["Quoted"]
horizon = "4d"
every = "1h"

[[model]]
name = "fraud"
yes = ["Chargeback"]
on = ["Bought"]
horizon = "3d"
every = "1d"

[[trigger]]
name = "hot"
on = {score_above = {deal = 0.6}}

[[trigger]]
name = "worthy"
on = {event = "Viewed"}
when = "value_tier == 'high' and expected_value > 50 and score.purchase > 0.1"
"""


def world(rules: str = RULES, **scorers: Scorer) -> World:
    made = World(rules)
    made.at(START_MS)
    for model, scorer in scorers.items():
        made.scorers[scorer.version] = scorer
        made.announce_model(scorer.version, model)
    made.settle()
    return made


def scorer(
    model: str, version: int, intercept: float = 0.0, order_value: OrderValue | None = None, **weights: float
) -> Scorer:
    """A straight line over features as they are."""
    features = BINARY[model].features  # type: ignore[index]
    width = len(features)
    snapshot = Snapshot(
        means=(0.0,) * width,
        deviations=(1.0,) * width,
        weights=tuple(weights.get(name, 0.0) for name in features),
        bends=((0.0,) * width,) * len(KNOTS),
        intercept=intercept,
        model=model,
        version=version,
        features=features,
        learner="newton",
        examples=100,
        trained_ms=0,
        metrics={},
        order_value=order_value,
    )
    return Scorer.from_snapshot(snapshot.pack(), features)


def answers(made: World, model: str) -> list[Example]:
    return [example for example in made.examples() if example.model == model and example.label != UNANSWERED]


def test_a_purchase_within_the_horizon_is_learnt_when_the_horizon_passes() -> None:
    made = world()
    made.send(ANA, "Viewed")
    made.send(BOB, "Viewed")
    made.later(HOUR)
    made.send(ANA, "Bought", total=12.5)
    assert answers(made, "purchase") == []  # a young model would hear of nothing but yes
    made.later(2 * DAY)
    found = {example.customer: example for example in answers(made, "purchase")}
    assert (found[ANA.hash].label, found[ANA.hash].amount) == (1.0, 12.5)
    assert (found[BOB.hash].label, found[BOB.hash].amount) == (0.0, 0.0)
    assert found[ANA.hash].asked_ms == START_MS
    assert len(found[ANA.hash].features) == len(BINARY["purchase"].features)


def test_where_events_say_yes_and_no_the_answer_is_learnt_at_once() -> None:
    made = world()
    for who, outcome in ((ANA, "Won"), (BOB, "Lost")):
        made.send(who, "Quoted")
        made.later(MINUTE)
        made.send(who, outcome)
    assert [(example.label, example.answered_ms - example.asked_ms) for example in answers(made, "deal")] == [
        (1.0, MINUTE),
        (0.0, MINUTE),
    ]


def test_no_event_answers_the_question_that_it_raises() -> None:
    made = world()
    made.send(ANA, "Bought", total=5)
    assert [question.outcome for question in made.profile(ANA).questions if question.model == "purchase"] == [
        None
    ]
    assert made.counters()["answers:purchase:unasked"] == 1


def test_what_answers_nothing_is_counted() -> None:
    made = world()
    made.send(ANA, "Won")
    made.send(ANA, "Quoted")
    made.send(ANA, "Won", ago=HOUR)
    made.send(ANA, "Lost")
    made.send(ANA, "Won")
    made.send(BOB, "Quoted")
    made.now_ms += 5 * DAY  # the event comes before the clock that ends the question
    made.send(BOB, "Won")
    counted = {name: n for name, n in made.counters().items() if name.startswith("answers:")}
    assert counted == {
        "answers:deal:unasked": 1,
        "answers:deal:before": 1,
        "answers:deal:repeated": 1,
        "answers:deal:late": 1,
    }
    assert [example.label for example in answers(made, "deal")] == [0.0]


def test_the_first_outcome_counts_and_only_one_that_the_expression_accepts() -> None:
    made = world()
    made.send(ANA, "Viewed")
    made.send(ANA, "Bought", total=1)
    made.send(ANA, "Bought", total=7)
    made.send(ANA, "Bought", total=70)
    made.later(2 * DAY)
    assert [(example.label, example.amount) for example in answers(made, "purchase")] == [(1.0, 7.0)]
    assert made.counters()["answers:purchase:repeated"] == 1


def test_each_model_asks_at_its_own_events_and_at_its_own_pace() -> None:
    made = world()
    made.send(ANA, "Viewed")
    assert [question.model for question in made.profile(ANA).questions] == ["purchase"]
    made.send(ANA, "Quoted")
    made.send(ANA, "Quoted")
    made.send(ANA, "Lost")
    made.send(ANA, "Quoted")  # within an hour
    assert sorted(question.model for question in made.profile(ANA).questions) == ["purchase"]
    made.later(HOUR)
    made.send(ANA, "Quoted")
    assert sorted(question.model for question in made.profile(ANA).questions) == ["deal", "purchase"]
    assert len(answers(made, "deal")) == 1


def test_what_needs_no_answers_is_told_of_every_question() -> None:
    made = world()
    made.send(ANA, "Bought", total=5)
    (asked,) = [example for example in made.examples() if example.model == "fraud"]
    assert (asked.label, asked.answered_ms) == (UNANSWERED, asked.asked_ms)
    made.later(DAY)
    made.send(ANA, "Chargeback")
    made.later(2 * DAY)
    assert [example.label for example in answers(made, "fraud")] == [1.0]


def asked_of_purchases(*totals: float) -> list[float]:
    """Of which of these purchases, an hour apart, the question is in the end (the size of its purchase), each
    time."""
    made = world(fraud=scorer("fraud", 1, intercept=-4.0, latest_size=1.0))
    said = []
    for total in totals:
        made.send(ANA, "Bought", total=total)
        (question,) = (question for question in made.profile(ANA).questions if question.model == "fraud")
        said.append(
            round(math.expm1(sparse.unpack(question.features)[BINARY["fraud"].features.index("latest_size")]))
        )
        made.later(HOUR)
    return said


def test_a_much_more_suspect_purchase_takes_the_place_of_the_one_that_was_asked_about() -> None:
    assert asked_of_purchases(10, 12, 30, 45, 40, 300, 11) == [
        10,
        10,
        10,
        45,
        45,
        300,
        300,
    ]  # four times the odds


def test_what_was_heard_of_a_purchase_stays_with_it() -> None:
    made = world(fraud=scorer("fraud", 1, intercept=-4.0, latest_size=1.0))
    made.send(ANA, "Bought", total=10)
    made.later(HOUR)
    made.send(ANA, "Chargeback")
    made.send(ANA, "Bought", total=10_000)
    made.later(4 * DAY)
    (charged,) = answers(made, "fraud")
    assert (charged.label, charged.asked_ms) == (1.0, START_MS)


def test_a_withdrawn_question_leaves_no_answer() -> None:
    made = world(fraud=scorer("fraud", 1, intercept=-4.0, latest_size=1.0))
    for total in (10, 10_000):
        made.send(ANA, "Bought", total=total)
        made.later(HOUR)
    made.later(3 * DAY - HOUR)
    (answered,) = answers(made, "fraud")
    assert (answered.label, answered.asked_ms) == (0.0, START_MS + HOUR)  # with a horizon of its own


def test_questions_of_two_customers_who_become_one() -> None:
    made = world()
    made.send(EVE, "Quoted")
    made.later(HOUR)
    made.send(ANA, "Quoted")
    made.send([ANA, EVE], "Viewed")
    asked = {question.model: question for question in made.profile(ANA).questions}
    assert sorted(asked) == ["deal", "purchase"]
    assert asked["deal"].asked_ms == START_MS + HOUR
    made.send(ANA, "Won")
    assert [example.asked_ms for example in answers(made, "deal")] == [START_MS + HOUR]


def test_a_model_is_scored_at_its_events_and_says_why() -> None:
    made = world(deal=scorer("deal", 3, intercept=-1.0, events=2.0))
    made.send(ANA, "Viewed")
    assert made.profile(ANA).scores == {}
    made.send(ANA, "Quoted")
    (trigger,) = made.triggers()
    assert trigger.rule == "hot"
    assert trigger.scores["deal"]["version"] == 3
    assert trigger.reasons["score.deal because of events"] == pytest.approx(2.1972)  # 2 · log1p(2)


def test_what_a_purchase_is_expected_to_bring() -> None:
    order_value = OrderValue(first=8.0, base=100.0, slope=0.5)
    made = world(purchase=scorer("purchase", 1, order_value=order_value))
    made.send(ANA, "Viewed")
    assert made.profile(ANA).scores["expected_value"] == (4.0, 1)
    made.send(BOB, "Bought", total=40)
    assert made.profile(BOB).scores["expected_value"][0] == pytest.approx(60.0)
    made.send(BOB, "Viewed")
    (trigger,) = made.triggers()
    assert (trigger.rule, trigger.reasons["value_tier"]) == ("worthy", "high")
    assert "score.purchase because of age" in trigger.reasons


def test_together_models_say_what_each_says_alone() -> None:
    luck = random.Random(1)
    block = '\n[[model]]\nname = "complaint"\nyes = ["Rated"]\non = ["Quoted"]\n[churn]\nhorizon = "1d"\n'
    weights = {name: luck.gauss(0, 1) for name in NAMES}
    scorers = {
        name: scorer(name, number, **weights)
        for number, name in enumerate(("churn", "purchase", "deal", "complaint"), 1)
    }
    together = world(RULES + block, **scorers)
    together.send(ANA, "Quoted")
    for name, each in scorers.items():
        alone = world(RULES + block, **{name: each})
        alone.send(ANA, "Quoted")
        assert together.profile(ANA).scores[name] == pytest.approx(alone.profile(ANA).scores[name])


def test_a_model_that_is_switched_off_is_forgotten() -> None:
    made = world(purchase=scorer("purchase", 1, order_value=OrderValue(1.0)), deal=scorer("deal", 2))
    made.send(ANA, "Quoted")
    assert set(made.profile(ANA).scores) == {"purchase", "deal", "expected_value"}
    made.announce(RULES.replace('name = "purchase"', 'name = "purchase"\nenabled = false'))
    made.send(ANA, "Quoted")
    assert set(made.profile(ANA).scores) == {"deal"}


def test_pinned_rolled_back_and_unpinned() -> None:
    """As the records of the log say, and the same again after a restart."""
    made = world(deal=scorer("deal", 1, intercept=1.0))
    made.scorers |= {number: scorer("deal", number, intercept=float(number)) for number in range(2, 10)}
    said = []
    for how, version in (
        *(("learn", 2), ("rollback", 1), ("learn", 3)),  # the next one that is learnt takes over
        *(("pin", 4), ("learn", 5), ("unpin", 1)),  # what is learnt meanwhile waits
        *(("pin", 6), ("rollback", 7), ("learn", 8)),
        ("pin", 99),  # refused: the last good one stays
    ):
        made.announce_model(version, "deal", how)
        made.send(ANA, "Quoted")
        said.append(made.profile(ANA).scores["deal"][1])
        made.restart()
        made.send(ANA, "Quoted")
        assert made.profile(ANA).scores["deal"][1] == said[-1]
    assert said == [2, 1, 3, 4, 4, 5, 6, 7, 8, 8]
    assert made.counters()["models_refused"] == 2


class Trusting(World):
    """Its shards open what was really announced, as the flow does."""

    signer = Signer(bytes(range(32)))

    def new_worker(self, store: MemoryShards, cache: int) -> Worker:
        machine = ShardMachine(self._rules_of, scorers(self.directory, self.signer))
        return Worker(
            range(SHARDS),
            self.directory,
            store,
            machine,
            cache=cache,
            outbox_max=100_000,
            clock_ms=lambda: START_MS,
        )


def refused() -> float:
    return REGISTRY.get_sample_value("millrace_model_snapshots_refused_total", {"model": "deal"}) or 0.0


def test_a_snapshot_that_cannot_be_trusted_is_kept_out_with_an_alarm_and_the_last_good_one_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = Trusting(RULES)
    made.at(START_MS)
    features = BINARY["deal"].features
    older = replace(scorer("deal", 5).snapshot, features=("of_an_older_release", *features[1:]))
    sealed = sign_snapshot(made.signer, scorer("deal", 1).snapshot)
    said, before = [], refused()
    for version, body in (
        (1, sealed),
        (2, sealed[:-1] + bytes([sealed[-1] ^ 1])),  # one bit
        (3, sign_snapshot(Signer(bytes(32)), scorer("deal", 3).snapshot)),  # of another key
        (4, sealed),  # an old one said again
        (5, sign_snapshot(made.signer, older)),
        (6, sign_snapshot(made.signer, scorer("deal", 6, intercept=1.0).snapshot)),
    ):
        made.directory.announce(LogKind.MODEL, "learn:deal", version, version, body)
        for _ in range(2):
            made.send(ANA, "Quoted")
            said.append(made.profile(ANA).scores["deal"])
            made.restart()
    assert said == [(0.5, 1)] * 10 + [(pytest.approx(probability(1.0)), 6)] * 2
    assert made.counters()["models_refused"] == 4 * SHARDS
    assert refused() == before + 4
    assert capsys.readouterr().out.count("model_snapshot_refused") == 4


@pytest.mark.parametrize("total", [math.nan, math.inf, -math.inf, 1e300, "much", None])
def test_a_figure_that_is_none_makes_features_scores_and_answers_that_are(total: object) -> None:
    rules = RULES.replace('when = "properties.total > 1"\n', "")
    made = world(
        rules,
        purchase=scorer("purchase", 1, monetary=1.0, order_size=1.0),
        fraud=scorer("fraud", 2, monetary=1.0),
    )
    made.send(ANA, "Viewed")
    made.send(ANA, "Bought", total=total)
    assert {name: math.isfinite(score) for name, (score, _) in made.profile(ANA).scores.items()} == {
        "purchase": True,
        "fraud": True,
    }
    made.later(4 * DAY)
    made.send(ANA, "Viewed")
    made.later(4 * DAY)
    left = [example for example in made.examples() if example.model in ("purchase", "fraud")]
    assert {example.model for example in left} == {"purchase", "fraud"}
    assert all(
        map(math.isfinite, (value for example in left for value in (*example.features, example.amount)))
    )
