"""The standing challenger: River's scaled logistic regression with AdaGrad, one example at a time."""

import io
import pickle

import numpy as np
from numpy.typing import NDArray
from river import linear_model, optim, preprocessing
from river.compose import Pipeline

from flows.logic.models.linear import Terms
from schemas.errors import Foreign

Array = NDArray[np.float64]


class AdaGrad:
    """Each weight has its own pace.

    The intercept learns at the full rate (River's default is five times slower), so that it finds the base
    rate within some hundred examples and follows it when it drifts.
    """

    name = "adagrad"

    def __init__(self, width: int, learning_rate: float) -> None:
        self._names = range(width)
        self._learning_rate = learning_rate
        self._scaler = preprocessing.StandardScaler()
        self._regression = linear_model.LogisticRegression(
            optimizer=optim.AdaGrad(learning_rate), intercept_lr=optim.schedulers.Constant(learning_rate)
        )
        self._pipeline = self._scaler | self._regression

    def logits(self, rows: Array) -> Array:
        """Return what it says of each row."""
        terms = self.terms()
        deviations = np.array(terms.deviations)
        slopes = np.divide(
            np.array(terms.weights), deviations, out=np.zeros_like(deviations), where=deviations > 0.0
        )
        return np.asarray(((rows - np.array(terms.means)) * slopes).sum(axis=1) + terms.intercept)

    def learn(self, rows: Array, answers: Array, stress: Array) -> None:
        """Learn one block. `stress` is how much each answer counts."""
        for row, answer, weight in zip(rows.tolist(), answers.tolist(), stress.tolist(), strict=True):
            x = dict(zip(self._names, row, strict=True))
            self._scaler.learn_one(x)
            self._regression.learn_one(self._scaler.transform_one(x), answer == 1.0, weight)

    # how much is kept cannot be said: its steps depend on all that it has seen
    def forget(self, share: float) -> None:  # noqa: ARG002
        """Take steps as large as at the beginning again; the weights stay."""
        self._regression.optimizer.g2.clear()

    def terms(self) -> Terms:
        """Return what was learnt, as plain numbers."""
        weights = self._regression.weights
        return Terms(
            means=tuple(self._scaler.means[name] for name in self._names),
            deviations=tuple(self._scaler.vars[name] ** 0.5 for name in self._names),
            weights=tuple(weights.get(name, 0.0) for name in self._names),
            intercept=self._regression.intercept,
        )

    def dump(self) -> bytes:
        """Return a pickle: store it signed, and `load` only what was verified."""
        return pickle.dumps(self._pipeline, protocol=5)

    def load(self, body: bytes) -> None:
        """Become what `dump` gave, with the learning rate that is configured now. Raises `Foreign`."""
        pipeline = unpickle(body)
        if not isinstance(pipeline, Pipeline):
            raise Foreign(
                f"the checkpoint cannot be loaded: it holds a {type(pipeline).__name__}, expected a pipeline"
            )
        self._pipeline = pipeline
        self._scaler, self._regression = self._pipeline.steps.values()
        self._regression.optimizer.lr = optim.schedulers.Constant(self._learning_rate)
        self._regression.intercept_lr = optim.schedulers.Constant(self._learning_rate)


_PICKLED = {
    ("builtins", "float"),
    ("collections", "Counter"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("river._river_rust.drift", "AdaptiveWindowing"),
    ("river._river_rust.vectordict", "VectorDict"),
    ("river.compose.pipeline", "Pipeline"),
    ("river.drift.adwin", "ADWIN"),
    ("river.linear_model.log_reg", "LogisticRegression"),
    ("river.optim.ada_grad", "AdaGrad"),
    ("river.optim.initializers", "Zeros"),
    ("river.optim.losses", "Log"),
    ("river.optim.schedulers", "Constant"),
    ("river.preprocessing.scale", "StandardScaler"),
}


class _Unpickler(pickle.Unpickler):
    """Loads the parts of our models and nothing else: a second lock behind the signature."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _PICKLED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a model")
        return super().find_class(module, name)


def unpickle(body: bytes) -> object:
    """Return what was pickled. Raises `Foreign` for anything but parts of River that our models are made
    of."""
    try:
        return _Unpickler(io.BytesIO(body)).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, ValueError) as error:
        raise Foreign(f"the checkpoint cannot be loaded: {error}") from error
