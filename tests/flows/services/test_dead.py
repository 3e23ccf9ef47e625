"""`millrace dead` as an operator meets it: a real Redis, real letters of the flows, real receivers."""

import asyncio
import io
import json
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fastavro
import msgspec
import pytest
import redis
from structlog.testing import capture_logs

from connectors.raw.log import START
from flows.cli import main
from flows.cli.printing import printable
from flows.logic.profile.fragments import FragmentRules
from flows.logic.shard.state import sums
from flows.profile import Worker
from flows.resolve import Resolver
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop
from flows.runtime.release import BUILD
from flows.runtime.windows import Windows
from schemas.config import Config
from schemas.config.toml import load
from schemas.errors import LogFull
from schemas.records.shard_log import LogKind, unpack_facts
from schemas.wire.events import Fact, RawEvent
from schemas.wire.triggers import Absorb
from tests.deliveries import trigger
from tests.receiver import SECRET, Answer, Receiver

AVRO = {
    "type": "record",
    "name": "OrderPaid",
    "fields": [{"name": "userId", "type": "string"}, {"name": "total", "type": "long"}],
}


class Site:
    """A deployment without processes: a configuration file, and the flows driven by hand."""

    def __init__(self, redis_url: str, folder: Path, millrace: Callable[..., tuple[int, str, str]]) -> None:
        self.file = folder / "millrace.toml"
        self.redis = redis.Redis.from_url(redis_url)
        self._url = redis_url
        self._millrace = millrace
        self.configure()
        Deployment(self.config).prepare()

    def configure(self, text: str = "") -> None:
        """The file anew, with `text` behind what every test has."""
        self.file.write_text(
            f'[redis]\nurl = "{self._url}"\n[shards]\ncount = 2\n[data]\nfolder = "data"\n{text}'
        )

    @property
    def config(self) -> Config:
        return load(self.file)

    def dead(self, *argv: str) -> tuple[int, str, str]:
        return self._millrace("dead", *argv, "-c", str(self.file))

    def listed(self, *argv: str) -> list[list[str]]:
        """The rows, as words."""
        _, out, _ = self.dead("list", *argv)
        return [line.split() for line in out.splitlines()[1:]]

    def refuse(self, *values: bytes, fault: str | None = None) -> list[str]:
        """Events that `resolve` refuses, under its own commit; their ids, the oldest first."""
        self.append(*values, fault=fault)
        assert self.resolve() == 0
        return [letter.name for letter in Deployment(self.config).dead_events.oldest()]

    def append(self, *values: bytes, fault: str | None = None) -> None:
        events = [("k", RawEvent(value, 1_700_000_000_000, "till", fault)) for value in values]  # type: ignore[arg-type]

        async def store() -> None:
            writer = Deployment(self.config).raw_writer()
            await writer.append(events)
            await writer.close()

        asyncio.run(store())

    def resolve(self) -> int:
        """Run `resolve` over all there is; how many events it routed."""
        config = self.config
        reader, directory = Deployment(config).raw_reader(), Deployment(config).directory
        routed = directory.stats().get("events", 0)
        offsets = directory.offsets()
        positions = {partition: offsets.get(partition, START) for partition in reader.partitions()}
        reader.assign(positions)
        windows = Windows(reader, config.window, positions)
        resolver = Resolver(
            config,
            Deployment(config).validator(),
            directory,
            Deployment(config).data_keys,
            Deployment(config).log_seal,
            Stop(),
        )
        ready = []
        while sum(reader.lag().values()):
            ready += windows.poll()
        for window in [*ready, *windows.rest()]:
            resolver.commit(resolver.judge(window))
        reader.close()
        return directory.stats().get("events", 0) - routed

    def facts(self) -> list[Fact]:
        """What has reached the shards' logs."""
        entries = Deployment(self.config).directory.read({0: 0, 1: 0}, 100, 1)
        bodies = [entry.body for entry in entries if entry.kind == LogKind.EVENTS]
        return [
            msgspec.msgpack.decode(payload, type=Fact)
            for body in bodies
            for _, _, payload in unpack_facts(body)
        ]

    def dead_delivery(self, number: int, connector: str, reason: str) -> str:
        """A delivery that failed for good; its id."""
        Deployment(self.config).deliveries.keep_dead(
            connector, msgspec.msgpack.encode(trigger(number, to=(connector,))), reason
        )
        return [letter.name for letter in Deployment(self.config).dead_deliveries.oldest()][-1]


