"""The flow `deliver`: a real Redis outbox, real receivers, the real dataflow in this process."""

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.sinks.sink import DELIVERED, Failed, Retry
from flows.deliver import BLOCK_MS
from flows.dispatch.dispatcher import endpoint
from schemas.config import Deliver, FileConnector, RedisConnector
from schemas.errors import Unreachable
from schemas.records.outbox_lanes import Lane
from schemas.units import Duration
from schemas.wire.triggers import Absorb
from tests.deliveries import trigger
from tests.delivering import QUICK, SHARDS, STAMP_MS, Rig, Scripted, hook, named, unpack
from tests.receiver import SECRET, Answer, Receiver
from tests.waiting import eventually


@pytest.fixture
def rig(redis_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(redis_url, tmp_path)
    yield made
    if made.stopping is not None:
        made.stop()
    made.redis.close()


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def test_triggers_of_all_shards_arrive_with_their_names(rig: Rig, receiver: Receiver) -> None:
    rig.start(hook(receiver.url))
    for shard in range(SHARDS):
        rig.emit(*(trigger(10 * shard + number) for number in range(5)), shard=shard)
    requests = receiver.wait(20)
    eventually(lambda: rig.outbox.cursors(Lane.TRIGGERS, "hook") == dict.fromkeys(range(SHARDS), 5))
    assert sorted(receiver.accepted) == sorted(
        f"trg-{10 * shard + number}" for shard in range(SHARDS) for number in range(5)
    )
    assert {json.dumps(r.event["data"]["identity"]) for r in requests if r.id == "trg-12"} == {
        '{"user_id": "user_id of 12"}'
    }


def test_all_four_kinds_of_connector_at_once(rig: Rig, receiver: Receiver) -> None:
    rig.start(
        hook(receiver.url),
        FileConnector(name="lines", path="lines.jsonl"),
        RedisConnector(name="stream", stream="out"),
    )
    rig.emit(*(trigger(number, to=("hook", "lines", "stream")) for number in range(50)))
    receiver.wait(50)
    eventually(lambda: {rig.cursor(name) for name in ("hook", "lines", "stream")} == {50})
    lines = (rig.folder / "lines.jsonl").read_text().splitlines()
    assert (
        {json.loads(line)["id"] for line in lines}
        == set(receiver.accepted)
        == {f"trg-{number}" for number in range(50)}
    )
    assert rig.redis.xlen("out") == 50


def test_only_what_is_addressed_to_it(rig: Rig) -> None:
    rig.sinks = {name: Scripted(lambda _: DELIVERED) for name in ("a", "b")}
    rig.start(named("a"), named("b"))
    rig.emit(trigger(1, to=("a",)), trigger(2, to=()), trigger(3, to=("b", "a")), trigger(4, to=("unknown",)))
    eventually(lambda: (rig.cursor("a"), rig.cursor("b")) == (4, 4))
    assert (rig.sinks["a"].ids, rig.sinks["b"].ids) == (["trg-1", "trg-3"], ["trg-3"])


def test_a_failure_is_tried_again_under_the_same_id(rig: Rig, receiver: Receiver) -> None:
    receiver.script.extend([Answer(500), Answer(0), Answer(301, {"location": "/x"})])
    rig.start(hook(receiver.url))
    rig.emit(trigger(1))
    requests = receiver.wait(4)
    assert {request.id for request in requests} == {"trg-1"}
    assert receiver.accepted == ["trg-1"]
    eventually(lambda: rig.cursor("hook") == 1)
    assert rig.dead == []


def test_others_pass_one_that_fails_and_the_cursor_waits_for_it(rig: Rig) -> None:
    mended = threading.Event()
    sink = Scripted(
        lambda item: Retry("not yet") if item.trigger.id == "trg-1" and not mended.is_set() else DELIVERED
    )
    rig.sinks = {"a": sink}
    rig.start(
        named("a"),
        deliver=Deliver(
            attempts=1_000, backoff=Duration(20), backoff_max=Duration(50), breaker_failures=1_000
        ),
    )
    rig.emit(*(trigger(number, to=("a",)) for number in range(1, 51)))
    eventually(lambda: len(set(sink.ids)) == 50)
    time.sleep(0.2)
    assert rig.cursor("a") == 0
    mended.set()
    eventually(lambda: rig.cursor("a") == 50)


def test_after_the_last_attempt_it_is_a_dead_letter(rig: Rig) -> None:
    sink = Scripted(lambda item: Retry("status 500") if item.trigger.id == "trg-2" else DELIVERED)
    rig.sinks = {"a": sink}
    rig.start(named("a"))
    triggers = [trigger(number, to=("a",)) for number in range(4)]
    rig.emit(*triggers)
    eventually(lambda: rig.cursor("a") == 4)
    [(connector, body, reason)] = rig.dead
    kept = unpack(body)
    assert (connector, kept.id, reason) == ("a", "trg-2", "status 500; 4 attempts")
    assert kept.receipt.emitted_ms == STAMP_MS  # so that it can be sent again as it was
    assert sink.ids.count("trg-2") == QUICK.attempts
    rig.stop()
    assert rig.counted == {"a": {"delivered": 3, "retried": QUICK.attempts - 1, "dead": 1}}


def test_what_can_never_succeed_is_tried_once(rig: Rig) -> None:
    sink = Scripted(lambda _: Failed("too large"))
    rig.sinks = {"a": sink}
    rig.start(named("a"))
    rig.emit(trigger(1, to=("a",)))
    eventually(lambda: rig.cursor("a") == 1)
    assert ([letter[2] for letter in rig.dead], len(sink.ids)) == (["too large"], 1)


def test_a_broken_entry_is_a_dead_letter_of_each_connector(rig: Rig) -> None:
    rig.sinks = {name: Scripted(lambda _: DELIVERED) for name in ("a", "b")}
    rig.start(named("a"), named("b"))
    rig.emit(b"\xc1 no msgpack", trigger(2, to=("a", "b")))
    eventually(lambda: (rig.cursor("a"), rig.cursor("b")) == (2, 2))
    assert sorted(letter[0] for letter in rig.dead) == ["a", "b"]


def test_a_dead_connector_holds_nobody_else(rig: Rig, receiver: Receiver) -> None:
    """More triggers than its window holds: it falls behind alone."""
    slow = Scripted(lambda _: Retry("down"))
    rig.sinks = {"slow": slow}
    rig.start(named("slow"), hook(receiver.url))
    for block in range(10):
        rig.emit(
            *(trigger(number, to=("slow",)) for number in range(block * 1_000, block * 1_000 + 1_000)),
            shard=block % SHARDS,
        )
    rig.emit(trigger(99_999, to=("slow", "hook")))
    receiver.wait(1)
    eventually(lambda: rig.cursor("hook", 0) > 2_000)
    assert sum(rig.outbox.cursors(Lane.TRIGGERS, "slow").values()) < 100


def test_the_breaker_spares_a_receiver_that_is_down(rig: Rig) -> None:
    down = threading.Event()
    down.set()
    sink = Scripted(lambda _: Retry("down") if down.is_set() else DELIVERED, batch_max=1, concurrency=1)
    rig.sinks = {"a": sink}
    rig.start(named("a"))
    rig.emit(*(trigger(number, to=("a",)) for number in range(30)))
    time.sleep(1.0)
    tried = len(sink.ids)
    assert QUICK.breaker_failures <= tried <= QUICK.breaker_failures + 6, (
        "then one probe for each rest of 200 ms"
    )
    down.clear()
    eventually(lambda: rig.cursor("a") == 30)
    assert rig.dead == []


def test_retry_after_is_honoured(rig: Rig, receiver: Receiver) -> None:
    receiver.script.append(Answer(429, {"retry-after": "1"}))
    rig.start(hook(receiver.url))
    rig.emit(trigger(1), trigger(2))
    receiver.wait(2)
    eventually(lambda: rig.cursor("hook") == 2)
    limited = next(request for request in receiver.requests if request.status == 429)
    again = next(
        request for request in receiver.requests if request.id == limited.id and request.status == 200
    )
    assert again.at - limited.at >= 0.95


def test_410_disables_the_endpoint_for_good(rig: Rig, receiver: Receiver) -> None:
    receiver.always = Answer(410)
    settings = hook(receiver.url, concurrency=1)
    rig.start(settings)
    rig.emit(*(trigger(number) for number in range(20)))
    eventually(lambda: rig.cursor("hook") == 20)
    assert rig.disabled == {"hook": endpoint(settings)}
    assert len(receiver.requests) == 1
    assert len(rig.dead) == 20, "what was under way is kept"
    rig.emit(trigger(21))
    eventually(lambda: rig.cursor("hook") == 21)
    rig.stop()
    receiver.always = None
    rig.start(settings)
    rig.emit(trigger(22))
    eventually(lambda: rig.cursor("hook") == 22)
    rig.stop()
    assert (len(receiver.requests), len(rig.dead)) == (1, 20), "what came later is skipped"
    rig.start(hook(receiver.url + "?new"))
    rig.emit(trigger(23))
    receiver.wait(2)
    assert receiver.accepted == ["trg-23"], "another URL is another endpoint"


def test_a_stop_lets_what_is_under_way_come_back(rig: Rig, receiver: Receiver) -> None:
    receiver.always = Answer(200, after_s=1.5)  # longer than a busy machine takes to hear of the stop
    rig.start(hook(receiver.url, concurrency=4))
    rig.emit(*(trigger(number) for number in range(40)))
    receiver.wait(4)
    seconds = rig.stop()
    assert seconds < 5
    assert rig.cursor("hook") == len(receiver.requests) == 4
    receiver.always = None
    rig.start(hook(receiver.url))
    receiver.wait(40)
    eventually(lambda: rig.cursor("hook") == 40)
    assert sorted(receiver.accepted) == sorted(f"trg-{number}" for number in range(40)), (
        "nothing lost, nothing twice"
    )


def test_a_receiver_that_hangs_does_not_hold_the_stop(rig: Rig, receiver: Receiver) -> None:
    receiver.always = Answer(200, after_s=100)
    rig.start(hook(receiver.url))
    rig.emit(trigger(1))
    receiver.wait(1)
    assert rig.stop() < 30
    assert rig.cursor("hook") == 0


def test_the_outbox_is_trimmed_behind_the_slowest(rig: Rig) -> None:
    gate = threading.Event()
    rig.sinks = {
        "a": Scripted(lambda _: DELIVERED),
        "b": Scripted(lambda _: DELIVERED if gate.is_set() else Retry("later", 0.05)),
    }
    rig.start(
        named("a"),
        named("b"),
        deliver=Deliver(attempts=1_000, backoff=Duration(10), backoff_max=Duration(10)),
    )
    rig.emit(*(trigger(number, to=("a", "b")) for number in range(100)))
    eventually(lambda: rig.cursor("a") == 100)
    time.sleep(1.2)
    assert rig.redis.xlen(rig.names.outbox(0, Lane.TRIGGERS)) == 100
    gate.set()
    eventually(lambda: rig.redis.xlen(rig.names.outbox(0, Lane.TRIGGERS)) == 0)


def test_without_connectors_triggers_do_not_fill_the_outbox(rig: Rig) -> None:
    rig.start()
    rig.emit(*(trigger(number, to=()) for number in range(300)))
    eventually(lambda: rig.redis.xlen(rig.names.outbox(0, Lane.TRIGGERS)) == 0)


def test_absorbs_go_to_the_directory_in_order(rig: Rig) -> None:
    rig.start()
    messages = [Absorb(b"survivor%04d" % n, b"retired-%04d" % n, b"general", b"") for n in range(250)]
    rig.emit(*messages[:200], shard=1, lane=Lane.ABSORBS)
    rig.emit(b"\xc1", *messages[200:], shard=2, lane=Lane.ABSORBS)
    eventually(lambda: (rig.cursor("internal", 1, "i"), rig.cursor("internal", 2, "i")) == (200, 51))
    assert [message for shard, _, message in rig.forwarded if shard == 1] == messages[:200]
    assert [seq for shard, seq, _ in rig.forwarded if shard == 2] == list(range(2, 52))
    assert [letter[0] for letter in rig.dead] == ["internal"]
    eventually(lambda: rig.redis.xlen(rig.names.outbox(1, Lane.ABSORBS)) == 0)


def test_each_worker_takes_its_own_shards(rig: Rig) -> None:
    sink = Scripted(lambda _: DELIVERED)
    rig.sinks = {"a": sink}
    rig.start(named("a"), shards=range(1, SHARDS, 2))
    for shard in range(SHARDS):
        rig.emit(trigger(shard, to=("a",)), shard=shard)
    eventually(lambda: len(sink.seen) == 2)
    time.sleep(0.1)
    assert sorted(sink.ids) == ["trg-1", "trg-3"]


def test_a_state_that_fails_ends_the_flow_with_its_own_error(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.sinks = {"a": Scripted(lambda _: DELIVERED)}

    def unreachable(*_: object) -> list[dict[str, str]]:
        raise Unreachable("redis is away")

    monkeypatch.setattr(rig, "identify", unreachable)
    rig.start(named("a"))
    rig.emit(trigger(1, to=("a",)))
    eventually(lambda: rig.stopping is not None and rig.stopping.fault is not None)
    with pytest.raises(Unreachable, match="redis is away"):
        rig.stop()
    assert rig.cursor("a") == 0


def test_names_are_asked_for_in_bulk_and_again_for_each_attempt(rig: Rig) -> None:
    tries = itertools.count()
    rig.sinks = {"a": Scripted(lambda _: Retry("once") if next(tries) < 100 else DELIVERED, batch_max=100)}
    rig.emit(*(trigger(number, to=("a",)) for number in range(100)))
    rig.start(
        named("a"),
        deliver=Deliver(attempts=9, backoff=Duration(10), backoff_max=Duration(10), breaker_failures=1_000),
    )
    eventually(lambda: rig.cursor("a") == 100)
    assert sum(rig.identified) == 200
    assert len(rig.identified) < 100


def test_a_new_trigger_goes_out_at_once(rig: Rig, receiver: Receiver) -> None:
    rig.start(hook(receiver.url))
    rig.emit(trigger(0))
    receiver.wait(1)
    waits = []
    for number in range(1, 8):
        time.sleep(0.05)
        emitted = time.monotonic()
        rig.emit(trigger(number))
        waits.append(receiver.wait(number + 1)[-1].at - emitted)
    assert sorted(waits)[len(waits) // 2] < BLOCK_MS / 2000, "it is not looked for now and then, but told of"
    print("trigger to request, ms:", [round(wait * 1000, 1) for wait in waits])


WORKER = """
import sys
from types import SimpleNamespace
from flows import deliver
from flows.runtime.deployment import Deployment
from schemas.config import Config, Secret, WebhookConnector
from state.redis.names import Names
import redis

url, hook, secret = sys.argv[1:]
shards = Config().shards.__class__(count=4)
secrets = (Secret(secret),)
connector = WebhookConnector(name="hook", url=hook, secrets=secrets, allow_private=True, concurrency=4)
deployment = Deployment(Config(shards=shards, connector=(connector,)), lambda _: redis.Redis.from_url(url))
deployment.redis_url, deployment.names = url, Names("t")
nobody = lambda origins: [False] * len(origins)
deployment.directory = SimpleNamespace(has_consents=lambda: False, erased=nobody)
deployment.contacts = SimpleNamespace(identify=lambda customers, fields: [{} for _ in customers])
deliver.run(deployment, 0, 1)
"""


def worker(rig: Rig, receiver: Receiver) -> "subprocess.Popen[bytes]":
    """The flow in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, rig.url, receiver.url, SECRET], stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_0(rig: Rig, receiver: Receiver, number: signal.Signals) -> None:
    receiver.always = Answer(200, after_s=0.3)
    rig.emit(*(trigger(n) for n in range(20)))
    process = worker(rig, receiver)
    try:
        receiver.wait(2)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said.decode()
    assert rig.cursor("hook") == len(receiver.requests) == len(set(receiver.accepted)) < 20


def test_kill_9_loses_nothing(rig: Rig, receiver: Receiver) -> None:
    """Three times, and each time it may deliver again only what was not yet acknowledged, under the same
    ids."""
    receiver.always = Answer(200, after_s=0.01)
    for round_ in range(3):
        rig.emit(*(trigger(100 * round_ + n) for n in range(100)))
        process = worker(rig, receiver)
        receiver.wait(len(receiver.requests) + 30)
        process.kill()
        process.communicate(timeout=60)
    rig.start(hook(receiver.url))
    eventually(lambda: rig.cursor("hook") == 300)
    assert set(receiver.accepted) == {f"trg-{n}" for n in range(300)}
