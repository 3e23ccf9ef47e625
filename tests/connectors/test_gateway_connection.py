"""Connections of a gateway behind a real socket: what is slow, silent or large ends; upgrades are ignored;
health is always answered."""

import json
import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from connectors.gateway.connection import Bounds
from tests.connectors.gateway_server import Served, served, wait_for

BOUNDS = Bounds(connections=4, reserve=2, head_s=0.5, answer_s=0.5)
TRACK = {"type": "track", "event": "Paid", "userId": "u1", "messageId": "m1"}
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
WITHIN_S = 20  # on a machine with much else to do


@pytest.fixture
def gateway() -> Iterator[Served]:
    with served(bounds=BOUNDS) as gateway:
        yield gateway


@contextmanager
def connected(gateway: Served) -> Iterator[socket.socket]:
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WITHIN_S) as connection:
        yield connection


def post(path: str, body: object, *headers: str, length: int | None = None) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Authorization: Bearer demo",
        f"Content-Length: {len(content) if length is None else length}",
    )
    return "\r\n".join((*head, *headers, "", "")).encode() + content


def rest(connection: socket.socket) -> bytes:
    """All that still comes until the other side closes."""
    received = b""
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:  # it closed without having read all that we sent
        pass
    return received


def drip(connection: socket.socket, pieces: Iterator[bytes], every_s: float) -> bytes:
    """What is answered to a sender who takes its time; it stops when the other side has closed."""
    connection.settimeout(every_s)
    received, end = b"", time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        try:
            connection.sendall(next(pieces))
            piece = connection.recv(65_536)
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return received
        if not piece:
            return received
        received += piece
    pytest.fail(f"still open after {WITHIN_S} s")


def forever(piece: bytes, first: bytes = b"") -> Iterator[bytes]:
    yield first
    while True:
        yield piece


# --- slow and silent ---


def test_a_silent_connection_is_closed(gateway: Served) -> None:
    with connected(gateway) as connection:
        began = time.monotonic()
        assert rest(connection) == b""
        assert time.monotonic() - began >= BOUNDS.head_s * 0.9


@pytest.mark.parametrize("first", [b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"GET /heal"])
def test_a_head_that_does_not_end_is_408(gateway: Served, first: bytes) -> None:
    with connected(gateway) as connection:
        answer = drip(connection, forever(b"x", first), 0.05)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"request_timeout"' in answer


def test_lines_that_are_no_head_are_not_waited_for(gateway: Served) -> None:
    with connected(gateway) as connection:
        assert drip(connection, forever(b"\r\n"), 0.05) == b""


def test_the_second_head_has_a_time_as_well(gateway: Served) -> None:
    with connected(gateway) as connection:
        answer = drip(connection, forever(b"x", HEALTH + b"GET /"), 0.05)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


def test_a_slow_head_that_is_in_time_and_a_connection_that_is_kept(gateway: Served) -> None:
    with connected(gateway) as connection:
        for _ in range(3):
            for piece in (HEALTH[:10], HEALTH[10:30], HEALTH[30:]):
                connection.sendall(piece)
                time.sleep(0.05)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        time.sleep(BOUNDS.head_s * 2)  # kept alive: it owes us nothing
        connection.sendall(HEALTH)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_nobody_asked_for_ends(gateway: Served) -> None:
    """The answer is there before the body, which would go on for ever."""
    head = (
        b"POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: Basic d3Jvbmc6\r\nTransfer-Encoding:"
        b" chunked\r\n\r\n"
    )
    with connected(gateway) as connection:
        assert drip(connection, forever(b"1\r\nx\r\n", head), 0.05).startswith(b"HTTP/1.1 401 ")


def test_an_answer_that_is_not_taken_is_given_up(gateway: Served) -> None:
    ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(gateway) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.sendall(ask * 3_000)
        end = time.monotonic() + WITHIN_S
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while time.monotonic() < end:
                time.sleep(0.1)
                connection.sendall(ask)


# --- large ---


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % number for number in range(101)) + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 33_000 + b"\r\n\r\n",
        b"GET /healthz?" + b"y" * 33_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["headers", "a header", "a query"],
)
def test_a_large_head_is_431(gateway: Served, head: bytes) -> None:
    with connected(gateway) as connection:
        connection.sendall(head)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"head_too_large"' in answer


@pytest.mark.parametrize("first", [b"GET /healthz HTTP/1.1\r\nx: ", b"GET /healthz HTTP/1.1\r\n", b"GET /"])
def test_a_head_without_end_is_ended(first: bytes) -> None:
    """Before its time is over. It may not hear of it, since it was still sending."""
    piece = b"x: y\r\n" * 1_000 if first.endswith(b"\n") else b"y" * 6_000
    with served(bounds=Bounds(head_s=WITHIN_S * 2)) as patient, connected(patient) as connection:
        answer = drip(connection, forever(piece, first), 0.01)
    assert answer[:13] in (b"", b"HTTP/1.1 431 ")


