"""Features, trainer, snapshot, scorer, progress and merge, each against a naive form of itself or against
River."""

import math
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import metrics

from flows.logic.models import churn
from flows.logic.models.binary import BINARY
from flows.logic.models.binary_trainer import FEATURE_MAX, SNAPSHOT_EVERY, SNAPSHOT_FIRST, BinaryTrainer
from flows.logic.models.example_merge import Merge
from flows.logic.models.features import DAY_MS, FEATURES, NAMES, SLOT_MS, features
from flows.logic.models.linear import SNAPSHOT_BYTES_MAX, Scorer
from flows.logic.models.progress import Progress
from flows.logic.models.trainers import binary_trainers
from schemas.config import Churn, Rules
from schemas.errors import Foreign
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


class TestFeatures:
    def test_there_is_one_value_for_each_name(self) -> None:
        assert len(features(fragment(1.0, 30.0, 12, 2, 99.0, 4, 2), NOW)) == len(FEATURES) == len(set(NAMES))

    def test_known_values(self) -> None:
        values = dict(zip(NAMES, features(fragment(2.0, 32.0, 11, 3, 100.0, 5, 2), NOW), strict=True))
        gap, stretch = (32 - 2) / 10, math.log((30 + 32) / (30 + 30))
        assert values == pytest.approx(
            {
                "recency": math.log(3),
                "age": math.log(33),
                "events": math.log(12),
                "orders": math.log(4),
                "monetary": math.log(101),
                "sessions": math.log(6),
                "channels": 2,
                "recency_share": 2 / 33,
                "gap": math.log(1 + gap),
                "overdue": math.log(1 + 2 / gap),
                "order_recency": math.log(3),
                "order_size": math.log(1 + 100 / 3),
                "order_share": 3 / 12,
                "pace": math.log(1 + 11 * 30 / 62),
                "silence": math.log(12) * stretch,
                "fading": 1.1 * stretch,
                "latest_size": 0,  # of an older release
                "latest_jump": 0,
                "latest_haste": 0,
            }
        )

    @pytest.mark.parametrize(
        ("amount", "spent", "orders", "jump"),
        [
            (3_000.0, 5_000.0, 21, math.log(30) * 20 / 21),
            (300.0, 400.0, 2, math.log(3) / 2),  # one other says half as much
            (100.0, 2_100.0, 21, 0),
            (5.0, 2_005.0, 21, 0),
            (300.0, 300.0, 1, 0),  # the first
            (300.0, 300.0, 5, 0),  # the others were for nothing
            (300.0, -50.0, 5, 0),
            (0.0, 2_000.0, 21, 0),
            (-30.0, 2_000.0, 21, 0),  # money back
        ],
    )
    def test_the_last_purchase_beside_the_others(
        self, amount: float, spent: float, orders: int, jump: float
    ) -> None:
        total = fragment(1.0, 300.0, 99, orders, spent, 5, 2)
        total.latest = round(amount * MICRO), 0
        values = dict(zip(NAMES, features(total, NOW), strict=True))
        assert values["latest_size"] == pytest.approx(math.log1p(max(amount, 0)))
        assert values["latest_jump"] == pytest.approx(jump)
        assert values["latest_haste"] == 0

    @pytest.mark.parametrize(
        ("apart_s", "fit"), [(0, 86_400), (1, 86_400), (60, 1_440), (86_400, 1), (8_640_000, 0.01)]
    )
    def test_how_soon_the_last_purchase_followed(self, apart_s: int, fit: float) -> None:
        total = fragment(1.0, 300.0, 99, 2, 20.0, 5, 2)
        total.latest = 10 * MICRO, total.ordered_ms // 1000 - apart_s
        for now in (NOW, NOW + 90 * DAY_MS):  # it stays what it was
            assert features(total, now)[NAMES.index("latest_haste")] == pytest.approx(math.log1p(fit))

    def test_only_security_looks_at_a_single_purchase(self) -> None:
        latest = {"latest_size", "latest_jump", "latest_haste"}
        assert [name for name, model in BINARY.items() if latest & set(model.features)] == ["fraud"]
        assert latest <= set(BINARY["fraud"].features)

    whole = st.integers(-(2**70), 2**70)
    some = st.builds(
        Fragment,
        whole,
        whole,
        whole,
        whole,
        whole,
        whole,
        sessions=st.just([]) | st.just([3, 9]),
        latest=st.none() | st.tuples(whole, whole),
    )

    @given(some, whole)
    def test_whatever_comes_in_finite_values_that_can_be_learnt_come_out(
        self, total: Fragment, now: int
    ) -> None:
        assert all(math.isfinite(value) and 0 <= value < FEATURE_MAX for value in features(total, now))

    def test_nothing_known_and_nothing_yet_are_nothing(self) -> None:
        assert features(Fragment(), NOW) == [0.0] * len(FEATURES)

    def test_what_lies_in_the_future_is_now(self) -> None:
        assert features(fragment(-3.0, -1.0, 2, 1, 5.0, 1, 1), NOW)[:2] == [0.0, 0.0]

    def test_sessions_leave_after_thirty_days(self) -> None:
        place = NAMES.index("sessions")
        assert features(fragment(1.0, 90.0, 9, 0, 0.0, 3, 1), NOW)[place] == math.log(4)
        assert features(fragment(31.0, 90.0, 9, 0, 0.0, 3, 1), NOW)[place] == 0.0

    @given(st.floats(0, 1e4), st.floats(0, 1e4))
    def test_longer_silence_never_looks_more_active(self, a: float, b: float) -> None:
        shorter, longer = (features(fragment(days, 2e4, 10, 1, 1.0, 1, 1), NOW) for days in sorted((a, b)))
        for name in ("recency", "recency_share", "overdue", "silence", "fading"):
            at = NAMES.index(name)
            assert shorter[at] <= longer[at]

    def test_each_model_looks_at_what_serves_its_purpose_only(self) -> None:
        for model in BINARY.values():
            assert [FEATURES[place].name for place in model.places] == list(model.features)
            assert all(model.purpose in FEATURES[place].purposes for place in model.places)
        assert "monetary" not in BINARY["complaint"].features