@pytest.fixture
def millrace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def call(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["millrace", *argv])
        code = main.main()
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def site(redis_url: str, tmp_path: Path, millrace: Callable[..., tuple[int, str, str]]) -> Site:
    return Site(redis_url, tmp_path, millrace)


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def test_only_what_goes_to_a_receiver_needs_its_secret(site: Site) -> None:
    (refused,) = site.refuse(b'{"type":"track","userId":"u","messageId":"m1","properties":{}}')
    letter = site.dead_delivery(1, "crm", "status 503; 12 attempts")
    site.configure(hook("https://crm.example/").replace(SECRET, "${CRM_SECRET_THAT_IS_NOT_SET}"))
    code, out, err = site.dead("replay", "--all")
    assert (code, err) == (1, "")
    assert f"{refused} not sent: " in out
    assert (
        f"{letter} not sent: crm: its secret is not in the environment; "
        "set the variable that its `secrets` names" in out
    )
    assert site.listed()[0][0] == letter


def hook(url: str, more: str = "") -> str:
    return (
        f'[[connector]]\nname = "crm"\ntype = "webhook"\nurl = "{url}"\nsecrets = ["{SECRET}"]\n'
        f"allow_private = true\nidentify = []\n{more}"
    )


# --- looking --------------------------------------------------------------------------------------


def test_both_kinds_are_listed_the_newest_first_without_what_they_hold(site: Site) -> None:
    refused = site.refuse(b'{"type":"track","userId":"anna@example.org"}', b"{oops")
    letter = site.dead_delivery(1, "crm", "status 503; 12 attempts")
    rows = site.listed()
    assert [row[0] for row in rows] == [letter, *reversed(refused)]
    assert rows[0][1:6] == ["status", "503;", "12", "attempts", "crm"]
    assert rows[0][-2:] == ["cart_left", "trg-1"]
    assert rows[1][1:3] == ["not_json", "till"]
    assert rows[2][1:3] == ["event_missing", "till"]
    assert rows[2][-2].startswith("events/")
    assert rows[2][-1].endswith(":0"), "which event of its log entry"
    assert "anna" not in site.dead("list")[1]


def test_a_reason_and_a_limit_narrow_the_list(site: Site) -> None:
    ids = site.refuse(b"{", b"[]", b"{x")
    letter = site.dead_delivery(1, "crm", "status 503; 12 attempts")
    assert [row[0] for row in site.listed("--reason", "not_json")] == [ids[2], ids[0]]
    assert [row[0] for row in site.listed("--reason", "status 503")] == [letter]
    assert [row[0] for row in site.listed("--limit", "2")] == [letter, ids[2]]
    assert site.dead("list", "--reason", "empty")[:2] == (0, "nothing is dead for the reason empty\n")


def test_a_long_list_is_read_in_pages(site: Site) -> None:
    ids = site.refuse(*(b"{%d" % n for n in range(250)))
    assert len(ids) == len(set(ids)) == 250
    assert [row[0] for row in site.listed("--limit", "1000")] == ids[::-1]


def test_show_opens_the_original_bytes(site: Site) -> None:
    value = '{"type":"track","userId":"anna@example.org","note":"Zürich 您好"}'.encode()
    (ident,) = site.refuse(value)
    assert value not in b"".join(site.redis.xrange("mr:{dir}:dead")[0][1].values()), "sealed where it lies"
    code, out, _ = site.dead("show", ident)
    assert code == 0
    assert value.decode() in out
    for words in (
        "reason     event_missing",
        "detail     expected `event`",
        "source     till",
        "received   2023-11-14 22:13:20Z",
    ):
        assert words in out


def test_show_does_not_let_a_sender_steer_the_terminal(site: Site) -> None:
    (ident,) = site.refuse(b"\x1b[2J\x1b]0;owned\x07\xff\nnext line")
    out = site.dead("show", ident)[1]
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\\x1b[2J\\x1b]0;owned\\x07\\xff\nnext line" in out
    assert printable("Zürich 您好 \x9b1m") == "Zürich 您好 \\x9b1m"


def test_show_of_a_delivery_is_its_trigger(site: Site) -> None:
    code, out, _ = site.dead("show", site.dead_delivery(7, "crm", "413: the receiver finds it too large"))
    facts, _, body = out.partition("\n\n")
    assert code == 0
    assert "reason     413: the receiver finds it too large" in facts
    shown = json.loads(body)
    assert (shown["id"], shown["rule"], shown["reasons"]) == (
        "trg-7",
        "cart_left",
        {"cart_value": 99.5, "items": 2},
    )


