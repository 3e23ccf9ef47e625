"""What can be hurt: the processes of one deployment in a folder of its own, the receivers, the broker; and
how one sees that it works."""

import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import psutil

from flows.lab.chaos.booked_traffic import ORDER, Book
from flows.lab.chaos.broker import Broker
from flows.lab.chaos.moody_receiver import Moody
from flows.lab.chaos.ports import free_ports
from flows.lab.demo.stack import Stack
from flows.lab.demo.trigger_receiver import Got
from flows.runtime.deployment import Deployment
from schemas.errors import MillraceError
from state.redis.client import reported
from state.redis.embedded import Embedded, die_with_parent, embedded
from state.redis.servers import is_server

CRM, GONE = "crm", "gone"  # connectors; the second is the one that answers 410 some day
ON_ORDER, LEFT_CART, OFFER = "ordered", "left_cart", "offer"  # rules
MARKETING = "marketing"  # the purpose of the last
KEY = "chaos"
SHARDS, PARTITIONS = 8, 2
EVENTS_TOPIC, APPS_TOPIC = "chaos.events", "chaos.apps"
PROCESSING_S_MAX = 120.0  # then it is stuck; not sooner, for a busy machine is slow, and that is no failure
_LOOK_S = 0.02
_SAMPLE_S, _SAMPLES = 0.1, 100


class Stuck(Exception):
    """What should have happened within a bounded time did not."""


def document(folder: Path, fsync: str, crm: Moody, gone: Moody, bootstrap: str) -> dict[str, Any]:
    """Return the configuration. `bootstrap`: of Kafka; empty where the raw log is in Redis."""
    gateway, metrics = free_ports(2)
    hook = {"type": "webhook", "allow_private": True, "timeout": "2s", "identify": ["user_id", "email"]}
    kafka = {"kafka": {"bootstrap": bootstrap, "topics": [EVENTS_TOPIC, APPS_TOPIC]}} if bootstrap else {}
    return kafka | {
        "name": "chaos",
        "data": {"folder": str(folder)},
        "redis": {"fsync": fsync, "max_memory": "256MB"},
        "raw": {"log": "kafka" if bootstrap else "redis", "partitions": PARTITIONS},
        "gateway": {
            "listen": f"127.0.0.1:{gateway}",
            "write_keys": [{"key": KEY, "source": "web", "events_per_second": 100_000}],
        },
        "metrics": {"listen": f"127.0.0.1:{metrics}"},
        "shards": {"count": SHARDS},
        "identity": {"capacity": 10_000},
        "window": {"wait": "100ms"},
        "archive": {"enabled": True, "rotate_bytes": "1MB", "rotate_every": "15s"},
        "churn": {"horizon": "3s", "every": "1s"},
        "deliver": {"attempts": 1_000, "backoff": "200ms", "backoff_max": "1s", "breaker_rest": "1s"},
        "aggregate": [
            {"name": "orders", "of": "count", "on": [ORDER]},
            {"name": "paid", "of": "sum", "on": [ORDER], "value": "total"},
        ],
        "tag": [{"name": "buyer", "when": "orders > 2", "ttl": "20s"}],
        "segment": [{"name": "all", "when": "True"}],
        "trigger": [
            {"name": ON_ORDER, "on": {"event": ORDER}, "purpose": "service", "to": [CRM, GONE]},
            {
                "name": LEFT_CART,
                "on": {"after": "Product Added", "without": ORDER, "within": "2s"},
                "purpose": "service",
                "to": [CRM],
            },
            {"name": OFFER, "on": {"event": ORDER}, "purpose": MARKETING, "channel": "email", "to": [CRM]},
        ],
        "connector": [
            {"name": name, "url": receiver.url, "secrets": [receiver.secret], **hook}
            for name, receiver in ((CRM, crm), (GONE, gone))
        ],
    }


class Witness:
    """Sees triggers come in, and by them when an event was sent that has gone all the way. By publisher,
    since each has its way in."""

    def __init__(self, book: Book, publishers: Iterable[str]) -> None:
        self._book = book
        self._news = threading.Condition()
        self._latest_s = dict.fromkeys(publishers, 0.0)

    def saw(self, got: Got) -> None:
        if got.rule == ON_ORDER and (first_s := self._book.first_s(got.cause)) is not None:
            with self._news:
                publisher = got.cause.partition(":")[0]
                self._latest_s[publisher] = max(self._latest_s[publisher], first_s)
                self._news.notify_all()

    def wait(self, since_s: float, timeout_s: float) -> bool:
        """Wait until an event of each publisher that was first sent after `since_s` has come out as a
        trigger."""
        with self._news:
            return self._news.wait_for(lambda: min(self._latest_s.values()) >= since_s, timeout_s)


