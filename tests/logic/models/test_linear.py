"""A snapshot and its scorer, against the trainer that they come from."""

import math
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.models import churn
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.linear import SNAPSHOT_BYTES_MAX, Scorer
from schemas.errors import Foreign
from tests.logic.models.simulated_churn import WIDTH, example, simulated, trained


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

    def test_the_names_in_announced_snapshots_stay(self) -> None:
        """Another release reads them."""
        assert list(msgspec.msgpack.decode(trained(60).snapshot().pack())) == [
            *("means", "deviations", "weights", "bends", "intercept", "format", "model", "version"),
            *("features", "learner", "examples", "trained_ms", "metrics", "worth"),
        ]

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
