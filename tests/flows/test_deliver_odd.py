"""One connector in trouble beside a healthy one: odd answers, a sink that raises, a customer who cannot be
named."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis

from connectors.sinks.sink import DELIVERED, Delivery, Outcome
from schemas.config import Deliver
from schemas.errors import ConfigError
from schemas.records.outbox_lanes import Lane
from schemas.units import Duration
from schemas.wire.triggers import Absorb
from state.damage import of_customer
from state.dead_letter_logs import deliveries
from state.redis.names import Names
from state.shards.deliveries import Deliveries
from tests.deliveries import trigger
from tests.delivering import SHARDS, Rig, Scripted, hook, named, pack, unpack
from tests.odd_receiver import ANSWERS, OddReceiver
from tests.receiver import Answer, Receiver
from tests.waiting import eventually

HOUR_LONG = (
    "retry-after date 'Fri, 31 Dec 9999 23:59:59 -2359'"  # it is honoured, and this test has not so long
)
EAGER = Deliver(
    attempts=3, backoff=Duration(1), backoff_max=Duration(2), breaker_failures=20, breaker_rest=Duration(20)
)


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


@pytest.mark.parametrize("seed", range(3))
def test_a_healthy_receiver_beside_an_odd_one_gets_each_trigger_once(
    rig: Rig, receiver: Receiver, seed: int
) -> None:
    answers = [name for name in ANSWERS if name != HOUR_LONG]
    count = len(answers)
    with OddReceiver(seed, answers) as odd:
        rig.start(hook(odd.url(), name="odd"), hook(receiver.url, name="well"), deliver=EAGER)
        for number in range(count):
            rig.emit(trigger(number, to=("odd", "well")), shard=number % SHARDS)
        eventually(
            lambda: (
                sum(rig.outbox.cursors(Lane.TRIGGERS, "odd").values())
                == sum(rig.outbox.cursors(Lane.TRIGGERS, "well").values())
                == count
            )
        )
        rig.stop()
    assert set(odd.answered) == set(answers)
    assert sorted(receiver.accepted) == sorted(f"trg-{number}" for number in range(count)), (
        "each once, so the flow never began again"
    )
    reasons = [reason for connector, _, reason in rig.dead if connector == "odd"]
    assert len(rig.dead) == len(reasons) > count // 2
    assert all(reason.endswith("; 3 attempts") for reason in reasons)


def test_retry_after_0_does_not_switch_the_breaker_off(rig: Rig, receiver: Receiver) -> None:
    receiver.always = Answer(503, {"retry-after": "0"})
    rest = Deliver(
        attempts=1_000,
        backoff=Duration(1),
        backoff_max=Duration(1),
        breaker_failures=5,
        breaker_rest=Duration(60_000),
    )
    rig.start(hook(receiver.url, concurrency=1), deliver=rest)
    rig.emit(*(trigger(number) for number in range(30)))
    receiver.wait(5)
    with pytest.raises(AssertionError, match="5 of 6 requests"):
        receiver.wait(6, timeout_s=1)
    assert len({request.id for request in receiver.requests}) == 5, (
        "and a single failure was not taken for a count of them"
    )


class Raising:
    """A sink with a defect: it raises when something of a batch is among `poison`."""

    batch_max, concurrency = 10, 2

    def __init__(self, error: Exception, *poison: str) -> None:
        self.accepted: list[str] = []
        self._error, self._poison = error, poison

    async def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]:
        ids = [item.trigger.id for item in batch]
        if any(ident in self._poison for ident in ids):
            raise self._error
        self.accepted += ids
        return [DELIVERED] * len(batch)

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    "error", [KeyError("ann@example.org"), ConfigError("kafka.options: no"), OSError(24, "too many files")]
)
def test_what_a_sink_raises_on_ends_as_a_dead_letter_alone(
    rig: Rig, error: Exception, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = rig.sinks["a"] = Raising(error, "trg-3", "trg-17")
    rig.start(named("a"), hook(receiver.url), deliver=EAGER)
    rig.emit(*(trigger(number, to=("a", "hook")) for number in range(30)))
    eventually(lambda: (rig.cursor("a"), rig.cursor("hook")) == (30, 30))
    rig.stop()
    assert {unpack(body).id for _, body, _ in rig.dead} == {"trg-3", "trg-17"}
    assert {connector for connector, _, _ in rig.dead} == {"a"}
    assert set(sink.accepted) == {f"trg-{number}" for number in range(30)} - {"trg-3", "trg-17"}
    assert len(receiver.accepted) == 30
    reason = rig.dead[0][2]
    assert reason.endswith("; 3 attempts")
    assert ("tests.flows.test_deliver_odd:" in reason) != isinstance(error, ConfigError), (
        "the place, or the words of our own error"
    )
    assert "ann@example.org" not in reason, "an exception's words may be personal data"
    said = capsys.readouterr()
    assert "sink_raised" in said.out + said.err


def test_a_sink_that_does_not_say_what_became_of_each(rig: Rig) -> None:
    class Short(Scripted):
        async def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]:
            return (await super().deliver(batch))[:-1] if len(batch) > 1 else await super().deliver(batch)

    sink = rig.sinks["a"] = Short(lambda _: DELIVERED)
    rig.emit(*(trigger(number, to=("a",)) for number in range(30)))
    rig.start(named("a"), deliver=EAGER)
    eventually(lambda: rig.cursor("a") == 30)
    assert set(sink.ids) == {f"trg-{number}" for number in range(30)}
    assert rig.dead == []


def test_a_sink_that_always_raises_rests(rig: Rig, receiver: Receiver) -> None:
    tried: list[int] = []

    class Broken(Raising):
        async def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]:
            tried.append(len(batch))
            return await super().deliver(batch)

    rig.sinks["a"] = Broken(ZeroDivisionError(), *(f"trg-{number}" for number in range(500)))
    rig.start(
        named("a"), hook(receiver.url), deliver=Deliver(breaker_failures=5, breaker_rest=Duration(60_000))
    )
    rig.emit(*(trigger(number, to=("a", "hook")) for number in range(500)))
    eventually(lambda: rig.cursor("hook") == 500)
    assert len(tried) < 5
    assert len(receiver.accepted) == 500


def damaged(customer: str) -> Exception:
    return of_customer("{s00}:xs:1", 0, bytes.fromhex(customer), "cannot be read, its bytes were changed")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            lambda _: KeyError("ann@example.org"),
            "the customer cannot be named: KeyError at tests.flows.test_deliver_odd:",
        ),
        (damaged, "the customer cannot be named: shard 0: {s00}:xs:1 of customer"),
    ],
)
def test_a_customer_who_cannot_be_named_holds_nobody_else(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: Callable[[str], Exception], said: str
) -> None:
    real = rig.identify

    def identify(customers: list[str], fields: tuple[str, ...]) -> list[dict[str, str]]:
        for customer in customers:
            if int(customer, 16) == 7:
                raise error(customer)
        return real(customers, fields)

    monkeypatch.setattr(rig, "identify", identify)
    sink = rig.sinks["a"] = Scripted(lambda _: DELIVERED)
    rig.emit(*(trigger(number, to=("a",)) for number in range(20)))
    rig.start(named("a"), deliver=EAGER)
    eventually(lambda: rig.cursor("a") == 20)
    [(_, body, reason)] = rig.dead
    assert unpack(body).id == "trg-7"
    assert reason.startswith(said)
    assert reason.endswith("; 3 attempts")
    assert "ann@example.org" not in reason
    assert ("millrace repair customer" in reason) == (error is damaged), (
        "the remedy, for who reads the dead letter"
    )
    assert sorted(sink.ids) == sorted(f"trg-{number}" for number in range(20) if number != 7), "each once"


def test_an_entry_whose_text_is_none_is_a_dead_letter(rig: Rig) -> None:
    """msgspec's decoder has another exception for that than for all else."""
    rig.sinks["a"] = Scripted(lambda _: DELIVERED)
    rig.start(named("a"))
    rig.emit(b"\x9f\xa2\xff\xfe", trigger(2, to=("a",)))
    eventually(lambda: rig.cursor("a") == 2)
    assert [letter[0] for letter in rig.dead] == ["a"]


