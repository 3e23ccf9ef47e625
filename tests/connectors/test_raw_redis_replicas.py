"""With `redis.replicas` the gateway says 200 when a replica has the events, and 503 when none does: on a real
pair of servers."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis

from connectors.gateway import build
from connectors.raw.log import START
from connectors.raw.redis_log import RedisRawReader
from connectors.raw.redis_writer import RedisRawWriter
from flows.lab.chaos.ports import free_ports
from schemas.errors import Unreachable
from schemas.wire.events import RawEvent
from state.redis.servers import find_server
from tests.connectors.gateway_kit import CONFIG

EVENT = {"type": "track", "event": "Viewed", "userId": "ana"}


@contextmanager
def server(folder: Path, port: int, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir()
    argv = [
        str(find_server()),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
        "--save",
        "",
        *more,
    ]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def eventually_in_step(url: str) -> None:
    client, deadline = redis.Redis.from_url(url), time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if client.info("replication")["connected_slaves"] and client.wait(1, 100):
                return
        except redis.ConnectionError:
            pass
        time.sleep(0.05)
    raise AssertionError("the replica never came into step")


def test_acknowledged_means_that_a_replica_has_it(tmp_path: Path) -> None:
    ours, theirs = free_ports(2)
    url = f"redis://127.0.0.1:{ours}"
    follow = ("--replicaof", "127.0.0.1", str(ours))
    with (
        server(tmp_path / "primary", ours, "--repl-diskless-sync-delay", "0"),
        server(tmp_path / "replica", theirs, *follow) as replica,
    ):
        eventually_in_step(url)

        async def drive() -> list[int]:
            writer = RedisRawWriter(
                url=url, prefix="mr", partitions=1, max_events=1_000, seal=None, replicas=1
            )
            app = build(CONFIG, writer, lambda *_: None)
            codes = []
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://gateway"
            ) as client:

                async def post(message: str) -> None:
                    answer = await client.post(
                        "/v1/track",
                        json=EVENT | {"messageId": message},
                        headers={"authorization": "Bearer demo"},
                    )
                    codes.append(answer.status_code)

                await post("m1")
                assert redis.Redis(port=theirs).xlen("mr:raw:00") == 1  # it is there, without any waiting
                replica.send_signal(signal.SIGSTOP)
                await post("m2")
                with pytest.raises(
                    Unreachable,
                    match=r"expected 1 replicas to have our events within 1000 ms, 0 have them: check",
                ):
                    await writer.append([("", RawEvent(b"{}", 1))])
                replica.send_signal(signal.SIGCONT)
                await asyncio.to_thread(eventually_in_step, url)
                await post("m2")
                replica.kill()
                replica.wait()
                await post("m3")
            await writer.close()
            return codes

        assert asyncio.run(drive()) == [200, 503, 200, 503]
        reader = RedisRawReader(url, "mr", 1, None)
        reader.assign({"events/0": START})
        kept = [event.value for batch in reader.poll(0) for event in batch.events]
        assert (
            len(kept) == 5
        )  # what was refused may be there as well: its repetition is known by its message id
        reader.close()


def test_without_replicas_nothing_is_waited_for(redis_url: str) -> None:
    async def drive() -> None:
        writer = RedisRawWriter(url=redis_url, prefix="mr", partitions=1, max_events=1_000, seal=None)
        await writer.append([("", RawEvent(b"{}", 1))])
        await writer.close()

    client = redis.Redis.from_url(redis_url)
    client.config_resetstat()
    asyncio.run(drive())
    assert client.info("commandstats").get("cmdstat_wait", {"calls": 0})["calls"] == 0
