"""Somebody with one public write key sends a thousand kinds of what is refused, for half a minute. Nobody
else notices."""

import json
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e import hostile
from tests.publisher import Publisher
from tests.running import Running, running

pytestmark = pytest.mark.xdist_group("hostile")

SECONDS, KINDS, SEED = 30.0, 1_000, 20_260
ACKNOWLEDGED_S, EMITTED_S = (
    5.0,
    10.0,
)  # far beyond what is usual, for the machine is shared; a stall is longer
GROWTH_BYTES = 400 << 20  # of all processes together
HONEST = ("app", "store")
KEYS = """
[[gateway.write_keys]]
key = "public"
source = "web"
events_per_second = 100_000
[[gateway.write_keys]]
key = "app-key"
source = "app"
[[gateway.write_keys]]
key = "store-key"
source = "store"
"""
CONFIG = """
[shards]
count = 4
[window]
wait = "50ms"
[matching]
enabled = false
[[trigger]]
name = "each"
on = {event = "Order Completed"}
purpose = "service"
to = ["file"]
[[connector]]
name = "file"
type = "file"
path = "triggers.jsonl"
"""


class Honest:
    """One source that sends small batches, and how long each took to be acknowledged."""

    def __init__(self, millrace: Running, source: str) -> None:
        self.source, self.took_s = source, list[float]()
        self._http = httpx.Client(base_url=millrace.url, timeout=60, auth=(f"{source}-key", ""))

    def batch(self, number: int) -> list[dict[str, Any]]:
        return [
            {
                "type": "track",
                "event": "Order Completed",
                "userId": f"{self.source}-{number % 17}-{n}",
                "messageId": f"{self.source}:{number}:{n}",
            }
            for n in range(3)
        ]

    def stored(self, batch: list[dict[str, Any]]) -> bool:
        began = time.monotonic()
        done = self._http.post("/v1/batch", json={"batch": batch}).status_code == 200
        self.took_s.append(time.monotonic() - began)
        return done


class Sender:
    """The hostile one: a thread that sends until it is left."""

    def __init__(self, millrace: Running, made: Iterator[hostile.Request]) -> None:
        self.answers = Counter[int]()
        self._made, self._over = made, threading.Event()
        self._http = httpx.Client(base_url=millrace.url, timeout=60)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join(90)

    def _run(self) -> None:
        for path, headers, content in self._made:
            if self._over.is_set():
                return
            try:
                self.answers[self._http.post(path, headers=headers, content=content).status_code] += 1
            except httpx.TransportError:  # some are refused before they have come whole
                self.answers[0] += 1