def test_an_absorb_that_our_logic_raises_on_holds_back_nobody(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = rig.forward

    def forward(shard: int, seq: int, message: Absorb) -> bool:
        if message.retired == b"retired-0007":
            raise KeyError("ann@example.org")
        return real(shard, seq, message)

    monkeypatch.setattr(rig, "forward", forward)
    messages = [Absorb(b"survivor%04d" % n, b"retired-%04d" % n, b"general", b"") for n in range(12)]
    rig.emit(*messages[:10], shard=1, lane=Lane.ABSORBS)
    rig.start()
    eventually(lambda: rig.cursor("internal", 1, "i") == 10)
    rig.stop()
    rig.emit(*messages[10:], shard=1, lane=Lane.ABSORBS)
    rig.start()
    eventually(lambda: rig.cursor("internal", 1, "i") == 12)
    assert [message for _, _, message in rig.forwarded] == [*messages[:7], *messages[8:]]
    [(connector, body, reason)] = rig.dead
    assert (connector, body) == ("internal", pack(messages[7]))
    assert reason.startswith("poison: KeyError at tests.flows.test_deliver_odd:")
    assert "ann@" not in reason


def test_a_directory_that_is_away_is_nobodys_poison(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: object) -> bool:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(rig, "forward", forward)
    rig.emit(Absorb(b"survivor0001", b"retired-0001", b"general", b""), shard=1, lane=Lane.ABSORBS)
    rig.start()
    eventually(lambda: rig.stopping is not None and rig.stopping.fault is not None)
    with pytest.raises(redis.ConnectionError):
        rig.stop()
    assert (rig.cursor("internal", 1, "i"), rig.dead) == (0, [])


def test_a_reason_of_a_receiver_may_hold_anything(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        Deliveries(client, Names("t")).keep_dead("a", b"body", "said \udcff\x00")
        [dead] = deliveries(client, Names("t")).newest()
    assert dead.reason == "said \\udcff\x00"