@pytest.mark.parametrize("ident", ["e:1-1", "d:1-1", "1-1", "x", "e:99999999999999999999999999-1"])
def test_an_unknown_id_is_said_so(site: Site, ident: str) -> None:
    assert site.dead("show", ident)[:2] == (1, f"no dead letter has the id {ident}\n")
    assert site.dead("replay", ident)[:2] == (
        1,
        f"{ident} not sent: there is no such dead letter\n0 sent again, 1 not\n",
    )


# --- events again ---------------------------------------------------------------------------------


def test_a_refused_event_goes_the_way_of_any_other_when_the_cause_is_mended(site: Site) -> None:
    site.configure('[gateway]\nevent_bytes = "100B"\n')
    value = json.dumps(
        {
            "type": "track",
            "userId": "u1",
            "event": "Paid",
            "messageId": "m1",
            "properties": {"note": "x" * 100},
        }
    ).encode()
    ids = site.refuse(value, b"{")
    site.configure()
    assert site.dead("replay", ids[0])[:2] == (0, "1 sent again, 0 not\n")
    assert [row[0] for row in site.listed()] == [ids[1]], "only what was sent is gone"
    assert site.resolve() == 1
    (fact,) = site.facts()
    assert (fact.message, fact.channel, fact.name) == ("m1", "till", "Paid")


def test_an_event_without_a_message_id_is_named_the_same_each_time(site: Site) -> None:
    """So that a replay that was cut off, and is made again, counts once."""
    value = b'{"type":"page","userId":"u1"}'
    site.refuse(value, value, fault="poison")
    assert site.dead("replay", "--all")[0] == 0
    assert site.resolve() == 2
    first, second = site.facts()
    assert first.message == second.message
    assert first.received_ms == 1_700_000_000_000


def test_what_would_be_refused_again_stays_and_the_log_is_not_touched(site: Site) -> None:
    ids = site.refuse(b"{", b'{"type":"track","userId":"guest","event":"Paid"}')
    code, out, _ = site.dead("replay", "--all")
    assert code == 1
    assert out.splitlines()[0].startswith(f"{ids[0]} not sent: it would be refused again: not_json: ")
    assert out.splitlines()[1:] == [
        f"{ids[1]} not sent: it would be refused again: id_blocked: only blocked identifiers",
        "0 sent again, 2 not",
    ]
    assert len(site.listed()) == 2
    assert site.resolve() == 0


def test_a_reason_chooses_what_is_replayed(site: Site) -> None:
    good = [b'{"type":"page","userId":"u%d","messageId":"m%d"}' % (n, n) for n in range(120)]
    site.refuse(*good, fault="poison")
    site.refuse(b"{")
    assert site.dead("replay", "--reason", "poison")[:2] == (0, "120 sent again, 0 not\n")
    assert [row[1] for row in site.listed()] == ["not_json"]
    assert site.resolve() == 120


def test_many_that_stay_are_counted(site: Site) -> None:
    site.refuse(*(b"{%d" % n for n in range(30)))
    lines = site.dead("replay", "--all")[1].splitlines()
    assert len(lines) == 22
    assert lines[-2:] == ["... and 10 more", "0 sent again, 30 not"]


def test_a_full_log_keeps_them(site: Site) -> None:
    ids = site.refuse(b'{"type":"page","userId":"u1"}', b'{"type":"page","userId":"u1"}', fault="poison")
    site.configure("[raw]\nmax_events = 8\n[gateway]\nbatch_events = 1\n")
    code, out, err = site.dead("replay", "--all")
    assert (code, out) == (1, "0 sent again, 0 not\n")
    assert err.startswith("millrace: partition ")
    assert "has no room" in err
    assert sorted(row[0] for row in site.listed()) == ids
    with pytest.raises(LogFull):
        site.append(b"{", b"{")


def test_avro_is_read_when_its_schema_has_come(site: Site, tmp_path: Path) -> None:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(AVRO), {"userId": "u1", "total": 7})
    (ident,) = site.refuse(b"\0" + struct.pack(">I", 42) + body.getvalue(), fault="schema_unknown")
    code, out, _ = site.dead("replay", ident)
    assert (code, out.splitlines()[0]) == (
        1,
        f"{ident} not sent: it would be refused again: schema_unknown: schema 42 is not known",
    )
    (tmp_path / "data/schemas/avro").mkdir(parents=True)
    (tmp_path / "data/schemas/avro/42.avsc").write_text(json.dumps(AVRO))
    assert site.dead("replay", ident)[0] == 0
    assert site.resolve() == 1


# --- deliveries again -----------------------------------------------------------------------------


