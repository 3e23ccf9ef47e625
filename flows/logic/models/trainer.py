"""The River pipelines: learn examples with their delayed answers, and give snapshots. The table of all models is here.

A trainer is a function of the examples in their order: it reads no clock and draws no random number, and gives
snapshots at fixed numbers of examples. So the same lanes give the same snapshots, whenever and however often it was
stopped in between.
"""

import io
import pickle
from collections import Counter
from collections.abc import Iterable
from typing import Literal

import msgspec
from river import linear_model, optim, preprocessing
from river.compose import Pipeline

from flows.logic.models import churn
from flows.logic.models.linear import Snapshot
from flows.logic.models.progress import Progress
from schemas.config import Rules
from schemas.errors import Foreign
from schemas.triggers import Example

SNAPSHOT_FIRST = 50  # examples: before that a score says next to nothing
SNAPSHOT_EVERY = 500  # examples
FEATURE_MAX = 1e6  # magnitude: all honest features are logarithms or small counts, and squares must stay finite

Fault = Literal[
    "undecodable",  # not an example at all
    "features_count",  # asked by a release with fewer or more features
    "feature_range",  # NaN, infinite or beyond `FEATURE_MAX`
    "label_range",  # neither 0 nor 1
]


class _State(msgspec.Struct, array_like=True):
    """A trainer in a checkpoint. Only the pipeline is a pickle."""

    features: tuple[str, ...]
    pipeline: bytes
    version: int
    examples: int
    trained_ms: int
    dropped: dict[str, int]
    progressive: list[tuple[bool, float]]
    served: list[tuple[bool, float]]


