"""Nobody makes the others wait: what one request costs is bounded, and done in turns with all other
requests."""

import asyncio
import gzip
import json
import time
from collections.abc import MutableMapping
from typing import Any

import pytest

from connectors.gateway import build
from tests.connectors.gateway_kit import CONFIG, MemoryWriter

# of work without a turn for the others; a few milliseconds, and some for a machine that is slower
SLICE_S = 0.015
BYTES = 499_000  # as many as one request may have
TINY = gzip.compress(b" ", mtime=0)
SMALL = b",".join([b'{"type":"track","userId":"u"}'] * 2_500)
FIELDS = b",".join(b'"%x":1' % number for number in range(3_500))
LARGE = b'{"type":"track","messageId":null,%s}' % FIELDS
EVENT = b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":{%s}}' % FIELDS
CLOUDEVENTS = {"content-type": "application/cloudevents-batch+json"}

HOSTILE: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "tiny gzip members": ("/v1/batch", TINY * (BYTES // len(TINY)), {}),
    "as many gzip members as may be": ("/v1/batch", TINY * 256, {}),
    "gzip members in zeros": ("/v1/batch", (TINY + bytes(1_900)) * 256, {}),
    "values without end": ("/v1/batch", b'{"batch":[%s]}' % b",".join([b"1"] * (BYTES // 2 - 10)), {}),
    "brackets beside NaN": ("/v1/batch", b'{"batch":[NaN%s]}' % (b",[]" * (BYTES // 3 - 10)), {}),
    "brackets in items beside NaN": (
        "/v1/batch",
        b'{"batch":[NaN,[%s[]]]}' % (b"[]," * (BYTES // 3 - 10)),
        {},
    ),
    "a context of many fields": ("/v1/batch", b'{"context":{%s},"batch":[%s]}' % (FIELDS * 10, SMALL), {}),
    "a context for all": (
        "/v1/batch",
        b'{"context":{%s},"batch":[%s]}' % (FIELDS[:3_000].rpartition(b",")[0], SMALL),
        {},
    ),
    "rebuilt events": ("/v1/batch", b'{"batch":[%s]}' % b",".join([LARGE] * (BYTES // len(LARGE) - 1)), {}),
    "CloudEvents": ("/v1/events", b"[%s]" % b",".join([EVENT] * (BYTES // len(EVENT) - 1)), CLOUDEVENTS),
    "values as CloudEvents": ("/v1/events", b"[%s]" % b",".join([b"1"] * (BYTES // 2 - 10)), CLOUDEVENTS),
    "a schema": (
        "/subjects/millrace.trigger-value",
        json.dumps({"schema": json.dumps([{"type": "array", "items": "int"}] * 12_000)}).encode(),
        {},
    ),
}


class Asked:
    """One request to an application, while somebody else waits for a turn again and again."""

    def __init__(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        self.read = False
        self.status = 0
        self.longest_s = 0.0
        self._body = body
        asyncio.run(self._ask(path, headers))

    async def _ask(self, path: str, headers: dict[str, str]) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        application = build(CONFIG, MemoryWriter(), lambda *_: None)
        asked = asyncio.create_task(application(scope, self._receive, self._send))
        last_s = time.thread_time()  # of this thread: what other programs do does not count
        while not asked.done():
            await asyncio.sleep(0)
            now_s = time.thread_time()
            self.longest_s, last_s = max(self.longest_s, now_s - last_s), now_s
        await asked

    async def _receive(self) -> MutableMapping[str, Any]:
        self.read = True
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)


@pytest.mark.parametrize("key", [None, "demo"])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_request_keeps_the_others_waiting(name: str, key: str | None) -> None:
    path, body, headers = HOSTILE[name]
    asked = Asked(path, body, headers | ({"authorization": f"Bearer {key}"} if key else {}))
    assert asked.status in (200, 400, 401, 413)
    assert asked.longest_s < SLICE_S


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch", "/v1/events"])
def test_a_wrong_key_is_refused_before_anything_is_read(path: str) -> None:
    asked = Asked(path, TINY, {"authorization": "Basic d3Jvbmc6"})
    assert (asked.status, asked.read) == (401, False)
    right = Asked(path, TINY, {"authorization": "Basic ZGVtbzo="})
    assert (right.status, right.read) == (400, True)