CHUNKED = (
    b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo\r\nTransfer-Encoding: chunked\r\n"
)


@pytest.mark.parametrize(
    ("first", "piece"),
    [(b"0\r\n", b"x: y\r\n" * 1_000), (b"0\r\nx: ", b"y" * 6_000), (b"1;x=", b"y" * 6_000)],
    ids=["trailers", "a trailer", "a chunk extension"],
)
def test_what_stands_around_a_body_is_bounded_as_well(first: bytes, piece: bytes) -> None:
    """Trailers would be kept in memory for as long as the body may take."""
    bounds, sent = Bounds(head_s=WITHIN_S * 2), 0

    def counted() -> Iterator[bytes]:
        nonlocal sent
        yield CHUNKED + b"\r\n" + first
        while True:
            sent += len(piece)
            yield piece

    with served(bounds=bounds) as patient, connected(patient) as connection:
        answer = drip(connection, counted(), 0.01)
    assert answer[:13] in (b"", b"HTTP/1.1 431 ")
    assert sent < 20 * bounds.head_bytes


def test_chunks_of_one_byte_are_no_large_head(gateway: Served) -> None:
    body = json.dumps(TRACK | {"properties": {"note": "x" * 20_000}}).encode()
    lines = CHUNKED.replace(b"/v1/events", b"/v1/track") + b"\r\n"
    with connected(gateway) as connection:
        connection.sendall(lines + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert len(gateway.messages(1)) == 1


def test_a_trailer_is_no_header(gateway: Served) -> None:
    """RFC 9110, 6.5.1: it must not be merged into the headers, whose sender may be another one."""
    headers = (
        b"Content-Type: application/json\r\nce-id: 1\r\nce-source: till\r\nce-specversion:"
        b" 1.0\r\nce-type: Paid\r\nce-subject: u1\r\n\r\n"
    )
    with connected(gateway) as connection:
        connection.sendall(
            CHUNKED + headers + b"2\r\n{}\r\n0\r\nce-subject: u2\r\nce-time: 2020-01-01T00:00:00Z\r\n\r\n"
        )
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
    (message,) = gateway.messages(1)
    assert message["userId"] == "u1"
    assert "timestamp" not in message


def test_an_ordinary_head_is_not_large(gateway: Served) -> None:
    headers = {f"x-{number}": "y" * 300 for number in range(80)}
    assert httpx.get(gateway.url + "/healthz", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"banana\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_400_as_json(gateway: Served, request_: bytes) -> None:
    with connected(gateway) as connection:
        connection.sendall(request_)
        head, _, body = rest(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "http_invalid"


# --- a full house ---


def test_who_waits_longest_makes_room(gateway: Served) -> None:
    with served(bounds=Bounds(connections=4, reserve=2)) as patient, ExitStack() as stack:
        silent = [stack.enter_context(connected(patient)) for _ in range(4)]
        silent[0].sendall(b"GET /")
        assert (
            httpx.post(
                patient.url + "/v1/track", json=TRACK, headers={"authorization": "Bearer demo"}
            ).status_code
            == 200
        )
        assert rest(silent[0]) == b""
        silent[3].sendall(HEALTH)
        assert silent[3].recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_where_all_are_busy_health_is_answered_and_others_come_again(gateway: Served) -> None:
    with ExitStack() as stack:
        for _ in range(BOUNDS.connections):
            stack.enter_context(connected(gateway)).sendall(post("/v1/track", TRACK, length=1_000))
        wait_for(
            lambda: (
                httpx.post(
                    gateway.url + "/v1/track", json=TRACK, headers={"authorization": "Bearer demo"}
                ).status_code
                == 503
            )
        )
        for path in ("/healthz", "/readyz", "/metrics"):
            assert httpx.get(gateway.url + path).status_code == 200
        answer = httpx.post(gateway.url + "/v1/track", json=TRACK, headers={"authorization": "Bearer demo"})
        assert (answer.status_code, answer.json()["code"]) == (503, "connections_full")
        assert answer.headers["retry-after"] == "1"
        for _ in range(BOUNDS.reserve + 3):  # nor do silent ones take the place of health
            stack.enter_context(connected(gateway))
        assert httpx.get(gateway.url + "/healthz").status_code == 200
    wait_for(lambda: httpx.get(gateway.url + "/subjects").status_code == 200)
    assert httpx.get(gateway.url + "/subjects").status_code == 200


def test_who_goes_away_with_requests_under_way_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), served() as gateway:
        for _ in range(20):
            with connected(gateway) as connection:
                connection.sendall(post("/v1/batch", {"batch": [TRACK] * 1_000}) * 3)
                connection.recv(1)
        assert httpx.get(gateway.url + "/healthz").status_code == 200
    assert caplog.records == []


# --- offers to go on in another protocol ---

OFFER = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA",
)
CLOUDEVENT = (
    "ce-specversion: 1.0",
    "ce-id: 1",
    "ce-source: /till",
    "ce-type: Paid",
    "ce-subject: u1",
    "Content-Type: application/json",
)


@pytest.mark.parametrize(
    "offer",
    [
        OFFER,
        ("Connection: Upgrade", "Upgrade: websocket"),
        ("Connection: keep-alive, Upgrade", "Upgrade: TLS/1.0, x/2"),
    ],
)
@pytest.mark.parametrize("pieces", [1, 2, 7, 1_000])
def test_an_offer_is_ignored_and_the_body_is_read(
    gateway: Served, offer: tuple[str, ...], pieces: int
) -> None:
    sent = (
        post("/v1/track", TRACK, *offer)
        + post("/v1/events", {"total": 5}, *CLOUDEVENT, *offer)
        + post("/v1/track", TRACK)
    )
    size = -(-len(sent) // pieces)
    with connected(gateway) as connection:
        for start in range(0, len(sent), size):
            connection.sendall(sent[start : start + size])
        received = b""
        while received.count(b'{"success":true}') < 3:
            piece = connection.recv(65_536)
            assert piece, received
            received += piece
    assert received.count(b"HTTP/1.1 200 ") == 3
    tracked, event, again = gateway.messages(3)
    assert tracked == again == TRACK
    assert event["properties"] == {"total": 5}


def test_an_offer_without_a_body(gateway: Served) -> None:
    with connected(gateway) as connection:
        connection.sendall(
            HEALTH.replace(b"\r\n\r\n", "\r\n".join(("", *OFFER, "", "")).encode()) * 2 + HEALTH
        )
        received = b""
        while received.count(b"alive") < 3:
            piece = connection.recv(65_536)
            assert piece, received
            received += piece


def test_an_offer_with_a_chunked_body(gateway: Served) -> None:
    body = json.dumps(TRACK).encode()
    lines = (
        "POST /v1/track HTTP/1.1",
        "Host: x",
        "Authorization: Bearer demo",
        "Transfer-Encoding: chunked",
        *OFFER,
        "",
        "",
    )
    with connected(gateway) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert gateway.messages(1) == [TRACK]


JAVA = """
import java.net.URI;
import java.net.http.*;

public class Send {
  public static void main(String[] args) throws Exception {
    HttpClient client = HttpClient.newHttpClient();
    var track = HttpRequest.newBuilder(URI.create(args[0] + "/v1/track"))
      .header("Authorization", "Bearer demo")
      .POST(HttpRequest.BodyPublishers.ofString(args[1]));
    var event = HttpRequest.newBuilder(URI.create(args[0] + "/v1/events"))
      .header("Authorization", "Bearer demo")
      .header("ce-specversion", "1.0").header("ce-id", "1").header("ce-source", "/till")
      .header("ce-type", "Paid").header("ce-subject", "u1").header("Content-Type", "application/json")
      .POST(HttpRequest.BodyPublishers.ofString("{\\"total\\":5}"));
    for (var request : new HttpRequest.Builder[] {track, event, track}) {
      var answer = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
      System.out.println(answer.statusCode() + " " + answer.body());
    }
  }
}
"""


@pytest.mark.skipif(shutil.which("java") is None, reason="needs a JDK")
def test_the_client_of_the_jdk_as_it_is(gateway: Served, tmp_path: Path) -> None:
    program = tmp_path / "Send.java"
    program.write_text(JAVA)
    ran = subprocess.run(
        ["java", str(program), gateway.url, json.dumps(TRACK)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.stdout.splitlines() == ['200 {"success":true}'] * 3, ran.stderr
    tracked, event, again = gateway.messages(3)
    assert tracked == again == TRACK
    assert (event["event"], event["userId"], event["properties"]) == ("Paid", "u1", {"total": 5})


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_that_offers_http2(gateway: Served) -> None:
    curl = ["curl", "-sS", "--http2", "-H", "Authorization: Bearer demo"]
    event = [part for header in CLOUDEVENT for part in ("-H", header)]
    for args in (
        ["-d", json.dumps(TRACK), gateway.url + "/v1/track"],
        [*event, "-d", '{"total":5}', gateway.url + "/v1/events"],
    ):
        ran = subprocess.run([*curl, *args], capture_output=True, text=True, timeout=60, check=False)
        assert ran.stdout == '{"success":true}', ran.stderr
    tracked, received = gateway.messages(2)
    assert (tracked, received["properties"]) == (TRACK, {"total": 5})
