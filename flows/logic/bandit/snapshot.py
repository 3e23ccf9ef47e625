"""The learner at one moment, as a shard decides with it: packable numbers, no pickle, nothing to learn with.

Covariances are symmetric, so only half of each is kept, in single precision: a variance is then one product
of that half with the products of the context, and a hundred actions of fifty features fit into the second
cache of a processor.
"""

from collections.abc import Sequence
from hashlib import sha256

import msgspec
import numpy as np
from numpy.typing import NDArray

from flows.logic.bandit.choose import ActionSet, Choice, choose
from flows.logic.bandit.forecast import Forecast
from flows.logic.bandit.scale import Floats, Frame
from flows.logic.bandit.settings import ACTION_FEATURES_MAX, ARMS_MAX, FEATURES_MAX, Action, Settings
from schemas.errors import Foreign

BYTES_MAX = 16 * 1024 * 1024
_FORMAT = 1
_ACTION_SETS_MAX = 1_024  # sets of actions whose rows are remembered
_JITTER = 1e-9  # on the diagonal of a covariance that single precision may have made slightly indefinite


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A learner at one moment. Arrays are little-endian bytes: doubles; `covariances` in single precision."""

    format: int = _FORMAT
    model: str
    version: int
    settings: Settings
    features: tuple[str, ...]
    actions: tuple[str, ...]
    action_features: int  # that a shared model looks at
    means: bytes
    inverse_deviations: bytes
    weights: bytes  # (rows, d), where d counts the intercept
    covariances: bytes  # (rows, d * (d + 1) / 2)
    prior_mean: bytes  # (d,): of an action that the learner does not know yet
    prior_precision: bytes  # (d,)
    noise: float  # deviation of the reward around its mean; 1 for log-odds
    examples: int
    trained_ms: int
    metrics: dict[str, float]

    def pack(self) -> bytes:
        """Return the packed form: the same snapshot is always the same bytes."""
        return _encoder.encode(self)

    @property
    def digest(self) -> str:
        """The name of the content: SHA-256 of the packed form, 64 hex digits."""
        return sha256(self.pack()).hexdigest()


class Decider:
    """Decides with one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Unpack the arrays. Raises `Foreign` where they do not fit together or hold numbers that are not
        finite."""
        self.snapshot = snapshot
        self._shared = snapshot.settings.shared
        self._width = 1 + snapshot.action_features if self._shared else 1
        features, rows = len(snapshot.features), 1 if self._shared else len(snapshot.actions)
        d = (1 + features) * self._width
        self._frame = Frame(self._array("means", (features,)), self._array("inverse_deviations", (features,)))
        self._weights = self._array("weights", (rows, d))
        halves = self._array("covariances", (rows, d * (d + 1) // 2), "<f4")
        self._rows_by_names: dict[tuple[str, ...], NDArray[np.intp]] = {}
        self._prior_mean = self._array("prior_mean", (d,))
        prior_variance = 1.0 / self._array("prior_precision", (d,))
        self._rows = {name: row for row, name in enumerate(snapshot.actions)}
        upper = np.triu_indices(d)
        self._pairs = upper[0] * d + upper[1]
        if self._shared:
            full = np.zeros((d, d))
            full[upper] = halves[0] / np.where(upper[0] == upper[1], 1.0, 2.0)
            full = full + full.T - np.diag(full.diagonal())
            self._block = full.reshape(1 + features, self._width, 1 + features, self._width)
        else:  # the last row is an action that nobody knows: the prior
            prior = np.diag(prior_variance)[upper].astype(np.float32)
            self._halves = np.concatenate((halves, prior[None]))
            self._weights = np.concatenate((self._weights, self._prior_mean[None]))
        self._noise = snapshot.noise

    @classmethod
    def from_snapshot(cls, body: bytes, features: tuple[str, ...] | None = None) -> "Decider":
        """Make one of a packed snapshot whose signature was verified.

        Raises `Foreign` when it is not a snapshot, is damaged, or was made for other features than
        `features`.
        """
        if len(body) > BYTES_MAX:
            raise Foreign(f"a bandit snapshot of {len(body)} bytes is larger than {BYTES_MAX}")
        try:
            snapshot = _decoder.decode(body)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Foreign(f"not a bandit snapshot: {error}") from error
        if snapshot.format != _FORMAT:
            raise Foreign(
                f"bandit {snapshot.model}: snapshot format {snapshot.format}, this release reads {_FORMAT}"
            )
        if features is not None and snapshot.features != features:
            raise Foreign(
                f"bandit {snapshot.model}: snapshot has features {snapshot.features}, expected {features}"
            )
        too_many = len(snapshot.features) > FEATURES_MAX or len(snapshot.actions) > ARMS_MAX
        if too_many or snapshot.action_features > ACTION_FEATURES_MAX:
            raise Foreign(
                f"bandit {snapshot.model}: snapshot has more features or actions than this release takes"
            )
        return cls(snapshot)

    @property
    def version(self) -> int:
        return self.snapshot.version

    def decide(self, context: Sequence[float], action_set: ActionSet, draw: float) -> Choice:
        """Choose among the eligible actions of `action_set` by `draw`, uniform in [0, 1).

        A feature that is NaN counts as average. An action that the snapshot does not know is believed to be
        what the prior says. Raises `ValueError` without actions, or with another number of features.
        """
        if len(context) != len(self.snapshot.features):
            raise ValueError(
                f"a context of {len(context)} features, the model has {len(self.snapshot.features)}"
            )
        forecast = self.forecast(np.array(context, dtype=np.float64), action_set)
        return choose(forecast, action_set, self.snapshot.settings, draw)

    def forecast(self, context: Floats, action_set: ActionSet) -> Forecast:
        """Return what the snapshot believes of each action in this context."""
        z = self._frame.place(context)
        if self._shared:
            return shared_forecast(
                z, self._weights[0], self._block, described(action_set.actions, self._width), self._noise
            )
        single = z.astype(np.float32)
        variances = self._halves @ np.multiply.outer(single, single).ravel().take(self._pairs)
        means = self._weights @ z
        rows = self._rows_of(action_set.names)
        return Forecast(means.take(rows), np.sqrt(np.maximum(variances.take(rows), 0.0)) * self._noise)

    def _rows_of(self, names: tuple[str, ...]) -> NDArray[np.intp]:
        rows = self._rows_by_names.get(names)
        if rows is None:
            if len(self._rows_by_names) >= _ACTION_SETS_MAX:
                self._rows_by_names.clear()
            rows = self._rows_by_names[names] = np.array(
                [self._rows.get(name, -1) for name in names], dtype=np.intp
            )
        return rows

    def _array(self, field: str, shape: tuple[int, ...], kind: str = "<f8") -> Floats:
        try:
            array: Floats = np.frombuffer(getattr(self.snapshot, field), dtype=kind).reshape(shape)
        except ValueError as error:
            raise Foreign(
                f"bandit {self.snapshot.model}: {field} of the snapshot has not the shape {shape}"
            ) from error
        if not np.isfinite(array).all():
            raise Foreign(
                f"bandit {self.snapshot.model}: {field} of the snapshot has numbers that are not finite"
            )
        return array


def halves(covariances: Floats) -> NDArray[np.float32]:
    """Return the upper triangles, off the diagonal doubled: shape (rows, d, d) to (rows, d * (d + 1) / 2)."""
    d = covariances.shape[1]
    upper = np.triu_indices(d)
    return (covariances[:, upper[0], upper[1]] * np.where(upper[0] == upper[1], 1.0, 2.0)).astype("<f4")


def described(actions: Sequence[Action], width: int) -> Floats:
    """Return 1 and the features of each action, shape (k, width); those that are missing are 0, those too
    many are left out."""
    return np.array([(1.0, *action.features, *[0.0] * width)[:width] for action in actions])


def shared_forecast(z: Floats, weights: Floats, block: Floats, described: Floats, noise: float) -> Forecast:
    """Return scores f @ (W.T @ z) of actions with features f, jointly normal through the few weights that z
    leaves to choose."""
    width = described.shape[1]
    covariance = np.einsum("i,imjn,j->mn", z, block, z, optimize=True)
    root = np.linalg.cholesky(covariance + _JITTER * (1.0 + covariance.trace()) * np.eye(width))
    roots = described @ root * noise
    return Forecast(described @ (z @ weights.reshape(-1, width)), np.sqrt((roots * roots).sum(axis=1)), roots)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)
