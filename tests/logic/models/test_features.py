"""Features, against values that are known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.models.binary import BINARY
from flows.logic.models.binary_trainer import FEATURE_MAX
from flows.logic.models.features import DAY_MS, FEATURES, NAMES, features
from schemas.records.customer_profile import MICRO, Fragment
from tests.logic.models.simulated_churn import NOW, fragment


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