class TestScorer:
    @pytest.mark.parametrize("count", [1, 2, 49, 600])
    def test_scores_what_the_trainer_says(self, count: int) -> None:
        trainer = trained(count)
        scorer = Scorer.from_snapshot(trainer.snapshot().pack(), churn.FEATURES)
        for asked in simulated(300, seed=2):
            assert scorer.score(asked.features) == pytest.approx(
                trainer.probability(asked.features), abs=1e-9
            )

    def test_a_feature_that_never_varied_is_ignored(self) -> None:
        trainer = BinaryTrainer("churn", churn.FEATURES, 0.05)
        trainer.learn(example([7.0, *x.features[1:]], x.label) for x in simulated(100))
        scorer = Scorer.from_snapshot(trainer.snapshot().pack())
        x = next(simulated(1)).features
        assert (
            scorer.score([7.0, *x[1:]])
            == scorer.score([123.0, *x[1:]])
            == pytest.approx(trainer.probability([7.0, *x[1:]]), abs=1e-9)
        )

    def test_an_untrained_model_says_one_half(self) -> None:
        scorer = Scorer.from_snapshot(BinaryTrainer("churn", churn.FEATURES, 0.05).snapshot().pack())
        assert scorer.score([1e6] * WIDTH) == 0.5

    @pytest.mark.parametrize("value", [1e300, -1e300])
    def test_extreme_features_give_a_probability(self, value: float) -> None:
        scorer = Scorer.from_snapshot(trained().snapshot().pack())
        assert 0.0 <= scorer.score([value] + [0.0] * (WIDTH - 1)) <= 1.0

    def test_contributions_and_intercept_are_the_logit(self) -> None:
        scorer = Scorer.from_snapshot(trained().snapshot().pack())
        for asked in simulated(50, seed=3):
            parts = scorer.explain(asked.features)
            p = scorer.score(asked.features)
            assert sum(part for _, part in parts) + scorer.snapshot.intercept == pytest.approx(
                math.log(p / (1 - p)), abs=1e-9
            )
            assert {name for name, _ in parts} == set(churn.FEATURES)
            assert [abs(part) for _, part in parts] == sorted((abs(part) for _, part in parts), reverse=True)

    def test_the_average_customer_has_no_contributions(self) -> None:
        scorer = Scorer.from_snapshot(trained().snapshot().pack())
        assert [part for _, part in scorer.explain(scorer.snapshot.means)] == [0.0] * WIDTH

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"features": ("other", *churn.FEATURES[1:])}, "has features"),
            ({"weights": (1.0,)}, "differ in length"),
            ({"intercept": math.nan}, "not finite"),
            ({"means": (math.inf,) * WIDTH}, "not finite"),
            ({"bends": ((0.0,) * WIDTH,)}, "differ in length"),
            ({"format": 1}, "format 1"),
        ],
    )
    def test_a_snapshot_that_cannot_be_used_is_foreign(
        self, change: dict[str, object], complaint: str
    ) -> None:
        snapshot = msgspec.structs.replace(trained(60).snapshot(), **change)
        with pytest.raises(Foreign, match=complaint):
            Scorer.from_snapshot(snapshot.pack(), churn.FEATURES)

    @given(st.binary(max_size=200))
    def test_random_bytes_are_foreign(self, body: bytes) -> None:
        with pytest.raises(Foreign):
            Scorer.from_snapshot(body)

    def test_a_snapshot_over_the_limit_is_foreign(self) -> None:
        with pytest.raises(Foreign, match="larger"):
            Scorer.from_snapshot(bytes(SNAPSHOT_BYTES_MAX + 1))

    def test_scoring_needs_no_river(self) -> None:
        code = (
            "import sys; import flows.logic.models.linear, flows.logic.models.churn;"
            " sys.exit('river' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


class TestTrainer:
    @pytest.mark.parametrize(("bias", "rate_max"), [(0.0, 0.6), (-4.0, 0.15)])
    def test_it_learns_and_stays_calibrated_when_churn_is_rare(self, bias: float, rate_max: float) -> None:
        figures = trained(6_000, bias=bias).figures()
        rate = figures["base_rate"]
        assert 0.01 < rate < rate_max
        assert figures["auc"] > 0.75
        assert figures["ece"] < 0.05
        assert figures["log_loss"] < -(
            rate * math.log(rate) + (1 - rate) * math.log(1 - rate)
        )  # of always saying the base rate

    def test_predictions_are_made_before_their_answer_is_learnt(self) -> None:
        trainer = BinaryTrainer("churn", churn.FEATURES, 0.05)
        expected = []
        for asked in simulated(80):
            expected.append((asked.label == 1.0, trainer.probability(asked.features)))
            trainer.learn([asked])
        assert trainer.progressive.answers() == expected

    def test_served_predictions_are_judged_by_themselves(self) -> None:
        trainer = BinaryTrainer("churn", churn.FEATURES, 0.05)
        trainer.learn(
            example(x.features, x.label, predicted=p)
            for x, p in zip(simulated(4), (0.9, None, math.nan, 2.0), strict=True)
        )
        assert [p for _, p in trainer.served.answers()] == [0.9]

    def test_snapshots_fall_due_by_the_number_of_examples(self) -> None:
        snapshots = BinaryTrainer("churn", churn.FEATURES, 0.05).learn(simulated(1_100))
        assert [(s.version, s.examples) for s in snapshots] == [
            (1, SNAPSHOT_FIRST),
            (2, SNAPSHOT_EVERY),
            (3, 2 * SNAPSHOT_EVERY),
        ]
        assert snapshots[-1].trained_ms == (2 * SNAPSHOT_EVERY - 1) * 1000 + 500

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (None, "undecodable"),
            (example([0.0] * (WIDTH - 1), 1.0), "features_count"),
            (example([0.0] * (WIDTH + 1), 1.0), "features_count"),
            (example([math.nan] * WIDTH, 1.0), "feature_range"),
            (example([0.0] * (WIDTH - 1) + [-math.inf], 1.0), "feature_range"),
            (example([1e200] + [0.0] * (WIDTH - 1), 1.0), "feature_range"),
            (example([0.0] * WIDTH, 0.5), "label_range"),
            (example([0.0] * WIDTH, math.nan), "label_range"),
        ],
    )
    def test_a_bad_example_is_counted_and_changes_nothing(self, bad: Example | None, reason: str) -> None:
        good = list(simulated(120))
        mixed, clean = (BinaryTrainer("churn", churn.FEATURES, 0.05) for _ in range(2))
        snapshots = mixed.learn([*good[:30], bad, *good[30:]])
        assert [s.digest for s in snapshots] == [s.digest for s in clean.learn(good)]
        assert mixed.snapshot() == clean.snapshot()
        assert mixed.dropped == {reason: 1}

    @given(st.lists(st.integers(1, 60), min_size=1, max_size=6))
    def test_batches_and_reloads_change_nothing(self, sizes: list[int]) -> None:
        examples = list(simulated(sum(sizes), seed=5))
        whole = BinaryTrainer("churn", churn.FEATURES, 0.05)
        expected = whole.learn(examples)
        trainer, snapshots = BinaryTrainer("churn", churn.FEATURES, 0.05), []
        for size in sizes:
            reloaded = BinaryTrainer("churn", churn.FEATURES, 0.05)
            assert reloaded.load(trainer.dump())
            trainer = reloaded
            snapshots += trainer.learn(examples[:size])
            del examples[:size]
        assert snapshots == expected
        assert trainer.snapshot().digest == whole.snapshot().digest

    def test_another_process_with_another_hash_seed_learns_the_same(self) -> None:
        code = (
            "import importlib.util as u;"
            "s=u.spec_from_file_location('t', 'tests/logic/models/test_models.py');"
            "m=u.module_from_spec(s);"
            "s.loader.exec_module(m); print(m.trained().snapshot().digest)"
        )
        outputs = {
            subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            ).stdout.strip()
            for seed in ("1", "2")
        }
        assert outputs == {trained().snapshot().digest}

    def test_other_features_start_afresh_under_the_next_version(self) -> None:
        old = BinaryTrainer("churn", (*churn.FEATURES[:-1], "older"), 0.05)
        old.learn(simulated(60))
        new = BinaryTrainer("churn", churn.FEATURES, 0.05)
        assert new.load(old.dump()) is False
        assert (new.version, new.examples) == (1, 0)
        assert [s.version for s in new.learn(simulated(50))] == [2]

    def test_a_changed_learning_rate_holds_after_a_reload(self) -> None:
        slow, fast = BinaryTrainer("churn", churn.FEATURES, 0.0), BinaryTrainer("churn", churn.FEATURES, 0.5)
        state = trained(100).dump()
        for trainer in (slow, fast):
            trainer.load(state)
            trainer.promote("adagrad")
        trained_before = [trainer._learners["adagrad"].terms().weights for trainer in (slow, fast)]
        for trainer in (slow, fast):
            trainer.learn(simulated(25, seed=4))
        trained_after = [trainer._learners["adagrad"].terms().weights for trainer in (slow, fast)]
        assert trained_after[0] == trained_before[0]
        assert trained_after[1] != trained_before[1]

    @pytest.mark.parametrize("body", [b"", b"\x90", b"not msgpack at all"])
    def test_a_state_that_is_none_is_foreign(self, body: bytes) -> None:
        with pytest.raises(Foreign):
            BinaryTrainer("churn", churn.FEATURES, 0.05).load(body)

    @pytest.mark.parametrize("smuggled", [subprocess.Popen, print, eval, pickle.loads, metrics.ROCAUC()])
    def test_a_pickle_of_anything_but_a_pipeline_is_refused(self, smuggled: object) -> None:
        state = msgspec.msgpack.decode(trained(60).dump())
        state[8]["adagrad"][0] = pickle.dumps(smuggled)
        with pytest.raises(Foreign, match="cannot be loaded"):
            BinaryTrainer("churn", churn.FEATURES, 0.05).load(msgspec.msgpack.encode(state))

    def test_a_model_that_is_switched_off_still_takes_its_answers(self) -> None:
        assert (
            [t.name for t in binary_trainers(Rules(churn=Churn(enabled=False)))]
            == [t.name for t in binary_trainers(Rules())]
            == ["churn"]
        )


