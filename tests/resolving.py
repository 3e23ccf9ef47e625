"""A raw log in memory, and a directory with data keys on a real Redis: what the flow `resolve` is tested
between."""

import itertools
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
import redis

from connectors.raw.log import START
from flows.logic.resolution.validation import Validator
from flows.resolve import Resolver
from flows.runtime.engine import Stop
from flows.runtime.limits import RejectBrake
from flows.runtime.windows import Window
from schemas.config import Config
from schemas.records.shard_log import LogKind, unpack_facts
from schemas.wire.events import Fact, RawBatch, RawEvent
from state.directory.directory_protocol import Directory
from state.directory.layout import Layout
from state.keys import DataKeys, LogSeal
from state.redis.names import Names
from tests.key_files import wrapping

KEY = b"k" * 32
SEAL = LogSeal(KEY)
LAYOUT = Layout("test", 2, 16, tuple(namespace.limit for namespace in Config().identity.namespace))
NOW_MS = int(time.time() * 1000)
PARTITION = "events/0"


def raw(**message: Any) -> RawEvent:
    return RawEvent(json.dumps({"type": "track", "event": "Viewed"} | message).encode(), NOW_MS, "web")


BAD = RawEvent(b"not json", NOW_MS, "web")
numbers = itertools.count()


class Reader:
    """A raw log whose entries hold one batch each; it ends the flow when all was read."""

    def __init__(
        self,
        batches: Sequence[Sequence[RawEvent]],
        stop: Stop | None = None,
        clock: Callable[[], None] = lambda: None,
    ) -> None:
        self.batches = batches
        self.at = START
        self.acknowledged: list[Mapping[str, int]] = []
        self._stop = stop
        self._clock = clock

    def partitions(self) -> list[str]:
        return [PARTITION]

    def assign(self, positions: Mapping[str, int]) -> None:
        self.at = positions[PARTITION]

    def leave(self, partitions: Collection[str]) -> None:
        raise AssertionError("nothing here is ever to wait")

    def join(self, positions: Mapping[str, int]) -> None:
        raise AssertionError("nothing here has ever waited")

    def poll(self, timeout_ms: int) -> list[RawBatch]:
        self._clock()
        if self.at + 1 >= len(self.batches):
            if self._stop is not None:
                self._stop.asked.set()
            return []
        self.at += 1
        events = list(self.batches[self.at])
        return [RawBatch(PARTITION, self.at, events, [self.at] * len(events))]

    def lag(self) -> dict[str, int]:
        return {PARTITION: len(self.batches) - self.at - 1}

    def committed(self, positions: Mapping[str, int]) -> None:
        self.acknowledged.append(positions)

    def close(self) -> None: ...


class Site:
    """A directory, data keys on a real Redis, and resolvers on them."""

    def __init__(self, url: str, directory: Directory) -> None:
        self.client = redis.Redis.from_url(url)
        self.directory = directory
        self.stop = Stop()

    def keys(self) -> DataKeys:
        return DataKeys(self.client, Names("t"), wrapping(KEY), LAYOUT.buckets)

    def resolver(
        self,
        config: Config | None = None,
        directory: Directory | None = None,
        brake: RejectBrake | None = None,
    ) -> Resolver:
        config = config or Config()
        return Resolver(
            config,
            Validator(config, KEY, {}),
            directory or self.directory,
            self.keys(),
            SEAL,
            self.stop,
            brake=brake,
        )

    def take(
        self, *events: RawEvent, resolver: Resolver | None = None, partition: str = PARTITION
    ) -> Window | None:
        """Judge and commit one window with these events."""
        resolver = resolver or self.resolver()
        before = self.directory.offsets().get(partition, START)
        window = Window(
            partition=partition,
            before=before,
            after=before + 1,
            events=list(events),
            positions=[before + 1] * len(events),
            opened=0.0,
        )
        return resolver.commit(resolver.judge(window))

    def facts(self) -> list[tuple[bytes, bytes, Fact]]:
        entries = self.directory.read(dict.fromkeys(range(LAYOUT.shards), 0), 10_000, 0)
        found = [
            fact for entry in entries if entry.kind == LogKind.EVENTS for fact in unpack_facts(entry.body)
        ]
        return [(root, origin, msgspec.msgpack.decode(payload, type=Fact)) for root, origin, payload in found]

    def opened(self) -> dict[str, dict[str, Any]]:
        """Return sealed fields by message, opened with the key of the origin where they landed."""
        found: dict[str, dict[str, Any]] = {}
        for _, origin, fact in self.facts():
            key = self.keys().of([origin]).get(origin)
            for name, sealed in fact.sealed.items():
                plain = key.open(name, sealed) if key else None
                assert plain is not None, f"{name} of {fact.message} cannot be opened"
                found.setdefault(fact.message, {})[name] = msgspec.json.decode(plain)
        return found
