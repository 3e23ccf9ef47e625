"""A customer's record in the graph, as each release wrote it."""

import redis

from schemas.records.identity_graph import Identifier
from state.directory.layout import Layout
from state.directory.ledger import RedisLedger
from state.directory.records import Record, unpack
from state.directory.redis_directory import RedisDirectory
from state.redis.names import Names
from tests.contract.test_directory import ANON, MAIL, USER, group, window

LAYOUT, NAMES = Layout("test", shards=4, buckets=16, limits=(1, 2, 3)), Names("t")
A, B, C = (letter * 12 for letter in (b"a", b"b", b"c"))
BEFORE_3 = b"\x00\x01" + A + b"\x02" + A + b"\x00" + B
NOW = b"\x00\x00" + b"\x82" + b"\x00" + B
UNITED = b"\x00\x02" + A + C + b"\x82" + b"\x00" + B


def test_what_is_the_customers_own_id_need_not_be_there() -> None:
    alone = Record((A,), ((2, A), (0, B)))
    assert unpack(A, BEFORE_3) == unpack(A, NOW) == alone
    assert unpack(A, UNITED) == Record((A, C), alone.identifiers)
    assert unpack(A, b"\x00\x00") == Record((A,))


def test_the_directory_reads_a_record_of_an_earlier_release_and_writes_it_shorter(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    directory = RedisDirectory(client, NAMES, LAYOUT)
    directory.create()
    directory.commit(window(-1, 1, group(ANON)))
    bucket = NAMES.bucket(b"r:", ANON.hash, LAYOUT.buckets)
    assert client.hget(bucket, ANON.hash) == b"\x00\x00" + bytes([0x80 + ANON.strength])  # type: ignore[arg-type]  # takes bytes
    client.hset(bucket, ANON.hash, b"\x00\x01" + ANON.hash + bytes([ANON.strength]) + ANON.hash)  # type: ignore[arg-type]  # as above
    directory.commit(window(1, 2, group(USER, MAIL, ANON)))
    packed = client.hget(bucket, ANON.hash)  # type: ignore[arg-type]  # as above
    said = b"".join(bytes([identifier.strength]) + identifier.hash for identifier in (USER, MAIL))
    assert packed == b"\x00\x00" + bytes([0x80 + ANON.strength]) + said
    members, identifiers = RedisLedger(client, NAMES, LAYOUT).members(ANON.hash)
    assert members == [ANON.hash]
    assert identifiers == [Identifier(i.strength, i.hash) for i in (ANON, USER, MAIL)]
