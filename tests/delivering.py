"""One worker of the flow `deliver` on a real Redis outbox, in a thread of the test, and the connectors that
it is given."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import redis
from bytewax.testing import run_main

from connectors.sinks.sink import Delivery, Outcome, Sink
from flows.deliver import DeliveryWorker, dataflow
from flows.dispatch.admission import Admission
from flows.dispatch.verdicts import Dropped, Gate
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop
from schemas.config import Config, Connector, Deliver, FileConnector, Secret, WebhookConnector
from schemas.records.outbox_lanes import Lane
from schemas.units import Duration
from schemas.wire.triggers import Absorb, Trigger
from state.redis.names import Names
from state.shards.redis_shards import RedisOutbox
from tests.receiver import SECRET

SHARDS = 4
QUICK = Deliver(
    attempts=4,
    backoff=Duration(20),
    backoff_max=Duration(100),
    breaker_failures=5,
    breaker_rest=Duration(200),
)
unpack = msgspec.msgpack.Decoder(Trigger).decode
pack = msgspec.msgpack.encode
STAMP_MS = 5_000


class Scripted:
    """A sink that asks a function."""

    def __init__(self, say: Callable[[Delivery], Outcome], batch_max: int = 10, concurrency: int = 2) -> None:
        self.batch_max, self.concurrency = batch_max, concurrency
        self.seen: list[Delivery] = []
        self.closed = False
        self._say = say

    async def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]:
        self.seen += batch
        return [self._say(item) for item in batch]

    async def close(self) -> None:
        self.closed = True

    @property
    def ids(self) -> list[str]:
        return [item.trigger.id for item in self.seen]


class Rig:
    """One worker of the flow, from start to stop, and what it is given."""

    def __init__(self, url: str, folder: Path) -> None:
        self.redis = redis.Redis.from_url(url)
        self.names = Names("t")
        self.outbox = RedisOutbox(self.redis, self.names, SHARDS)
        self.config = Config(deliver=QUICK)
        self.folder = folder
        self.sinks: dict[str, Sink] = {}
        self.gates: list[Gate] = []
        self.dead: list[tuple[str, bytes, str]] = []
        self.disabled: dict[str, str] = {}
        self.counted: dict[str, Counter[str]] = {}  # what attempts came to
        self.forwarded: list[tuple[int, int, Absorb]] = []
        self.identified: list[int] = []
        self.refused: list[tuple[str, str, str]] = []  # trigger, connector, code
        self.url = url
        self.stopping: Stop | None = None
        self._thread = threading.Thread()
        self._last = dict.fromkeys(range(SHARDS), 0)

    def emit(self, *bodies: Any, shard: int = 0, lane: str = Lane.TRIGGERS) -> None:
        """Emit as a shard's commit does."""
        pipeline = self.redis.pipeline()
        for body in bodies:
            self._last[shard] += 1
            packed = body if isinstance(body, bytes) else pack(body)
            pipeline.xadd(
                self.names.outbox(shard, lane), {b"b": packed, b"t": STAMP_MS}, id=f"{self._last[shard]}-0"
            )
        pipeline.execute()

    def identify(self, customers: list[str], fields: tuple[str, ...]) -> list[dict[str, str]]:
        self.identified.append(len(customers))
        return [{field: f"{field} of {int(customer, 16)}" for field in fields} for customer in customers]

    def record(self, trigger: Trigger, connector: str, refusal: Dropped) -> None:
        self.refused.append((trigger.id, connector, refusal.code))

    def forward(self, shard: int, seq: int, message: Absorb) -> bool:
        self.forwarded.append((shard, seq, message))
        return True

    def start(self, *connectors: Connector, shards: Sequence[int] = range(SHARDS), **settings: Any) -> "Rig":
        """Run the flow in a thread."""
        config = msgspec.structs.replace(
            self.config,
            connector=connectors,
            data=msgspec.structs.replace(self.config.data, folder=str(self.folder)),
        )
        config = msgspec.structs.replace(config, **settings)
        deployment = Deployment(config)
        deployment.redis_url = self.url
        worker = DeliveryWorker(
            config,
            shards,
            outbox=self.outbox,
            directory=self,
            records=_Records(self),
            door=lambda connector: Admission(connector, self.identify, self.record, self.gates),
            sink=lambda connector: self.sinks.get(connector.name) or deployment.sink(connector),
        )
        self.stopping = Stop()
        self._thread = threading.Thread(target=run_main, args=(dataflow(worker, self.stopping),))
        self._thread.start()
        return self

    def stop(self) -> float:
        """Stop as SIGTERM does; return the seconds that it took. Raises what ended the flow."""
        stop, self.stopping = self.stopping, None
        assert stop is not None
        begun = time.monotonic()
        stop.asked.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the flow did not stop"
        if stop.fault is not None:
            raise stop.fault
        return time.monotonic() - begun

    def cursor(self, consumer: str, shard: int = 0, lane: str = Lane.TRIGGERS) -> int:
        return self.outbox.cursors(lane, consumer)[shard]


class _Records:
    """What is remembered of deliveries, in the rig."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    def keep_dead(self, connector: str, body: bytes, reason: str) -> None:
        self._rig.dead.append((connector, body, reason))

    def disable(self, connector: str, endpoint: str) -> None:
        self._rig.disabled[connector] = endpoint

    def disabled(self) -> dict[str, str]:
        return self._rig.disabled

    def count(self, connector: str, more: Mapping[str, int]) -> None:
        self._rig.counted.setdefault(connector, Counter()).update(more)


def hook(url: str, **changes: Any) -> Connector:
    return WebhookConnector(
        **{"name": "hook", "url": url, "secrets": (Secret(SECRET),), "allow_private": True} | changes
    )


def named(name: str) -> Connector:
    """Make a connector whose sink the test gives."""
    return FileConnector(name=name, path=name)
