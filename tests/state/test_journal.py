"""The journal holds all that happened: replayed, it gives the same directory and the same shard logs, on
Redis and on the twin."""

from random import Random

import msgspec
import pytest
import redis

from schemas.records.identity_graph import Group, Identifier, Routed, WindowCommit
from schemas.records.journal import JournalKind, Journalled, WindowContent
from schemas.records.match_log import MatchKind
from schemas.records.shard_log import LogEntry, LogKind, Tick
from schemas.wire.triggers import Absorb
from state.directory.directory_protocol import Directory
from state.directory.layout import Layout
from state.directory.redis_directory import RedisDirectory
from state.history.journal_tail import RedisJournal
from state.memory.memory_directory import MemoryDirectory
from state.redis.client import connect
from state.redis.names import Names

LAYOUT = Layout("test", shards=4, buckets=16, limits=(1, 2, 3))
_pack = msgspec.msgpack.encode


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return connect(redis_url)


def happened(directory: RedisDirectory, seed: int) -> None:
    chance = Random(seed)
    position, survivors = -1, [b"nobody-there"]
    for n in range(1, 120):
        match chance.choice("wwwwtacmeh"):
            case "w":
                groups = []
                for _ in range(chance.randrange(4)):
                    found = {
                        Identifier(s := chance.randrange(3), bytes([s, chance.randrange(6)]) * 6)
                        for _ in range(3)
                    }
                    ordered = sorted(found, key=lambda i: (i.strength, i.hash))
                    ids = [i for n, i in enumerate(ordered) if i.strength or n == 0]  # one user id at most
                    groups.append(Group(ids, [Routed(chance.randrange(len(ids)), b"fact%d" % n)]))
                    survivors.append(ids[0].hash)
                window = WindowCommit(
                    partition="events/0",
                    before=position,
                    after=position + 1,
                    groups=groups,
                    dead=[b"dead"] * chance.randrange(2),
                    rejected={"not_json": 1},
                )
                directory.commit(
                    window,
                    _pack(
                        WindowContent(limits=[1, 2, 3], commit=window, events=[], positions=[], origins=[])
                    ),
                )
                position += 1
            case "t":
                directory.replay(Journalled(0, JournalKind.TICK, _pack(Tick(1_767_225_600_000 + n * 1_000))))
            case "a":
                directory.forward(
                    chance.randrange(4),
                    n,
                    Absorb(
                        survivor=chance.choice(survivors),
                        retired=b"gone-gone-go",
                        general=b"general",
                        sensitive=b"",
                        identifier=[b"o" * 12],
                    ),
                )
            case "e":
                directory.readmit(n, chance.choice(survivors), b"payload%d" % n)
            case "h":
                directory.hear_again(f"e:{n}-0", MatchKind.RECORDS, b"record%d" % n, n)
            case "c":
                directory.announce(LogKind.CONFIG, "rules", n, n, b"rules%d" % n)
            case _:
                directory.announce(LogKind.MODEL, "learn:churn", n, n + 1_000, b"model%d" % n)


def logs(directory: Directory) -> list[LogEntry]:
    found = directory.read(dict.fromkeys(range(4), 0), 100_000, 0)
    return sorted(found, key=lambda entry: (entry.shard, entry.seq))


def replayed(directory: Directory, entries: list[Journalled]) -> None:
    for entry in entries:
        if entry.kind == JournalKind.WINDOW:
            directory.commit(msgspec.msgpack.decode(entry.content, type=WindowContent).commit)
        else:
            assert directory.replay(entry)


