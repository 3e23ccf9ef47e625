"""Policies in the shadow of the one that decides: what each would have earned on the decisions that were
made, kept up as these come in.

A decision that earned r counts w · r for a policy, where w = π(a|x) / propensity (importance weighting;
Horvitz and Thompson, 1952), over the sum of all w (SNIPS; Swaminathan and Joachims, 2015). π is that of the
policy's last snapshot, made before the decision was learnt. All that is needed of the past are eleven sums,
which fade. `offpolicy` has the better intervals, from a whole log.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

import msgspec
import numpy as np

from flows.logic.bandit.choose import ActionSet, probabilities
from flows.logic.bandit.learner import Learner, Rewarded
from flows.logic.bandit.offpolicy import Estimate, Verdict, judge
from flows.logic.bandit.settings import POLICIES, Action, Policy, Settings
from flows.logic.bandit.snapshot import Decider, Snapshot

HALF_LIFE = 20_000  # looks
_FADE = 0.5 ** (1.0 / HALF_LIFE)
_TWO_SIDED_95 = 1.959963984540054
_ACTION_SETS_MAX = 1_024


class Tally(msgspec.Struct, array_like=True):
    """Fading sums over decisions: their number, and products of the weights w and of what was earned r."""

    n: float = 0.0
    w: float = 0.0
    ww: float = 0.0
    r: float = 0.0
    rr: float = 0.0
    wr: float = 0.0
    wrr: float = 0.0
    wwr: float = 0.0
    wwrr: float = 0.0
    paid: float = 0.0  # w of those that were rewarded
    paid_squares: float = 0.0

    def add(self, w: float, r: float, paid: bool) -> None:
        """Count one decision: its weight, what it earned, and whether there was a reward at all."""
        given = (1.0, w, w * w, r, r * r, w * r, w * r * r, w * w * r, w * w * r * r, w * paid, w * w * paid)
        for name, value in zip(self.__struct_fields__, given, strict=True):
            setattr(self, name, getattr(self, name) * _FADE + value)

    def gain(self) -> Estimate:
        """Return the gain of a decision over what was earned, with the 95 % interval of the delta method.
        Needs a weight above 0."""
        value, earned, weight = self.wr / self.w, self.r / self.n, self.w / self.n
        own = self.wwrr - 2.0 * value * self.wwr + value * value * self.ww  # Σ w² (r - value)²
        both = self.wrr - (value + earned) * self.wr + value * earned * self.w  # Σ w (r - value) (r - earned)
        logged = self.rr - self.r * earned  # Σ (r - earned)²
        error = _TWO_SIDED_95 * sqrt(max(own / weight**2 - 2.0 * both / weight + logged, 0.0)) / self.n
        return Estimate(value - earned, value - earned - error, value - earned + error)

    def figures(self) -> dict[str, float]:
        """Return what each decision `earned` and its `gain`, in money; `sample`: decisions of its own that
        these are worth (Kish)."""
        if not self.w:
            return {}
        gain = self.gain()
        figures = {
            "earned": self.wr / self.w,
            "gain": gain.value,
            "gain_low": gain.low,
            "gain_high": gain.high,
        }
        return figures | {"sample": self.w**2 / self.ww}

    def verdict(self) -> tuple[Verdict, str]:
        """Return whether it is better or worse than what was done, or that it cannot be told, and why."""
        if not self.w:
            return "cannot tell", "no decision was one that it could have made"
        rewarded = self.paid**2 / self.paid_squares if self.paid_squares else 0.0
        return judge(self.gain(), self.w**2 / self.ww, rewarded, self.w / self.n)


class Shadows:
    """All policies, those of one kind on the beliefs of one learner."""

    def __init__(self, settings: Settings, actions: Sequence[Action]) -> None:
        """Take the `settings` of the configured policy: what it explores by is its own."""
        others = {
            policy: msgspec.structs.replace(settings, policy=policy, exploration=None) for policy in POLICIES
        }
        self._each = others | {settings.policy: settings}
        self._actions = {action.name: action for action in actions}
        self._action_sets: dict[tuple[str, ...], ActionSet | None] = {}
        self.tallies = {policy: Tally() for policy in POLICIES}
        self._deciders: dict[bool, Decider] = {}  # by whether they believe in probabilities
        self.packed: list[bytes] = []  # snapshots that these were made of

    def of(self, policy: Policy) -> Settings:
        """Return the settings of a policy."""
        return self._each[policy]

    def stock(self, learners: Iterable[Learner]) -> None:
        """Decide with what these know now."""
        self.open([learner.snapshot().pack() for learner in learners])

    def open(self, packed: Iterable[bytes]) -> None:
        """Decide with these snapshots, one of each kind. Raises `Foreign`."""
        self.packed = list(packed)
        deciders = [Decider.from_snapshot(body) for body in self.packed]
        self._deciders = {decider.snapshot.settings.logistic: decider for decider in deciders}

    def snapshot(self, policy: Policy) -> Snapshot:
        """Return the snapshot that a shard would decide with."""
        settings = self.of(policy)
        return msgspec.structs.replace(self._deciders[settings.logistic].snapshot, settings=settings)

    def look(self, made: Rewarded) -> None:
        """Count what each policy would have done.

        Nothing is learnt from a decision of which it is not known what else could have been done.
        """
        action_set = self._action_set(tuple(made.eligible))
        if action_set is None or made.action not in action_set.names:
            return
        place, action = action_set.names.index(made.action), self._actions[made.action]
        earned = action.value * made.reward - action.cost
        context = np.array(made.context, dtype=np.float64)
        beliefs = {
            logistic: decider.forecast(context, action_set) for logistic, decider in self._deciders.items()
        }
        for policy, tally in self.tallies.items():
            settings = self.of(policy)
            if settings.logistic in beliefs:
                probability = float(probabilities(beliefs[settings.logistic], action_set, settings)[place])
                tally.add(probability / made.propensity, earned, made.reward != 0.0)

    def _action_set(self, names: tuple[str, ...]) -> ActionSet | None:
        """Return the set of these actions; None where one of them is gone: what it brought is not known any
        more."""
        if names not in self._action_sets:
            if len(self._action_sets) >= _ACTION_SETS_MAX:
                self._action_sets.clear()
            known = [self._actions[name] for name in names if name in self._actions]
            self._action_sets[names] = ActionSet(known) if known and len(known) == len(names) else None
        return self._action_sets[names]

    def resume(self, tallies: Mapping[Policy, Tally], packed: Iterable[bytes]) -> None:
        """Go on from a checkpoint. Raises `Foreign`."""
        self.tallies |= tallies
        self.open(packed)
