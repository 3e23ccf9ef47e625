"""The way of a rebuilt prefix to the place of the one that runs: key by key, and who was killed on the way
goes on from there.

    mr-RUN:{dir}:... {sNN}:... {models}:...  ->  mr:...  ->  mr-before-RUN:...

Only what comes out of the archive moves. The raw log, the deliveries and whatever else lies under the prefix
stay where they are. So do the customers' data keys: a second copy of them would outlive an erasure. From the
first step to the last the directory's meta carries another name, so that no flow takes the prefix for its
own.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import redis
import structlog
from redis.exceptions import ResponseError

from schemas.errors import Foreign
from state.redis.names import Names

log = structlog.get_logger()

LOADED = "loaded"  # field of a rebuilt meta: how many data keys it began with
_RUN, _STEP, _OUT, _IN = "switch", "switch_step", b"out", b"in"  # fields of meta while a switch is under way
_MOVED = re.compile(rb":\{(dir|s\d+|models)\}:")
PAGE = 1_000


def beside(names: Names, run: str) -> Names:
    """Return what was rebuilt under this id, or put aside by a switch."""
    return Names(f"{names.prefix.decode()}-{run}")


def aside(run: str) -> str:
    """Return the id of what a switch to `run` puts aside."""
    return f"before-{run}"


class Switch:
    """From a prefix to what was rebuilt beside it."""

    def __init__(self, client: redis.Redis, names: Names, run: str) -> None:
        self._redis = client
        self._live, self._fresh, self._aside = names, beside(names, run), beside(names, aside(run))
        self._run = run

    def begin(self) -> None:
        """Begin: from here on no flow starts. Raises `Foreign` where another run has left something in the
        way."""
        if (
            left := next(self._redis.scan_iter(match=self._aside.prefix + b":*", count=PAGE), None)
        ) is not None:
            raise Foreign(
                f"{left!r} is in the way of what would be put aside: remove what lies under"
                f" {self._aside.prefix.decode()!r}"
            )
        mark: dict[Any, Any] = {
            "name": f"(unfinished: run `millrace switch {self._run}`)",
            _RUN: self._run,
            _STEP: _OUT,
        }
        self._redis.hset(self._live.meta, mapping=mark)

    def carry_on(self, name: str) -> None:
        """Go on to the end, from wherever it is. `name`: of the deployment. Raises `Foreign`."""
        if self._redis.hget(self._live.meta, _STEP) == _OUT:
            self._move(self._live, self._aside)
            self._redis.hset(self._live.meta, _STEP, cast(str, _IN))
        self._move(self._fresh, self._live)
        self._add_keys()
        _unlink(self._redis, self._fresh)  # keys that we have now, and the positions of its raw log
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.rename(self._live.meta, self._aside.meta)
            pipeline.rename(self._fresh.meta, self._live.meta)
            pipeline.hset(self._aside.meta, "name", name)
            pipeline.hdel(self._aside.meta, _RUN, _STEP)
            pipeline.hset(self._live.meta, "name", name)
            pipeline.hdel(self._live.meta, LOADED)
            pipeline.execute()

    def _move(self, source: Names, target: Names) -> None:
        n = 0
        for page in _pages(self._redis, source.prefix + b":{*"):
            keys = [key for key in page if _MOVED.match(key, len(source.prefix)) and key != source.meta]
            if not keys:
                continue
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.renamenx(key, target.prefix + key[len(source.prefix) :])
            for key, answer in zip(keys, pipeline.execute(raise_on_error=False), strict=True):
                if isinstance(answer, ResponseError) and "no such key" in str(answer):
                    continue  # SCAN may give one twice
                if isinstance(answer, Exception):
                    raise answer
                if not answer:
                    raise Foreign(
                        f"{key!r} cannot move: there is such a key under {target.prefix.decode()!r}; does a"
                        " flow run?"
                    )
                n += 1
        log.info("keys_moved", source=source.prefix.decode(), target=target.prefix.decode(), keys=n)

    def _add_keys(self) -> None:
        """Those of customers that only the rebuilt side has; the others are there."""
        for page in _pages(self._redis, self._fresh.data_keys + b"*"):
            pipeline = self._redis.pipeline(transaction=False)
            for key in page:
                held = cast(dict[bytes, bytes], self._redis.hgetall(key))
                for origin, wrapped in held.items():
                    pipeline.hsetnx(
                        self._live.data_keys + key[len(self._fresh.data_keys) :],
                        cast(str, origin),
                        cast(str, wrapped),
                    )
            pipeline.execute()
        for kek, probe in cast(dict[str, str], self._redis.hgetall(self._fresh.keks)).items():
            self._redis.hsetnx(self._live.keks, kek, probe)


def _pages(client: redis.Redis, pattern: bytes) -> Iterator[list[bytes]]:
    found = cast(Iterator[bytes], client.scan_iter(match=pattern, count=PAGE))
    while page := list(islice(found, PAGE)):
        yield page


def _unlink(client: redis.Redis, names: Names) -> int:
    """All but the meta."""
    n = 0
    for page in _pages(client, names.prefix + b":*"):
        if rest := [key for key in page if key != names.meta]:
            n += client.unlink(*rest)
    return n


def unlink_all(client: redis.Redis, names: Names) -> int:
    """Remove all keys, and return how many there were. The meta goes last, so that what is half gone is
    known for what it is."""
    if client.exists(names.meta):
        client.hset(names.meta, "name", "(being removed)")
    return _unlink(client, names) + client.unlink(names.meta)


def pending(client: redis.Redis, names: Names) -> str | None:
    """Return the run that an unfinished switch leads to."""
    found = cast(bytes | None, client.hget(names.meta, _RUN))
    return None if found is None else found.decode()


def keys_held(client: redis.Redis, names: Names) -> int:
    """Return how many customers have a data key."""
    buckets = {*cast(Iterator[bytes], client.scan_iter(match=names.data_keys + b"*", count=PAGE))}
    pipeline = client.pipeline(transaction=False)
    for bucket in buckets:
        pipeline.hlen(bucket)
    return sum(pipeline.execute())
