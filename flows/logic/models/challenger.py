"""River's matrix factorisation as the challenger of `recommend`."""

from collections.abc import Iterable
from hashlib import shake_256
from math import log2
from typing import Any

import msgspec
import numpy as np
from river import optim, reco, stats

from flows.logic.models import shelf
from flows.logic.models.recommend import Recommender, Touch
from schemas.errors import Foreign

CUSTOMERS_MAX = 4_000
FACTORS = 8
_WIDTH = 0.34  # of the interval that first latents are drawn from: a deviation of 0.1, as River's


class _Drawn(optim.initializers.Initializer):
    """Numbers from a hash of how many vectors were drawn before, so that only that has to be remembered."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, shape: int = 1) -> Any:
        self.count += 1
        whole = np.frombuffer(shake_256(b"latents %d" % self.count).digest(8 * shape), "<u8")
        return (whole / 2.0**64 - 0.5) * _WIDTH


class _State(msgspec.Struct, array_like=True):
    """Customers and items with bias and latents, the one touched longest ago first."""

    drawn: int
    seen: float
    mean: float
    customers: list[tuple[str, float, bytes]]
    items: list[tuple[str, float, bytes]]


class Challenger:
    """River's matrix factorisation with biases on the same touches: compared by hit rate, never served by itself, as a shard cannot
    be told the latents of every customer. Who or what was touched longest ago makes room for what is new."""

    def __init__(self, customers: int = CUSTOMERS_MAX, items: int = shelf.ITEMS_MAX) -> None:
        self._limits = customers, items
        self._drawn = _Drawn()
        self._model = reco.BiasedMF(n_factors=FACTORS, latent_initializer=self._drawn)
        self._customers: dict[str, None] = {}
        self._items: dict[str, None] = {}

    def learn(self, customer: str, touch: Touch) -> None:
        if not Recommender.fit(touch):
            return
        model = self._model
        for known, name, most, parts in (
            (self._customers, customer, self._limits[0], (model.u_biases, model.u_latents)),
            (self._items, touch.item, self._limits[1], (model.i_biases, model.i_latents)),
        ):
            known.pop(name, None)
            if len(known) >= most:
                oldest = next(iter(known))
                for part in (known, *parts):
                    del part[oldest]
            known[name] = None
        model.learn_one(user=customer, item=touch.item, y=log2(1.0 + touch.weight))

    def recommend(self, customer: str, k: int, exclude: Iterable[str] = ()) -> list[tuple[str, float]]:
        """At most `k` (item, score), the best first. A customer that it does not know gets what all like."""
        out, model = set(exclude), self._model
        items = [item for item in self._items if item not in out]
        scores = np.array([model.i_biases[item] for item in items])
        if customer in self._customers and items:
            scores = scores + (np.array([model.i_latents[item] for item in items]) * model.u_latents[customer]).sum(axis=1)
        return sorted(zip(items, scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))[:k]

    def dump(self) -> bytes:
        """All of it, as plain numbers."""
        model = self._model
        customers = [(name, float(model.u_biases[name]), _packed(model.u_latents[name])) for name in self._customers]
        items = [(name, float(model.i_biases[name]), _packed(model.i_latents[name])) for name in self._items]
        return msgspec.msgpack.encode(
            _State(self._drawn.count, float(model.global_mean.n), float(model.global_mean.get()), customers, items)
        )

    def load(self, body: bytes) -> None:
        """Become what `dump` gave. Raises `Foreign`."""
        try:
            state = msgspec.msgpack.decode(body, type=_State)
            customers, items = ([(name, bias, _array(packed)) for name, bias, packed in found] for found in (state.customers, state.items))
        except (msgspec.MsgspecError, ValueError) as error:
            raise Foreign(f"the challenger of recommendations cannot be loaded: {error}") from error
        model = self._model
        self._drawn.count = state.drawn
        model.global_mean = stats.Mean._from_state(state.seen, state.mean)
        for found, known, biases, vectors in (
            (customers, self._customers, model.u_biases, model.u_latents),
            (items, self._items, model.i_biases, model.i_latents),
        ):
            for part in (known, biases, vectors):
                part.clear()
            for name, bias, latents in found:
                known[name], biases[name], vectors[name] = None, bias, latents


def _packed(latents: Any) -> bytes:
    return np.asarray(latents).astype("<f8").tobytes()


def _array(packed: bytes) -> Any:
    return np.frombuffer(packed, "<f8").astype(float).reshape(FACTORS)
