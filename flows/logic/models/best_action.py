"""The model of the next best action: its name, its context, and its configuration as the bandit sees it."""

from typing import Final

from flows.logic.bandit.settings import Action, Settings
from flows.logic.models.features import serving
from schemas.config import Rules

NAME: Final = "best_action"
FEATURES: Final = serving("marketing")  # of its context


def settings_of(rules: Rules) -> Settings:
    """Return the policy that is configured."""
    best = rules.best_action
    return Settings(
        policy=best.policy,
        shared=best.shared,
        exploration=best.exploration,
        floor=best.floor,
        half_life=best.half_life,
    )


def actions_of(rules: Rules) -> list[Action]:
    """Return all actions, as the bandit sees them."""
    return [
        Action(
            name=action.name,
            value=action.value,
            cost=action.cost,
            features=action.features,
            budget=action.budget,
            capacity=action.capacity,
        )
        for action in rules.action
    ]