def test_a_delivery_goes_to_its_receiver_under_its_old_id(site: Site, receiver: Receiver) -> None:
    site.configure(hook(receiver.url))
    ids = [site.dead_delivery(number, "crm", "status 503; 12 attempts") for number in (1, 2, 3)]
    assert site.dead("replay", ids[1])[:2] == (0, "1 sent again, 0 not\n")
    assert receiver.accepted == ["trg-2"]
    assert site.dead("replay", "--reason", "status 503")[:2] == (0, "2 sent again, 0 not\n")
    assert receiver.accepted == ["trg-2", "trg-1", "trg-3"]
    assert all(request.verified for request in receiver.requests)
    assert site.listed() == []


def test_what_the_receiver_still_refuses_stays_with_the_reason(site: Site, receiver: Receiver) -> None:
    site.configure(hook(receiver.url))
    receiver.script.extend([Answer(500), Answer(200)])
    ids = [site.dead_delivery(number, "crm", "status 503; 12 attempts") for number in (1, 2)]
    assert site.dead("replay", *ids)[:2] == (1, f"{ids[0]} not sent: crm: status 500\n1 sent again, 1 not\n")
    assert [row[0] for row in site.listed()] == [ids[0]]


def test_a_receiver_that_is_away_is_left_in_peace(site: Site, receiver: Receiver) -> None:
    site.configure(hook(receiver.url, "[deliver]\nbreaker_failures = 3\n"))
    receiver.always = Answer(503)
    for number in range(10):
        site.dead_delivery(number, "crm", "status 503; 12 attempts")
    code, out, _ = site.dead("replay", "--all")
    assert code == 1
    assert out.splitlines()[-2:] == [
        f"{site.listed()[0][0]} not sent: crm failed 3 times in a row",
        "0 sent again, 10 not",
    ]
    assert len(receiver.requests) == 3
    assert len(site.listed()) == 10


def test_deliveries_without_a_receiver_stay(site: Site, receiver: Receiver) -> None:
    site.configure(hook(receiver.url, "enabled = false\n"))
    ids = [site.dead_delivery(1, "crm", "status 500"), site.dead_delivery(2, "gone", "status 500")]
    Deployment(site.config).deliveries.keep_dead("internal", b"\xc1", "not an absorb")
    code, out, _ = site.dead("replay", "--all")
    assert code == 1
    assert [line for line in out.splitlines() if ids[0] in line] == [
        f"{ids[0]} not sent: no connector crm is configured and enabled"
    ]
    assert [line for line in out.splitlines() if ids[1] in line] == [
        f"{ids[1]} not sent: no connector gone is configured and enabled"
    ]
    assert out.splitlines()[-1] == "0 sent again, 3 not"
    assert receiver.requests == []


def test_an_endpoint_that_had_gone_and_takes_one_is_used_again(site: Site, receiver: Receiver) -> None:
    site.configure(hook(receiver.url))
    Deployment(site.config).deliveries.disable("crm", "digest")
    ident = site.dead_delivery(1, "crm", "the connector is disabled")
    code, out, _ = site.dead("replay", ident)
    assert code == 0
    assert "restart `deliver`" in out
    assert Deployment(site.config).deliveries.disabled() == {}


def test_a_lost_server_is_one_line(site: Site, tmp_path: Path) -> None:
    site.file.write_text(f'[redis]\nurl = "unix://{tmp_path}/none.sock"\n[data]\nfolder = "data"\n')
    for argv in (["list"], ["show", "e:1-1"], ["replay", "--all"]):
        code, _, err = site.dead(*argv)
        assert code == 1
        assert err.startswith("millrace: Redis cannot be reached")
        assert err.count("\n") == 1


def applied(site: Site) -> dict[str, int]:
    """Run `profile` over all there is; the counters of all shards."""
    config = site.config
    worker = Worker(
        range(2),
        Deployment(config).directory,
        Deployment(config).shards,
        Deployment(config).machine(),
        cache=10,
        outbox_max=10,
        clock_ms=lambda: 1_700_000_000_000,
    )
    with capture_logs():
        while sum(Deployment(config).directory.heads().values()) > sum(worker._read.values()):
            worker.commit(worker.apply(worker.read()))
    return sums(Deployment(config).shards.counters().values())


def raised_on(site: Site, monkeypatch: pytest.MonkeyPatch, build: str) -> str:
    """An event that a build raised on; what it is called."""
    with monkeypatch.context() as broken:
        broken.setattr(FragmentRules, "add", lambda *_: 1 / 0)
        broken.setattr("flows.profile.BUILD", build)
        site.append(
            b'{"type": "identify", "userId": "ana", "messageId": "m1", '
            b'"traits": {"email": "ana@example.com"}}'
        )
        site.append(b'{"type": "track", "event": "Viewed", "userId": "ana", "messageId": "m2"}')
        assert site.resolve() == 2
        assert applied(site)["poisoned"] == 2
    return next(
        row[0] for row in site.listed("--reason", "poison") if '"email"' in site.dead("show", row[0])[1]
    )


