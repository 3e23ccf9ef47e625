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

REDIS_TYPES: Final = ("string", "hash", "list", "set", "zset", "stream")
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
STORES: Final = (*FILES, *(f"Redis: {kind}" for kind in REDIS_TYPES), *SAID, BROKER)
_APART: Final = b"\n\0"  # between two values, so that nothing is found across them


class Place(msgspec.Struct, frozen=True):
    """Some bytes, and where they are from."""

    store: str
    name: str
    read: Callable[[], bytes]


class Evidence(msgspec.Struct, frozen=True):
    """All that one deployment left. `said`: store -> name -> what was said there. `broker`: the folder of its
    Kafka broker; topics that are `apart` are their apps' affair."""

    folder: Path
    deployment: Deployment
    said: Mapping[str, Mapping[str, bytes]]
    broker: Path | None = None
    apart: tuple[str, ...] = ()


def places(evidence: Evidence) -> Iterator[Place]:
    """Yield all there is."""
    yield from files(evidence.folder)
    if evidence.broker is not None:
        yield from broker_files(evidence.broker, evidence.apart)
    yield from redis_values(evidence.deployment)
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


def redis_values(deployment: Deployment) -> Iterator[Place]:
    """Yield every value in Redis as a client reads it, with its key."""
    client: Any = deployment.client
    for key in sorted(client.scan_iter(count=1_000)):
        kind = cast(bytes, client.type(key)).decode()
        yield Place(f"Redis: {kind}", key.decode(errors="backslashreplace"), _value(client, kind, key))


def dictionaries(deployment: Deployment) -> dict[int, bytes]:
    """Return what profiles of this deployment are compressed with."""
    client: Any = deployment.client
    return {int(number): made for number, made in client.hgetall(deployment.names.dictionaries).items()}


def _given(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def _file(path: Path, name: str) -> Callable[[], bytes]:
    return lambda: name.encode() + _APART + path.read_bytes()


def _value(client: Any, kind: str, key: bytes) -> Callable[[], bytes]:
    readers: dict[str, Callable[[], Sequence[Any]]] = {
        "string": lambda: [client.get(key)],
        "hash": lambda: [part for pair in client.hgetall(key).items() for part in pair],
        "list": lambda: client.lrange(key, 0, -1),
        "set": lambda: sorted(client.smembers(key)),
        "zset": lambda: client.zrange(key, 0, -1),
        "stream": lambda: [
            part for _, fields in client.xrange(key) for pair in fields.items() for part in pair
        ],
    }
    return lambda: _APART.join([key, *(part for part in readers[kind]() if part is not None)])