class Dawdlers:
    """Connections that give a byte of their head now and then, or nothing at all, until somebody closes
    them."""

    MANY, EVERY_S = 40, 0.5

    def __init__(self, millrace: Running) -> None:
        self.said = Counter[bytes]()  # the first line of what came
        self._address = ("127.0.0.1", int(millrace.url.rpartition(":")[2]))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Dawdlers":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        head = iter(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\n" + b"X-Slow: y\r\n" * 10_000)
        sockets = {socket.create_connection(self._address) for _ in range(self.MANY)}
        silent = set(list(sockets)[: self.MANY // 4])
        try:
            while sockets and not self._over.wait(self.EVERY_S):
                byte = bytes([next(head)])
                for one in list(sockets):
                    if self._is_closed(one, b"" if one in silent else byte):
                        sockets.discard(one)
                        one.close()
        finally:
            for one in sockets:
                one.close()

    def _is_closed(self, one: socket.socket, byte: bytes) -> bool:
        try:
            one.sendall(byte)
            if not select.select([one], [], [], 0)[0]:
                return False
            self.said[one.recv(65_536).partition(b"\r\n")[0]] += 1
        except OSError:
            self.said[b""] += 1
        return True


def triggers(folder: Path) -> dict[str, float]:
    """Seconds from an event's arrival to its trigger, by the event's message."""
    file = folder / "data" / "triggers.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    found = [json.loads(line)["data"] for line in lines if line.endswith("}")]
    assert len({data["cause"] for data in found}) == len(found), "doubled"
    return {
        data["cause"]: (data["receipt"]["emitted_ms"] - data["receipt"]["received_ms"]) / 1000
        for data in found
    }


def resident(millrace: Running) -> int:
    return sum(
        process.memory_info().rss for process in millrace.family() if process.status() != psutil.STATUS_ZOMBIE
    )


def slow(seconds: list[float]) -> float:
    """What nineteen of twenty stay below."""
    return quantiles(seconds, n=20)[-1]


def test_a_hostile_sender_harms_nobody_and_ends_nothing(tmp_path: Path) -> None:
    kinds = hostile.requests(SEED, KINDS)
    assert len({(kind.path, kind.content) for kind in kinds}) == KINDS
    luck, rounds = Random(SEED), count()

    def mostly_good() -> Iterator[hostile.Request]:
        """What fails behind the gateway stays under `validate.reject_percent`, so that the key works to the
        end."""
        headers: dict[str, str | bytes] = {"Authorization": f"Bearer {hostile.KEY}"}
        flood = hostile.Request("/v1/batch", headers, json.dumps({"batch": [{}] * 2_500}).encode())
        for kind in cycle(kinds):
            number = next(rounds)
            yield kind
            if number % 4 == 0:
                good = [{"type": "page", "userId": f"stranger-{luck.randrange(50)}"} for _ in range(32)]
                yield hostile.Request("/v1/batch", headers, json.dumps({"batch": good}).encode())
            if number % 100 == 0:
                yield flood

    with running(tmp_path, CONFIG, KEYS) as millrace:
        before = processes(millrace)
        honest = [Honest(millrace, source) for source in HONEST]
        with (
            Publisher(honest[0].batch, honest[0].stored) as app,
            Publisher(honest[1].batch, honest[1].stored) as store,
        ):
            app.await_batches(20)
            store.await_batches(20)
            held = resident(millrace)
            with Sender(millrace, mostly_good()) as sender, Dawdlers(millrace) as dawdlers:
                time.sleep(SECONDS)
                millrace.eventually(lambda: sum(sender.answers.values()) > 1.3 * KINDS)
            assert next(rounds) > KINDS, "each kind once"
            assert sender.answers.keys() >= {200, 400, 401, 413, 415}
            assert max(sender.answers) < 500, sender.answers
            assert dawdlers.said.total() == Dawdlers.MANY, "each was closed"
            assert dawdlers.said.keys() <= {b"", b"HTTP/1.1 408 Request Timeout"}
            assert_unharmed(millrace, before)
            assert suspended(millrace) == "no source is suspended\n"

            # What an event is refused for by itself is said to its sender, and counts for nobody.
            headers = {"Authorization": f"Bearer {hostile.KEY}"}
            alone = [json.dumps({"batch": list(hostile.refused_alone(luck, 50))}).encode() for _ in range(40)]
            with Sender(
                millrace, iter([hostile.Request("/v1/batch", headers, body) for body in alone])
            ) as sender:
                millrace.eventually(lambda: sender.answers[200] == len(alone))
            time.sleep(2)
            assert suspended(millrace) == "no source is suspended\n"

            # With nothing good among what only shows behind the gateway the source is suspended, and no
            # other.
            bad = [json.dumps({"batch": list(hostile.rejected_behind(luck, 50))}).encode() for _ in range(20)]
            with Sender(
                millrace, cycle([hostile.Request("/v1/batch", headers, body) for body in bad])
            ) as sender:
                millrace.eventually(lambda: sender.answers[429] > 0)
            (row,) = [line.split() for line in suspended(millrace).splitlines() if "answers 429" in line]
            assert row[0] == "web"
            for one in (app, store):
                one.await_batches(20)
            assert millrace.command("source", "resume", "web") == "web goes on within about a second\n"
            page = {"type": "page", "userId": "somebody"}
            millrace.eventually(
                lambda: millrace.http.post("/v1/page", json=page, auth=("public", "")).status_code == 200
            )
            assert_unharmed(millrace, before)
            assert resident(millrace) - held < GROWTH_BYTES
        assert [one.retries for one in (app, store)] == [0, 0], (
            "every batch of an honest source is acknowledged at once"
        )
        sent = app.sent | store.sent
        millrace.eventually(lambda: len(triggers(tmp_path)) >= len(sent))
        emitted = triggers(tmp_path)
        assert emitted.keys() == sent.keys()
        assert slow([seconds for one in honest for seconds in one.took_s]) < ACKNOWLEDGED_S
        assert slow(list(emitted.values())) < EMITTED_S


def suspended(millrace: Running) -> str:
    return millrace.command("source", "list")


def processes(millrace: Running) -> list[int]:
    """Return the supervisor's and its children's; Redis forks one of its own when it rewrites its file."""
    supervisor, *others = millrace.family()
    return sorted([supervisor.pid, *(one.pid for one in others if one.ppid() == supervisor.pid)])


def assert_unharmed(millrace: Running, pids: list[int]) -> None:
    assert processes(millrace) == pids, millrace.log.read_text()[-4_000:]
    assert "worker_died" not in millrace.log.read_text()
    assert millrace.http.get("/readyz").json() == {"status": "ready"}
