"""Logistic regression that learns online like a batch one: a Newton step for each block of answers, over all
that came before.

For a block with basis F (one row of each example), answers y and predictions p:

    precision <- fading · precision + Fᵀ diag(p (1 - p)) F
    weights <- weights + (precision + ridge)⁻¹ Fᵀ (y - p)

which is the extended Kalman filter of a logistic model in its information form (Ollivier 2018, "Online
natural gradient as a Kalman filter"; de Vilmarest and Wintenberger 2021, "Stochastic online optimization
using Kalman recursion"). There is no learning rate, and the scale of a feature does not matter. The first
answers are kept and fitted together now and then, as a batch model would: one pass over a few hundred learns
too little of them. Each feature enters as itself and bent at a few points (a linear spline), in deviations
from its mean and clipped; so effects need not be straight and no value is an outlier.

Means and deviations are held still while weights are learnt in them, and taken again each time there are a
twentieth more examples: what a memory says of the latest rows is then said in the new frame, with the same
evidence spread over them.

Several memories learn side by side: some never forget, others halve the past after so many answers; some know
bends, others straight lines only. They are mixed by how well each predicted of late. All share one basis, so
the mix is again one vector of weights.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from flows.logic.models.linear import CLIP, KNOTS, Terms
from schemas.errors import Foreign

# how a sum is divided among threads changes its last bits; and these matrices are small
threadpool_limits(1, "blas")

Array = NDArray[np.float64]

BLOCK = 25  # answers of one Newton step
KEPT = 2_000  # first answers that are fitted together
LATEST = 1_000  # rows that a new frame is fitted on
# times as many examples, and a new frame is taken: a step too far costs much while answers of yes are few
_GROWN = 1.05
_ROUNDS = 4  # Newton steps over the kept answers; each begins where the last one ended
_HELD = 1e-3  # of the prior, while what was known is put into a new frame
RIDGE = 1.0  # precision of the prior on each weight, in deviations
RIDGE_BENT = 20.0  # on each bend: straight until the data say otherwise
RIDGE_STRAIGHT = 1e9  # on each bend of a memory that knows straight lines only
# answers after which half is forgotten; bends
MEMORIES = (
    (np.inf, RIDGE_STRAIGHT),
    (200_000.0, RIDGE_BENT),
    (20_000.0, RIDGE_STRAIGHT),
)
_HALVINGS_MOST = 8
_MOVED_MOST = 1.0  # by how much one block may move the logit of any of its rows
_JUDGED = 4_000.0  # answers after which a memory's loss counts half in the mix
_LOGIT_MAX = 30.0
_VARIANCE_LEAST = 1e-18  # relative to the mean's square: below it a feature has never varied


class _State(msgspec.Struct, array_like=True):
    count: int
    mean: bytes
    squares: bytes
    weights: bytes
    precision: bytes  # lower triangles
    losses: bytes
    kept: list[bytes]  # rows, answers and stress of the first answers; later the latest rows alone
    # mean and deviation; older releases had none, each answer moved it
    frame: tuple[bytes, bytes] | None = None
    due: int = 0  # examples when the next one is


class Newton:
    """`width` features; those that are not `bent` (indicators) enter as they are only."""

    name = "newton"

    def __init__(
        self,
        width: int,
        bent: Sequence[bool] | None = None,
        memories: Sequence[tuple[float, float]] = MEMORIES,
    ) -> None:
        self._bent = np.flatnonzero(np.ones(width, bool) if bent is None else np.asarray(bent, bool))
        self._decay = [0.5 ** (1.0 / half_life) for half_life, _ in memories]
        size = 1 + width + len(KNOTS) * len(self._bent)
        self._ridge = [
            np.diag(np.r_[np.full(1 + width, RIDGE), np.full(size - 1 - width, bends)])
            for _, bends in memories
        ]
        self._count = 0
        self._mean, self._squares = np.zeros(width), np.zeros(width)
        self._weights = np.zeros((len(memories), size))
        self._precision = np.zeros((len(memories), size, size))
        self._losses = np.zeros(len(memories))
        self._kept: list[Array] = [np.zeros((0, width)), np.zeros(0), np.zeros(0)]
        self._due = 0
        self._take_frame()
        self._mix()

    def logits(self, rows: Array) -> Array:
        """Return what it says of each row.

        A row's logit is the same in whatever company it comes: no matrix product, whose order of adding
        depends on the shape.
        """
        return np.asarray((self._basis(rows) * self._mixed).sum(axis=1))

    def learn(self, rows: Array, answers: Array, stress: Array) -> None:
        """Learn one block. `stress` is how much each answer counts."""
        self._judge(rows, answers, stress)
        self._measure(rows)
        first = self._count <= KEPT
        if first:
            block = zip(self._kept, (rows, answers, stress), strict=True)
            self._kept = [np.concatenate(both) for both in block]
        else:
            kept_rows, *rest = self._kept
            latest = np.concatenate((kept_rows, rows))[-LATEST:]
            self._kept = [latest, *(part[:0] for part in rest)]
            self._step(rows, answers, stress, whole=False)
        if self._count >= self._due:
            self._due = int(self._count * _GROWN)
            if first:
                self._take_frame()
                self._fit()
            else:
                self._carry_over()
        elif first:
            self._step(rows, answers, stress, whole=False)
        self._mix()

    def _fit(self) -> None:
        """Fit all answers so far together."""
        for _ in range(_ROUNDS):
            self._precision[:] = 0.0
            self._step(*self._kept, whole=True)

    def _carry_over(self) -> None:
        """Change into a new frame.

        Each memory's weights are found by weighted least squares on what it says of the latest rows, and as
        much evidence as it had (the intercept's counts it all) is spread over them.
        """
        rows = self._kept[0]
        said, evidence = self._basis(rows) @ self._weights.T, self._precision[:, 0, 0].copy()
        self._take_frame()
        basis = self._basis(rows)
        for member, logits in enumerate(said.T):
            sure = _sigmoid(logits)
            weight = sure * (1.0 - sure)
            spread = basis.T @ (basis * weight[:, None])
            held = spread + _HELD * self._ridge[member]
            self._weights[member] = np.linalg.solve(held, basis.T @ (weight * logits))
            self._precision[member] = _symmetric(spread * (evidence[member] / weight.sum()))

    def _judge(self, rows: Array, answers: Array, stress: Array) -> None:
        """Note how likely each memory found these answers, before it learns them."""
        logits = self._basis(rows) @ self._weights.T
        for member in range(len(self._decay)):
            fresh = _loss(_sigmoid(logits[:, member]), answers, stress)
            self._losses[member] = self._losses[member] * 0.5 ** (len(rows) / _JUDGED) + fresh

    def _step(self, rows: Array, answers: Array, stress: Array, *, whole: bool) -> None:
        """Take one Newton step of each memory.

        Where the rows are the `whole` past, its prior pulls at the weights, and the step is halved until it
        is one downhill; where they are a block, the rest of the past is in the precision, and no answer of
        the block may be moved too far at once. (A full Newton step of a logistic model can overshoot without
        end.)
        """
        basis = self._basis(rows)
        for member, decay in enumerate(self._decay):
            weights, prior = self._weights[member], np.diag(self._ridge[member])
            said = _sigmoid(basis @ weights)
            towards = basis.T @ (stress * (answers - said))
            if whole:
                towards -= prior * weights
            evidence = basis.T @ (basis * (stress * said * (1.0 - said))[:, None])
            grown = decay ** len(rows) * self._precision[member] + evidence
            self._precision[member] = _symmetric(grown)
            step = np.linalg.solve(self._precision[member] + self._ridge[member], towards)
            if whole:
                self._weights[member] = _downhill(basis, answers, stress, prior, weights, step)
            else:
                moved = np.abs(basis @ step).max()
                self._weights[member] = weights + step * min(1.0, _MOVED_MOST / (moved + 1e-12))

    def forget(self, share: float) -> None:
        """Keep this share of the evidence (after a drift): the weights stay, and move faster."""
        self._precision *= share

    def terms(self) -> Terms:
        """Return what was learnt, as plain numbers."""
        width = len(self._mean)
        bends = np.zeros((len(KNOTS), width))
        bends[:, self._bent] = self._mixed[1 + width :].reshape(len(KNOTS), -1)
        return Terms(
            means=tuple(self._centre.tolist()),
            deviations=tuple(self._deviation.tolist()),
            weights=tuple(self._mixed[1 : 1 + width].tolist()),
            bends=tuple(map(tuple, bends.tolist())),
            intercept=float(self._mixed[0]),
        )

    def dump(self) -> bytes:
        """Return all of it, for a checkpoint."""
        lower = np.tril_indices(self._weights.shape[1])
        state = _State(
            count=self._count,
            mean=_packed(self._mean),
            squares=_packed(self._squares),
            weights=_packed(self._weights),
            precision=_packed(self._precision[:, *lower]),
            losses=_packed(self._losses),
            kept=[_packed(part) for part in self._kept],
            frame=(_packed(self._centre), _packed(self._deviation)),
            due=self._due,
        )
        return msgspec.msgpack.encode(state)

    def load(self, body: bytes) -> None:
        """Become what `dump` gave. Raises `Foreign` for anything else."""
        try:
            self._become(msgspec.msgpack.decode(body, type=_State))
        except (msgspec.MsgspecError, ValueError) as error:
            raise Foreign(f"a {self.name} learner cannot be loaded: {error}") from error
        self._mix()

    def _become(self, state: _State) -> None:
        """Take over a state. Raises `ValueError` for arrays of another shape."""
        width = self._mean.shape
        self._mean = _array(state.mean, width)
        self._squares = _array(state.squares, width)
        self._weights = _array(state.weights, self._weights.shape)
        self._losses = _array(state.losses, self._losses.shape)
        precision = np.zeros_like(self._precision)
        lower = np.tril_indices(self._weights.shape[1])
        precision[:, *lower] = _array(state.precision, (len(self._losses), -1))
        rows, answers, stress = state.kept
        kept = [_array(rows, (-1, *width)), _array(answers, (-1,)), _array(stress, (-1,))]
        frame = [_array(part, width) for part in state.frame or ()]
        self._precision = np.where(precision == 0.0, precision.transpose(0, 2, 1), precision)
        self._count, self._kept, self._due = state.count, kept, state.due
        if frame:
            self._set_frame(*frame)
        else:
            self._take_frame()
            self._due = self._count + LATEST  # the rows to fit a new one on are not kept yet

    def _measure(self, rows: Array) -> None:
        """Update the running mean and the sum of squared deviations (Chan et al. 1979)."""
        added = len(rows)
        mean = rows.mean(axis=0)
        total = self._count + added
        away = mean - self._mean
        self._squares += ((rows - mean) ** 2).sum(axis=0) + away**2 * (self._count * added / total)
        self._mean = self._mean + away * (added / total)
        self._count = total

    def _take_frame(self) -> None:
        variance = self._squares / max(self._count, 1)
        varies = variance > _VARIANCE_LEAST * (1.0 + self._mean**2)
        self._set_frame(self._mean.copy(), np.where(varies, np.sqrt(variance), 0.0))

    def _set_frame(self, centre: Array, deviation: Array) -> None:
        self._centre, self._deviation = centre, deviation
        self._inverse = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0.0)

    def _basis(self, rows: Array) -> Array:
        z = np.clip((rows - self._centre) * self._inverse, -CLIP, CLIP)
        bent = z[:, self._bent]
        splines = [np.maximum(bent, knot) - max(knot, 0.0) for knot in KNOTS]
        return np.concatenate([np.ones((len(z), 1)), z, *splines], axis=1)

    def _mix(self) -> None:
        """Combine what the memories say: each weighs as much as its latest predictions were likely."""
        likely = np.exp(self._losses.min() - self._losses)
        self._mixed = np.asarray((self._weights * (likely / likely.sum())[:, None]).sum(axis=0))


def _packed(part: Array) -> bytes:
    return part.astype("<f8").tobytes()


def _array(packed: bytes, shape: tuple[int, ...]) -> Array:
    return np.frombuffer(packed, "<f8").astype(float).reshape(shape)


def _symmetric(matrix: Array) -> Array:
    """Return the lower triangle on both sides, as it comes back from a checkpoint."""
    return np.asarray(np.tril(matrix) + np.tril(matrix, -1).T)


def _sigmoid(logits: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -_LOGIT_MAX, _LOGIT_MAX))))


def _downhill(
    basis: Array, answers: Array, stress: Array, prior: Array, weights: Array, step: Array
) -> Array:
    """Return the weights after the longest of step, step ÷ 2, ... that lowers the loss; where none does, they
    are where they should be."""

    def height(at: Array) -> float:
        return _loss(_sigmoid(basis @ at), answers, stress) + 0.5 * float((prior * at * at).sum())

    here = height(weights)
    for halvings in range(_HALVINGS_MOST):
        further = np.asarray(weights + step * 0.5**halvings)
        if height(further) < here:
            return further
    return weights


def _loss(said: Array, answers: Array, stress: Array) -> float:
    return float(-(stress * np.log(np.where(answers > 0.5, said, 1.0 - said))).sum())
