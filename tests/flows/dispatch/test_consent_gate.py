"""Consent is asked for when a trigger is about to be sent, and a late no becomes a decision record."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import redis

from connectors.sinks.sink import DELIVERED, Delivery, Outcome, Retry
from flows.cli.main import main
from flows.dispatch.consent_gate import CODE, ConsentGate
from flows.dispatch.dispatcher import VERDICT_MS
from flows.dispatch.verdicts import Dropped
from flows.logic.fields.stated import stated_at
from flows.logic.permissions.permissions import Permissions
from flows.runtime.deployment import Deployment
from schemas.config import Consent
from schemas.config.toml import load
from schemas.records.consents import Consents, Word, packed
from schemas.records.identity_graph import Group, Identifier, Put, Routed, WindowCommit
from schemas.records.shard_log import LogKind, NotSent
from schemas.wire.triggers import Trigger
from state.directory.directory_protocol import Directory
from state.directory.layout import Layout
from state.directory.redis_directory import RedisDirectory
from state.memory.memory_directory import MemoryDirectory
from state.redis.names import Names
from tests.deliveries import trigger
from tests.delivering import Rig, Scripted, named
from tests.waiting import eventually
from tests.world import START_MS, World, person

LAYOUT = Layout("test", shards=2, buckets=16, limits=(1, 2, 3))
ANA, BOB = (bytes.fromhex(trigger(number).customer) for number in (1, 2))


@pytest.fixture(params=["memory", "redis"])
def directory(request: pytest.FixtureRequest, redis_url: str) -> Directory:
    if request.param == "memory":
        return MemoryDirectory(LAYOUT, lambda: 1_700_000_000_000)
    made = RedisDirectory(redis.Redis.from_url(redis_url), Names("t"), LAYOUT)
    made.create()
    return made


def say(directory: Directory, origin: bytes, seconds: int = 0, **words: bool) -> None:
    said = {
        thing.replace("_", "."): Word(
            granted=granted, moment=stated_at(1_000 * seconds, b"any"), source="web", version="", proof="m"
        )
        for thing, granted in words.items()
    }
    before = directory.offsets().get("events/0", -1)
    window = WindowCommit(
        partition="events/0", before=before, after=before + 1, groups=[], dead=[], rejected={}
    )
    window.puts = [Put("c", origin, packed(Consents(said)))]
    directory.commit(window)


def about(number: int, purpose: str = "marketing", channel: str = "sms") -> Trigger:
    return msgspec.structs.replace(trigger(number, to=("crm",)), purpose=purpose, channel=channel)


def test_a_word_holds_for_purpose_and_channel(directory: Directory) -> None:
    gate = ConsentGate(directory, Permissions(Consent(), ()))
    assert gate([about(1), about(2)]) == [None, None]
    say(directory, ANA, sms=False)
    said = [about(1), about(2), about(1, channel="email"), about(1, "service"), about(1, "unknown")]
    assert gate(said) == [
        Dropped("the customer has refused marketing by sms", CODE),
        None,
        None,
        None,
        Dropped("no [[consent.purpose]] is called 'unknown'", CODE),
    ]
    say(directory, ANA, 1, sms=True)
    assert gate([about(1)]) == [None]


def test_who_was_united_meanwhile_is_asked_as_the_customer_that_they_are_now(directory: Directory) -> None:
    gate = ConsentGate(directory, Permissions(Consent(), ()))
    ana, bob = Identifier(0, ANA), Identifier(2, BOB)
    for at, group in enumerate((Group([ana], [Routed(0, b"")]), Group([bob], [Routed(0, b"")]))):
        directory.commit(
            WindowCommit(partition="events/1", before=at - 1, after=at, groups=[group], dead=[], rejected={})
        )
    say(directory, ANA, marketing=False)
    assert gate([about(2)]) == [None]
    both = Group([ana, bob], [Routed(0, b"")])
    directory.commit(
        WindowCommit(partition="events/1", before=1, after=2, groups=[both], dead=[], rejected={})
    )
    assert gate([about(2)]) != [None]


def test_that_it_was_not_sent_is_said_once_to_whoever_the_customer_is_now(directory: Directory) -> None:
    what = NotSent(
        id="trg-1",
        rule="r",
        cause="m",
        action="a",
        connector="crm",
        reason=CODE,
        detail="why",
        at_ms=5,
    )
    assert directory.not_sent(ANA, what)
    assert not directory.not_sent(ANA, what)
    assert directory.not_sent(ANA, msgspec.structs.replace(what, connector="hook"))
    entries = directory.read(dict.fromkeys(range(2), 0), 100, 0)
    bodies = [entry.body for entry in entries if entry.kind == LogKind.NOT_SENT]
    assert bodies == [
        ANA + msgspec.msgpack.encode(what),
        ANA + msgspec.msgpack.encode(msgspec.structs.replace(what, connector="hook")),
    ]


# --- on the way out


@pytest.fixture
def rig(redis_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(redis_url, tmp_path)
    yield made
    if made.stopping is not None:
        made.stop()
    made.redis.close()


def test_who_says_no_between_two_attempts_gets_nothing(rig: Rig) -> None:
    directory = MemoryDirectory(LAYOUT, lambda: 0)

    def fails(_: Delivery) -> Retry:
        say(directory, ANA, marketing=False)
        return Retry("status 503")

    sink = Scripted(fails)
    rig.sinks, rig.gates = {"crm": sink}, [ConsentGate(directory, Permissions(Consent(), ()))]
    rig.start(named("crm"))
    rig.emit(about(1))
    eventually(lambda: rig.cursor("crm") == 1)
    assert sink.ids == ["trg-1"]
    assert rig.refused == [("trg-1", "crm", CODE)]
    assert rig.dead == []


def test_behind_a_slow_receiver_the_door_is_asked_again(rig: Rig) -> None:
    """What came at once waits for a free slot; meanwhile much can be withdrawn."""
    directory = MemoryDirectory(LAYOUT, lambda: 0)

    class Slow(Scripted):
        async def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]:
            if not self.seen:
                say(directory, BOB, marketing=False)
            await asyncio.sleep(2 * VERDICT_MS / 1_000)
            return await super().deliver(batch)

    sink = Slow(lambda _: DELIVERED, batch_max=1, concurrency=1)
    rig.sinks, rig.gates = {"crm": sink}, [ConsentGate(directory, Permissions(Consent(), ()))]
    rig.start(named("crm"))
    rig.emit(about(1), about(2), about(3))
    eventually(lambda: rig.cursor("crm") == 3)
    assert sink.ids == ["trg-1", "trg-3"]
    assert rig.refused == [("trg-2", "crm", CODE)]


def test_a_dead_letter_is_not_sent_again_to_who_has_said_no(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "millrace.toml"
    file.write_text(
        f'[redis]\nurl = "{redis_url}"\n[shards]\ncount = 2\n[data]\nfolder = "{tmp_path}/data"\n'
        '[[connector]]\nname = "crm"\ntype = "file"\npath = "crm.jsonl"\n'
    )
    deployment = Deployment(load(file))
    deployment.prepare()
    deployment.deliveries.keep_dead("crm", msgspec.msgpack.encode(about(1)), "status 503")
    say(deployment.directory, ANA, sms=False)
    monkeypatch.setattr(sys, "argv", ["millrace", "dead", "replay", "--all", "-c", str(file)])
    assert main() == 1
    assert "not sent: the customer has refused marketing by sms" in capsys.readouterr().out
    entries = deployment.directory.read(dict.fromkeys(range(2), 0), 100, 0)
    assert [entry.body[:12] for entry in entries if entry.kind == LogKind.NOT_SENT] == [ANA]


# --- what the shard makes of it

RULES = """
[[segment]]
name = "everyone"
when = "True"
[[best_action.reward]]
event = "Bought"
amount = 1.0
[[action]]
name = "call"
[[trigger]]
name = "offer"
on = {event = "Seen"}
action = "best"
"""


def test_it_becomes_a_decision_record_and_the_choice_is_nobodys_any_more() -> None:
    world = World(RULES)
    ana = person("ana")
    world.send(ana, "Seen")
    [fired] = world.triggers()
    profile = world.profile(ana)
    assert list(profile.open) == [fired.id]
    what = NotSent(
        id=fired.id,
        rule=fired.rule,
        cause=fired.cause,
        action=fired.action,
        connector="crm",
        reason=CODE,
        detail="the customer has refused marketing",
        at_ms=START_MS,
    )
    world.directory.not_sent(bytes.fromhex(fired.customer), what)
    world.settle()
    refused = world.decisions()[-1]
    assert (refused.reason, refused.id, refused.action) == (CODE, fired.id, "call")
    assert refused.withheld == {"crm": "the customer has refused marketing"}
    assert world.profile(ana).open == {}