class Site:
    """Everything that faults take hold of. `luck` is theirs alone."""

    def __init__(
        self,
        stack: Stack,
        book: Book,
        witness: Witness,
        crm: Moody,
        gone: Moody,
        broker: Broker | None,
        luck: Random,
    ) -> None:
        self.stack = stack
        self.book = book
        self.crm = crm
        self.gone = gone
        self.broker = broker
        self.luck = luck
        self.config = stack.config
        self.folder = Path(self.config.data.folder)
        self.redis: Embedded = embedded(self.config)
        self.client = Deployment(self.config).client
        self.findings: list[str] = []  # what no figure tells
        self.went_back = False  # Redis lost a tail: what it said in that time it may say again, or not
        self.samples: deque[tuple[float, Path, int]] = deque(maxlen=_SAMPLES)
        self.paused_ms: list[tuple[int, int]] = []  # deliver stood still, and may have held what it was told
        self._witness = witness
        self._over = threading.Event()

    def __enter__(self) -> "Site":
        threading.Thread(target=self._watch_log, name="samples", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()

    # --- processes

    @property
    def supervisor(self) -> psutil.Process:
        return psutil.Process(self.stack.pid)

    def processes(self, what: str) -> list[psutil.Process]:
        """Return the workers of one flow, or the redis-server, below the supervisor."""
        found = []
        for child in self.supervisor.children():
            try:
                line = child.cmdline()
            except psutil.Error:
                continue
            if line and (
                what == "redis"
                if is_server(line[0])
                else "run" in line and line[line.index("run") + 1] == what
            ):
                found.append(child)
        return found

    def kill(self, what: str) -> float:
        """Send `kill -9`, and return when that was."""
        found = self.until(lambda: self.processes(what), f"there is no {what} to kill")
        for process in found:
            with suppress(psutil.NoSuchProcess):  # it was faster
                process.kill()
        return time.monotonic()

    def stand_in(self, process: psutil.Process, **environment: str) -> subprocess.Popen[bytes]:
        """Start the same command line once more. It is ours: the supervisor does not know of it."""
        with self.stack.log.open("ab") as log:
            return subprocess.Popen(
                process.cmdline(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=process.environ() | environment,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )

    # --- whether it works

    def processing(self, since_s: float) -> float:
        """Return how long after `since_s` until something that was sent after it has gone all the way, by
        every way in. Raises `Stuck`."""
        deadline = since_s + PROCESSING_S_MAX
        while not self._witness.wait(since_s, 0.5):
            self.stack.check()
            if time.monotonic() > deadline:
                raise Stuck(f"nothing has been processed for {PROCESSING_S_MAX:.0f} s")
        return time.monotonic() - since_s

    def until(self, holds: Callable[[], Any], otherwise: str, within_s: float = PROCESSING_S_MAX) -> Any:
        """Return what `holds` gives, when it is something. Servers that do not answer are waited for. Raises
        `Stuck`."""
        deadline = time.monotonic() + within_s
        while True:
            self.stack.check()
            try:
                with reported():
                    found = holds()
            except MillraceError:
                found = None
            if found:
                return found
            if time.monotonic() > deadline:
                raise Stuck(f"{otherwise}, after {within_s:.0f} s")
            time.sleep(_LOOK_S)

    # --- the append-only file

    def append_only(self) -> Path | None:
        """Return the file that Redis appends to now."""
        parts = sorted(
            self.redis.folder.glob("appendonlydir/*.incr.aof"), key=lambda file: int(file.name.split(".")[-3])
        )
        return next(iter([*parts[-1:], *self.redis.folder.glob("appendonly.aof")]), None)

    def _watch_log(self) -> None:
        """How long it was, and when."""
        while not self._over.wait(_SAMPLE_S):
            file = self.append_only()
            try:
                if file is not None:
                    self.samples.append((time.monotonic(), file, file.stat().st_size))
            except FileNotFoundError:
                continue
