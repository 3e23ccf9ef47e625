"""Learns a binary model from examples with delayed answers: champion and challengers side by side on the same
stream.

For each example all learners predict, then all learn; only the champion's predictions count and go into
snapshots. A challenger takes its place when it wins a `Duel`. A trainer is a function of the examples in
their order: it reads no clock and draws no random number, learns in blocks that end at fixed numbers of
examples, and gives snapshots at such numbers too. So the same lanes give the same snapshots, whenever and
however often it was stopped in between.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import log
from typing import Literal

import msgspec
import numpy as np

from flows.logic.models.adagrad import AdaGrad
from flows.logic.models.anomaly import Usual
from flows.logic.models.binary_checkpoint import SideState, TrainerState, VersionState
from flows.logic.models.binary_learner import Array, Learner
from flows.logic.models.calibration import Calibration
from flows.logic.models.drift import ERROR, Watch
from flows.logic.models.duel import Contested
from flows.logic.models.linear import Snapshot, probability
from flows.logic.models.newton import BLOCK, Newton
from flows.logic.models.order_value import OrderValueModel
from flows.logic.models.progress import Progress
from flows.logic.models.trainer import unreadable
from schemas.errors import Foreign
from schemas.wire.triggers import UNANSWERED, Example

SNAPSHOT_FIRST = 50  # examples: before that a score says next to nothing
SNAPSHOT_EVERY = 500  # examples
# magnitude: all honest features are logarithms or small counts, and squares must stay finite
FEATURE_MAX = 1e6
FORGET_SHARE = 0.2  # of the evidence that is kept when the error drifts and the model is to forget
CONFIRMED_LEAST = 20  # answers of yes, and an unsupervised model scores by what it has learnt from answers
HISTORY = 200  # snapshots whose figures are remembered
UNSUPERVISED = "unusual"  # the learner of a snapshot that needed no answers
_EIGHTH = 4  # 2 ** (bits - 4) is an eighth of the largest power of two in a number
_PROBABILITY_LEAST = 1e-6  # whatever the past, nothing is certain: a wrong answer costs 13.8 at most

Fault = Literal[
    "undecodable",  # not an example at all
    "features_count",  # asked by a release with fewer or more features
    "feature_range",  # NaN, infinite or beyond `FEATURE_MAX`
    "label_range",  # neither 0 nor 1
]


class BinaryTrainer(Contested):
    """The trainer of one binary model."""

    def __init__(
        self,
        name: str,
        features: tuple[str, ...],
        learning_rate: float,
        *,
        first: int = SNAPSHOT_FIRST,
        every: int = SNAPSHOT_EVERY,
        positive_weight: float = 1.0,
        forget_on_drift: bool = False,
        unsupervised: Sequence[str] = (),
        bent: Sequence[bool] | None = None,
    ) -> None:
        """Give a snapshot after `first` examples, and after each `every`.

        `learning_rate` is the challenger's. `positive_weight`: how much more a true answer counts in learning
        (probabilities are corrected for it). `unsupervised`: until enough answers are yes it says how unusual
        an example is in these features. `bent`: features whose effect may be other than a straight line;
        without it all.
        """
        self.name = name
        self.features = features
        self.version = 0  # of the last snapshot
        self.examples = 0  # taken; those of an unfinished block have been predicted and wait to be learnt
        self.trained_ms = 0
        self.dropped: Counter[str] = Counter()
        self.drifts: Counter[str] = Counter()  # how often what has drifted
        self.served = Progress()  # what the shards had said when they asked
        # answers, by the binary logarithm of the seconds that they took (0: less than one)
        self.delays: Counter[int] = Counter()
        # examples and contest at the last snapshots, oldest first
        self.history: list[tuple[int, dict[str, float]]] = []
        self._first, self._every = first, every
        self._positive_weight = positive_weight
        self._forget_on_drift = forget_on_drift
        self._size = features.index("order_size") if name == "purchase" else None
        learners: tuple[Learner, ...] = (Newton(len(features), bent), AdaGrad(len(features), learning_rate))
        self._learners = {learner.name: learner for learner in learners}
        super().__init__(self._learners)
        self._calibrations = {name: Calibration() for name in self._learners}
        self._progress = {name: Progress() for name in self._learners}
        self._watch = Watch(self.features)
        self._confirmed = 0  # answers of yes
        self._order_values = OrderValueModel()
        self._usual = Usual.of(len(features), [*map(features.index, unsupervised)]) if unsupervised else None
        # features, answer, logit of each learner
        self._block: list[tuple[list[float], bool, list[float]]] = []

    @property
    def progressive(self) -> Progress:
        """How good the champion was just before it learnt the answers."""
        return self._progress[self.champion]

    def learn(self, examples: Iterable[Example | None]) -> list[Snapshot]:
        """Learn in this order (`None` is one that could not be decoded); return the snapshots that fell
        due."""
        snapshots: list[Snapshot] = []
        chunk: list[Example] = []
        for example in self._good(examples):
            asked = example.label == UNANSWERED
            if not asked:
                chunk.append(example)
            if chunk and (asked or len(chunk) == self._room()):
                snapshots += self._learn_chunk(chunk)
                chunk = []
            if asked and self._usual is not None:
                self._usual.see(example.features)
                if self._by_itself and self._tells_more(self._usual.count):
                    snapshots.append(self.next_snapshot())
        return snapshots + self._learn_chunk(chunk)

    def _learn_chunk(self, chunk: list[Example]) -> list[Snapshot]:
        """Learn what fits into a block and between two snapshots."""
        if not chunk:
            return []
        self._take(chunk)
        due = self._falls_due(self.examples)
        if due or self.examples % BLOCK == 0:
            self._learn_block()
        return [self.next_snapshot()] if due else []

    def next_snapshot(self) -> Snapshot:
        """Return one more version, of what is known now."""
        self.version += 1
        losses = {name: side.get("log_loss", 0.0) for name, side in self.contest().items()}
        self.history = [*self.history[-HISTORY + 1 :], (self.examples, losses)]
        return self.snapshot()

    @property
    def _by_itself(self) -> bool:
        """Whether it still has to do without answers."""
        return self._usual is not None and self._confirmed < CONFIRMED_LEAST

    def _room(self) -> int:
        """Count the examples until a block or a snapshot falls due."""
        ends = [BLOCK - self.examples % BLOCK, self._every - self.examples % self._every]
        if self.examples < self._first:
            ends.append(self._first - self.examples)
        return min(ends)

    def _falls_due(self, count: int) -> bool:
        return count == self._first or count % self._every == 0

    def _tells_more(self, count: int) -> bool:
        """Return whether to say again what is usual. Without answers each purchase is an example: it is said
        when there are about an eighth more of them."""
        step = max(self._every, 1 << max(count.bit_length() - _EIGHTH, 0))
        return count == self._first or count % step == 0

    def _good(self, examples: Iterable[Example | None]) -> Iterable[Example]:
        for example in examples:
            fault = self._fault(example)
            if fault is not None or example is None:
                self.dropped[fault or "undecodable"] += 1
            else:
                yield example

    def _fault(self, example: Example | None) -> Fault | None:
        if example is None:
            return "undecodable"
        if len(example.features) != len(self.features):
            return "features_count"
        if not all(-FEATURE_MAX <= value <= FEATURE_MAX for value in example.features):
            return "feature_range"
        if example.label == UNANSWERED and self._usual is not None:
            return None
        return None if example.label in (0.0, 1.0) else "label_range"

    def _take(self, chunk: list[Example]) -> None:
        """Predict these; nothing is learnt yet."""
        said = self._logits([example.features for example in chunk])
        for example, logits in zip(chunk, zip(*said, strict=True), strict=True):
            answer = example.label == 1.0
            self._block.append((example.features, answer, list(logits)))
            for (name, progress), logit in zip(self._progress.items(), logits, strict=True):
                progress.add(answer, _held(self._calibrations[name].corrected(logit)))
            if example.predicted is not None and 0.0 <= example.predicted <= 1.0:
                self.served.add(answer, example.predicted)
            if answer:
                self._confirmed += 1
                if self._size is not None and example.amount > 0.0:
                    self._order_values.learn(example.features[self._size], example.amount)
            delay_s = max(example.answered_ms - example.asked_ms, 0) // 1000
            self.delays[delay_s.bit_length()] += 1
            self.examples += 1
            self.trained_ms = max(self.trained_ms, example.answered_ms)

    def _learn_block(self) -> None:
        features, answers, logits = zip(*self._block, strict=True)
        rows, truth = np.array(features), np.array(answers, float)
        losses = {}
        for place, (name, learner) in enumerate(self._learners.items()):
            said = [each[place] for each in logits]
            calibration = self._calibrations[name]
            pairs = zip(said, answers, strict=True)
            losses[name] = [_loss(calibration.corrected(logit), answer) for logit, answer in pairs]
            calibration.learn(said, list(answers))
            learner.learn(rows, truth, np.where(truth > 0.5, self._positive_weight, 1.0))
        champions = losses[self.champion]
        drifted = self._watch.see(sum(champions) / len(champions), rows.mean(axis=0).tolist())
        self.drifts.update(drifted)
        if self._forget_on_drift and ERROR in drifted:
            for learner in self._learners.values():
                learner.forget(FORGET_SHARE)
        self._block = []
        self.judge(losses)

    def _logits(self, rows: Sequence[Sequence[float]] | Array) -> list[list[float]]:
        """Return what each learner says, not corrected."""
        matrix = np.array(rows, float)
        return [learner.logits(matrix).tolist() for learner in self._learners.values()]

    def probability(self, features: Iterable[float]) -> float:
        """Return what the champion says now."""
        return self.probabilities([list(features)])[self.champion][0]

    def probabilities(self, rows: Sequence[Sequence[float]] | Array) -> dict[str, list[float]]:
        """Return what each learner says now of each row."""
        found = {}
        for name, logits in zip(self._learners, self._logits(rows), strict=True):
            corrected = self._calibrations[name].corrected
            found[name] = [_held(corrected(logit)) for logit in logits]
        return found

    def figures(self) -> dict[str, float]:
        """Return the progressive figures, those of the served predictions behind `served_` (see
        `Progress.figures`), and `delay_s`: what half of the answers took at most, to the next power of
        two."""
        served = {f"served_{name}": value for name, value in self.served.figures().items()}
        delay = {"delay_s": self._delay_s()} if self.delays else {}
        return self.progressive.figures() | served | delay

    def _delay_s(self) -> float:
        rest = self.delays.total() / 2
        for bucket in sorted(self.delays):
            rest -= self.delays[bucket]
            if rest <= 0:
                break
        return float(1 << bucket)

    def contest(self) -> dict[str, dict[str, float]]:
        """Return the progressive figures of all learners."""
        return {name: progress.figures() for name, progress in self._progress.items()}

    def snapshot(self) -> Snapshot:
        """Return the model as it is now, under the last version."""
        if self._usual is not None and self._by_itself:
            terms, learner = self._usual.terms(), UNSUPERVISED
        else:
            calibration, learner = self._calibrations[self.champion], self.champion
            terms = self._learners[learner].terms().scaled(calibration.slope, calibration.shift)
        return Snapshot(
            **msgspec.structs.asdict(terms),
            model=self.name,
            version=self.version,
            features=self.features,
            learner=learner,
            examples=self.examples,
            trained_ms=self.trained_ms,
            metrics=self.figures(),
            order_value=self._order_values.learnt() if self._size is not None else None,
        )

    def dump(self) -> bytes:
        """Return the whole trainer, for a checkpoint.

        It holds pickles: store it signed, and `load` only what was verified.
        """
        state = TrainerState(
            features=self.features,
            _pipeline=b"",
            version=self.version,
            examples=self.examples,
            trained_ms=self.trained_ms,
            dropped=dict(self.dropped),
            served=self.served.answers(),
            champion=self.champion,
            sides={name: self._side(name) for name in self._learners},
            block=self._block,
            watch=self._watch.dump(),
            drifts=dict(self.drifts),
            promotions=self.promotions,
            confirmed=self._confirmed,
            order_values=self._order_values,
            usual=self._usual,
            delays=dict(self.delays),
            history=self.history,
            request=self.request,
        )
        return msgspec.msgpack.encode(state)

    def _side(self, name: str) -> SideState:
        return SideState(
            learner=self._learners[name].dump(),
            calibration=self._calibrations[name],
            progress=self._progress[name].answers(),
            duel=self._duels[name],
        )

    def load(self, body: bytes) -> bool:
        """Become what `dump` gave, with the learning rate that is configured now. Raises `Foreign`.

        Returns False if that had other features: then learning starts afresh, and versions go on counting.
        """
        try:
            known = msgspec.msgpack.decode(body, type=VersionState)
            if known.features != self.features:
                self.version = known.version
                return False
            state = msgspec.msgpack.decode(body, type=TrainerState)
        except msgspec.MsgspecError as error:
            raise unreadable(self.name, error) from error
        if state.champion not in self._learners or set(state.sides) != set(self._learners):
            raise Foreign(
                f"model {self.name}: the checkpoint has learners {sorted(state.sides)},"
                f" expected {sorted(self._learners)}"
            )
        self._become(state)
        return True

    def _become(self, state: TrainerState) -> None:
        """Take over a state. Raises `Foreign`."""
        for name, side in state.sides.items():
            self._learners[name].load(side.learner)
            self._calibrations[name] = side.calibration
            self._progress[name] = Progress(side.progress)
            self._duels[name] = side.duel
        self._watch.load(state.watch)
        self._block = state.block
        self.version = state.version
        self.examples = state.examples
        self.trained_ms = state.trained_ms
        self.dropped = Counter(state.dropped)
        self.drifts = Counter(state.drifts)
        self.delays = Counter(state.delays)
        self.history = state.history
        self.served = Progress(state.served)
        self.champion = state.champion
        self.promotions = state.promotions
        self.request = state.request
        self._confirmed = state.confirmed
        self._order_values = state.order_values
        if self._usual is not None and state.usual is not None:
            self._usual = state.usual


def _held(logit: float) -> float:
    return min(max(probability(logit), _PROBABILITY_LEAST), 1.0 - _PROBABILITY_LEAST)


def _loss(logit: float, answer: bool) -> float:
    said = _held(logit)
    return -log(said if answer else 1.0 - said)
