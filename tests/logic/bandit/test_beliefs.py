"""Beliefs: rank-one updates against direct solves, changes of scale, forgetting, and what a context may
hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.bandit.learner import Learner, Rewarded
from flows.logic.bandit.posterior import Posterior
from flows.logic.bandit.scale import FAR, Frame, Scale
from flows.logic.bandit.settings import Action, Settings


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 60))
def test_rank_one_updates_are_the_ridge_regression(seed: int, d: int, n: int) -> None:
    chance = rng(seed)
    x, rewards = chance.standard_normal((n, d)), chance.standard_normal(n)
    mean, precision = chance.standard_normal(d), chance.uniform(0.1, 3.0, d)
    posterior = Posterior(2, mean, precision)
    for row, reward in zip(x, rewards, strict=True):
        posterior.update_linear(1, row, float(reward))
    direct = np.diag(precision) + x.T @ x
    np.testing.assert_allclose(posterior.covariances[1], np.linalg.inv(direct), atol=1e-9)
    np.testing.assert_allclose(
        posterior.means[1], np.linalg.solve(direct, precision * mean + x.T @ rewards), atol=1e-8
    )
    np.testing.assert_allclose(posterior.means[0], mean)  # the other row has learnt nothing


def test_a_refresh_takes_data_and_prior_apart_exactly() -> None:
    chance = rng(3)
    x, rewards = chance.standard_normal((40, 3)), chance.standard_normal(40)
    posterior = Posterior(1, np.ones(3), np.ones(3))
    for row, reward in zip(x, rewards, strict=True):
        posterior.update_linear(0, row, float(reward))
    change, mean, precision = chance.standard_normal((3, 3)), np.full(3, 2.0), np.full(3, 0.5)
    posterior.join(posterior.apart(0.25, change), mean, precision)
    moved = x @ change.T
    direct = np.diag(precision) + 0.25 * moved.T @ moved
    np.testing.assert_allclose(posterior.covariances[0], np.linalg.inv(direct), atol=1e-9)
    np.testing.assert_allclose(
        posterior.means[0], np.linalg.solve(direct, precision * mean + 0.25 * moved.T @ rewards), atol=1e-9
    )


def test_a_logistic_update_finds_the_mode() -> None:
    """One reward under a Gaussian prior: the gradient of the log-posterior vanishes at the new mean."""
    mean, x = np.array([0.3, -1.0]), np.array([1.0, 2.0])
    posterior = Posterior(1, mean, np.array([0.5, 2.0]))
    posterior.update_logistic(0, x, 1.0)
    after = posterior.means[0]
    gradient = (1.0 - 1.0 / (1.0 + np.exp(-after @ x))) * x - np.array([0.5, 2.0]) * (after - mean)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-8)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=3, max_size=3), st.integers(0, 100))
def test_every_context_has_a_place(context: list[float], seed: int) -> None:
    scale = Scale(3)
    for row in [*rng(seed).standard_normal((5, 3)), np.array(context), np.full(3, np.nan)]:
        scale.add(row)
    placed = scale.frame().place(np.array(context))
    assert placed[0] == 1.0
    assert (np.abs(placed[1:]) <= FAR).all()


def test_a_missing_value_is_average_and_a_constant_feature_is_nothing() -> None:
    scale = Scale(2)
    for value in (1.0, 3.0):
        scale.add(np.array([value, 7.0]))
    np.testing.assert_allclose(scale.frame().place(np.array([np.nan, 1e9])), [1.0, 0.0, 0.0])
    np.testing.assert_allclose(scale.frame().place(np.array([3.0, np.inf])), [1.0, 1.0, 0.0])


def test_a_change_of_frame_moves_what_is_placed() -> None:
    old, new = (
        Frame(np.array([1.0, -2.0]), np.array([2.0, 0.5])),
        Frame(np.array([0.0, 3.0]), np.array([1.0, 0.1])),
    )
    context = np.array([1.2, 0.4])
    np.testing.assert_allclose(old.change_to(new) @ old.place(context), new.place(context))


def learn(learner: Learner, n: int, seed: int = 0, scale: float = 1.0, flip: bool = False) -> list[Rewarded]:
    chance = rng(seed)
    examples = []
    for number in range(n):
        context = chance.standard_normal(2)
        arm = int(chance.integers(2))
        likely = ((context[0] > 0.0) == (arm == 1)) != flip
        reward = float(chance.random() < (0.8 if likely else 0.2))
        examples.append(
            Rewarded(
                decision=str(number),
                decided_ms=number,
                answered_ms=number + 1,
                context=(context * scale).tolist(),
                action="ab"[arm],
                propensity=0.5,
                reward=reward,
                version=0,
            )
        )
    learner.learn(examples)
    return examples


ACTIONS = [Action(name="a"), Action(name="b")]


@pytest.mark.parametrize("policy", ["logistic_ucb", "linucb"])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_units_do_not_matter(policy: str, scale: float) -> None:
    settings = Settings(policy=policy)  # type: ignore[arg-type]  # a parameter
    learner = Learner("m", ("x", "y"), ACTIONS, settings)
    learn(learner, 700, scale=scale)
    plain = Learner("m", ("x", "y"), ACTIONS, settings)
    learn(plain, 700)
    context = np.array([0.7, -0.3])
    np.testing.assert_allclose(
        learner.forecast(context * scale).means, plain.forecast(context).means, rtol=1e-4
    )
    assert learner.forecast(context * scale).means[1] > learner.forecast(context * scale).means[0]


def test_forgetting_follows_what_has_turned() -> None:
    forgetful, loyal = (
        Learner("m", ("x", "y"), ACTIONS, Settings(half_life=half_life)) for half_life in (500, 0)
    )
    for learner in (forgetful, loyal):
        learn(learner, 6_000)
        learn(learner, 3_000, seed=1, flip=True)
    context = np.array([2.0, 0.0])
    assert forgetful.forecast(context).means[1] < forgetful.forecast(context).means[0]
    assert loyal.forecast(context).means[1] > loyal.forecast(context).means[0]


def test_a_shared_model_is_the_ridge_regression_on_products() -> None:
    """Its one row has a weight for each pair of a feature of the context and one of the action."""
    chance = rng(5)
    actions = [Action(name=str(i), features=(float(i), float(i * i))) for i in range(4)]
    learner = Learner("m", ("x", "y"), actions, Settings(policy="linucb", shared=True))
    for _ in range(300):
        context, arm = chance.standard_normal(2), int(chance.integers(4))
        learner.add(context, arm, float(context[0] * arm - 0.3 * arm * arm + 0.1 * chance.standard_normal()))
    forecast = learner.forecast(np.array([1.0, 0.0]))
    np.testing.assert_allclose(forecast.means, [0.0, 0.7, 0.8, 0.3], atol=0.15)
    assert forecast.roots is not None
    np.testing.assert_allclose((forecast.roots @ forecast.roots.T).diagonal() ** 0.5, forecast.deviations)
