"""What the gateway costs by itself, and how long one sender makes the others wait.

    python -m bench.gateway [seconds]

It prints the server's CPU for each request and event, then the longest wait under each body. The log is a
list that is thrown away.
"""

import gzip
import multiprocessing
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import Connection

from bench.load import events
from connectors.gateway import Door, build, listen, server
from flows.logic.resolution.validation import Validator
from schemas.config import Config, Gateway, Secret, WriteKey
from schemas.wire.events import RawEvent

_KEY = WriteKey(key=Secret("demo"), source="web", events_per_second=100_000_000)
_LARGEST = 500_000


class _Nowhere:
    """A `RawWriter`."""

    async def append(self, events: Sequence[tuple[str, RawEvent]]) -> None: ...

    async def ping(self) -> None: ...

    async def close(self) -> None: ...


def _serve(pipe: Connection) -> None:
    with listen("127.0.0.1:0") as listener:
        door = Door(Config(), Validator(Config(), bytes(32), {}).refusal)
        one = server(build(Gateway(write_keys=(_KEY,)), _Nowhere(), lambda *_: None, door=door))

        def tell() -> None:
            while pipe.recv() == "cpu":
                used = resource.getrusage(resource.RUSAGE_SELF)
                pipe.send(used.ru_utime + used.ru_stime)
            one.should_exit = True

        pipe.send(listener.getsockname()[1])
        threading.Thread(target=tell, daemon=True).start()
        one.run(sockets=[listener])


@contextmanager
def _gateway() -> Iterator[tuple[int, Connection]]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,))
    process.start()
    try:
        yield here.recv(), here
    finally:
        here.send("end")
        process.join()


def _post(path: str, body: bytes, *more: str) -> bytes:
    head = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *more,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _ask(connection: socket.socket, request: bytes) -> bytes:
    """The whole answer."""
    connection.sendall(request)
    answer = connection.recv(65_536)
    while not _whole(answer):
        answer += connection.recv(65_536)
    return answer


def _whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    return len(body) >= int(head.partition(b"content-length: ")[2].split(b"\r")[0] or 1)


def _cost(name: str, port: int, pipe: Connection, request: bytes, of_events: int, seconds: float) -> None:
    """The least of ten parts of that time."""
    each_us = float("inf")
    with _connect(port) as connection:
        answer = _ask(connection, request)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        for _ in range(10):
            count, before, end = 0, _cpu(pipe), time.monotonic() + seconds / 10
            while time.monotonic() < end:
                _ask(connection, request)
                count += 1
            each_us = min(each_us, (_cpu(pipe) - before) / count * 1e6)
    print(f"{name:<34} {each_us:9.1f} µs/request {each_us / of_events:8.2f} µs/event")


def _cpu(pipe: Connection) -> float:
    pipe.send("cpu")
    used = pipe.recv()
    assert isinstance(used, float)
    return used


def _wait(name: str, port: int, request: bytes, seconds: float) -> None:
    """The longest that a health check waits while one sender sends this again and again."""
    ending = threading.Event()
    answers: set[bytes] = set()

    def send() -> None:
        while not ending.is_set():
            with _connect(port) as connection:
                answers.add(_ask(connection, request)[9:12])

    sender = threading.Thread(target=send)
    sender.start()
    longest, end = 0.0, time.monotonic() + seconds
    with _connect(port) as connection:
        while time.monotonic() < end:
            began = time.perf_counter()
            _ask(connection, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            longest = max(longest, time.perf_counter() - began)
            time.sleep(0.001)
    ending.set()
    sender.join()
    print(f"{name:<34} {longest * 1e3:9.1f} ms  ({', '.join(sorted(code.decode() for code in answers))})")


def _hostile() -> Iterator[tuple[str, bytes]]:
    member = gzip.compress(b" ", mtime=0)
    tiny = b"".join([member] * (_LARGEST // len(member)))
    yield "tiny gzip members, no key", _post("/v1/batch", tiny)
    yield "tiny gzip members", _post("/v1/batch", tiny, "Authorization: Bearer demo")
    yield "a gzip bomb", _post("/v1/batch", gzip.compress(b" " * 50_000_000), "Authorization: Bearer demo")
    yield "brackets without end, no key", _post("/v1/batch", b'{"batch":' + b"[{" * (_LARGEST // 2 - 10))
    yield (
        "brackets and NaN",
        _post("/v1/batch", b'{"writeKey":"demo","batch":[NaN' + b",[]" * (_LARGEST // 3 - 20) + b"]}"),
    )
    deep = b'{"type":"track","a":[' + b"[]," * 10_000 + b"[]]}"
    yield (
        "nested items, one with NaN",
        _post("/v1/batch", b'{"writeKey":"demo","batch":[NaN,' + b",".join([deep] * 14) + b"]}"),
    )
    small = b",".join([b'{"type":"track"}'] * 2_500)
    context = b",".join(b'"%x":1' % number for number in range(3_000))
    yield (
        "a large context for small events",
        _post("/v1/batch", b'{"writeKey":"demo","context":{%s},"batch":[%s]}' % (context, small)),
    )
    common = context[:3_000].rpartition(b",")[0]
    yield (
        "a context for small events",
        _post("/v1/batch", b'{"writeKey":"demo","context":{%s},"batch":[%s]}' % (common, small)),
    )
    schema = b'{"schema":"%s"}' % (
        b'[\\"null\\",' + b",".join([b'{\\"type\\":\\"array\\",\\"items\\":\\"int\\"}'] * 8_000) + b"]"
    )
    yield "a large schema to look up, no key", _post("/subjects/millrace.trigger-value", schema)


def main(seconds: float) -> None:
    values = [event.value for _, event in islice(events(), 2_500)]
    key = "Authorization: Basic ZGVtbzo="
    batch = b'{"sentAt":"2026-01-01T00:00:00Z","batch":[%s]}'
    with _gateway() as (port, pipe):
        _cost("one event", port, pipe, _post("/v1/track", values[0], key), 1, seconds)
        hundred = batch % b",".join(values[:100])
        _cost("a batch of 100", port, pipe, _post("/v1/batch", hundred, key), 100, seconds)
        packed = _post("/v1/batch", gzip.compress(hundred), key, "Content-Encoding: gzip")
        _cost("a batch of 100 as gzip", port, pipe, packed, 100, seconds)
        _cost(
            "a batch of 1,000",
            port,
            pipe,
            _post("/v1/batch", batch % b",".join(values[:1_000]), key),
            1_000,
            seconds,
        )
        print("\nthe longest wait of a health check meanwhile")
        for name, request in _hostile():
            _wait(name, port, request, seconds)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
