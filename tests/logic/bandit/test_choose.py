"""The choice: exact propensities, floors, worth, allowances, and what is withheld."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.bandit.allowances import Allowances
from flows.logic.bandit.choose import ActionSet, choose, probabilities, screen, uniform
from flows.logic.bandit.forecast import Forecast, nodes
from flows.logic.bandit.settings import POLICIES, Action, Settings

scores = st.floats(-20, 20)


def action_set_of(count: int) -> ActionSet:
    return ActionSet([Action(name=str(place)) for place in range(count)])


@given(
    st.lists(st.tuples(scores, st.floats(0, 5), st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=12),
    st.sampled_from(POLICIES),
    st.floats(0, 1),
)
def test_propensities_sum_to_one_and_keep_the_floor(
    rows: list[tuple[float, float, float, float]], policy: str, floor: float
) -> None:
    means, deviations = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    action_set = ActionSet(
        [Action(name=str(place), value=row[2], cost=row[3]) for place, row in enumerate(rows)]
    )
    settings = Settings(policy=policy, floor=floor)  # type: ignore[arg-type]  # a parameter
    chances = probabilities(Forecast(means, deviations), action_set, settings)
    assert chances.sum() == pytest.approx(1.0)
    assert (chances >= floor / len(rows) - 1e-12).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_propensities_are_the_frequencies(policy: str) -> None:
    settings = Settings(policy=policy, floor=0.1)
    forecast = Forecast(np.array([0.0, 0.2, -0.5]), np.array([0.4, 0.3, 0.9]))
    action_set = action_set_of(3)
    made = [choose(forecast, action_set, settings, uniform(b"%d" % number)) for number in range(20_000)]
    counts = Counter(choice.action for choice in made)
    for name, chance in zip(action_set.names, made[0].propensities, strict=True):
        assert counts[name] / len(made) == pytest.approx(chance, abs=0.015)


def test_thompson_comes_near_to_the_normal_integral() -> None:
    """Two actions: P(first is better) = Phi((m1 - m2) / sqrt(s1^2 + s2^2))."""
    forecast = Forecast(np.array([1.0, 0.4]), np.array([0.8, 0.6]))
    settings = Settings(policy="linear_thompson", floor=0.0, exploration=1.0)
    chances = probabilities(forecast, action_set_of(2), settings)
    assert chances[0] == pytest.approx(0.7257, abs=0.02)


def test_nodes_are_standard_normal_in_each_column() -> None:
    table = nodes(20)
    np.testing.assert_allclose(table.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(table.std(axis=0), 1.0, atol=0.01)
    assert np.abs(np.corrcoef(table.T) - np.eye(20)).max() < 0.2


def test_actions_of_a_shared_model_move_together() -> None:
    """Perfectly correlated, the one that is better by a hair is always better."""
    roots = np.array([[1.0], [1.0]])
    forecast = Forecast(np.array([0.0, 0.01]), np.ones(2), roots)
    settings = Settings(policy="linear_thompson", floor=0.0)
    assert probabilities(forecast, action_set_of(2), settings).tolist() == [0.0, 1.0]


def test_equals_share_equally() -> None:
    forecast = Forecast(np.zeros(4), np.ones(4))
    assert probabilities(forecast, action_set_of(4), Settings()).tolist() == [0.25] * 4


@pytest.mark.parametrize("policy", ["logistic_ucb", "logistic_thompson"])
def test_the_choice_is_by_worth(policy: str) -> None:
    """Likelier by far, but worth less than the other; and a cost above the value is never worth it."""
    forecast = Forecast(np.array([2.0, -1.0, 2.0]), np.full(3, 0.01))
    actions = [
        Action(name="likely", value=1.0),
        Action(name="valuable", value=20.0, cost=1.0),
        Action(name="dear", value=20.0, cost=30.0),
    ]
    choice = choose(forecast, ActionSet(actions), Settings(policy=policy, floor=0.0), 0.5)  # type: ignore[arg-type]  # a parameter
    assert choice.action == "valuable"
    assert choice.propensity == 1.0
    assert choice.expected[1] == pytest.approx(20.0 / (1.0 + np.e) - 1.0)


@given(st.floats(0, 1, exclude_max=True))
def test_no_draw_chooses_the_impossible(draw: float) -> None:
    forecast = Forecast(np.array([0.0, 1.0, 0.0]), np.zeros(3))
    assert choose(forecast, action_set_of(3), Settings(floor=0.0), draw).action == "1"


def test_nothing_to_choose_from_is_an_error() -> None:
    with pytest.raises(ValueError, match="no eligible action"):
        choose(Forecast(np.zeros(0), np.zeros(0)), ActionSet([]), Settings(), 0.5)


def test_what_is_withheld_says_why() -> None:
    actions = [Action(name=name) for name in "abcd"]
    eligible, withheld = screen(actions, [True, False, None, True], [None, None, None, "budget"])
    assert [action.name for action in eligible] == ["a"]
    assert withheld == {"b": "not_eligible", "c": "eligibility_failed", "d": "budget"}


def test_allowances_run_out_and_come_back() -> None:
    actions = [
        Action(name="coupon", cost=4.0, budget=10.0),
        Action(name="call", capacity=2),
        Action(name="nothing"),
    ]
    allowances = Allowances(1_000, {})
    for at_ms in (0, 500):
        assert allowances.room(actions, at_ms) == [None, None, None]
        allowances.take(actions[0], at_ms)
        allowances.take(actions[1], at_ms)
    assert allowances.room(actions, 999) == ["budget", "capacity", None]
    assert allowances.room(actions, 1_000) == [None, None, None]
    allowances.take(actions[0], 1_000)
    allowances.take(actions[0], 900)  # late, for a period that is over
    assert allowances.used["coupon"] == (1, 1)
    allowances.keep(actions[1:])
    assert list(allowances.used) == ["call"]


def test_a_shard_has_its_share() -> None:
    action = Action(name="call", cost=0.1, budget=1.0, capacity=20)
    done = []
    for shard in range(4):
        allowances, times = Allowances(1_000, {}, shard, 4), 0
        while allowances.room([action], 0) == [None]:
            allowances.take(action, 0)
            times += 1
        done.append(times)
        assert allowances.room([action], 0) == ["budget"]
    assert done == [3, 3, 2, 2]  # all together as often as the money reaches, and never once more


@pytest.mark.parametrize(
    "wrong",
    [{"floor": 1.1}, {"floor": float("nan")}, {"exploration": -1.0}, {"spread": 0.0}, {"half_life": -1}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)  # type: ignore[arg-type]  # wrong on purpose
