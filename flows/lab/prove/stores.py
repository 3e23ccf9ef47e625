"""Where a deployment leaves anything: each kind of store, and the bytes that lie in it.

What lies in the data folder is searched whatever it is: a file that no line here knows is one of the others.
Not searched is what tells people on purpose: receivers that are configured with `identify`, and what stewards
and `millrace dead show` see in the clear.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

import msgspec

from flows.runtime.deployment import Deployment

_READ: Final[
    Mapping[str, tuple[Any, ...]]
] = {  # of each type in Redis: the command, and what follows the key
    "string": ("GET",),
    "hash": ("HGETALL",),
    "list": ("LRANGE", 0, -1),
    "set": ("SMEMBERS",),
    "zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    "stream": ("XRANGE", "-", "+"),
}
_EXPIRED: Final = "none"  # the type of a key that was there a moment ago
_PAGE: Final = 500  # keys in one round trip
_PATTERNS: Final = (  # of files in the data folder; the first that fits
    ("AOF", "redis/appendonlydir/*"),
    ("RDB", "redis/*.rdb"),
    ("archive", "archive/*"),
    ("archive", "archive-*/*"),  # of what was rebuilt
    ("backups", "backup/**"),
    ("copy of the data keys", "keycopy.db*"),
    ("logs", "*.log"),
    ("logs", "redis/*.log"),
    ("metrics files", "metrics/**"),
)
OTHERS: Final = "other files of the data folder"
BROKER: Final = "files of the Kafka broker"
EXPOSITION, REPORTS = "metrics as they are served", "reports and what commands print"
ANSWERS, TRIGGERS = "answers of the gateway", "triggers to receivers that are told nobody"
FILES: Final = (*dict.fromkeys(name for name, _ in _PATTERNS), OTHERS)
SAID: Final = (EXPOSITION, REPORTS, ANSWERS, TRIGGERS)
STORES: Final = (*FILES, *(f"Redis: {kind}" for kind in _READ), *SAID, BROKER)
_APART: Final = b"\n\0"  # between two values, so that nothing is found across them


class Place(msgspec.Struct, frozen=True):
    """Some bytes, and where they are from."""

    store: str
    name: str
    read: Callable[[], bytes]


class Evidence(msgspec.Struct, frozen=True):
    """All that one deployment left. `said`: store -> name -> what was said there. `broker`: the folder of its
    Kafka broker; topics that are `apart` are their apps' affair. `keys`: a pattern of those in Redis."""

    folder: Path
    deployment: Deployment
    said: Mapping[str, Mapping[str, bytes]]
    broker: Path | None = None
    apart: tuple[str, ...] = ()
    keys: bytes = b"*"


def places(evidence: Evidence) -> Iterator[Place]:
    """Yield all there is."""
    yield from files(evidence.folder)
    if evidence.broker is not None:
        yield from broker_files(evidence.broker, evidence.apart)
    yield from redis_values(evidence.deployment, evidence.keys)
    for store, said in evidence.said.items():
        for name, data in said.items():
            yield Place(store, name, _given(data))


def files(folder: Path) -> Iterator[Place]:
    """Yield the files of a data folder; each with its own name before what is in it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            yield Place(store_of(name), name, _file(path, name))


def broker_files(folder: Path, apart: Sequence[str]) -> Iterator[Place]:
    """Yield the files of a Kafka broker, without those of these topics."""
    for path in sorted(folder.rglob("*")):
        topic = path.parent.name.rpartition("-")[0]
        if path.is_file() and topic not in apart:
            name = path.relative_to(folder).as_posix()
            yield Place(BROKER, name, _file(path, name))


def store_of(name: str) -> str:
    """Return the store of a file, by its path within the data folder."""
    path = PurePosixPath(name)
    for store, pattern in _PATTERNS:
        if pattern.endswith("/**"):
            if path.is_relative_to(pattern.removesuffix("/**")):
                return store
        elif len(path.parts) == pattern.count("/") + 1 and path.match(pattern):
            return store
    return OTHERS


def redis_values(deployment: Deployment, keys: bytes) -> Iterator[Place]:
    """Yield every value in Redis under such keys, as a client reads it, with its key."""
    client: Any = deployment.client
    found = sorted(client.scan_iter(match=keys, count=1_000))
    for first in range(0, len(found), _PAGE):
        page = found[first : first + _PAGE]
        kinds = [kind.decode() for kind in _asked(client, [("TYPE", key) for key in page])]
        there = [(kind, key) for kind, key in zip(kinds, page, strict=True) if kind != _EXPIRED]
        values = _asked(client, [(_READ[kind][0], key, *_READ[kind][1:]) for kind, key in there])
        for (kind, key), value in zip(there, values, strict=True):
            name = key.decode(errors="backslashreplace")
            yield Place(f"Redis: {kind}", name, _given(_APART.join((key, *_parts(value)))))


def _asked(client: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The answers, in one round trip."""
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return cast(list[Any], pipeline.execute())


def _parts(answer: Any) -> Iterator[bytes]:
    """All that an answer holds, a number as its digits."""
    if isinstance(answer, bytes):
        yield answer
    elif isinstance(answer, dict):
        for pair in answer.items():
            yield from _parts(pair)
    elif isinstance(answer, list | tuple | set):
        for part in answer:
            yield from _parts(part)
    elif answer is not None:
        yield str(answer).encode()


def dictionaries(deployment: Deployment) -> dict[int, bytes]:
    """Return what profiles of this deployment are compressed with."""
    client: Any = deployment.client
    return {int(number): made for number, made in client.hgetall(deployment.names.dictionaries).items()}


def _given(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def _file(path: Path, name: str) -> Callable[[], bytes]:
    return lambda: name.encode() + _APART + path.read_bytes()
