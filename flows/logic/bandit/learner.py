"""The only one who learns: examples in their order in, snapshots out. A function of the examples alone.

Each reward is one rank-one update. After 8, 16, 32 ... examples, and after every `REFRESH`, the posterior is
refreshed: the scale of the features and the pooled reward, which are the prior, are taken from what was seen
so far, and what was learnt long ago fades. So nothing has to be known beforehand about units or rates.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite, log, sqrt
from typing import Literal

import msgspec
import numpy as np

from flows.logic.bandit.forecast import Forecast
from flows.logic.bandit.posterior import Posterior
from flows.logic.bandit.scale import Floats, Frame, Scale
from flows.logic.bandit.settings import ACTION_FEATURES_MAX, ARMS_MAX, FEATURES_MAX, Action, Settings
from flows.logic.bandit.snapshot import Snapshot, described, halves, shared_forecast
from schemas.errors import Foreign

REFRESH = 512  # examples
_REFRESH_FIRST = 8
_REWARD_MAX = 1e9
_INTERCEPT_VARIANCE = 1.0  # of the prior, in the units of the score
_ADAPT_FIRST = 64  # examples before the spread of the weights is taken from the data
_ADAPT_MOST = 1_000.0  # times wider or narrower than `spread` says
_PRIOR_ROWS = 1.0
_NOISE_PRIOR = 2.0  # examples that the overall variance of rewards counts as, in the estimate of the noise

Fault = Literal[
    "undecodable",  # not an example at all
    "unknown_action",  # it was removed while its reward was on the way
    "features_count",  # asked by a release with fewer or more features
    "reward_range",  # NaN, infinite, or for a logistic policy not within 0 to 1
    "propensity_range",  # not above 0 and at most 1: no record of ours
]


class Rewarded(msgspec.Struct, array_like=True):
    """What one decision earned: an example with the context as it was."""

    decision: str
    decided_ms: int
    answered_ms: int
    context: list[float]
    action: str
    propensity: float
    reward: float
    version: int  # of the model that decided; 0 = none
    eligible: list[str] = []  # the actions that it was chosen among, where that is known


class _State(msgspec.Struct, array_like=True):
    """A learner in a checkpoint: plain numbers, arrays as little-endian doubles."""

    settings: Settings
    features: tuple[str, ...]
    actions: tuple[str, ...]
    width: int
    version: int
    examples: int
    trained_ms: int
    dropped: dict[str, int]
    tried: list[int]
    totals: tuple[float, float, float, float]
    frame: tuple[bytes, bytes]
    scale: tuple[bytes, bytes, bytes]
    prior: tuple[bytes, bytes]
    means: bytes
    covariances: bytes


class Learner:
    """Mutable: the posterior, the scale of features, and a few sums. Bounded by actions x features^2."""

    def __init__(
        self,
        model: str,
        features: tuple[str, ...],
        actions: Sequence[Action],
        settings: Settings,
        *,
        every: int = REFRESH,
    ) -> None:
        """Give a snapshot after `every` examples, and after 8, 16, 32 ... before that. Raises `ValueError`
        beyond the limits."""
        names = tuple(action.name for action in actions)
        if not 0 < len(names) <= ARMS_MAX or len(set(names)) < len(names):
            raise ValueError(f"{len(names)} actions, expected 1 to {ARMS_MAX} different ones")
        self._width = 1 + max(len(action.features) for action in actions) if settings.shared else 1
        if len(features) > FEATURES_MAX or self._width > 1 + ACTION_FEATURES_MAX:
            raise ValueError(
                f"at most {FEATURES_MAX} features of a context and {ACTION_FEATURES_MAX} of an action"
            )
        self.model, self.features, self.settings = model, features, settings
        self.actions = names
        self.dropped: Counter[str] = Counter()
        self.version = self.examples = self.trained_ms = 0
        self._every = every
        self._described = described(actions, self._width)
        self._index = {name: row for row, name in enumerate(names)}
        self._tried = [0] * len(names)
        self._weight = self._mean = self._squares = 0.0  # moments of the reward, fading
        self._surprise = 0.0  # sum of squared errors of prediction, scaled to the noise; fading
        self._scale = Scale(len(features))
        self._frame = Frame.blank(len(features))
        self._posterior = Posterior(1 if settings.shared else len(names), *self._prior())

    def _prior(self) -> tuple[Floats, Floats]:
        """Return mean and precision: the pooled reward for each action, and a score whose variance is
        `spread` over all features."""
        features = max(len(self.features), 1)
        precision = np.full((1 + len(self.features), self._width), features / self.settings.spread)
        precision[0] = 1.0 / _INTERCEPT_VARIANCE
        mean = np.zeros_like(precision)
        mean[0, 0] = self._pooled()
        return mean.ravel(), precision.ravel()

    def _pooled(self) -> float:
        if not self.settings.logistic:
            return self._mean
        chance = (self._mean * self._weight + 0.5) / (self._weight + 1.0)
        return log(chance / (1.0 - chance))

    @property
    def noise(self) -> float:
        """The deviation of a reward around what is believed; 1 for log-odds, which carry their own."""
        if self.settings.logistic:
            return 1.0
        variance = self._squares / self._weight if self._weight > 1.0 and self._squares > 0.0 else 1.0
        return sqrt((self._surprise + _NOISE_PRIOR * variance) / (self._weight + _NOISE_PRIOR))

    def learn(self, examples: Iterable[Rewarded | None]) -> list[Snapshot]:
        """Learn in this order (`None` is one that could not be decoded); return the snapshots that fell
        due."""
        snapshots: list[Snapshot] = []
        for example in examples:
            fault = self.fault(example)
            if fault is not None or example is None:
                self.dropped[fault or "undecodable"] += 1
                continue
            self.trained_ms = max(self.trained_ms, example.answered_ms)
            self.add(np.array(example.context, dtype=np.float64), self._index[example.action], example.reward)
            if self.examples % self._every == 0 or (self.examples < self._every and _doubled(self.examples)):
                self.version += 1
                snapshots.append(self.snapshot())
        return snapshots

    def fault(self, example: Rewarded | None) -> Fault | None:
        """Return why this cannot be learnt, if it cannot."""
        if example is None:
            return "undecodable"
        if example.action not in self._index:
            return "unknown_action"
        if len(example.context) != len(self.features):
            return "features_count"
        least, most = (0.0, 1.0) if self.settings.logistic else (-_REWARD_MAX, _REWARD_MAX)
        if not least <= example.reward <= most:
            return "reward_range"
        if not 0.0 < example.propensity <= 1.0:
            return "propensity_range"
        return None

    def adopt(self, action: str) -> None:
        """Take in one more action, which starts from the prior. Nothing is known of its features."""
        self._index[action] = len(self.actions)
        self.actions += (action,)
        self._tried.append(0)
        self._described = np.concatenate((self._described, described([Action(name=action)], self._width)))
        if not self.settings.shared:
            self._posterior.grow()

    @staticmethod
    def actions_in(body: bytes) -> tuple[str, ...]:
        """Return the actions of a learner that was dumped. Raises `Foreign`."""
        try:
            return msgspec.msgpack.decode(body, type=_State).actions
        except (msgspec.MsgspecError, ValueError) as error:
            raise Foreign(f"the checkpoint of a bandit cannot be read by this release: {error}") from error

    def add(self, context: Floats, action: int, reward: float) -> None:
        """Learn the reward of one action, by its place in `actions`."""
        x = self._frame.place(context)
        row = 0 if self.settings.shared else action
        if self.settings.shared:
            x = np.multiply.outer(x, self._described[action]).ravel()
        if self.settings.logistic:
            self._posterior.update_logistic(row, x, reward)
        else:
            self._surprise += self._posterior.update_linear(row, x, reward)
        self._scale.add(context)
        self._weight += 1.0
        delta = reward - self._mean
        self._mean += delta / self._weight
        self._squares += delta * (reward - self._mean)
        self._tried[action] += 1
        self.examples += 1
        if self.examples % REFRESH == 0 or (self.examples >= _REFRESH_FIRST and _doubled(self.examples)):
            self._refresh()

    def _refresh(self) -> None:
        keep = 1.0
        if self.settings.half_life and self.examples % REFRESH == 0:
            keep = 0.5 ** (REFRESH / self.settings.half_life)
            self._scale.forget(keep)
            self._weight *= keep
            self._squares *= keep
            self._surprise *= keep
        frame = self._scale.frame()
        change = np.kron(self._frame.change_to(frame), np.eye(self._width))
        self._frame = frame
        mean, first = self._prior()
        data = self._posterior.apart(keep, change)
        self._posterior.join(data, mean, self._posterior.prior_precision)
        if self.examples >= _ADAPT_FIRST:
            self._posterior.join(data, mean, self._adapted(first))

    def _adapted(self, first: Floats) -> Floats:
        """Return the precision of the prior from the data: empirical Bayes, one step of EM (Tipping, Sparse
        Bayesian Learning, 2001).

        A feature that moves no action gets a narrow prior, and so neither misleads nor is explored; `first`
        counts as `_PRIOR_ROWS` more row with the mean variance over all features, so that few actions cannot
        rule a feature out.
        """
        known = self._posterior
        rows = [0] if self.settings.shared else [row for row, tried in enumerate(self._tried) if tried]
        variances_now = np.diagonal(known.covariances, axis1=1, axis2=2)[rows]
        second_moments = (known.means[rows] / self.noise) ** 2 + variances_now
        weights = slice(self._width, None)
        total = second_moments[:, weights].sum(axis=0)
        start = 1.0 / first[weights]
        pooled = 0.0
        if len(start):
            pooled = (total.sum() + start.sum()) / (len(start) * (len(rows) + 1.0))
        variances = (total + _PRIOR_ROWS * pooled) / (len(rows) + _PRIOR_ROWS)
        precision = first.copy()
        precision[weights] = 1.0 / np.clip(variances, start / _ADAPT_MOST, start * _ADAPT_MOST)
        return precision

    def forecast(self, context: Floats) -> Forecast:
        """Return what is believed right now of each of `actions`: for an evaluation, which learns after every
        round."""
        z = self._frame.place(context)
        known = self._posterior
        if self.settings.shared:
            shape = (len(z), self._width, len(z), self._width)
            return shared_forecast(
                z, known.means[0], known.covariances[0].reshape(shape), self._described, self.noise
            )
        variances = (known.covariances @ z) @ z
        return Forecast(known.means @ z, np.sqrt(np.maximum(variances, 0.0)) * self.noise)

    def figures(self) -> dict[str, float]:
        """Return `mean_reward`, and `tried_<action>`: how many examples each action gave."""
        return {"mean_reward": self._mean} | {
            f"tried_{name}": float(n) for name, n in zip(self.actions, self._tried, strict=True)
        }

    def snapshot(self) -> Snapshot:
        """Return the beliefs as they are now, under the last version."""
        known = self._posterior
        return Snapshot(
            model=self.model,
            version=self.version,
            settings=self.settings,
            features=self.features,
            actions=self.actions,
            action_features=self._width - 1,
            means=_bytes(self._frame.means),
            inverse_deviations=_bytes(self._frame.inverse),
            weights=_bytes(known.means),
            covariances=halves(known.covariances).tobytes(),
            prior_mean=_bytes(known.prior_mean),
            prior_precision=_bytes(known.prior_precision),
            noise=self.noise,
            examples=self.examples,
            trained_ms=self.trained_ms,
            metrics=self.figures(),
        )

    def dump(self) -> bytes:
        """Return the whole learner, for a checkpoint."""
        known, scale = self._posterior, self._scale
        state = _State(
            settings=self.settings,
            features=self.features,
            actions=self.actions,
            width=self._width,
            version=self.version,
            examples=self.examples,
            trained_ms=self.trained_ms,
            dropped=dict(self.dropped),
            tried=list(self._tried),
            totals=(self._weight, self._mean, self._squares, self._surprise),
            frame=(_bytes(self._frame.means), _bytes(self._frame.inverse)),
            scale=(_bytes(scale.counts), _bytes(scale.means), _bytes(scale.squares)),
            prior=(_bytes(known.prior_mean), _bytes(known.prior_precision)),
            means=_bytes(known.means),
            covariances=_bytes(known.covariances),
        )
        return msgspec.msgpack.encode(state)

    def load(self, body: bytes) -> bool:
        """Become what `dump` gave. Actions added since start from the prior, those removed are left out.
        Raises `Foreign`.

        Returns False if that had other features or another kind of model: then learning starts afresh, and
        versions go on counting.
        """
        try:
            state = msgspec.msgpack.decode(body, type=_State)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Foreign(
                f"bandit {self.model}: the checkpoint cannot be read by this release: {error}"
            ) from error
        self.version, self.dropped = state.version, Counter(state.dropped)
        then = state.features, state.width, _kind(state.settings)
        if then != (self.features, self._width, _kind(self.settings)):
            return False
        d = self._posterior.means.shape[1]
        try:
            means = _array(state.means, (-1, d))
            covariances = _array(state.covariances, (len(means), d, d))
            self._frame = Frame(*(_array(column, (len(self.features),)) for column in state.frame))
            self._scale.counts, self._scale.means, self._scale.squares = (
                _array(part, (len(self.features),)) for part in state.scale
            )
            prior_mean, precision = (_array(part, (d,)) for part in state.prior)
        except ValueError as error:
            raise Foreign(f"bandit {self.model}: the arrays of the checkpoint do not fit: {error}") from error
        self.examples, self.trained_ms = state.examples, state.trained_ms
        self._weight, self._mean, self._squares, self._surprise = state.totals
        before = {name: row for row, name in enumerate(state.actions)}
        self._tried = [state.tried[before[name]] if name in before else 0 for name in self.actions]
        self._posterior = Posterior(len(self._posterior.means), prior_mean, precision)
        for row, name in enumerate(["all"] if self.settings.shared else self.actions):
            source = 0 if self.settings.shared else before.get(name)
            if source is not None:
                self._posterior.means[row] = means[source]
                self._posterior.covariances[row] = covariances[source]
        return True


def _doubled(count: int) -> bool:
    """Return whether it is a power of two."""
    return count & (count - 1) == 0


def _kind(settings: Settings) -> tuple[bool, bool, float]:
    """Return what a posterior depends on; another way to explore may go on with it."""
    return settings.logistic, settings.shared, settings.spread


def _bytes(array: Floats) -> bytes:
    return array.astype("<f8").tobytes()


def _array(body: bytes, shape: tuple[int, ...]) -> Floats:
    array = np.frombuffer(body, dtype="<f8").reshape(shape).astype(np.float64)
    if not (isfinite(float(array.sum())) and np.isfinite(array).all()):
        raise ValueError("a number is not finite")
    return array
