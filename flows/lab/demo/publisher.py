"""Publishes the shop's life through the gateway, as its channels would: each with a stock Segment client of
its own.

What no stock client sends (a retry of what had arrived, malformed events, unreadable bodies) goes out as
plain requests of the same form. Counted is what was *acknowledged*.
"""

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Self

import httpx
import stamina
from segment.analytics.client import Client

from flows.lab.demo.audit import Ledger
from flows.lab.demo.shop import WRITE_KEYS, Channel, Item

# Its failures are counted here; on the terminal they would tear the live view.
logging.getLogger("segment").addHandler(logging.NullHandler())

_PLAIN_BATCH = 50
_PLAIN_WAIT_S = 0.2
_LEAVE_S = 0.5  # for a request that is under way at the end
_CLOSED_WAIT_S = 0.02  # between two looks for what is to be published besides
_FULL_WAIT_S = 0.05  # a client's own queue is full: the shop waits


class Publisher:
    """One run of the shop: publishes while its `with` lasts, or until `stop`. The figures may be read at any
    time."""

    def __init__(
        self, items: Iterator[Item], url: str, ledger: Ledger, watch: Callable[[Item, int], None]
    ) -> None:
        self._items = items
        self._ledger = ledger
        self._watch = watch
        self._stopping = threading.Event()
        self._failed = Counter[Channel]()
        self._answered = Counter[Channel]()
        self._open: dict[
            str, dict[str, Any]
        ] = {}  # messageId -> handed to a client, and neither acknowledged nor given up yet
        self._clients = {channel: self._client(channel, key, url) for channel, key in WRITE_KEYS.items()}
        self._plain = _Plain(url, self._acknowledged)
        self._besides: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._closed = threading.Event()  # the shop is
        self._pacer = ThreadPoolExecutor(1, thread_name_prefix="publisher")
        self._pacing: Future[None] | None = None
        self.published = 0
        self.duplicates = 0  # sent a second time
        self.unreadable = 0

    @property
    def pending(self) -> int:
        """Return the number handed over, and neither acknowledged nor given up yet."""
        return (
            sum(int(client.queue.unfinished_tasks) for client in self._clients.values()) + self._plain.pending
        )

    @property
    def failed(self) -> int:
        """Return the number of those that the clients gave up on; they may or may not have been stored."""
        return self._failed.total() + self._plain.failed

    @property
    def malformed(self) -> int:
        """Return the number of malformed events, in requests that can be read, that were acknowledged: each
        of them is to be a reject."""
        return self._plain.malformed

    @property
    def misread(self) -> int:
        """Return the number of unreadable bodies that the gateway took: must stay 0."""
        return self._plain.misread

    @property
    def accepted(self) -> int:
        """Return the number of events of requests that were answered with 200."""
        return self._answered.total() + self._plain.answered

    @property
    def unanswered(self) -> int:
        """Return the number handed over, and never acknowledged: they may or may not have been stored."""
        return self.published - self.unreadable - self.accepted

    def __enter__(self) -> Self:
        self._plain.start()
        self._pacing = self._pacer.submit(self._run)
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop(0.0)

    def check(self) -> None:
        """Raise what has ended the publishing, if something other than `stop` did."""
        if self._pacing is not None and self._pacing.done():
            self._pacing.result()

    def besides(self, *items: Item) -> None:
        """Publish these as soon as may be, whatever their time on the shop's clock, in this order. May be
        called from any thread, until `stop`."""
        for item in items:
            self._besides.put(item)

    def close(self) -> None:
        """Close the shop: what is given to `besides` is still published, until `stop`."""
        self._closed.set()

    def stop(self, timeout_s: float, told: Callable[[int], None] = lambda _pending: None) -> bool:
        """Send nothing new, and wait until everything is acknowledged. False if that takes longer than
        `timeout_s`: the rest is in doubt.

        `told` hears now and then how much is still open.
        """
        self._stopping.set()
        deadline = time.monotonic() + timeout_s
        self._pacer.shutdown()
        while self.pending and time.monotonic() < deadline:
            told(self.pending)
            time.sleep(0.02)
        for client in self._clients.values():
            for consumer in client.consumers:
                consumer.pause()
        self._plain.stop(max(_LEAVE_S, deadline - time.monotonic()))
        finished = not self.pending
        for named in list(self._open):  # the clients' threads may still end a request
            if (message := self._open.pop(named, None)) is not None:
                self._ledger.doubt(message)
        return finished

    def _run(self) -> None:
        opened_ms = time.time_ns() // 1_000_000
        for item in self._items:
            ahead_s = opened_ms / 1000 + item.at_s - time.time()
            if self._stopping.wait(max(0.0, ahead_s)):
                return
            if self._closed.is_set():
                break
            self._publish_besides()
            self._publish(item, opened_ms + round(item.at_s * 1000))

        while not self._stopping.wait(_CLOSED_WAIT_S):
            self._publish_besides()

    def _publish_besides(self) -> None:
        while not self._besides.empty():
            self._publish(self._besides.get(), time.time_ns() // 1_000_000)

    def _publish(self, item: Item, at_ms: int) -> None:
        self._watch(item, at_ms)
        happened = datetime.fromtimestamp((at_ms - item.age_ms) / 1000, UTC)
        if isinstance(item.message, bytes):
            self.unreadable += 1
            self.published += 1
            self._plain.put(item.channel, item.message)
            return
        self.published += 1
        stamped = {"timestamp": happened.isoformat(timespec="milliseconds"), **item.message}
        if item.duplicate or not item.valid:
            self.duplicates += item.duplicate
            self._plain.put(item.channel, stamped, item.valid)
            return
        self._ledger.sent(item.message, time.time_ns() // 1_000_000)
        if item.refusable:
            self._ledger.doubt(item.message)
        else:
            self._open[item.message["messageId"]] = item.message
        if "sentAt" in item.message:
            self._plain.put(item.channel, stamped)
        else:
            while not self._call(item.channel, item.message, happened):
                if self._stopping.wait(_FULL_WAIT_S):
                    self._gave_up(item.channel, [item.message])
                    return

    def _call(self, channel: Channel, message: dict[str, Any], happened: datetime) -> bool:
        named = {_ARGUMENTS.get(key, key): value for key, value in message.items() if key != "type"}
        taken, _ = getattr(self._clients[channel], message["type"])(**named, timestamp=happened)
        return bool(taken)

    def _client(self, channel: Channel, key: str, url: str) -> Client:
        client = Client(
            key,
            host=url,
            upload_interval=_PLAIN_WAIT_S,
            timeout=5,
            on_error=lambda _error, batch: self._gave_up(channel, batch),
        )
        for consumer in client.consumers:  # who tells of failures, and not of success
            consumer.request = self._noting(channel, consumer.request)
        return client

    def _noting(
        self, channel: Channel, request: Callable[[list[dict[str, Any]]], Any]
    ) -> Callable[[list[dict[str, Any]]], Any]:
        def noted(batch: list[dict[str, Any]]) -> Any:
            answer = request(batch)  # raises where it is not acknowledged
            self._answered[channel] += len(batch)
            self._acknowledged(batch)
            return answer

        return noted

    def _acknowledged(self, batch: list[dict[str, Any]]) -> None:
        for message in batch:
            self._open.pop(message["messageId"], None)

    def _gave_up(self, channel: Channel, batch: list[dict[str, Any]]) -> None:
        self._failed[channel] += len(batch)
        for message in batch:
            if self._open.pop(message["messageId"], None) is not None:
                self._ledger.doubt(message)


_ARGUMENTS = {
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "previousId": "previous_id",
    "groupId": "group_id",
    "messageId": "message_id",
}


_Sending = tuple[Channel, dict[str, Any] | bytes, bool]  # the last: whether it is valid


class _Plain:
    """Requests in the clients' form, made by hand, in a thread of its own."""

    def __init__(self, url: str, acknowledged: Callable[[list[dict[str, Any]]], None]) -> None:
        self._acknowledged = acknowledged
        self._queue: queue.Queue[_Sending] = queue.Queue()
        self._http = httpx.Client(base_url=url, timeout=5)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plain", daemon=True)
        self.answered = 0  # of bodies that can be read
        self.malformed = 0  # of these
        self.failed = 0
        self.misread = 0  # unreadable bodies that the gateway took

    @property
    def pending(self) -> int:
        return int(self._queue.unfinished_tasks)

    def start(self) -> None:
        self._thread.start()

    def put(self, channel: Channel, message: dict[str, Any] | bytes, valid: bool = True) -> None:
        self._queue.put((channel, message, valid))

    def stop(self, timeout_s: float) -> None:
        self._stopping.set()
        self._thread.join(timeout_s)
        self._http.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            taken = self._take()
            batches: dict[Channel, list[tuple[dict[str, Any], bool]]] = {}
            for channel, message, valid in taken:
                if isinstance(message, bytes):
                    self._send_unreadable(channel, message)
                else:
                    batches.setdefault(channel, []).append((message, valid))
            for channel, batch in batches.items():
                self._send(channel, batch)
            for _ in taken:
                self._queue.task_done()

    def _take(self) -> list["_Sending"]:
        taken: list[_Sending] = []
        deadline = time.monotonic() + _PLAIN_WAIT_S
        while len(taken) < _PLAIN_BATCH and (left_s := deadline - time.monotonic()) > 0:
            try:
                taken.append(self._queue.get(timeout=left_s))
            except queue.Empty:
                break
        return taken

    def _send(self, channel: Channel, batch: list[tuple[dict[str, Any], bool]]) -> None:
        body = {
            "batch": [message for message, _valid in batch],
            "sentAt": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        try:
            for attempt in stamina.retry_context(on=httpx.HTTPError, attempts=5, timeout=10):
                with attempt:
                    self._http.post("/v1/batch", json=body, auth=(WRITE_KEYS[channel], "")).raise_for_status()
        except (httpx.HTTPError, RuntimeError):  # the latter where `stop` did not wait for it
            self.failed += len(batch)
        else:
            self.answered += len(batch)
            self.malformed += sum(not valid for _message, valid in batch)
            self._acknowledged([message for message, valid in batch if valid])

    def _send_unreadable(self, channel: Channel, body: bytes) -> None:
        headers = {"Content-Type": "application/json"} | (
            {"Content-Encoding": "gzip"} if body.startswith(b"\x1f\x8b") else {}
        )
        try:
            answer = self._http.post(
                "/v1/batch", content=body, headers=headers, auth=(WRITE_KEYS[channel], "")
            )
        except (httpx.HTTPError, RuntimeError):
            return  # refused or unreachable: nothing of it is stored either way
        self.misread += answer.is_success
