"""A Redis that came back older than what its reader remembers."""

import asyncio
from pathlib import Path

import pytest
import redis

from connectors.raw.log import START
from connectors.raw.redis_log import RedisRawReader
from connectors.raw.redis_writer import RedisRawWriter
from schemas.errors import Restarted
from schemas.wire.events import RawEvent
from state.redis.client import stay_with_server
from state.redis.embedded import Embedded


async def published(url: str, count: int) -> None:
    writer = RedisRawWriter(url=url, prefix="mr", partitions=1, max_events=1_000, seal=None)
    for number in range(count):
        await writer.append([("", RawEvent(b"%d" % number, 1))])
    await writer.close()


def test_what_was_committed_on_a_server_that_is_gone_is_not_trimmed_from_the_next(tmp_path: Path) -> None:
    """The commit may be undone there, and then the events are needed once more."""
    server = Embedded(tmp_path / "data", max_memory=64 << 20)
    with server.running() as url:
        asyncio.run(published(url, 5))
        reader = RedisRawReader(url=url, prefix="mr", partitions=1, open=None, hold=stay_with_server)
        reader.assign({"events/0": START})
        [batch] = reader.poll(0)
    with server.running() as url, redis.Redis.from_url(url) as client:
        with pytest.raises(Restarted):
            reader.committed({"events/0": batch.after})
        reader.close()
        assert client.xlen("mr:raw:00") == 5
