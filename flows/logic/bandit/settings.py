"""What a bandit is told: which policy, how much it explores, and the actions that it may take."""

from math import isfinite
from typing import Literal

import msgspec

Policy = Literal[
    # upper confidence bound on the log-odds (Filippi et al., Parametric Bandits, 2010; Li, Lu and Zhou, 2017)
    "logistic_ucb",
    # draws from a Laplace posterior (Chapelle and Li, An Empirical Evaluation of Thompson Sampling, 2011)
    "logistic_thompson",
    # upper confidence bound on the mean
    # (Li et al., A Contextual-Bandit Approach to News Recommendation, 2010)
    "linucb",
    # draws from the Gaussian posterior (Agrawal and Goyal, Thompson Sampling with Linear Payoffs, 2013)
    "linear_thompson",
    "epsilon_greedy",  # the best mean, else any: the baseline
]
POLICIES: tuple[Policy, ...] = (
    "logistic_ucb",
    "logistic_thompson",
    "linucb",
    "linear_thompson",
    "epsilon_greedy",
)
ARMS_MAX = 256
FEATURES_MAX = 512  # of a context
ACTION_FEATURES_MAX = 16

_EXPLORATION: dict[Policy, float] = {
    "logistic_ucb": 0.6,
    "linucb": 0.5,
    # Chapelle and Li: a posterior narrowed to a quarter or a half earns more than the true one
    "logistic_thompson": 0.25,
    "linear_thompson": 0.25,
    "epsilon_greedy": 0.0,
}
_FLOOR_OF_GREEDY = 0.05


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Frozen parameters. Raises `ValueError` where they make no sense."""

    policy: Policy = "logistic_ucb"
    shared: bool = False  # one model over context x features of the action, instead of one for each action
    exploration: float | None = None  # in posterior deviations; none: what suits the policy
    # of all choices are made uniformly: no propensity is below floor / (number of eligible actions)
    floor: float = 0.005
    # prior variance of the score over all features together, once they are scaled to variance 1
    spread: float = 10.0
    half_life: int = 0  # examples after which an example counts half; 0: nothing is forgotten

    def __post_init__(self) -> None:
        if not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"floor is {self.floor}, expected 0 to 1")
        if self.exploration is not None and not 0.0 <= self.exploration <= 100.0:
            raise ValueError(f"exploration is {self.exploration}, expected 0 to 100 deviations")
        if not 0.0 < self.spread <= 1e6:
            raise ValueError(f"spread is {self.spread}, expected more than 0 and at most a million")
        if self.half_life < 0:
            raise ValueError(f"half_life is {self.half_life} examples, expected 0 (never forget) or more")

    @property
    def logistic(self) -> bool:
        """Whether rewards are 0 to 1 and scores log-odds."""
        return self.policy.startswith("logistic")

    @property
    def samples(self) -> bool:
        """Whether the policy draws from its beliefs."""
        return self.policy.endswith("thompson")

    @property
    def deviations(self) -> float:
        """How many posterior deviations the policy explores by."""
        return _EXPLORATION[self.policy] if self.exploration is None else self.exploration

    @property
    def uniform_share(self) -> float:
        """The share of choices made uniformly."""
        return max(self.floor, _FLOOR_OF_GREEDY) if self.policy == "epsilon_greedy" else self.floor


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What may be done. To do nothing is an action as well: without cost, and with the rewards that come by
    themselves."""

    name: str
    value: float = 1.0  # of a reward of 1, in money
    cost: float = 0.0  # of doing it once, in money
    features: tuple[float, ...] = ()  # of the action itself; only a shared model looks at them
    budget: float | None = None  # money for each period
    capacity: int | None = None  # times in each period

    def __post_init__(self) -> None:
        if not all(map(isfinite, (self.value, self.cost, *self.features))):
            raise ValueError(f"action {self.name}: value, cost and features must be finite")
        if self.value < 0.0 or self.cost < 0.0:
            raise ValueError(
                f"action {self.name}: value {self.value} and cost {self.cost} must not be negative"
            )
