"""River's matrix factorisation as the challenger of item-to-item counts.

What a shard knows of a customer are the items touched last. So an item touched before takes the place of the
user: River's model learns how well one item follows another. Of two that were never seen together it can tell
by those that both are seen with, as counts cannot; and what it has learnt makes companions, as counts do, so
that the same shelf serves either.
"""

from hashlib import shake_256
from math import log2
from typing import Any

import msgspec
import numpy as np
from river import optim, reco, stats

from flows.logic.models import recommendation_index
from flows.logic.models.recommend import Touch
from schemas.errors import Foreign

NAME = "biased_mf"
FACTORS = 8
DRAWN = 2  # items that were not touched, for each lesson on one that was
LESSONS_MAX = 3  # of one touch
_RATE = 0.05
_CLIP = 1.0  # of the gradient: latents stay finite whatever comes
_WIDTH = 0.34  # of the interval that first latents are drawn from: a deviation of 0.1, as River's


class _Draws:
    """Numbers from a hash of how often was drawn before, so that only that has to be remembered."""

    def __init__(self) -> None:
        self.count = 0

    def latents(self) -> Any:
        return (self._next(FACTORS) / 2.0**64 - 0.5) * _WIDTH

    def below(self, limit: int, count: int) -> list[int]:
        """Whole numbers, each 0 to `limit` - 1."""
        # NumPy says Any of all lists
        return (self._next(count) % np.uint64(limit)).tolist()  # type: ignore[no-any-return]

    def _next(self, count: int) -> Any:
        self.count += 1
        return np.frombuffer(shake_256(b"draw %d" % self.count).digest(8 * count), "<u8")


class _Item(msgspec.Struct, array_like=True):
    """As one touched before, and as one that follows."""

    name: str
    slot: int
    bias_before: float
    bias_after: float
    latents_before: bytes
    latents_after: bytes


class _State(msgspec.Struct, array_like=True):
    drawn: int
    seen: float
    mean: float
    items: list[_Item]  # the one touched longest ago first


class Challenger:
    """Mutable; a function of the touches in their order. The item touched longest ago makes room for a new
    one."""

    def __init__(self, items_max: int = recommendation_index.ITEMS_MAX) -> None:
        self._items_max = items_max
        self._draws = _Draws()
        rate = optim.SGD(_RATE)
        self._model = reco.BiasedMF(FACTORS, rate, rate, clip_gradient=_CLIP)
        self._slots: dict[str, int] = {}  # of each item, the one touched longest ago first
        self._names: list[str] = []  # in each slot

    def learn(self, touch: Touch) -> None:
        """One that can be learnt from (`Recommender.fit`): its item follows the latest of those before it,
        others that are drawn do not. With each doubling of 1 + its weight it is a lesson on one more of
        those."""
        self._meet(touch.item)
        model, names = self._model, self._names
        before = [item for item in touch.recent if item in self._slots and item != touch.item]
        before = before[: min(1 + int(log2(1.0 + touch.weight)), LESSONS_MAX)]
        drawn = self._draws.below(len(names), DRAWN * len(before))
        for lesson, item in enumerate(before):
            model.learn_one(user=item, item=touch.item, y=1.0)
            for slot in drawn[lesson * DRAWN : (lesson + 1) * DRAWN]:
                model.learn_one(user=item, item=names[slot], y=0.0)

    def _meet(self, item: str) -> None:
        """It is the one touched last."""
        slots, model = self._slots, self._model
        if item in slots:
            slots[item] = slots.pop(item)
            return
        if len(slots) < self._items_max:
            slots[item] = len(slots)
            self._names.append(item)
        else:
            oldest = next(iter(slots))
            slots[item] = slots.pop(oldest)
            self._names[slots[item]] = item
            for part in (model.u_biases, model.i_biases, model.u_latents, model.i_latents):
                del part[oldest]
        model.u_biases[item] = model.i_biases[item] = 0.0
        model.u_latents[item], model.i_latents[item] = self._draws.latents(), self._draws.latents()

    def companions(self) -> dict[str, list[tuple[str, float]]]:
        """Of each item those that follow it better than most, the best first."""
        model, names = self._model, self._names
        biases = np.array([model.i_biases[name] for name in names])
        latents = np.array([model.i_latents[name] for name in names]).reshape(-1, FACTORS)
        found = {}
        for slot, name in enumerate(names):
            scores = biases + (latents * model.u_latents[name]).sum(axis=1)
            scores[slot] = 0.0
            best = np.argsort(-scores, kind="stable")[: recommendation_index.COMPANIONS_MAX].tolist()
            found[name] = [(names[other], float(scores[other])) for other in best if scores[other] > 0.0]
        return found

    def dump(self) -> bytes:
        """All of it, as plain numbers."""
        model = self._model
        items = [
            _Item(
                *(name, slot, float(model.u_biases[name]), float(model.i_biases[name])),
                *(_packed(model.u_latents[name]), _packed(model.i_latents[name])),
            )
            for name, slot in self._slots.items()
        ]
        return msgspec.msgpack.encode(
            _State(self._draws.count, float(model.global_mean.n), float(model.global_mean.get()), items)
        )

    def load(self, body: bytes) -> None:
        """Become what `dump` gave. Raises `Foreign`."""
        try:
            state = msgspec.msgpack.decode(body, type=_State)
            latents = [(_array(item.latents_before), _array(item.latents_after)) for item in state.items]
        except (msgspec.MsgspecError, ValueError) as error:
            raise Foreign(f"the challenger of recommendations cannot be loaded: {error}") from error
        model = self._model
        self._draws.count = state.drawn
        model.global_mean = stats.Mean._from_state(state.seen, state.mean)
        self._slots = {item.name: item.slot for item in state.items}
        self._names = sorted(self._slots, key=lambda name: self._slots[name])
        for part in (model.u_biases, model.i_biases, model.u_latents, model.i_latents):
            part.clear()
        for item, (before, after) in zip(state.items, latents, strict=True):
            model.u_biases[item.name], model.i_biases[item.name] = item.bias_before, item.bias_after
            model.u_latents[item.name], model.i_latents[item.name] = before, after


def _packed(latents: Any) -> bytes:
    return np.asarray(latents).astype("<f8").tobytes()


def _array(packed: bytes) -> Any:
    return np.frombuffer(packed, "<f8").astype(float).reshape(FACTORS)
