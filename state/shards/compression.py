"""Profiles as they lie in Redis: compressed by zstd with a dictionary of what this deployment's profiles have
in common.

A compressed profile is a byte that msgpack never begins with, the number of its dictionary, and a zstd frame
without its magic number. Others are as they were packed: there was no dictionary yet, or the release was
older than format 3. A dictionary is stored before the first profile needs it, in the same Redis, and never
changed or dropped: so it is made of what many customers share, and of nothing else.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, cast

import numpy as np
import redis
from numpy.typing import NDArray
from zstandard import (
    FORMAT_ZSTD1_MAGICLESS,
    ZstdCompressionDict,
    ZstdCompressionParameters,
    ZstdCompressor,
    ZstdDecompressor,
    ZstdError,
    train_dictionary,
)

from schemas.errors import Damaged
from state.damage import CHANGED, of_directory
from state.redis.client import wait_for, writing
from state.redis.names import Names

SAMPLE: Final = 1_000  # profiles: half of them to make a dictionary from, half to judge it by; some 120 ms
DICTIONARY_BYTES: Final = 32 << 10  # a quarter of it leaves 7 % more of a profile, twice as much 2 % less
DICTIONARIES_MAX: Final = 0xFF  # what fits into a byte; the last one stays in use
WORTH_IT: Final = 0.95  # a new one must leave at most so much of the size
TRIED_AGAIN: Final = 4  # when this many times as many are written: young customers have short profiles
PAUSE_MAX: Final = 1_000_000  # profiles written between two trials
MANY: Final = 10  # customers of a sample who have the same piece, before it may get into a dictionary
PIECE: Final = 6  # bytes
_COMPRESSED: Final = 0xC1
_LEVEL: Final = -1  # level 2 takes half as long again and saves 5 % more
_PARAMETERS: Final = ZstdCompressionParameters.from_level(
    _LEVEL, format=FORMAT_ZSTD1_MAGICLESS, write_content_size=True, write_dict_id=False
)


class Dictionaries:
    """The dictionaries of one deployment, read when they are needed, and what was compressed with them."""

    def __init__(self, client: redis.Redis, names: Names, replicas: int = 0) -> None:
        self._redis = client
        self._key = names.dictionaries
        self._replicas = replicas
        self._known: dict[int, ZstdCompressionDict] = {}

    def newest(self) -> int:
        """Return the number of the newest; 0 while there is none."""
        return max(map(int, cast(list[bytes], self._redis.hkeys(self._key))), default=0)

    def get(self, number: int) -> ZstdCompressionDict:
        """Return a dictionary. Raises `Damaged`."""
        if number not in self._known:
            stored = cast(bytes | None, self._redis.hget(self._key, str(number)))
            if stored is None:
                raise of_directory(
                    self._key, f"has no dictionary {number}, and a profile was compressed with it"
                )
            self._known[number] = ZstdCompressionDict(stored)
        return self._known[number]

    def add(self, number: int, made: ZstdCompressionDict) -> None:
        """Add one, unless another worker was first. Raises `LogFull` where the server has no room."""
        with writing():
            self._redis.hsetnx(self._key, str(number), made.as_bytes())
        wait_for(self._redis, self._replicas)

    def plain(
        self, stored: Iterable[bytes | None], about: Callable[[int, str], Damaged]
    ) -> list[bytes | None]:
        """Return profiles as they were. Raises `Damaged`, which `about` makes of the place of a profile
        and the reason."""
        tools: dict[int, ZstdDecompressor] = {}  # of this call: one must not work for two threads
        found: list[bytes | None] = []
        for packed in stored:
            if packed and packed[0] == _COMPRESSED:
                if (number := int.from_bytes(packed[1:2])) not in tools:
                    tools[number] = ZstdDecompressor(
                        dict_data=self.get(number), format=FORMAT_ZSTD1_MAGICLESS
                    )
                try:
                    packed = tools[number].decompress(packed[2:])
                except ZstdError as error:
                    raise about(len(found), f"{CHANGED} ({error})") from error
            found.append(packed)
        return found


class Compressor:
    """Compresses what one writer writes, and learns from it, the more seldom the longer it has."""

    def __init__(self, dictionaries: Dictionaries) -> None:
        self._dictionaries = dictionaries
        self._number: int | None = None
        self._tool: ZstdCompressor | None = None
        self._mark = b""
        # by customer, so that nobody who is written often counts as many
        self._latest: dict[bytes, bytes] = {}
        self._written = 0
        self._due = SAMPLE

    def stored(self, root: bytes, profile: bytes) -> bytes:
        """Return a profile as it is to be stored."""
        self._latest.pop(root, None)
        self._latest[root] = profile
        if len(self._latest) > SAMPLE:
            del self._latest[next(iter(self._latest))]
        self._written += 1
        return profile if self._tool is None else self._mark + self._tool.compress(profile)

    def learn(self) -> None:
        """Learn a new dictionary when it is time; call it before each commit. Raises `LogFull` where there
        is no room for a new dictionary."""
        if self._number is None:
            self._use(self._dictionaries.newest())
        if self._written >= self._due and len(self._latest) == SAMPLE:
            self._try_another()
            self._due += min((TRIED_AGAIN - 1) * self._due, PAUSE_MAX)

    def _use(self, number: int) -> None:
        self._number = number
        if number:
            self._mark, self._tool = bytes((_COMPRESSED, number)), _tool(self._dictionaries.get(number))

    def _try_another(self) -> None:
        if (
            number := self._dictionaries.newest()
        ) != self._number:  # another worker's is as good as one of our own
            self._use(number)
        if number == DICTIONARIES_MAX:
            return
        try:
            made = train_dictionary(
                DICTIONARY_BYTES, [*shared(list(islice(self._latest.values(), 0, None, 2)))]
            )
        except ZstdError:  # these have nothing in common, or are all the same
            return
        judged = list(islice(self._latest.values(), 1, None, 2))
        if _size(_tool(made), judged) < WORTH_IT * _size(self._tool, judged):
            self._dictionaries.add(number + 1, made)
            self._use(number + 1)


def shared(profiles: Sequence[bytes]) -> list[bytes]:
    """Return profiles in which nothing is left that is one customer's own: what is in no piece of `PIECE`
    bytes that at least `MANY` have is 0."""
    pieces = [_pieces(np.frombuffer(profile, np.uint8)) for profile in profiles]
    sizes = [len(each) for each in pieces]
    found, which = np.unique(np.concatenate(pieces), return_inverse=True)
    whose = np.repeat(np.arange(len(profiles)), sizes)
    # a piece, and whose: how often they have it does not count
    pairs = np.sort(which * len(profiles) + whose)
    had = np.bincount(pairs[np.diff(pairs, prepend=-1) > 0] // len(profiles), minlength=len(found))
    common = np.split((had >= MANY)[which], np.cumsum(sizes)[:-1])
    return [_only(profile, np.flatnonzero(starts)) for profile, starts in zip(profiles, common, strict=True)]


def _pieces(data: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Each run of `PIECE` bytes as one number."""
    count = max(len(data) - PIECE + 1, 0)
    numbers = np.zeros(count, np.uint64)
    for at in range(PIECE):
        numbers |= data[at : at + count].astype(np.uint64) << np.uint64(8 * at)
    return numbers


def _only(profile: bytes, starts: NDArray[np.intp]) -> bytes:
    """What is in one of the pieces that begin there."""
    kept = np.zeros(len(profile), np.uint8)
    kept[(starts[:, None] + np.arange(PIECE)).ravel()] = 1
    return bytes(np.frombuffer(profile, np.uint8) * kept)


def _tool(dictionary: ZstdCompressionDict) -> ZstdCompressor:
    dictionary.precompute_compress(compression_params=_PARAMETERS)
    return ZstdCompressor(dict_data=dictionary, compression_params=_PARAMETERS)


def _size(tool: ZstdCompressor | None, profiles: Iterable[bytes]) -> int:
    return sum(len(tool.compress(profile) if tool else profile) for profile in profiles)
