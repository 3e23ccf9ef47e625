"""From what is believed and what a reward brings to the probability of each action, and the draw.

The choice is by value x probability - cost. The draw is made *from the computed probabilities*, so the
propensities in the record are exact whatever approximation gave them: a Thompson policy is defined as the one
that draws uniformly from the fixed nodes of `forecast`, not as an ideal that those come near to.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from flows.logic.bandit.forecast import Forecast
from flows.logic.bandit.scale import Floats
from flows.logic.bandit.settings import Action, Settings

Withheld = Literal[
    "not_eligible",  # its expression says no
    "eligibility_failed",  # its expression could not be evaluated: never offered on a guess
    "budget",  # one more would cost more than is left of the period
    "capacity",  # done as often as it may be in the period
    "cooldown",  # done to this customer a short while ago
]
_LOG_ODDS_MAX = 30.0


class ActionSet:
    """Actions that may be chosen among, as columns: made once for each set of eligible actions, used for many
    decisions."""

    __slots__ = ("actions", "alike", "costs", "names", "values")

    def __init__(self, actions: Sequence[Action]) -> None:
        self.actions = tuple(actions)
        self.names = tuple(action.name for action in actions)
        self.values = np.array([action.value for action in actions])
        self.costs = np.array([action.cost for action in actions])
        terms = {(action.value, action.cost) for action in actions}
        # the best score is the best value
        self.alike = len(terms) == 1 and next(iter(terms))[0] > 0.0


class Choice(msgspec.Struct, frozen=True):
    """What was chosen among the eligible actions, and how probable each was. `actions` is the order of all
    lists."""

    chosen: int
    actions: tuple[str, ...]
    propensities: tuple[float, ...]  # sum to 1; none is below floor / k
    expected: tuple[float, ...]  # value x mean - cost, in money

    @property
    def action(self) -> str:
        return self.actions[self.chosen]

    @property
    def propensity(self) -> float:
        return self.propensities[self.chosen]


def screen(
    actions: Sequence[Action], allowed: Sequence[bool | None], room: Sequence[Withheld | None]
) -> tuple[list[Action], dict[str, Withheld]]:
    """Return the eligible actions in their order, and why each other one is withheld.

    `allowed` is what the expressions said, None where one could not be evaluated; `room` is what the
    allowances say.
    """
    eligible: list[Action] = []
    withheld: dict[str, Withheld] = {}
    for action, yes, full in zip(actions, allowed, room, strict=True):
        if yes is None:
            withheld[action.name] = "eligibility_failed"
        elif not yes:
            withheld[action.name] = "not_eligible"
        elif full is not None:
            withheld[action.name] = full
        else:
            eligible.append(action)
    return eligible, withheld


def choose(forecast: Forecast, action_set: ActionSet, settings: Settings, draw: float) -> Choice:
    """Choose by `draw`, uniform in [0, 1). Raises `ValueError` without actions: to offer none is not a
    decision."""
    if not action_set.names:
        raise ValueError("no eligible action: there is nothing to choose")
    propensities = probabilities(forecast, action_set, settings)
    chosen = min(int(propensities.cumsum().searchsorted(draw, side="right")), len(action_set.names) - 1)
    while propensities[chosen] == 0.0:  # the sum was rounded to below the draw
        chosen -= 1
    expected = _net(forecast.means, action_set, settings.logistic)
    return Choice(chosen, action_set.names, tuple(propensities.tolist()), tuple(expected.tolist()))


def probabilities(forecast: Forecast, action_set: ActionSet, settings: Settings) -> Floats:
    """Return the probability of each action, shape (k,): floor / k each, and the rest as the policy divides
    it."""
    count = len(action_set.names)
    if settings.samples:
        scores: NDArray[np.floating] = forecast.samples(settings.deviations)
    else:
        scores = forecast.means + settings.deviations * forecast.deviations
    # where all are worth the same the order is that of the scores
    nets = scores if action_set.alike else _net(scores, action_set, settings.logistic)
    if settings.samples:
        shares = np.bincount(nets.argmax(axis=1), minlength=count) / len(nets)
    else:
        best = nets == nets.max()
        # equals share equally: no action is preferred for standing first
        shares = best / np.count_nonzero(best)
    floor = settings.uniform_share
    return np.asarray(floor / count + (1.0 - floor) * shares)


def uniform(decision: bytes) -> float:
    """Return the draw of a decision: uniform in [0, 1), and always the same for the same id."""
    digest = blake2b(decision, digest_size=8, person=b"bandit").digest()
    return (int.from_bytes(digest, "big") >> 11) / 2.0**53


def _net(scores: NDArray[np.floating], action_set: ActionSet, logistic: bool) -> NDArray[np.floating]:
    """Return the money expected under `scores`, shape (..., k)."""
    if not logistic:
        return np.asarray(scores * action_set.values - action_set.costs)
    odds: NDArray[np.floating] = np.exp(-np.minimum(np.maximum(scores, -_LOG_ODDS_MAX), _LOG_ODDS_MAX))
    return np.asarray(action_set.values / (1.0 + odds) - action_set.costs)