@pytest.mark.parametrize("seed", range(5))
def test_replayed_it_gives_the_same_logs_bit_for_bit(client: redis.Redis, seed: int) -> None:
    original = RedisDirectory(client, Names("a"), LAYOUT, journal_max=10_000)
    happened(original, seed)
    entries = RedisJournal(client, Names("a")).read(0, 10_000, 0)
    assert [entry.seq for entry in entries] == [*range(1, len(entries) + 1)]
    assert {entry.kind for entry in entries} == set("wtacmeh")
    assert not any(entry.bare for entry in entries)
    for other in (RedisDirectory(client, Names("b"), LAYOUT), MemoryDirectory(LAYOUT, lambda: 0)):
        replayed(other, entries)
        assert logs(other) == logs(original)
        assert (other.stats(), other.offsets(), other.heads()) == (
            original.stats(),
            original.offsets(),
            original.heads(),
        )
        assert not any(
            other.replay(entry) for entry in entries if entry.kind != JournalKind.WINDOW
        )  # seen before
        for kind, sender, version in (
            (JournalKind.CONFIG, "rules", original.sent("rules")),
            (JournalKind.MODEL, "learn:churn", original.sent("learn:churn") + 1_000),
        ):
            assert other.body(kind, sender, version) == original.body(kind, sender, version) is not None


def test_without_an_archive_it_keeps_short_notes(client: redis.Redis) -> None:
    happened(RedisDirectory(client, Names("a"), LAYOUT), 1)
    entries = RedisJournal(client, Names("a")).read(0, 10_000, 0)
    assert all(entry.bare for entry in entries if entry.kind != JournalKind.TICK)


def test_what_an_operators_command_appends_is_whole_where_an_archive_was_begun(client: redis.Redis) -> None:
    """The command may have another configuration than the flows. (`learn` is a flow, and announces much.)"""
    directory, journal = RedisDirectory(client, Names("a"), LAYOUT), RedisJournal(client, Names("a"))
    journal.advance(0)
    directory.announce(LogKind.CONFIG, "rules", 1, 1, b"x")
    directory.announce(LogKind.MODEL, "pin:churn", 1, 1, b"x")
    directory.readmit(1, b"o" * 12, b"payload")
    directory.announce(LogKind.MODEL, "learn:churn", 1, 1, b"x")
    entries = journal.read(0, 10, 0)
    assert [(entry.kind, entry.bare) for entry in entries] == [
        (JournalKind.CONFIG, False),
        (JournalKind.MODEL, False),
        (JournalKind.READMITTED, False),
        (JournalKind.MODEL, True),
    ]
    assert (entries[0].sender, entries[0].sent, entries[0].extra, entries[0].announced) == (
        "rules",
        1,
        b"1",
        b"x",
    )


def test_an_archive_begins_behind_the_last_entry_that_is_not_whole(client: redis.Redis) -> None:
    journal = RedisJournal(client, Names("a"))
    assert journal.start(0) == journal.head() == 0
    bare, whole = (
        RedisDirectory(client, Names("a"), LAYOUT),
        RedisDirectory(client, Names("a"), LAYOUT, journal_max=100),
    )
    whole.announce(LogKind.CONFIG, "rules", 1, 1, b"x")
    assert journal.start(0) == 0
    bare.announce(LogKind.CONFIG, "rules", 2, 2, b"x")
    whole.announce(LogKind.CONFIG, "rules", 3, 3, b"x")
    whole.announce(LogKind.CONFIG, "rules", 4, 4, b"x")
    assert journal.start(0) == 2
    assert journal.archived() is None
    journal.advance(3)
    assert (journal.archived(), [entry.seq for entry in journal.read(0, 10, 0)]) == (3, [4])
    assert journal.start(3) == 3
    journal.advance(4)
    assert (journal.start(4), journal.head()) == (4, 4)


def test_logs_are_not_trimmed_while_a_backup_copies(client: redis.Redis) -> None:
    directory = RedisDirectory(client, Names("a"), LAYOUT)
    directory.announce(LogKind.CONFIG, "rules", 1, 1, b"x")
    client.set(Names("a").hold, "a backup")
    directory.trim(dict.fromkeys(range(4), 1))
    assert len(logs(directory)) == 4
    client.delete(Names("a").hold)
    directory.trim({0: 1, 2: 1})
    assert [entry.shard for entry in logs(directory)] == [1, 3]
    directory.trim({})
