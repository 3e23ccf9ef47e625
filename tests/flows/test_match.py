"""The flow `match` on a real Redis: who is united, what lies where, and that a death changes nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from structlog.testing import capture_logs

from flows.logic.matching.stage import Note
from flows.match import Matcher, matcher_of
from flows.resolve import Resolver
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop
from flows.runtime.windows import Window
from schemas.config import Config
from schemas.config.toml import load
from schemas.errors import Fenced
from schemas.records.identity_graph import Order, WindowCommit
from schemas.wire.events import RawEvent
from state.directory.matches import RedisMatches

TEXT = """
[redis]
url = "{url}"
[data]
folder = "{folder}"
[shards]
count = 2
[identity]
capacity = 2000
[archive]
enabled = false
[matching]
keep = "{keep}"
log_max = {log_max}
"""
ANNA = {
    "firstName": "Clementine",
    "lastName": "Featherstonehaugh",
    "birthday": "1981-07-23",
    "address": {"street": "17 Quillwort Crescent", "city": "Bramblewick", "postalCode": "48213"},
}
ELSE = {
    "firstName": "Ottokar",
    "lastName": "Zwingenberger",
    "birthday": "1954-02-11",
    "address": {"street": "3 Harbour Steps", "city": "Northaven", "postalCode": "90377"},
}
DOUBTFUL = {"firstName": "Clementine", "lastName": "Featherstonehaugh", "birthday": "1966-03-02"}


class World:
    """A deployment whose windows are resolved and matched by hand."""

    def __init__(self, folder: Path, url: str, keep: str = "730d", log_max: int = 1000) -> None:
        self.file = folder / "millrace.toml"
        self.file.write_text(TEXT.format(url=url, folder=folder, keep=keep, log_max=log_max))
        self.config: Config = load(self.file)
        Deployment(self.config).prepare()
        self.client = redis.Redis.from_url(url)
        self.directory = Deployment(self.config).directory
        self.ledger = Deployment(self.config).ledger
        self.names, self.layout = Deployment(self.config).names, Deployment(self.config).layout
        self.validator = Deployment(self.config).validator()
        self.matches = RedisMatches(self.client, self.names, self.layout)
        self.resolver = Resolver(
            self.config,
            self.validator,
            self.directory,
            Deployment(self.config).data_keys,
            Deployment(self.config).log_seal,
            Stop(),
        )
        self.matcher = self.new_matcher()
        self.message = count(1)

    def new_matcher(self) -> Matcher:
        return matcher_of(Deployment(self.config))

    def resolve(self, *said: tuple[str, dict[str, Any]], time_ms: int = 1_000_000) -> None:
        """One window in which visitors say who they are."""
        before = self.directory.offsets().get("events/0", -1)
        events = [
            RawEvent(
                msgspec.json.encode(
                    {
                        "type": "identify",
                        "messageId": f"m{next(self.message)}",
                        "anonymousId": visitor,
                        "traits": traits,
                    }
                ),
                time_ms,
                "web",
            )
            for visitor, traits in said
        ]
        window = Window("events/0", before, before + 1, events, [before + 1] * len(events), 0.0)
        assert self.resolver.commit(self.resolver.judge(window)) is window

    def match(self, matcher: Matcher | None = None) -> None:
        matcher = matcher or self.matcher
        for said in matcher.read(0):
            matcher.take(said)

    def say(self, *said: tuple[str, dict[str, Any]], time_ms: int = 1_000_000) -> None:
        self.resolve(*said, time_ms=time_ms)
        self.match()

    def order(self, *orders: Order) -> None:
        before = self.directory.offsets().get("orders", -1)
        self.directory.commit(WindowCommit("orders", before, before + 1, [], [], {}, list(orders), 1_000_000))

    def hash(self, visitor: str) -> bytes:
        hashed = self.validator.identifiers.hash("anonymous", visitor)
        assert hashed is not None
        return hashed

    def roots(self, *visitors: str) -> list[bytes | None]:
        return self.directory.lookup([self.hash(visitor) for visitor in visitors])

    def united(self, *visitors: str) -> bool:
        return len(set(self.roots(*visitors))) == 1

    def kept(self) -> dict[bytes, dict[bytes, bytes]]:
        """The index, by what it says: all blocking keys, and how many records each origin has."""
        found: dict[bytes, dict[bytes, bytes]] = {}
        for key in self.client.scan_iter(match=self.names.directory + b"m[kr]:*"):
            for field, value in self.client.hgetall(key).items():
                is_record = key.startswith(self.names.directory + b"mr:")
                found.setdefault(b"mr" if is_record else b"mk", {})[field] = (
                    b"%d" % len(msgspec.msgpack.decode(value)) if is_record else value
                )
        return found


@pytest.fixture
def world(tmp_path: Path, redis_url: str) -> World:
    return World(tmp_path, redis_url)


def test_two_visitors_who_say_the_same_of_themselves_are_one_customer(world: World) -> None:
    world.say(("laptop", ANNA), ("phone", ELSE))
    assert len(set(world.roots("laptop", "phone"))) == 2
    world.say(("tablet", ANNA))
    assert world.united("laptop", "tablet")
    assert not world.united("laptop", "phone")
    [union] = world.ledger.unions(0, 10)
    note = msgspec.msgpack.decode(union.evidence, type=Note)
    assert (union.by, note.probability > 0.99) == ("match", True)
    assert "family name equal" in " ".join(note.words)
    assert "姓相同" in "".join(note.words_zh)


def test_two_in_one_window_are_united_as_well(world: World) -> None:
    world.say(("laptop", ANNA), ("tablet", ANNA), ("phone", ANNA))
    assert world.united("laptop", "tablet", "phone")


def test_doubt_is_put_before_a_steward(world: World) -> None:
    world.say(("laptop", ANNA))
    world.say(("tablet", DOUBTFUL))
    assert not world.united("laptop", "tablet")
    [pair] = world.ledger.reviews()
    assert {pair.a, pair.b} == {world.hash("laptop"), world.hash("tablet")}
    assert "family name" in " ".join(msgspec.msgpack.decode(pair.note, type=Note).words)


def test_what_a_steward_decides_becomes_a_label(world: World) -> None:
    world.say(("laptop", ANNA))
    world.say(("tablet", DOUBTFUL))
    world.order(Order("link", world.hash("laptop"), world.hash("tablet"), "review"))
    world.match()
    assert world.united("laptop", "tablet")
    [(_, same)] = world.matcher.stage.learner.labels
    assert same
    assert (
        world.new_matcher().stage.learner.labels == world.matcher.stage.learner.labels
    )  # and outlives the process


def test_who_was_parted_stays_apart_whatever_they_say(world: World) -> None:
    world.say(("laptop", ANNA))
    world.say(("tablet", ANNA))
    world.order(Order("unlink", world.hash("laptop"), world.hash("tablet")))
    assert not world.united("laptop", "tablet")
    world.say(("laptop", {**ANNA, "gender": "f"}), ("tablet", {**ANNA, "gender": "f"}))
    world.say(("tablet", ANNA))
    assert not world.united("laptop", "tablet")
    world.say(("phone", ANNA))  # somebody new may still join one of them
    assert world.united("phone", "laptop") or world.united("phone", "tablet")
    assert not world.united("laptop", "tablet")


def test_no_plain_value_lies_anywhere(world: World) -> None:
    world.say(("laptop", ANNA))
    world.say(("tablet", ANNA))
    stored = bytearray()
    for key in world.client.scan_iter():
        stored += key + (world.client.dump(key) or b"")
        match world.client.type(key):
            case b"hash":
                stored += repr(world.client.hgetall(key)).encode()
            case b"stream":
                stored += repr(world.client.xrange(key)).encode()
    found = bytes(stored).lower()
    assert world.kept()[b"mr"]
    for value in ("clementine", "featherstonehaugh", "quillwort", "19810723", "1981-07-23"):
        assert value.encode() not in found, value


def test_records_are_sealed_under_the_key_of_their_own_customer(world: World) -> None:
    world.say(("laptop", ANNA), ("phone", ELSE))
    anna, other = world.hash("laptop"), world.hash("phone")
    keys = Deployment(world.config).data_keys.of([anna, other])
    [packed] = world.matches.keep("mr", [anna])
    assert packed is not None
    [(at_s, sealed)] = msgspec.msgpack.decode(packed)
    assert at_s == 1_000
    assert b"clementine" in (keys[anna].open("match", sealed) or b"")
    assert keys[other].open("match", sealed) is None


@pytest.mark.parametrize("restarted", [True, False])
def test_who_was_erased_is_not_compared(world: World, restarted: bool) -> None:
    world.say(("laptop", ANNA))
    [erased] = world.roots("laptop")
    assert erased is not None
    for key in world.client.scan_iter(match=world.names.data_keys + b"*"):
        world.client.hdel(key, erased)
    if restarted:
        world.matcher = world.new_matcher()
    world.resolver._keys._cache.clear()
    world.say(("tablet", ANNA))
    assert not world.united("laptop", "tablet")
    assert world.ledger.reviews() == []


def test_who_is_being_erased_leaves_the_index(world: World) -> None:
    world.say(("v", ANNA), ("w", ELSE))
    origins = [world.hash("v"), world.hash("w")]
    erased = b"".join(origins[:1])
    assert world.directory.hear_again("erase-v", "x", erased, 1_000_000)
    assert not world.directory.hear_again("erase-v", "x", erased, 1_000_000)  # once
    world.match()
    assert [found is None for found in world.matches.keep("mr", origins)] == [True, False]
    kept = [
        field
        for key in world.client.scan_iter(match=world.names.directory + b"mk:*")
        for field, held in world.client.hgetall(key).items()
        if origins[0] in held
    ]
    assert kept == []
    world.say(("other", ANNA))
    assert world.roots("v") == [origins[0]]  # the index alone has forgotten it
    assert world.ledger.unions(0, 9) == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_death_around_the_commit_changes_nothing(tmp_path: Path, redis_url: str, moment: str) -> None:
    said = [("laptop", ANNA), ("phone", ELSE)], [("tablet", ANNA)], [("desk", DOUBTFUL), ("shop", ELSE)]

    def story(dies: bool) -> tuple[dict[bytes, dict[bytes, bytes]], list[bool], int]:
        redis.Redis.from_url(redis_url).flushall()
        world = World(tmp_path, redis_url)
        for window in said:
            world.resolve(*window)
            if dies:
                [entry] = world.matcher.read(0)
                judged = world.matcher.judge(entry)
                if moment == "after":
                    world.directory.commit(judged)
                world.matcher = world.new_matcher()
                assert len(world.matcher.read(0)) == (moment == "before")
            world.match()
        pairs = [world.united("laptop", other) for other in ("phone", "tablet", "desk")] + [
            world.united("phone", "shop")
        ]
        return world.kept(), pairs, len(world.ledger.reviews()) * 100 + len(world.ledger.unions(0, 100))

    assert story(dies=True) == story(dies=False)


def test_of_two_matchers_one_is_fenced(world: World) -> None:
    zombie = world.new_matcher()
    world.resolve(("laptop", ANNA))
    [entry] = zombie.read(0)
    world.match()
    kept = world.kept()
    with pytest.raises(Fenced):
        zombie.take(entry)
    assert world.kept() == kept


def test_what_was_passed_over_is_counted(tmp_path: Path, redis_url: str) -> None:
    world = World(tmp_path, redis_url, log_max=1)
    for number in range(300):  # streams are cut by the node
        world.resolve((f"v{number}", {"firstName": "Anna", "lastName": f"Number{number}"}))
    first = world.matches.said_since(0, 1, 0)[0].seq
    assert first > 1
    with capture_logs() as logs:
        world.match()
    assert [line["entries"] for line in logs if line["event"] == "match_entries_passed_over"] == [first - 1]


def test_a_checkpoint_that_somebody_changed_is_refused(world: World) -> None:
    world.say(("laptop", ANNA))
    world.say(("tablet", DOUBTFUL))
    world.order(Order("apart", world.hash("laptop"), world.hash("tablet"), "review"))
    world.match()
    signed = world.client.hget(world.names.matcher, "state")
    assert signed is not None
    world.client.hset(world.names.matcher, "state", signed[:-1] + bytes([signed[-1] ^ 1]))
    with capture_logs() as logs:
        matcher = world.new_matcher()
    assert matcher.stage.learner.labels == []
    assert [(line["event"], line["log_level"]) for line in logs] == [("match_state_refused", "error")]


DAY_MS = 86_400_000


def test_what_has_become_too_old_is_not_compared_and_leaves(tmp_path: Path, redis_url: str) -> None:
    world = World(tmp_path, redis_url, keep="10d")
    world.say(("laptop", ANNA), time_ms=DAY_MS)
    world.say(("laptop", ELSE), time_ms=8 * DAY_MS)
    world.say(("tablet", ANNA), time_ms=13 * DAY_MS)
    assert not world.united("laptop", "tablet")
    world.say(("phone", ELSE), time_ms=14 * DAY_MS)
    assert world.united("laptop", "phone")
    for number in range(world.layout.buckets):  # each entry looks after one bucket
        world.say((f"v{number}", {"firstName": "Vera", "lastName": f"Other{number}"}), time_ms=40 * DAY_MS)
    assert (
        world.matches.keep("mr", [world.hash(visitor) for visitor in ("laptop", "tablet", "phone")])
        == [None] * 3
    )


@pytest.fixture
def process(world: World) -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for one in started:
        one.kill()
        one.wait(10)


def test_the_flow_goes_on_after_kill_9(world: World, process: list[subprocess.Popen[bytes]]) -> None:
    argv = [sys.executable, "-m", "flows.cli", "run", "match", "-c", str(world.file)]

    def start() -> None:
        process.append(
            subprocess.Popen(
                argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ.copy()
            )
        )

    def until(position: int) -> None:
        deadline = time.monotonic() + 30
        while world.matches.position() < position:
            assert time.monotonic() < deadline, "the flow does not go on"
            time.sleep(0.05)

    world.resolve(("laptop", ANNA))
    start()
    until(1)
    os.kill(process[0].pid, signal.SIGKILL)
    world.resolve(("tablet", ANNA))
    start()
    until(2)
    assert world.united("laptop", "tablet")
    assert len(world.ledger.unions(0, 10)) == 1
