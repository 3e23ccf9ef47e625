"""An additive binary model as plain numbers: the snapshot that the trainer announces, and the scorer that a
shard uses.

    logit = intercept + Σ over features of
                weight · z + Σ over `KNOTS` of bend · (max(z, knot) - max(0, knot))

where z = (x - mean) ÷ deviation, within ±`CLIP`. So the intercept is the logit of a customer who is average
in everything.

Each feature's part is a line with a few bends, so what it adds to a logit can be said exactly. No pickle, no
River.
"""

from bisect import bisect_right
from collections.abc import Sequence
from hashlib import sha256
from math import exp, isfinite

import msgspec

from flows.logic.models.order_value import OrderValue
from schemas.errors import Foreign

SNAPSHOT_BYTES_MAX = 16 * 1024 * 1024
KNOTS = (-1.0, 0.0, 1.0)  # deviations from the mean
CLIP = 6.0  # deviations; nothing further out says more
_FORMAT = 2
_LOGIT_MAX = 700.0  # exp(709.8) is the last that a double holds


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a learner has learnt. Lists follow the features; a deviation of 0 is a feature that never varied
    and is ignored."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]  # per deviation
    bends: tuple[tuple[float, ...], ...] = ()  # for each of `KNOTS`, or none at all
    intercept: float

    def scaled(self, slope: float, shift: float) -> "Terms":
        """Return the terms of slope · logit + shift."""
        return Terms(
            means=self.means,
            deviations=self.deviations,
            weights=tuple(slope * weight for weight in self.weights),
            bends=tuple(tuple(slope * bend for bend in bends) for bends in self.bends),
            intercept=slope * self.intercept + shift,
        )


class Snapshot(Terms, frozen=True, kw_only=True):
    """A model at one moment."""

    format: int = _FORMAT
    model: str
    version: int
    features: tuple[str, ...]
    learner: str  # who of those that learn side by side is the champion
    examples: int  # learnt so far
    trained_ms: int  # when the last of them was answered, Unix milliseconds
    metrics: dict[str, float]
    # of the purchase model: what a purchase brings; the name is that of announced snapshots
    order_value: OrderValue | None = msgspec.field(default=None, name="worth")

    def pack(self) -> bytes:
        """Return the packed form: the same snapshot is always the same bytes."""
        return _encoder.encode(self)

    @property
    def digest(self) -> str:
        """The name of the content: SHA-256 of the packed form, 64 hex digits."""
        return sha256(self.pack()).hexdigest()


class Scorer:
    """Scores with one snapshot. Features are positional; their order is the snapshot's."""

    __slots__ = ("lines", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        columns = zip(snapshot.means, snapshot.deviations, snapshot.weights, *snapshot.bends, strict=True)
        self.lines = [_line(mean, deviation, weight, bends) for mean, deviation, weight, *bends in columns]

    @classmethod
    def from_snapshot(cls, body: bytes, features: tuple[str, ...] | None = None) -> "Scorer":
        """Make one of a packed snapshot whose signature was verified.

        Raises `Foreign` when it is not a snapshot, is damaged, or was made for other features than
        `features`.
        """
        if len(body) > SNAPSHOT_BYTES_MAX:
            raise Foreign(f"a model snapshot of {len(body)} bytes is larger than {SNAPSHOT_BYTES_MAX}")
        try:
            snapshot = _decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise Foreign(f"not a model snapshot: {error}") from error
        if snapshot.format != _FORMAT:
            raise Foreign(
                f"model {snapshot.model}: snapshot format {snapshot.format}, this release reads {_FORMAT}"
            )
        if features is not None and snapshot.features != features:
            raise Foreign(
                f"model {snapshot.model}: snapshot has features {snapshot.features}, expected {features}"
            )
        _check(snapshot)
        return cls(snapshot)

    @property
    def version(self) -> int:
        return self.snapshot.version

    def score(self, features: Sequence[float]) -> float:
        """Return the probability, 0 to 1, of finite `features`."""
        logit = self.snapshot.intercept
        for value, (starts, heights, slopes) in zip(features, self.lines, strict=True):
            piece = bisect_right(starts, value)
            logit += heights[piece] + slopes[piece] * value
        return probability(logit)

    def explain(self, features: Sequence[float]) -> list[tuple[str, float]]:
        """Return what each feature adds to the logit against a customer who is average in it, the largest
        effect first.

        Exact: the contributions and the intercept sum to the logit of `score`.
        """
        known = self.snapshot
        parts = zip(known.features, features, known.means, self.lines, strict=True)
        contributions = [
            (name, _height(line, value) - _height(line, mean)) for name, value, mean, line in parts
        ]
        return sorted(contributions, key=lambda item: (-abs(item[1]), item[0]))


def _check(snapshot: Snapshot) -> None:
    """Refuse a damaged snapshot. Raises `Foreign`."""
    columns = (snapshot.means, snapshot.deviations, snapshot.weights, *snapshot.bends)
    whole = len(snapshot.bends) in (0, len(KNOTS))
    if not whole or any(len(column) != len(snapshot.features) for column in columns):
        raise Foreign(f"model {snapshot.model}: snapshot lists differ in length")
    if snapshot.order_value is not None and not snapshot.order_value.finite:
        raise Foreign(f"model {snapshot.model}: snapshot has amounts that are not finite")
    numbers = (snapshot.intercept, *(value for column in columns for value in column))
    if not all(map(isfinite, numbers)):
        raise Foreign(f"model {snapshot.model}: snapshot has numbers that are not finite")


def probability(logit: float) -> float:
    """Return the logistic function of it, without overflow."""
    return 0.0 if logit < -_LOGIT_MAX else 1.0 / (1.0 + exp(-logit))


# where each piece but the first starts; height at 0 and slope of each piece
_Line = tuple[list[float], list[float], list[float]]


def _line(mean: float, deviation: float, weight: float, bends: Sequence[float]) -> _Line:
    """Return a feature's part in the logit, by its value as it is."""
    if not deviation:
        return [], [0.0], [0.0]
    least = sum(bend * (knot - max(knot, 0.0)) for knot, bend in zip(KNOTS, bends, strict=False))
    starts, heights, slopes = [mean - CLIP * deviation], [least - CLIP * weight], [0.0]
    slope = weight
    for knot, bend in zip((None, *KNOTS), (0.0, *bends), strict=bool(bends)):
        if knot is not None:
            starts.append(mean + knot * deviation)
            slope += bend
        _turn(starts[-1], slope / deviation, heights, slopes)
    starts.append(mean + CLIP * deviation)
    _turn(starts[-1], 0.0, heights, slopes)
    return starts, heights, slopes


def _turn(at: float, slope: float, heights: list[float], slopes: list[float]) -> None:
    """Go on from here with another slope."""
    heights.append(heights[-1] + (slopes[-1] - slope) * at)
    slopes.append(slope)


def _height(line: _Line, value: float) -> float:
    starts, heights, slopes = line
    piece = bisect_right(starts, value)
    return heights[piece] + slopes[piece] * value


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)