@pytest.mark.breaking
def test_a_fixed_build_counts_what_was_put_aside_exactly_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = raised_on(site, monkeypatch, "0.0.1")
    assert "applied" not in applied(site)
    dead = Deployment(site.config).dead_facts.find(int(name[2]), int(name[4:]))
    assert dead is not None
    assert site.dead("replay", name)[:2] == (0, "1 sent again, 0 not\n")
    assert site.dead("replay", name)[:2] == (
        1,
        f"{name} not sent: there is no such dead letter\n0 sent again, 1 not\n",
    )
    assert applied(site)["applied"] == 1
    found = Deployment(site.config).profile_reader("user_id", "ana")
    assert found is not None
    assert (found["events"], found["identifiers"]["email"]) == (1, "a***@example.com")

    # It died between the two steps of a replay, or the app has sent it again: the message id tells
    directory = Deployment(site.config).directory
    assert directory.readmit(
        directory.sent("readmitted") + 1, dead.quarantined.origin, dead.quarantined.payload
    )
    site.append(b'{"type": "identify", "userId": "ana", "messageId": "m1"}')
    site.resolve()
    assert site.dead("replay", "--reason", "poison")[:2] == (0, "1 sent again, 0 not\n")  # the other one
    counted = applied(site)
    assert (counted["applied"], counted["duplicates"]) == (2, 2)
    assert site.listed("--reason", "poison") == []


@pytest.mark.breaking
def test_what_this_build_raised_on_is_sent_again_by_its_id_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = raised_on(site, monkeypatch, BUILD)
    code, out, _ = site.dead("replay", "--all")
    assert code == 1
    assert f"{name} not sent: this build ({BUILD}) raised on it" in out
    assert site.dead("replay", name)[0] == 0
    with monkeypatch.context() as broken:
        broken.setattr(FragmentRules, "add", lambda *_: 1 / 0)
        assert applied(site)["poisoned"] == 3  # put aside anew
    assert len(site.listed("--reason", "poison")) == 2


@pytest.mark.breaking
def test_what_logic_raised_on_is_listed_with_its_place(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: FragmentRules, fragment: object, fact: Fact, message: bytes) -> None:
        raise KeyError("ana@example.com")

    monkeypatch.setattr(FragmentRules, "add", broken)
    site.append(
        b'{"type": "identify", "userId": "ana", "messageId": "m1", "traits": {"email": "ana@example.com"}}'
    )
    assert site.resolve() == 1
    applied(site)
    ((name, reason, *words),) = site.listed("--reason", "poison")
    assert reason == "poison"
    assert " ".join(words).startswith("KeyError at tests.flows.services.test_dead:")
    code, out, _ = site.dead("show", name)
    assert code == 0
    assert "flows.logic.shard.machine:" in out
    assert f"build      {BUILD}" in out
    assert '"message": "m1"' in out
    assert '"email"' in out
    assert "ana@example.com" not in out
    assert Deployment(site.config).shards.counters()[int(name[2])]["poisoned"] == 1
    assert site.dead("show", "q:1-999")[0] == site.dead("show", "q:99-1")[0] == 1


def test_a_customer_on_the_way_to_another_is_let_in_again_once(site: Site) -> None:
    message = Absorb(b"survivor0001", b"retired-0001", b"general", b"")
    store, directory = Deployment(site.config).deliveries, Deployment(site.config).directory
    store.keep_dead("internal", msgspec.msgpack.encode(message), "poison: KeyError at flows.deliver:1 handle")
    store.keep_dead("internal", b"\xc1", "not an absorb: truncated")
    directory.forward(0, 900, message)  # what came later from the same shard does not hide it
    ((_, *_), (name, *_)) = site.listed()
    [letter] = [dead for dead in Deployment(site.config).dead_deliveries.oldest() if dead.name == name]
    code, out, _ = site.dead("replay", "--all")
    assert (code, "1 sent again, 1 not" in out, "no customer on the way" in out) == (1, True, True)
    store.keep_dead("internal", letter.body, letter.reason)
    absorbed = [
        entry for entry in directory.read(dict.fromkeys(range(2), 0), 100, 0) if entry.kind == LogKind.ABSORB
    ]
    assert len(absorbed) == 2
    assert not directory.forward_again(letter.name, message), "the replay died before the letter was gone"
