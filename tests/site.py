"""A deployment on a real Redis, driven step by step by a seed: windows of raw events, ticks, absorbs, rules
that change.

Its parts are those that the flows run (`Resolver`, `Worker`, `Archiver`); only the engine and the processes
are left out.
"""

from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import redis

from flows.archive import Archiver
from flows.profile import Worker
from flows.resolve import Resolver
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop
from flows.runtime.windows import Window
from schemas.config import Config
from schemas.config.toml import load
from schemas.records.journal import JournalKind, Journalled
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import Tick
from schemas.wire.events import RawEvent
from schemas.wire.triggers import Absorb
from state import state_digest
from state.digest_entries import Digest

START_S = 1_767_225_600  # 2026-01-01T00:00:00Z
TEXT = """
[redis]
url = "{url}"
prefix = "{prefix}"
[shards]
count = 4
[identity]
capacity = 2000
[archive]
enabled = {archive}
rotate_bytes = "{rotate}"
[[aggregate]]
name = "orders"
of = "count"
on = ["Order Completed"]
[[tag]]
name = "buyer"
when = "orders > {few}"
ttl = "1m"
[[segment]]
name = "all"
when = "True"
[[trigger]]
name = "thank_you"
on = {{event = "Order Completed"}}
when = "orders > 0"
[[trigger]]
name = "come_back"
on = {{after = "Product Added", without = "Order Completed", within = "5s"}}
"""


class Site:
    """`folder` is shared by all deployments that restore from one another: key file, archive, backups."""

    def __init__(
        self,
        folder: Path,
        url: str,
        prefix: str = "mr",
        *,
        seed: int = 0,
        archive: bool = True,
        rotate: str = "16KB",
        few: int = 1,
    ) -> None:
        self.folder, self.url, self.prefix = folder, url, prefix
        self._options = {"url": url, "prefix": prefix, "archive": str(archive).lower(), "rotate": rotate}
        self.config = self._configured(few)
        self.client = redis.Redis.from_url(url)
        self.random = Random(seed)
        self.now_s = START_S
        self._message = count(1)

    def _configured(self, few: int) -> Config:
        self.few = few
        self.file = self.folder / f"{self.prefix}.toml"
        self.file.write_text(TEXT.format(few=few, **self._options))
        return load(self.file)

    def start(self) -> "Site":
        """A new deployment, or one that was restored."""
        deployment = Deployment(self.config)
        deployment.prepare()
        self.directory = deployment.directory
        self.outbox = deployment.outbox
        self.resolver = Resolver(
            self.config,
            deployment.validator(),
            self.directory,
            deployment.data_keys,
            deployment.log_seal,
            Stop(),
            clock=lambda: float(self.now_s),
        )
        self.worker = Worker(
            range(self.config.shards.count),
            self.directory,
            deployment.shards,
            deployment.machine(),
            cache=50,
            outbox_max=100_000,
            clock_ms=lambda: self.now_s * 1000,
            clock=count(step=10).__next__,
        )
        # ticks come from `tick` alone
        self.worker._directory = _Untimed(self.directory)  # type: ignore[assignment]
        self._forwarded = dict.fromkeys(range(self.config.shards.count), 0)
        return self

    def archiver(self) -> Archiver:
        deployment = Deployment(self.config)
        return Archiver(
            self.config,
            deployment.journal,
            deployment.archive,
            deployment.log_seal,
            lambda: None,
        )

    # --- what happens

    def step(self) -> None:
        """One of the things that happen."""
        match self.random.choice("wwwwwwaapfc"):
            case "w":
                self.window()
            case "a":
                self.forward()
            case "p":
                self.apply(1)
            case "f":
                self.apply(3)
            case "c":
                self.announce()

    def window(self, n: int | None = None) -> None:
        partition = f"events/{self.random.randrange(2)}"
        before = self.directory.offsets().get(partition, -1)
        events = [self._event() for _ in range(n or self.random.randint(1, 6))]
        window = Window(
            partition=partition,
            before=before,
            after=before + len(events),
            events=events,
            positions=[before + 1 + i for i in range(len(events))],
            opened=0.0,
        )
        assert self.resolver.commit(self.resolver.judge(window)) is window

    def _event(self) -> RawEvent:
        chance = self.random
        person = chance.randrange(12)
        body: dict[str, Any] = {"messageId": f"m{next(self._message)}"}
        if chance.random() < 0.7:
            body["anonymousId"] = f"visitor-{person}-{chance.randrange(3)}"
        if chance.random() < 0.5 or len(body) == 1:
            body["userId"] = f"user-{person if chance.random() < 0.9 else chance.randrange(12)}"
        kind = chance.random()
        if kind < 0.2:
            body |= {
                "type": "identify",
                "traits": {"email": f"p{person}@example.com", "plan": chance.choice(["a", "b"])},
            }
        elif kind < 0.25:
            body |= {"type": "nonsense"}
        else:
            name = chance.choice(["Order Completed", "Product Added", "Product Viewed"])
            body |= {"type": "track", "event": name, "properties": {"total": chance.randrange(100)}}
        return RawEvent(msgspec.json.encode(body), self.now_s * 1000 - chance.randrange(2_000), "web")

    def tick(self) -> None:
        self.now_s += 1
        assert self.directory.replay(
            Journalled(0, JournalKind.TICK, msgspec.msgpack.encode(Tick(self.now_s * 1000)))
        )

    def announce(self) -> None:
        """Other rules from here on."""
        self.config = self._configured(self.random.randrange(1, 5))
        Deployment(self.config).prepare(agreed=True)

    def forward(self) -> None:
        for entry in self.outbox.read(Lane.ABSORBS, self._forwarded, 100, 0):
            self.directory.forward(entry.shard, entry.seq, msgspec.msgpack.decode(entry.body, type=Absorb))
            self._forwarded[entry.shard] = entry.seq

    def apply(self, batches: int = 1_000_000) -> None:
        for _ in range(batches):
            entries = self.worker.read()
            if not entries:
                return
            self.worker.commit(self.worker.apply(entries))

    # --- what came of it

    def digest(self, said: bool = False) -> Digest:
        """`said`: sealed values by what they say, not by their bytes."""
        deployment = Deployment(self.config)
        names, layout = deployment.names, deployment.layout
        unseal = state_digest.as_said(deployment.data_keys) if said else state_digest.as_stored
        return state_digest.Reading(self.client, names, layout, deployment.directory, unseal).digest()


class _Untimed:
    def __init__(self, directory: Any) -> None:
        self._directory = directory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._directory, name)

    def tick(self) -> bool:
        return False

    def read(self, after: Any, entries: int, block_ms: int) -> Any:
        return self._directory.read(after, entries, 0)
