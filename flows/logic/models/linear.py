"""A linear binary model as plain numbers: the snapshot that the trainer announces, and the scorer that the shards use.

River's `StandardScaler | LogisticRegression` computes sigmoid(intercept + sum of weight * (x - mean) / deviation). The
scorer folds mean and deviation into the weights once, so that a score is one dot product. No pickle anywhere.
"""

from collections.abc import Sequence
from hashlib import sha256
from math import exp, isfinite
from operator import mul

import msgspec

from schemas.errors import Foreign

SNAPSHOT_BYTES_MAX = 16 * 1024 * 1024
_FORMAT = 1
_LOGIT_MAX = 700.0  # exp(709.8) is the last that a double holds


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A model at one moment. Lists follow `features`; a deviation of 0 is a feature that never varied and is ignored."""

    format: int = _FORMAT
    model: str
    version: int
    features: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    examples: int  # learnt so far
    trained_ms: int  # when the last of them was answered, Unix milliseconds
    metrics: dict[str, float]

    def pack(self) -> bytes:
        """The same snapshot is always the same bytes."""
        return _encoder.encode(self)

    @property
    def digest(self) -> str:
        """Names the content: SHA-256 of the packed form, 64 hex digits."""
        return sha256(self.pack()).hexdigest()


class Scorer:
    """Scores with one snapshot. Features are positional; their order is the snapshot's."""

    __slots__ = ("_bias", "_weights", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        pairs = zip(snapshot.weights, snapshot.deviations, strict=True)
        self._weights = tuple(weight / deviation if deviation else 0.0 for weight, deviation in pairs)
        self._bias = snapshot.intercept - sum(map(mul, self._weights, snapshot.means))

    @classmethod
    def from_snapshot(cls, body: bytes, features: tuple[str, ...] | None = None) -> "Scorer":
        """From a packed snapshot whose signature was verified.

        Raises `Foreign` when it is no snapshot, is damaged, or was made for other features than `features`.
        """
        if len(body) > SNAPSHOT_BYTES_MAX:
            raise Foreign(f"a model snapshot of {len(body)} bytes is larger than {SNAPSHOT_BYTES_MAX}")
        try:
            snapshot = _decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise Foreign(f"not a model snapshot: {error}") from error
        if snapshot.format != _FORMAT:
            raise Foreign(f"model {snapshot.model}: snapshot format {snapshot.format}, this release reads {_FORMAT}")
        if features is not None and snapshot.features != features:
            raise Foreign(f"model {snapshot.model}: snapshot has features {snapshot.features}, expected {features}")
        columns = (snapshot.means, snapshot.deviations, snapshot.weights)
        if any(len(column) != len(snapshot.features) for column in columns):
            raise Foreign(f"model {snapshot.model}: snapshot lists differ in length")
        if not all(map(isfinite, (snapshot.intercept, *snapshot.means, *snapshot.deviations, *snapshot.weights))):
            raise Foreign(f"model {snapshot.model}: snapshot has numbers that are not finite")
        return cls(snapshot)

    @property
    def version(self) -> int:
        return self.snapshot.version

    def score(self, features: Sequence[float]) -> float:
        """The probability, 0 to 1, of finite `features`."""
        logit = sum(map(mul, self._weights, features), self._bias)
        if logit < -_LOGIT_MAX:
            return 0.0
        return 1.0 / (1.0 + exp(-logit))

    def explain(self, features: Sequence[float]) -> list[tuple[str, float]]:
        """What each feature adds to the logit against the average customer, the largest effect first.

        The contributions and the intercept sum to the logit of `score`.
        """
        known = self.snapshot
        parts = zip(known.features, features, known.means, self._weights, strict=True)
        contributions = [(name, (value - mean) * weight) for name, value, mean, weight in parts]
        return sorted(contributions, key=lambda item: (-abs(item[1]), item[0]))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)
