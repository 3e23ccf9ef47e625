"""The webhook connector against a real HTTP server that verifies with the published library."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from connectors.sinks.sink import DELIVERED, Disable, Failed, Outcome, Retry
from connectors.sinks.webhook import WebhookSink, is_public, retry_after_s
from schemas.config import Secret, WebhookConnector
from schemas.errors import ConfigError
from schemas.units import Duration
from tests.deliveries import delivery, trigger
from tests.odd_receiver import ANSWERS, OddReceiver, certificate
from tests.receiver import SECRET, Answer, Receiver

OTHER_SECRET = "whsec_" + "YW5vdGhlci1zZWNyZXQtd2l0aC1lbm91Z2gtYnl0ZXM="
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(name="receiver")
def _receiver():
    with Receiver() as running:
        yield running


def connector(url: str, **changes: object) -> WebhookConnector:
    settings = {
        "name": "hook",
        "url": url,
        "secrets": (Secret(SECRET),),
        "allow_private": True,
    } | changes
    return WebhookConnector(**settings)


def send(
    settings: WebhookConnector, *numbers: int, clock: Callable[[], datetime] | None = None
) -> list[Outcome]:
    """Deliver these one after the other, over one session."""

    async def all_of_them() -> list[Outcome]:
        sink = WebhookSink(settings, "/millrace/test", **({"clock": clock} if clock else {}))
        try:
            return [
                outcome
                for number in numbers
                for outcome in await sink.deliver([delivery(number, user_id="ann")])
            ]
        finally:
            await sink.close()

    return asyncio.run(all_of_them())


def test_a_trigger_arrives_as_a_signed_cloudevent(receiver: Receiver) -> None:
    assert send(connector(receiver.url), 7) == [DELIVERED]
    (request,) = receiver.requests
    assert request.verified
    assert request.id == "trg-7"
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 5
    event = request.event
    assert (event["specversion"], event["id"], event["source"]) == ("1.0", "trg-7", "/millrace/test")
    assert event["subject"] == trigger(7).customer
    assert event["data"]["identity"] == {"user_id": "ann"}
    assert event["data"]["properties"] == {"product": "Tee ☕"}


def test_the_id_stays_and_the_timestamp_is_that_of_the_attempt(receiver: Receiver) -> None:
    clock = iter([NOW, NOW, NOW + timedelta(seconds=90), NOW + timedelta(seconds=90)])
    send(connector(receiver.url), 7, 7, clock=lambda: next(clock))
    first, second = receiver.requests
    assert first.id == second.id
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 90
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


@pytest.mark.parametrize("held", [SECRET, OTHER_SECRET])
def test_during_rotation_a_receiver_with_either_secret_accepts(held: str) -> None:
    with Receiver(secret=held) as receiver:
        assert send(connector(receiver.url, secrets=(Secret(OTHER_SECRET), Secret(SECRET))), 1) == [DELIVERED]
        (request,) = receiver.requests
        signatures = request.headers["webhook-signature"].split(" ")
        assert len(signatures) == 2
        sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
        assert signatures[0] == Webhook(OTHER_SECRET).sign("trg-1", sent_at, request.body.decode()), (
            "the first secret signs first"
        )


def test_a_wrong_secret_is_refused_by_the_receiver() -> None:
    with Receiver(secret=OTHER_SECRET) as receiver:
        assert send(connector(receiver.url), 1) == [Retry("status 401")]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(200), DELIVERED),
        (Answer(202, body=b"taken"), DELIVERED),
        (Answer(204), DELIVERED),
        (Answer(301, {"location": "/elsewhere"}), Retry("status 301")),
        (Answer(307, {"location": "/elsewhere"}), Retry("status 307")),
        (Answer(400), Retry("status 400")),
        (Answer(410), Disable("410 Gone")),
        (Answer(413), Failed("413: the receiver finds it too large")),
        (Answer(429, {"retry-after": "17"}), Retry("status 429", 17.0)),
        (Answer(500, {"content-encoding": "gzip"}, b"not gzip"), Retry("status 500")),
        (Answer(503, {"retry-after": "Sun, 01 Mar 2026 12:00:30 GMT"}), Retry("status 503", 30.0)),
        (Answer(0), Retry("connection: ServerDisconnectedError")),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
def test_what_an_answer_means(
    receiver: Receiver, answer: Answer, expected: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.script.append(answer)
    monkeypatch.setattr(
        receiver._webhook, "verify", lambda *_: None
    )  # the clock of this test stands in the past
    assert send(connector(receiver.url), 1, clock=lambda: NOW) == [expected]
    assert len(receiver.requests) == 1, "no redirect is followed and nothing is sent twice"


def test_connections_are_kept_alive(receiver: Receiver) -> None:
    send(connector(receiver.url), *range(20))
    assert len(receiver.requests) == 20
    assert receiver.connections == 1


def test_an_answer_that_takes_too_long(receiver: Receiver) -> None:
    receiver.script.append(Answer(200, after_s=60))
    begun = time.monotonic()
    assert send(connector(receiver.url, timeout=Duration(200)), 1) == [Retry("no answer within 200ms")]
    assert time.monotonic() - begun < 30


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        (outcome,) = send(connector(url), 1)
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("cannot connect")


def test_a_name_that_does_not_exist() -> None:
    (outcome,) = send(connector("http://nowhere.invalid/"), 1)
    assert isinstance(outcome, Retry)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"]
)
def test_addresses_of_this_machine_are_refused(receiver: Receiver, host: str) -> None:
    (outcome,) = send(connector(f"http://{host}:{receiver.port}/", allow_private=False), 1)
    assert not isinstance(outcome, type(DELIVERED))
    assert receiver.connections == 0


def test_a_public_name_with_a_private_address_is_refused_for_good(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: what counts is the address that the socket is made for, not what the name was a moment
    ago."""
    real = socket.getaddrinfo

    def rebound(host: object, port: object, *args: object, **kwargs: object) -> object:
        return real("127.0.0.1" if host == "shop.example" else host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    url = f"http://shop.example:{receiver.port}/"
    assert send(connector(url), 1) == [DELIVERED], "the name does lead here"
    assert send(connector(url, allow_private=False), 1) == [
        Failed("the receiver's address is not public (allow_private is off)")
    ]
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "address",
    """0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 192.168.1.1 198.18.0.1 224.0.0.1
    240.0.0.1 255.255.255.255
    :: ::1 fc00::1 fd12::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1 2001:db8::1 ::ffff:10.0.0.1 2002:7f00:1::
    64:ff9b::7f00:1""".split(),
)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", None),
        ("000", None),
        (" 120 ", 120),
        ("999999999", 3_600),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60),
        ("9" * 400, 3_600),
        ("Sun, 01 Mar 2026 11:00:00 GMT", None),
        ("Sun, 01 Mar 2026 12:00:00 GMT", None),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ("Fri, 99999999999999999999 Dec 2026 23:59:59 GMT", None),
        ("Fri, 31 Dec 2026 23:59:59 +99999999999999999999", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 3_600),
        ("Fri, 01 Mar 2126 12:00:00 GMT", 3_600),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW) == seconds


