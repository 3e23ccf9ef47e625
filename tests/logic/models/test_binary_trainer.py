"""The trainer of a binary model: when it predicts, what it gives, and that stops change nothing."""

import math
import os
import pickle
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import metrics

from flows.logic.models import churn
from flows.logic.models.binary_trainer import SNAPSHOT_EVERY, SNAPSHOT_FIRST, BinaryTrainer
from flows.logic.models.trainers import binary_trainers
from schemas.config import Churn, Rules
from schemas.errors import Foreign
from schemas.wire.triggers import Example
from tests.logic.models.simulated_churn import WIDTH, example, simulated, trained


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

    @pytest.mark.long
    def test_another_process_with_another_hash_seed_learns_the_same(self) -> None:
        code = "from tests.logic.models.simulated_churn import trained;print(trained().snapshot().digest)"
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