class Trainer:
    """Scaled logistic regression, learning online.

    AdaGrad gives each weight its own pace. Rare answers need no weights or resampling, which would spoil the
    calibration: the intercept learns at the full rate (River's default is five times slower), so that it finds the base
    rate within some hundred examples and follows it when it drifts.
    """

    def __init__(
        self, name: str, features: tuple[str, ...], learning_rate: float, *, first: int = SNAPSHOT_FIRST, every: int = SNAPSHOT_EVERY
    ) -> None:
        """Gives a snapshot after `first` examples, and after each `every`."""
        self.name = name
        self.features = features
        self.version = 0  # of the last snapshot
        self.examples = 0  # learnt
        self.trained_ms = 0
        self.dropped: Counter[str] = Counter()
        self.progressive = Progress()  # what the model said just before it learnt the answer
        self.served = Progress()  # what the shards had said when they asked
        self._learning_rate = learning_rate
        self._first, self._every = first, every
        self._fresh()

    def _fresh(self) -> None:
        self._scaler = preprocessing.StandardScaler()
        self._regression = linear_model.LogisticRegression(
            optimizer=optim.AdaGrad(self._learning_rate), intercept_lr=optim.schedulers.Constant(self._learning_rate)
        )
        self._pipeline = self._scaler | self._regression

    def learn(self, examples: Iterable[Example | None]) -> list[Snapshot]:
        """Learn in this order (`None` is one that could not be decoded); returns the snapshots that fell due."""
        snapshots: list[Snapshot] = []
        for example in examples:
            fault = self._fault(example)
            if fault is not None or example is None:
                self.dropped[fault or "undecodable"] += 1
                continue
            x = dict(zip(self.features, example.features, strict=True))
            answer = example.label == 1.0
            self.progressive.add(answer, self._pipeline.predict_proba_one(x)[True])
            if example.predicted is not None and 0.0 <= example.predicted <= 1.0:
                self.served.add(answer, example.predicted)
            self._pipeline.learn_one(x, answer)
            self.examples += 1
            self.trained_ms = max(self.trained_ms, example.answered_ms)
            if self.examples == self._first or self.examples % self._every == 0:
                self.version += 1
                snapshots.append(self.snapshot())
        return snapshots

    def _fault(self, example: Example | None) -> Fault | None:
        if example is None:
            return "undecodable"
        if len(example.features) != len(self.features):
            return "features_count"
        if not all(-FEATURE_MAX <= value <= FEATURE_MAX for value in example.features):
            return "feature_range"
        if example.label not in (0.0, 1.0):
            return "label_range"
        return None

    def probability(self, features: Iterable[float]) -> float:
        """What the pipeline says now, by River itself."""
        return float(self._pipeline.predict_proba_one(dict(zip(self.features, features, strict=True)))[True])

    def figures(self) -> dict[str, float]:
        """Progressive figures, and those of the served predictions behind `served_` (see `Progress.figures`)."""
        return self.progressive.figures() | {f"served_{name}": value for name, value in self.served.figures().items()}

    def snapshot(self) -> Snapshot:
        weights = self._regression.weights
        return Snapshot(
            model=self.name,
            version=self.version,
            features=self.features,
            means=tuple(self._scaler.means[name] for name in self.features),
            deviations=tuple(self._scaler.vars[name] ** 0.5 for name in self.features),
            weights=tuple(weights.get(name, 0.0) for name in self.features),
            intercept=self._regression.intercept,
            examples=self.examples,
            trained_ms=self.trained_ms,
            metrics=self.figures(),
        )

    def dump(self) -> bytes:
        """The whole trainer, for a checkpoint. It holds a pickle: store it signed, and `load` only what was verified."""
        state = _State(
            features=self.features,
            pipeline=pickle.dumps(self._pipeline, protocol=5),
            version=self.version,
            examples=self.examples,
            trained_ms=self.trained_ms,
            dropped=dict(self.dropped),
            progressive=self.progressive.answers(),
            served=self.served.answers(),
        )
        return msgspec.msgpack.encode(state)

    def load(self, body: bytes) -> bool:
        """Become what `dump` gave, with the learning rate that is configured now. Raises `Foreign`.

        Returns False if that had other features: then learning starts afresh, and versions go on counting.
        """
        try:
            state = msgspec.msgpack.decode(body, type=_State)
        except msgspec.MsgspecError as error:
            raise Foreign(f"model {self.name}: the checkpoint cannot be read by this release: {error}") from error
        self.version = state.version
        self.dropped = Counter(state.dropped)
        if state.features != self.features:
            return False
        self._pipeline = _unpickle(state.pipeline)
        self._scaler, self._regression = self._pipeline.steps.values()
        self._regression.optimizer.lr = optim.schedulers.Constant(self._learning_rate)
        self._regression.intercept_lr = optim.schedulers.Constant(self._learning_rate)
        self.examples, self.trained_ms = state.examples, state.trained_ms
        self.progressive, self.served = Progress(state.progressive), Progress(state.served)
        return True


_PICKLED = {
    ("builtins", "float"),
    ("collections", "Counter"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("river._river_rust.vectordict", "VectorDict"),
    ("river.compose.pipeline", "Pipeline"),
    ("river.linear_model.log_reg", "LogisticRegression"),
    ("river.optim.ada_grad", "AdaGrad"),
    ("river.optim.initializers", "Zeros"),
    ("river.optim.losses", "Log"),
    ("river.optim.schedulers", "Constant"),
    ("river.preprocessing.scale", "StandardScaler"),
}


class _Unpickler(pickle.Unpickler):
    """Loads the parts of our pipelines and nothing else: a second lock behind the signature."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _PICKLED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a model")
        return super().find_class(module, name)


def _unpickle(body: bytes) -> Pipeline:
    try:
        pipeline = _Unpickler(io.BytesIO(body)).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError) as error:
        raise Foreign(f"the pipeline in the checkpoint cannot be loaded: {error}") from error
    if not isinstance(pipeline, Pipeline):
        raise Foreign(f"the checkpoint holds a {type(pipeline).__name__}, expected a pipeline")
    return pipeline


def trainers(rules: Rules) -> list[Trainer]:
    """One trainer for each model, also for one that is not enabled: what was asked before is still answered, and must be taken.

    A new model is its features in a module of its own, its block in the configuration, and a line here and in `flows.models`.
    """
    return [Trainer(churn.NAME, churn.FEATURES, rules.churn.learning_rate)]