class TestProgress:
    answers = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60)

    @given(answers)
    def test_figures_equal_the_naive_ones(self, answers: list[tuple[bool, float]]) -> None:
        figures = Progress(answers).figures()
        n = len(answers)
        assert figures["brier"] == pytest.approx(sum((p - y) ** 2 for y, p in answers) / n)
        assert figures["base_rate"] == pytest.approx(sum(y for y, _ in answers) / n)
        by_river = metrics.LogLoss()
        for y, p in answers:
            by_river.update(y, p)
        assert figures["log_loss"] == pytest.approx(by_river.get(), rel=1e-4, abs=1e-9)
        ece = 0.0
        for low in range(10):
            members = [(y, p) for y, p in answers if low == min(9, int(p * 10))]
            if members:
                share = sum(y for y, _ in members) / len(members)
                said = sum(p for _, p in members) / len(members)
                ece += len(members) / n * abs(share - said)
        assert figures["ece"] == pytest.approx(ece)
        pairs = [(p, q) for y, p in answers if y for z, q in answers if not z]
        if pairs:
            assert figures["auc"] == pytest.approx(
                sum((p > q) + 0.5 * (p == q) for p, q in pairs) / len(pairs)
            )
        else:
            assert "auc" not in figures

    def test_only_the_window_counts(self) -> None:
        answers = [(True, i / 100) for i in range(100)]
        assert Progress(answers, window=10).figures() == Progress(answers[-10:]).figures()

    def test_nothing_is_said_of_nothing(self) -> None:
        assert Progress().figures() == {}