PIECES = (
    "Fri, 31 Feb Dec 2026 0000 9999 -1 +9999 -9999 GMT 25:61:61 23:59:59 ² \xff 99999999999999999999"
).split(" ")


@given(st.lists(st.sampled_from(PIECES)))
def test_no_date_is_an_error(words: list[str]) -> None:
    seconds = retry_after_s(" ".join(words), NOW)
    assert seconds is None or 0 < seconds <= 3_600


@pytest.mark.parametrize("answer", ANSWERS)
def test_every_odd_answer_is_an_outcome(answer: str) -> None:
    with OddReceiver(0, [answer]) as odd:
        (outcome,) = send(connector(odd.url()), 1)
    assert odd.answered == [answer]
    assert isinstance(outcome, Retry) or outcome == DELIVERED
    assert (outcome == DELIVERED) == (
        answer in ("body too short", "chunks without an end", "gzip that is none")
    )


def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    with OddReceiver(0, ["nothing"], certificate(tmp_path)) as odd:
        (outcome,) = send(connector(odd.url("https")), 1)
    assert isinstance(outcome, Retry)
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.reason
    assert odd.answered == [], "nothing was sent to it"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secrets": ()}, "at least one secret"),
        ({"secrets": (Secret("whsec_c2hvcnQ="),)}, "24 to 64 bytes"),
        ({"secrets": (Secret("whsec_not base64 at all!"),)}, "base64"),
        ({"url": "ftp://127.0.0.1/"}, "http"),
        ({"url": "http:///hook"}, "must name a host"),
        ({"url": "http://[::1/hook"}, "cannot be read"),
        ({"url": "http://127.0.0.1:99999/"}, "cannot be read"),
        ({"url": f"http://{'a' * 70}.example/"}, "cannot be read"),
    ],
)
def test_what_can_never_work_is_said_at_the_start(changes: dict[str, object], words: str) -> None:
    settings = {"url": "http://127.0.0.1/"} | changes
    with pytest.raises(ConfigError, match=words) as error:
        WebhookSink(connector(**settings), "/millrace/test")
    assert "not base64" not in str(error.value), "a secret is never shown"


def test_a_trigger_that_cannot_be_encoded_fails_alone(receiver: Receiver) -> None:
    async def both() -> list[Outcome]:
        sink = WebhookSink(connector(receiver.url), "/millrace/test")
        odd = delivery(1)
        odd.trigger.reasons["what"] = object()
        outcomes = await sink.deliver([odd, delivery(2)])
        await sink.close()
        return outcomes

    failed, delivered = asyncio.run(both())
    assert isinstance(failed, Failed)
    assert delivered == DELIVERED


def test_at_most_concurrency_connections(receiver: Receiver) -> None:
    receiver.always = Answer(200, after_s=0.05)

    async def flood() -> None:
        sink = WebhookSink(connector(receiver.url, concurrency=3), "/millrace/test")
        await asyncio.gather(*(sink.deliver([delivery(number)]) for number in range(12)))
        await sink.close()

    asyncio.run(flood())
    assert len(receiver.requests) == 12
    assert receiver.connections == receiver.concurrent_max == 3
    assert threading.active_count() < 50
