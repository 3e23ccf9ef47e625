"""One suite for both raw logs: Redis Streams and Kafka, plain and sealed."""

import asyncio
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis
from confluent_kafka import Consumer, TopicPartition

from connectors.raw import redis_log
from connectors.raw.kafka_log import KafkaRawReader, KafkaRawWriter
from connectors.raw.log import START, RawWriter
from connectors.raw.redis_log import RedisRawReader
from connectors.raw.redis_writer import RedisRawWriter
from connectors.wire.avro import AvroReader, SchemaRegistry
from schemas.config import Kafka
from schemas.errors import Foreign, LogFull, Unreachable
from schemas.wire.events import RawEvent
from state.redis.embedded import Embedded
from tests.kafka_broker import Broker
from tests.raw_logs import (
    EVENT_BYTES,
    NOBODY,
    PARTITIONS,
    KafkaLog,
    Log,
    RedisLog,
    append,
    event,
    from_start,
    pairs,
    read,
    texts,
    unscramble,
    use,
)


@pytest.fixture(params=["redis", "kafka"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def sealed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def raw_log(kind: str, sealed: bool, request: pytest.FixtureRequest) -> Log:
    if kind == "redis":
        return RedisLog(request.getfixturevalue("redis_url"), sealed)
    return KafkaLog(request.getfixturevalue("kafka"), sealed)


@pytest.fixture
def lasting_log(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    """One whose server can be killed and started again."""
    if kind == "kafka":
        yield KafkaLog(request.getfixturevalue("kafka"), sealed=True)
        return
    server = Embedded(tmp_path, fsync="always")
    process = server.spawn()

    def restart() -> None:
        nonlocal process
        process.kill()
        process.wait(10)
        process = server.spawn()
        server.wait(process)

    try:
        server.wait(process)
        yield RedisLog(server.url, True, restart)
    finally:
        process.kill()
        process.wait(10)


def test_each_key_is_read_in_the_order_in_which_it_was_appended(raw_log: Log) -> None:
    appended = pairs(3_000)
    append(raw_log, appended)
    reader = raw_log.reader()
    from_start(reader)
    by_key: dict[str, list[str]] = defaultdict(list)
    for text in texts(read(reader, 3_000)):
        by_key[text.partition(":")[0]].append(text)
    reader.close()
    assert by_key == {
        key: [found.value.decode() for other, found in appended if other == key] for key, _ in appended
    }


def test_appends_at_the_same_time_all_arrive_and_each_keeps_its_order(raw_log: Log) -> None:
    async def many(writer: RawWriter) -> None:
        await asyncio.gather(
            *(
                writer.append([(f"k{client}", event(f"{client}:{n}")) for n in range(40)])
                for client in range(50)
            )
        )

    use(raw_log.writer(), many)
    reader = raw_log.reader()
    from_start(reader)
    found = texts(read(reader, 2_000))
    reader.close()
    assert len(found) == 2_000
    for client in range(50):
        assert [text for text in found if text.startswith(f"{client}:")] == [
            f"{client}:{n}" for n in range(40)
        ]


def test_what_is_left_is_not_read_until_it_is_joined_again(raw_log: Log) -> None:
    append(raw_log, pairs(400, keys=40))
    reader = raw_log.reader()
    from_start(reader)
    first, *others = reader.partitions()
    batches = read(reader, 400)
    reader.leave([first])
    append(raw_log, [(key, event(found.value.decode() + "-later")) for key, found in pairs(400, keys=40)])
    expected = sum(len(batch.events) for batch in batches if batch.partition != first)
    later = read(reader, expected)
    assert reader.poll(300) == []
    assert {batch.partition for batch in later} == set(others)
    assert sum(len(batch.events) for batch in later) == expected
    middle = next(batch.after for batch in batches if batch.partition == first)
    reader.join({first: middle})
    missing = read(reader, 400 - expected)
    assert {batch.partition for batch in missing} == {first}
    assert all(position > middle for batch in missing for position in batch.positions)
    reader.close()


def test_a_reader_can_leave_all_and_what_it_left_may_still_be_committed(raw_log: Log) -> None:
    append(raw_log, pairs(100))
    reader = raw_log.reader()
    from_start(reader)
    batches = read(reader, 100)
    reader.leave(reader.partitions())
    append(raw_log, pairs(100))
    assert reader.poll(300) == []
    reader.committed({batch.partition: batch.after for batch in batches})
    reader.join({batch.partition: batch.after for batch in batches})
    assert len(texts(read(reader, 100))) == 100
    reader.close()


def test_an_event_comes_back_whole(raw_log: Log) -> None:
    appended = [
        RawEvent(b'{"type":"track"}', 1_700_000_000_123, "app"),
        RawEvent(
            value=b"\x00\xffnot json",
            received_ms=1_700_000_000_124,
            source="\u5e97",
            fault="not_json",
            detail="byte 0: \u00fc",
        ),
        RawEvent(b"", 0, "", "empty"),
    ]
    append(raw_log, [("k", found) for found in appended])
    reader = raw_log.reader()
    from_start(reader)
    assert [found for batch in read(reader, 3) for found in batch.events] == appended
    reader.close()


def test_events_without_a_key_are_spread(raw_log: Log) -> None:
    append(raw_log, [("", event(str(number))) for number in range(100)] + [("\ud800", event("lone"))])
    reader = raw_log.reader()
    from_start(reader)
    batches = read(reader, 101)
    reader.close()
    assert {batch.partition for batch in batches} == set(reader_partitions(raw_log))
    assert sorted(texts(batches)) == sorted([*map(str, range(100)), "lone"])


def reader_partitions(raw_log: Log) -> list[str]:
    reader = raw_log.reader()
    try:
        return reader.partitions()
    finally:
        reader.close()


def test_partitions_are_named_in_the_order_of_their_numbers(raw_log: Log) -> None:
    names = reader_partitions(raw_log)
    assert len(names) == PARTITIONS
    assert [int(name.rpartition("/")[2]) for name in names] == list(range(PARTITIONS))


def test_a_poll_gives_one_batch_for_each_partition_and_positions_rise(raw_log: Log) -> None:
    append(raw_log, pairs(5_000, keys=50))
    reader = raw_log.reader()
    from_start(reader)
    last: dict[str, int] = dict.fromkeys(reader.partitions(), START)
    left = 5_000
    deadline = time.monotonic() + 60
    while left and time.monotonic() < deadline:
        batches = reader.poll(200)
        assert len({batch.partition for batch in batches}) == len(batches)
        for batch in batches:
            assert 0 < len(batch.events) == len(batch.positions) <= 500
            assert last[batch.partition] < batch.positions[0]
            assert all(a <= b for a, b in itertools.pairwise(batch.positions))
            assert batch.after == batch.positions[-1]
            last[batch.partition] = batch.after
            left -= len(batch.events)
    reader.close()
    assert left == 0


def test_reading_from_a_position_gives_exactly_the_rest(raw_log: Log) -> None:
    async def in_pieces(writer: RawWriter) -> None:
        for number in range(30):
            await writer.append([("k", event(f"{number}:{n}")) for n in range(50)])

    use(raw_log.writer(), in_pieces)
    reader = raw_log.reader()
    from_start(reader)
    batches = read(reader, 1_500)
    reader.close()
    assert len(batches) >= 3
    for stop, batch in enumerate(batches):
        rest = texts(batches[stop + 1 :])
        again = raw_log.reader()
        again.assign({batch.partition: batch.after})
        assert sum(again.lag().values()) == len(rest)
        assert texts(read(again, len(rest))) == rest
        assert again.poll(50) == []
        again.close()


def test_workers_share_the_partitions(raw_log: Log) -> None:
    append(raw_log, pairs(1_000, keys=40))
    readers = [raw_log.reader(), raw_log.reader()]
    found = []
    for k, reader in enumerate(readers):
        mine = reader.partitions()[k::2]
        reader.assign(dict.fromkeys(mine, START))
        batches = read(reader, sum(reader.lag().values()))
        assert {batch.partition for batch in batches} <= set(mine)
        found += texts(batches)
        reader.close()
    assert sorted(found) == sorted(item.value.decode() for _, item in pairs(1_000, keys=40))


def test_an_empty_poll_ends_with_its_time_and_an_event_ends_it_at_once(raw_log: Log) -> None:
    append(raw_log, pairs(1))
    reader = raw_log.reader()
    from_start(reader)
    read(reader, 1)
    started = time.monotonic()
    assert reader.poll(300) == []
    assert time.monotonic() - started > 0.25
    assert reader.poll(0) == []

    delayed = threading.Timer(0.3, append, (raw_log, pairs(1)))
    delayed.start()
    started = time.monotonic()
    batches = reader.poll(60_000)
    assert time.monotonic() - started < 30
    assert len(texts(batches)) == 1
    delayed.join()
    reader.close()


def test_lag_is_what_has_not_been_polled(raw_log: Log) -> None:
    append(raw_log, pairs(1_200, keys=1))
    reader = raw_log.reader()
    from_start(reader)
    assert sum(reader.lag().values()) == 1_200
    assert set(reader.lag()) == set(reader.partitions())
    done = sum(len(batch.events) for batch in read(reader, 1))
    assert sum(reader.lag().values()) == 1_200 - done
    read(reader, 1_200 - done)
    assert sum(reader.lag().values()) == 0
    reader.close()


def test_what_is_not_committed_is_kept(raw_log: Log) -> None:
    append(raw_log, pairs(100))
    reader = raw_log.reader()
    from_start(reader)
    read(reader, 100)
    reader.close()
    again = raw_log.reader()
    from_start(again)
    assert len(texts(read(again, 100))) == 100
    again.close()


def test_nothing_is_stored_in_the_clear_when_sealed(redis_url: str, kafka: Broker) -> None:
    secret = [("carol@example.org", event("carol@example.org bought a lamp"))]
    append(RedisLog(redis_url, sealed=True), secret)
    with redis.Redis.from_url(redis_url) as client:
        stored = [client.dump(key) or b"" for key in client.keys("*")]
    assert stored
    assert not any(b"carol" in dump or b"lamp" in dump for dump in stored)

    raw_log = KafkaLog(kafka, sealed=True)
    append(raw_log, secret)
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": "eve", "auto.offset.reset": "earliest"}
    )
    consumer.assign([TopicPartition(raw_log.config.topics[0], number, 0) for number in range(PARTITIONS)])
    (record,) = consumer.consume(1, 20)
    consumer.close()
    assert record.key() is None
    assert b"carol" not in (record.value() or b"")
    assert "carol" not in str(record.headers())


def test_redis_entries_that_cannot_be_opened_stop_the_reader(redis_url: str) -> None:
    append(RedisLog(redis_url, sealed=False), pairs(3))
    for opener in (unscramble, lambda value: b"\xc1" + value):
        reader = RedisRawReader(redis_url, "mr", PARTITIONS, opener)
        from_start(reader)
        with pytest.raises(Foreign):
            reader.poll(200)
        reader.close()


def test_a_full_redis_partition_refuses_and_takes_again_after_trimming(redis_url: str) -> None:
    raw_log = RedisLog(redis_url, sealed=False)

    async def fill(writer: RawWriter) -> None:
        await writer.append([("k", event("a"))] * 10)
        with pytest.raises(LogFull) as refused:
            await writer.append([("k", event("b"))])
        assert refused.value.retry_after_s > 0

    use(raw_log.writer(max_events=10), fill)
    reader = raw_log.reader()
    from_start(reader)
    (batch,) = read(reader, 10)
    assert len(batch.events) == 10
    reader.committed({batch.partition: batch.after})
    reader.close()

    async def again(writer: RawWriter) -> None:
        await writer.append([("k", event("c"))] * 10)
        with pytest.raises(LogFull):
            await writer.append([("k", event("d"))])

    use(raw_log.writer(max_events=10), again)
    reader = raw_log.reader()
    reader.assign({batch.partition: batch.after})
    assert sum(reader.lag().values()) == 10
    assert texts(read(reader, 10)) == ["c"] * 10
    reader.close()


def test_one_full_redis_partition_does_not_refuse_what_others_take(redis_url: str) -> None:
    """`k` and `x` fall into different partitions."""
    raw_log = RedisLog(redis_url, sealed=False)

    async def both(writer: RawWriter) -> None:
        await writer.append([("k", event("x"))] * 10)
        results = await asyncio.gather(
            writer.append([("k", event("refused"))]),
            writer.append([("x", event("taken"))]),
            return_exceptions=True,
        )
        assert isinstance(results[0], LogFull)
        assert results[1] is None

    use(raw_log.writer(max_events=10), both)


def held(redis_url: str) -> list[str]:
    """What lies in the log, sorted."""
    reader = RedisLog(redis_url, sealed=False).reader()
    from_start(reader)
    found = sorted(texts(read(reader, sum(reader.lag().values()))))
    reader.close()
    return found


def test_of_an_append_that_finds_one_redis_partition_full_nothing_is_stored(redis_url: str) -> None:
    async def fill(writer: RawWriter) -> None:
        await writer.append([("k", event("first"))] * 10)
        for _ in range(3):
            with pytest.raises(LogFull):
                await writer.append(
                    [
                        ("x", event("before")),
                        ("k", event("full")),
                        ("y", event("behind")),
                        ("", event("anywhere")),
                    ]
                )

    use(RedisLog(redis_url, sealed=False).writer(max_events=10), fill)
    assert held(redis_url) == ["first"] * 10


@pytest.mark.parametrize("seed", range(8))
def test_each_append_that_goes_into_redis_with_others_is_stored_whole_or_not_at_all(
    redis_url: str, seed: int
) -> None:
    luck = Random(seed)
    appends = [
        [(f"k{luck.randrange(9)}", event(f"{at}")) for _ in range(luck.randint(1, 9))] for at in range(60)
    ]

    async def together(writer: RawWriter) -> list[bool]:
        done = await asyncio.gather(*map(writer.append, appends), return_exceptions=True)
        assert {type(one) for one in done} == {type(None), LogFull}
        return [one is None for one in done]

    taken: list[bool] = []

    async def job(writer: RawWriter) -> None:
        taken.extend(await together(writer))

    use(RedisLog(redis_url, sealed=False).writer(max_events=40), job)
    assert held(redis_url) == sorted(
        found.value.decode() for ok, append in zip(taken, appends, strict=True) if ok for _, found in append
    )


@pytest.mark.parametrize("later", ["full", "OOM"])
def test_when_an_answer_of_redis_was_lost_nobody_says_that_nothing_is_stored(
    redis_url: str, later: str
) -> None:
    """The first attempt stored it, and filled the partition with it."""

    async def fill(writer: RawWriter) -> None:
        assert isinstance(writer, RedisRawWriter)
        call, calls = writer._call, itertools.count()

        async def lossy(arguments: list[Any]) -> tuple[list[int], int]:
            number = next(calls)
            if number and later == "OOM":
                raise redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'.")
            answer = await call(arguments)
            if not number:
                raise redis.ConnectionError("Connection reset by peer")
            return answer

        writer._call = lossy  # type: ignore[method-assign]
        with pytest.raises(Unreachable):
            await writer.append([("k", event("stored"))] * 10)

    use(RedisLog(redis_url, sealed=False).writer(max_events=10), fill)
    assert held(redis_url) == ["stored"] * 10


def test_redis_keeps_only_what_is_not_committed(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_log, "TRIM_EVERY_S", 600.0)
    raw_log = RedisLog(redis_url, sealed=True)
    append(raw_log, pairs(2_000, keys=1))
    reader = raw_log.reader()
    from_start(reader)
    first = read(reader, 1)[0]
    reader.committed({first.partition: first.after})  # the first trims at once
    with redis.Redis.from_url(redis_url) as client:
        streams = [key for key in client.keys("mr:raw:*") if key != b"mr:raw:counts"]
        assert sum(client.xlen(key) for key in streams) == 3
        second = read(reader, 1)[0]
        reader.committed({second.partition: second.after})
        assert sum(client.xlen(key) for key in streams) == 3  # not so soon again
        reader._trim_at = 0.0
        reader.poll(0)
        assert sum(client.xlen(key) for key in streams) == 2
    reader.close()
    resumed = raw_log.reader()
    resumed.assign({second.partition: second.after})
    assert sum(resumed.lag().values()) == 2_000 - len(first.events) - len(second.events)
    resumed.close()


def test_redis_partitions_of_former_times_are_read_until_they_are_empty(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_log, "TRIM_EVERY_S", 0.0)
    append(RedisLog(redis_url, sealed=False), [("", event(str(number))) for number in range(8)])
    fewer = RedisRawReader(redis_url, "mr", 1, None)
    assert fewer.partitions() == [f"events/{number}" for number in range(PARTITIONS)]
    from_start(fewer)
    for batch in read(fewer, 8):
        fewer.committed({batch.partition: batch.after})
    fewer.committed({})
    assert fewer.partitions() == ["events/0"]
    fewer.close()


def test_a_full_kafka_queue_refuses(kafka: Broker) -> None:
    raw_log = KafkaLog(kafka, sealed=False)
    small = Kafka(
        bootstrap=kafka.bootstrap,
        topics=raw_log.config.topics,
        options={"queue.buffering.max.messages": "10"},
    )  # type: ignore[dict-item]

    async def fill(writer: RawWriter) -> None:
        with pytest.raises(LogFull):
            await writer.append(pairs(11))
        await writer.append(pairs(10))

    use(KafkaRawWriter(small, None), fill)
    reader = raw_log.reader()
    from_start(reader)
    assert sorted(texts(read(reader, 10))) == sorted(found.value.decode() for _, found in pairs(10)), (
        "of the eleven none is stored"
    )
    assert reader.poll(500) == []
    reader.close()


def test_a_kafka_queue_is_full_by_its_bytes_as_well(kafka: Broker) -> None:
    raw_log = KafkaLog(kafka, sealed=False)
    options = {"queue.buffering.max.kbytes": "100", "linger.ms": "0"}
    small = Kafka(bootstrap=kafka.bootstrap, topics=raw_log.config.topics, options=options)  # type: ignore[arg-type]
    large = [("k", event("x" * 10_000)) for _ in range(9)]

    async def fill(writer: RawWriter) -> None:
        done = await asyncio.gather(*(writer.append(large) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in done] == [type(None), LogFull, LogFull]
        await writer.append(large)

    use(KafkaRawWriter(small, None), fill)
    reader = raw_log.reader()
    from_start(reader)
    assert len(texts(read(reader, 18))) == 18
    assert reader.poll(500) == []
    reader.close()


def test_ping_tells_whether_the_log_answers(lasting_log: Log) -> None:
    use(lasting_log.writer(), lambda writer: writer.ping())


def test_no_server_is_one_clear_line_in_time(kind: str) -> None:
    started = time.monotonic()
    with pytest.raises(Unreachable) as error:
        if kind == "redis":
            use(
                RedisRawWriter(url=f"redis://{NOBODY}", prefix="mr", partitions=1, max_events=10, seal=None),
                lambda writer: writer.append(pairs(1)),
            )
        else:
            KafkaRawWriter(Kafka(bootstrap=NOBODY), None)
    assert time.monotonic() - started < 60
    assert "\n" not in str(error.value)

    started = time.monotonic()
    with pytest.raises(Unreachable):
        if kind == "redis":
            RedisRawReader(f"redis://{NOBODY}", "mr", 1, None).partitions()
        else:
            KafkaRawReader(Kafka(bootstrap=NOBODY), None, AvroReader(SchemaRegistry(None)), EVENT_BYTES)
    assert time.monotonic() - started < 60


def test_a_server_killed_and_started_in_mid_flow_loses_nothing(lasting_log: Log) -> None:
    stored: set[str] = set()
    found: list[str] = []
    told = threading.Event()
    reader = lasting_log.reader()
    from_start(reader)

    async def flow(writer: RawWriter) -> None:
        for number in itertools.count():
            if told.is_set() and number > 30:
                return
            events = pairs_of(number)
            while True:
                try:
                    await writer.append(events)
                    break
                except Unreachable:  # as the gateway's client would do
                    await asyncio.sleep(0.2)
            stored.update(item.value.decode() for _, item in events)
            await asyncio.sleep(0.02)

    def pairs_of(number: int) -> list[tuple[str, RawEvent]]:
        return [(f"k{number % 5}", event(f"{number}:{n}")) for n in range(20)]

    writing = threading.Thread(target=use, args=(lasting_log.writer(), flow))
    writing.start()
    try:
        found += texts(read(reader, 100))
        lasting_log.restart()
        found += texts(read(reader, 100, within_s=60))
        lasting_log.restart()
    finally:
        told.set()
        writing.join(60)
    assert not writing.is_alive()
    deadline = time.monotonic() + 60
    while not stored <= set(found) and time.monotonic() < deadline:
        found += texts(reader.poll(200))
    reader.close()
    assert stored - set(found) == set()
    assert len(stored) > 400
