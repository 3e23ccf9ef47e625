"""The bounded index of blocking keys as it lies in the directory: for each key how many came, and the newest
origins."""

from collections.abc import Collection, Iterable, Mapping
from math import log2
from struct import Struct
from typing import Final

from flows.logic.matching.index import COMMON, FLOOR, FOR_A_KEY, ONE_KEY, WORTH
from schemas.records.identity_graph import ID_BYTES

# origins that no more than one rare key, or two common ones, speak for: among many customers chance brings
# them
WEAK_MAX: Final = 2
_COUNT: Final = 4  # bytes
_HEADS: Final = tuple(Struct(f">I{f'{ID_BYTES}s' * many}").unpack for many in range(FOR_A_KEY + 1))
_TELLS: Final = tuple(ONE_KEY - log2(max(1, count)) for count in range(COMMON + 1))


class KeyList:
    """The origins that have a key. One that is too common finds nobody, and is not kept up any more."""

    __slots__ = ("count", "origins")

    def __init__(self, packed: bytes | None) -> None:
        self.count = 0
        self.origins: tuple[bytes, ...] = ()  # the newest last
        if packed is not None:
            self.count, *found = _HEADS[len(packed) // ID_BYTES](packed)
            self.origins = tuple(found)

    def add(self, origin: bytes) -> None:
        """Take in an origin that has the key."""
        self.count += 1
        self.origins = (*self.origins, origin)[-FOR_A_KEY:]

    def forget(self, origins: Collection[bytes]) -> bool:
        """Drop these; return whether one of them was here. How many came is a count, and stays."""
        before = self.origins
        self.origins = tuple(origin for origin in before if origin not in origins)
        return self.origins != before

    def pack(self) -> bytes:
        """Return it as it lies in the directory."""
        return self.count.to_bytes(_COUNT) + b"".join(self.origins)


def near(keys: Iterable[bytes], lists: Mapping[bytes, KeyList], k: int) -> list[bytes]:
    """Return at most `k` origins, those first that share the most and the rarest keys.

    Common keys are left out once they could bring nobody who is worth a comparison.
    """
    telling: list[tuple[int, KeyList]] = []
    left = 0.0
    for key in keys:
        held = lists[key]
        if 0 < held.count <= COMMON:
            telling.append((held.count, held))
            left += _TELLS[held.count]
    if not telling:
        return []
    telling.sort(key=_by_count)
    scores: dict[bytes, float] = {}
    best = 0.0
    for count, held in telling:
        if left < WORTH * best:
            break
        tells = _TELLS[count]
        left -= tells
        for origin in held.origins:
            score = scores.get(origin, 0.0) + tells
            scores[origin] = score
            if score > best:
                best = score
    least = max(FLOOR, WORTH * best)
    ranked = sorted(
        [origin for origin, score in scores.items() if score >= least], key=scores.__getitem__, reverse=True
    )[:k]
    strong = sum(scores[origin] > ONE_KEY for origin in ranked)
    return ranked[: strong + WEAK_MAX]


def _by_count(one: tuple[int, KeyList]) -> int:
    return one[0]
