"""River's matrix factorisation as the challenger of item-to-item counts.

What a shard knows of a customer are the items of their latest interactions. So an item of an earlier
interaction takes the place of the user: River's model learns how well one item follows another. Of two that
were never seen together it can tell by those that both are seen with, as counts cannot; and what it has
learnt makes companions, as counts do, so that the same index serves either.
"""

from hashlib import shake_256
from math import log2
from typing import Any

import msgspec
import numpy as np
from river import optim, reco, stats

from flows.logic.models import recommendation_index
from flows.logic.models.recommend import Interaction
from schemas.errors import Foreign

NAME = "biased_mf"
FACTORS = 8
DRAWN = 2  # items without an interaction, for each lesson on one with it
LESSONS_MAX = 3  # of one interaction
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
        """Draw whole numbers, each 0 to `limit` - 1."""
        # NumPy says Any of all lists
        return (self._next(count) % np.uint64(limit)).tolist()  # type: ignore[no-any-return]

    def _next(self, count: int) -> Any:
        self.count += 1
        return np.frombuffer(shake_256(b"draw %d" % self.count).digest(8 * count), "<u8")


class _Item(msgspec.Struct, array_like=True):
    """An item as one that comes before, and as one that follows."""

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
    items: list[_Item]  # that of the oldest interaction first


class Challenger:
    """Mutable; a function of the interactions in their order. The item whose latest interaction is the oldest
    makes room for a new one."""

    def __init__(self, items_max: int = recommendation_index.ITEMS_MAX) -> None:
        self._items_max = items_max
        self._draws = _Draws()
        rate = optim.SGD(_RATE)
        self._model = reco.BiasedMF(FACTORS, rate, rate, clip_gradient=_CLIP)
        self._slots: dict[str, int] = {}  # of each item, that of the oldest interaction first
        self._names: list[str] = []  # in each slot

    def learn(self, interaction: Interaction) -> None:
        """Learn an interaction that `Recommender.fit` accepts: its item follows the latest of those before
        it, others that are drawn do not. With each doubling of 1 + its weight it is a lesson on one more of
        those."""
        self._meet(interaction.item)
        model, names = self._model, self._names
        before = [item for item in interaction.recent if item in self._slots and item != interaction.item]
        before = before[: min(1 + int(log2(1.0 + interaction.weight)), LESSONS_MAX)]
        drawn = self._draws.below(len(names), DRAWN * len(before))
        for lesson, item in enumerate(before):
            model.learn_one(user=item, item=interaction.item, y=1.0)
            for slot in drawn[lesson * DRAWN : (lesson + 1) * DRAWN]:
                model.learn_one(user=item, item=names[slot], y=0.0)

    def _meet(self, item: str) -> None:
        """Take the item as that of the latest interaction."""
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
        """Return for each item those that follow it better than most, the best first."""
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
        """Return all of it, as plain numbers."""
        model = self._model
        items = [
            _Item(
                name=name,
                slot=slot,
                bias_before=float(model.u_biases[name]),
                bias_after=float(model.i_biases[name]),
                latents_before=_packed(model.u_latents[name]),
                latents_after=_packed(model.i_latents[name]),
            )
            for name, slot in self._slots.items()
        ]
        mean = model.global_mean
        state = _State(drawn=self._draws.count, seen=float(mean.n), mean=float(mean.get()), items=items)
        return msgspec.msgpack.encode(state)

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