class TestMerge:
    lanes = st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=4)

    @staticmethod
    def naive(lanes: list[list[int]], before: int) -> list[tuple[int, int, int]]:
        """All items at once, sorted by (tick, shard, seq), with ticks made non-decreasing within a shard."""
        items = []
        for shard, ticks in enumerate(lanes):
            items += [(max(ticks[: seq + 1]), shard, seq + 1) for seq in range(len(ticks))]
        return [item for item in sorted(items) if item[0] < before]

    @given(lanes, st.integers(0, 2**32))
    def test_any_reading_and_any_restart_give_the_one_order(self, lanes: list[list[int]], seed: int) -> None:
        luck, clock, taken = random.Random(seed), 0, []
        merge: Merge[tuple[int, int]] = Merge(range(len(lanes)), {})
        for _ in range(500):
            clock = luck.randint(clock, 10)
            count = luck.randint(1, 5)
            if luck.random() < 0.3:  # killed: only positions and tick are left
                merge = Merge(range(len(lanes)), merge.positions, merge.tick)
            drained = set()
            for shard, after in merge.reading(count).items():
                # a lane shows what was emitted up to now: all of complete ticks, perhaps some of later ones
                complete = max((seq for seq, tick in enumerate(lanes[shard], 1) if tick < clock), default=0)
                shown = list(enumerate(lanes[shard], 1))[: luck.randint(complete, len(lanes[shard]))]
                found = shown[after : after + count]
                for seq, tick in found:
                    assert merge.add(shard, seq, tick, (shard, seq)) == 0
                if len(found) < count:
                    drained.add(shard)
            taken += merge.take(clock, frozenset(drained), luck.randint(1, 8))
            if len(taken) == sum(map(len, lanes)):
                break
        expected = self.naive(lanes, 10)
        assert taken == [(shard, seq) for _, shard, seq in expected]
        assert merge.tick == (expected[-1][0] if expected else 0)

    def test_nothing_is_taken_while_a_lane_may_hold_earlier_ones(self) -> None:
        merge: Merge[str] = Merge([0, 1], {})
        merge.add(0, 1, 5, "a")
        assert merge.take(9, frozenset({0}), 10) == []
        merge.add(1, 1, 4, "b")
        assert merge.take(9, frozenset({0}), 10) == ["b"]  # shard 1 may hold more of tick 4 or 5
        assert merge.take(9, frozenset({0, 1}), 10) == ["a"]

    def test_a_tick_that_is_not_complete_waits(self) -> None:
        merge: Merge[str] = Merge([0], {})
        merge.add(0, 1, 5, "a")
        assert merge.take(5, frozenset({0}), 10) == []
        assert merge.take(6, frozenset({0}), 10) == ["a"]

    def test_missing_sequences_are_told_and_repeats_are_ignored(self) -> None:
        merge: Merge[str] = Merge([0], {0: 3})
        assert merge.add(0, 3, 1, "seen") == 0
        assert merge.add(0, 7, 1, "a") == 3
        assert merge.take(2, frozenset({0}), 10) == ["a"]
        assert merge.positions == {0: 7}
