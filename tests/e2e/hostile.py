"""A thousand ways to send what is refused, with nothing but a public write key. Seeded: the same seed makes
the same requests."""

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

KEY = "public"
STRANGERS = 50  # users that the key has sent events of
_PATHS = (
    "/v1/track",
    "/v1/identify",
    "/v1/page",
    "/v1/batch",
    "/v1/b",
    "/v1/t",
    "/v1/import",
    "/v1/events",
    "/v1/m",
    "/v1/group",
)


class Request(NamedTuple):
    path: str
    headers: dict[str, str | bytes]
    content: bytes


Breakage = Callable[[Random, dict[str, Any]], bytes]


def requests(seed: int, count: int) -> list[Request]:
    """So many that differ from one another."""
    luck = Random(seed)
    found: dict[tuple[str, bytes], Request] = {}
    while len(found) < count:
        made = _request(luck)
        found.setdefault((made.path, made.content), made)
    return list(found.values())


def rejected_behind(luck: Random, count: int) -> Iterator[dict[str, Any]]:
    """Events that the gateway takes, and that are rejected behind it: one user of many as another's former
    name."""
    for _ in range(count):
        user, other = luck.sample(range(STRANGERS), 2)
        yield {
            "type": "alias",
            "userId": f"stranger-{user}",
            "previousId": f"stranger-{other}",
            "messageId": f"h-{luck.random()}",
        }


def refused_alone(luck: Random, count: int) -> Iterator[dict[str, Any]]:
    """Events in good form that say what cannot be."""
    for _ in range(count):
        event = _event(luck)
        wrong = luck.randrange(4)
        if wrong == 0:
            event["timestamp"] = f"{luck.randint(1, 1990):04}-01-01T00:00:00Z"
        elif wrong == 1:
            event["messageId"] = "m" * luck.randint(101, 400)
        elif wrong == 2:
            event["properties"] = _nested(luck.randint(17, 60))
        else:
            event["event"] = "e" * luck.randint(257, 900)
        yield event


def _event(luck: Random) -> dict[str, Any]:
    return {
        "type": "track",
        "event": f"Viewed {luck.randrange(5)}",
        "userId": f"stranger-{luck.randrange(STRANGERS)}",
        "messageId": f"h-{luck.random()}",
    }


def _nested(depth: int) -> Any:
    return {"in": _nested(depth - 1)} if depth else 1


def _request(luck: Random) -> Request:
    path = luck.choice(_PATHS)
    headers = luck.choice(_KEYS)(luck) | luck.choice(_BESIDES)
    body = luck.choice(_BREAKAGES)(luck, _event(luck))
    if path in ("/v1/batch", "/v1/b", "/v1/import") and luck.random() < 0.8:
        good = json.dumps(_event(luck)).encode()
        body = b'{"batch":[%s]}' % b",".join([body, good, body][: luck.randint(1, 3)])
    if luck.random() < 0.3:
        body = luck.choice(_PACKED)(body)
        headers["Content-Encoding"] = luck.choice(("gzip", "gzip", "br"))
    headers["Content-Type"] = luck.choice(
        (
            "application/json",
            "text/plain",
            "application/cloudevents+json",
            "application/cloudevents-batch+json",
            "",
        )
    )
    return Request(path, headers, body)


_KEYS: tuple[Callable[[Random], dict[str, str | bytes]], ...] = (
    lambda _: {"Authorization": f"Bearer {KEY}"},
    lambda _: {"Authorization": f"Basic {base64.b64encode(f'{KEY}:'.encode()).decode()}"},
    lambda _: {"Authorization": f"Basic {base64.b64encode(KEY.encode()).decode()}"},
    lambda luck: {"Authorization": f"Bearer {luck.random()}"},
    lambda _: {"Authorization": b"Basic \xff\xfe\xe9"},
    lambda _: {"Authorization": f"Bearer {KEY}é".encode()},
    lambda _: {"X-Write-Key": "公".encode()},
    lambda _: {},
)

_H2C: dict[str, str | bytes] = {
    "Connection": "Upgrade, HTTP2-Settings",
    "Upgrade": "h2c",
    "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA",
}
_BESIDES: tuple[dict[str, str | bytes], ...] = (
    {},
    {},
    {},
    _H2C,
    {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZQ==",
        "Sec-WebSocket-Version": "13",
    },
    {"Origin": "https://例.example".encode(), "User-Agent": b"\x80\xff", "Cookie": b"a=\xe9"},
    {"ce-id": "é".encode("latin-1"), "ce-source": b"%ff", "ce-specversion": "1.0", "ce-type": b'"\xc3"'},
    {"X-Forwarded-For": b"\xa0, , 999.1.1.1", "Traceparent": "00-zz"},
)

_BREAKAGES: tuple[Breakage, ...] = (
    lambda luck, event: json.dumps(event).encode()[: luck.randint(1, 60)],
    lambda luck, event: bytes(luck.randrange(32, 127) for _ in range(luck.randint(1, 500))),
    lambda luck, event: json.dumps(
        luck.choice([None, True, luck.random(), [], [event], "text", {}])
    ).encode(),
    lambda luck, event: json.dumps(
        event | {"type": luck.choice(["", "trck", "merge", "unmerge", 5, None, []])}
    ).encode(),
    lambda luck, event: json.dumps(
        event | {"properties": {"x": "y" * luck.randint(33_000, 40_000)}}
    ).encode(),
    lambda luck, event: json.dumps(event | {"properties": _nested(luck.randint(17, 300))}).encode(),
    lambda luck, event: json.dumps(
        event | {"userId": luck.choice([10**40, -(10**30), 1e300, [], {}, True])}
    ).encode(),
    lambda luck, event: json.dumps(
        event | {luck.choice(["context", "traits", "properties"]): luck.choice([1, "x", [1], None])}
    ).encode(),
    lambda luck, event: json.dumps(
        event | {"timestamp": luck.choice(["yesterday", "0001-01-01T00:00:00Z", 5, "9999-99-99", ""])}
    ).encode(),
    lambda luck, event: json.dumps(event | {"v": float("nan")}).encode(),
    lambda luck, event: json.dumps(
        {name: value for name, value in event.items() if name not in luck.sample(sorted(event), 2)}
    ).encode(),
    lambda luck, event: json.dumps(next(refused_alone(luck, 1))).encode(),
    lambda luck, event: b"[" * luck.randint(100, 5_000),
)

_PACKED: tuple[Callable[[bytes], bytes], ...] = (
    gzip.compress,
    lambda body: gzip.compress(body)[:-5],
    lambda body: b"\x1f\x8b" + body,
    lambda body: gzip.compress(b"0" * 600_000),
    lambda body: gzip.compress(body) + bytes(100) + b"\x1f",
    lambda body: b"".join(
        gzip.compress(body[at : at + 1]) for at in range(min(300, len(body)))
    ),  # tiny members
    lambda body: gzip.compress(b"") * 20_000,
)
