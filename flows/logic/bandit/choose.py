"""From what is believed and what it is worth to the probability of each action, and the draw.

The choice is by value x probability - cost. The draw is made *from the computed probabilities*, so the propensities in the
record are exact whatever approximation gave them: a Thompson policy is defined as the one that draws uniformly from the
fixed nodes of `forecast`, not as an ideal that those come near to.
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
]
_LOG_ODDS_MAX = 30.0


class Choice(msgspec.Struct, frozen=True):
    """What was chosen among the eligible actions, and how probable each was. `actions` is the order of all lists."""

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
    """The eligible actions in their order, and why each other one is withheld.

    `allowed` is what the expressions said, None where one could not be evaluated; `room` is what the allowances say.
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


def choose(forecast: Forecast, actions: Sequence[Action], settings: Settings, draw: float) -> Choice:
    """Choose by `draw`, uniform in [0, 1). Raises `ValueError` without actions: to offer none is not a decision."""
    if not actions:
        raise ValueError("no eligible action: there is nothing to choose")
    worth = np.array([(action.value, action.cost) for action in actions])
    propensities = probabilities(forecast, worth[:, 0], worth[:, 1], settings)
    chosen = min(int(np.searchsorted(np.cumsum(propensities), draw, side="right")), len(actions) - 1)
    while propensities[chosen] == 0.0:  # the sum was rounded to below the draw
        chosen -= 1
    return Choice(
        chosen=chosen,
        actions=tuple([action.name for action in actions]),
        propensities=tuple(propensities.tolist()),
        expected=tuple(_net(forecast.means, worth[:, 0], worth[:, 1], settings.logistic).tolist()),
    )


def probabilities(forecast: Forecast, values: Floats, costs: Floats, settings: Settings) -> Floats:
    """The probability of each action, shape (k,): floor / k each, and the rest as the policy divides it."""
    count = len(forecast.means)
    if settings.samples:
        nets = _net(forecast.samples(settings.deviations), values, costs, settings.logistic)
        shares = np.bincount(nets.argmax(axis=1), minlength=count) / len(nets)
    else:
        nets = _net(forecast.means + settings.deviations * forecast.deviations, values, costs, settings.logistic)
        best = nets == nets.max()
        shares = best / best.sum()  # equals share equally: no action is preferred for standing first
    floor = settings.uniform_share
    return np.asarray(floor / count + (1.0 - floor) * shares)


def uniform(decision: bytes) -> float:
    """The draw of a decision: uniform in [0, 1), and always the same for the same id."""
    return (int.from_bytes(blake2b(decision, digest_size=8, person=b"bandit").digest(), "big") >> 11) / 2.0**53


def _net(scores: NDArray[np.floating], values: Floats, costs: Floats, logistic: bool) -> NDArray[np.floating]:
    """Money expected under `scores`, shape (..., k)."""
    if not logistic:
        return scores * values - costs
    if (values == values[0]).all() and (costs == costs[0]).all() and scores.ndim > 1:
        return scores  # the order of log-odds is the order of money, and only the order is looked at
    odds: NDArray[np.floating] = np.exp(-np.minimum(np.maximum(scores, -_LOG_ODDS_MAX), _LOG_ODDS_MAX))
    return values / (1.0 + odds) - costs
