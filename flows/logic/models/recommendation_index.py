"""What a shard recommends with: what a learner knew at one moment, cut down to the strongest of each."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from math import isfinite

import msgspec

from schemas.errors import Foreign

NAME = "recommendation"
ITEM_TO_ITEM = "item_to_item"
EVERYONE = ""  # the segment that all belong to: the last resort
RECENT_MAX = 10  # items of one customer that an event is paired with
ITEMS_MAX = 2_000  # with companions
COMPANIONS_MAX = 8
LIKED_MAX = 24  # of each segment
BYTES_MAX = 16 * 1024 * 1024
_FORMAT = 1


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Scores are above 0, the highest first."""

    format: int = _FORMAT
    model: str = NAME
    version: int
    companions: dict[str, list[tuple[str, float]]]  # item -> (item, how well it goes with it)
    liked: dict[str, list[tuple[str, float]]]  # segment -> (item, share of its best)
    examples: int
    trained_ms: int
    metrics: dict[str, float]
    learner: str = ITEM_TO_ITEM  # whose companions these are

    def pack(self) -> bytes:
        """Return the packed form: the same snapshot is always the same bytes."""
        return msgspec.msgpack.encode(self)

    @property
    def digest(self) -> str:
        """The name of the content: SHA-256 of the packed form, 64 hex digits."""
        return sha256(self.pack()).hexdigest()


class RecommendationIndex:
    """Recommends with one snapshot."""

    __slots__ = ("snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    @classmethod
    def from_snapshot(cls, body: bytes) -> "RecommendationIndex":
        """Make one of a packed snapshot whose signature was verified. Raises `Foreign` for damage."""
        if len(body) > BYTES_MAX:
            raise Foreign(f"a snapshot of recommendations of {len(body)} bytes is larger than {BYTES_MAX}")
        try:
            snapshot = msgspec.msgpack.decode(body, type=Snapshot)
        except msgspec.MsgspecError as error:
            raise Foreign(f"not a snapshot of recommendations: {error}") from error
        if snapshot.format != _FORMAT:
            raise Foreign(f"recommendation: snapshot format {snapshot.format}, this release reads {_FORMAT}")
        lists = (*snapshot.companions.values(), *snapshot.liked.values())
        if EVERYONE not in snapshot.liked or not all(isfinite(score) for each in lists for _, score in each):
            raise Foreign("recommendation: the snapshot is damaged")
        return cls(snapshot)

    @property
    def version(self) -> int:
        return self.snapshot.version

    def recommend(
        self, recent: Sequence[str], segment: str, k: int, exclude: Iterable[str] = ()
    ) -> list[str]:
        """Return at most `k` items, the best first; none of `recent` or `exclude`.

        Companions of the recent items come first (the latest counts most), then what the segment likes, then
        what everyone likes.
        """
        out = {*recent, *exclude}
        scores: dict[str, float] = {}
        for place, item in enumerate(recent, 1):
            for other, score in self.snapshot.companions.get(item, ()):
                if other not in out:
                    scores[other] = scores.get(other, 0.0) + score / place
        found = sorted(scores, key=lambda item: (-scores[item], item))[:k]
        for group in (segment, EVERYONE):
            for item, _ in self.snapshot.liked.get(group, ()):
                if len(found) >= k:
                    return found
                if item not in out and item not in found:
                    found.append(item)
        return found
