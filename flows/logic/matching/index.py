"""The index of blocking keys: which customers have a key, bounded in every direction."""

from itertools import islice
from math import log2
from typing import Final, Protocol

FOR_A_KEY: Final = 16  # customers kept for a key: the newest
COMMON: Final = 512  # a key that more customers than this have had finds nobody any more
ONE_KEY: Final = 12.0  # the score of a key that one customer has; one less for twice as many
WORTH: Final = 0.3  # of the score of the best candidate; below it a comparison is not worth its time
FLOOR: Final = 9.0  # the score of one key that eight customers have: a more common one brings nobody alone
KEYS_MAX: Final = 16_000_000


class Index(Protocol):
    """Customers by (hashed) blocking key. Frequent keys keep their newest customers and count for less; very
    frequent ones are silent."""

    def candidates(self, keys: list[str], k: int) -> list[str]:
        """Return at most `k` ids, those first that share the most and the rarest keys."""
        ...

    def add(self, keys: list[str], id: str) -> None:
        """Note that the customer has these keys; noted again it changes nothing."""
        ...


class MemoryIndex:
    """In a dict. Beyond `keys_max` keys the oldest leave."""

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._ids: dict[str, list[str]] = {}
        self._seen: dict[str, int] = {}  # how many came, of keys that are full
        self._keys_max = keys_max

    def candidates(self, keys: list[str], k: int) -> list[str]:
        scores: dict[str, float] = {}
        for key in keys:
            ids = self._ids.get(key)
            if not ids:
                continue
            seen = self._seen.get(key, len(ids))
            if seen > COMMON:
                continue
            tells = ONE_KEY - log2(seen)
            for id in ids:
                scores[id] = scores.get(id, 0.0) + tells
        if not scores:
            return []
        least = max(FLOOR, WORTH * max(scores.values()))
        return sorted(
            [id for id, score in scores.items() if score >= least], key=scores.__getitem__, reverse=True
        )[:k]

    def add(self, keys: list[str], id: str) -> None:
        for key in keys:
            ids = self._ids.get(key)
            if ids is None:
                self._ids[key] = [id]
            elif id not in ids:
                ids.append(id)
                if len(ids) > FOR_A_KEY:
                    del ids[0]
                    self._seen[key] = self._seen.get(key, FOR_A_KEY) + 1
        if len(self._ids) > self._keys_max:
            for key in list(islice(self._ids, self._keys_max // 16)):
                del self._ids[key]
                self._seen.pop(key, None)
