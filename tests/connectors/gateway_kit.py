"""A gateway in this process, and a raw log in memory that can be made to fail."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from starlette.routing import Route

from connectors.gateway import Door, build
from connectors.gateway.callback_routes import Processors
from connectors.gateway.decision_routes import ReadDecisions
from connectors.gateway.identity_routes import Stewardship
from connectors.gateway.opendsr_routes import OpenDsr
from connectors.gateway.regulation_routes import Regulations
from connectors.gateway.routes import Routes
from connectors.gateway.subject_routes import Rights
from schemas.config import Gateway, Secret, WriteKey
from schemas.wire.events import RawEvent

KEYS = (
    WriteKey(key=Secret("demo"), source="web", events_per_second=1_000_000),
    WriteKey(key=Secret("till"), source="store", events_per_second=10),
    WriteKey(key=Secret("off"), source="old", enabled=False),
)
CONFIG = Gateway(write_keys=KEYS, read_tokens=(Secret("reader"),))


class MemoryWriter:
    """A `RawWriter`. With `error` set, every call raises it."""

    def __init__(self) -> None:
        self.stored: list[tuple[str, RawEvent]] = []
        self.error: Exception | None = None

    async def append(self, events: Sequence[tuple[str, RawEvent]]) -> None:
        await self.ping()
        self.stored += events

    async def ping(self) -> None:
        if self.error is not None:
            raise self.error

    async def close(self) -> None: ...


class Client:
    """Requests without sockets. An exception of the application reaches the test."""

    def __init__(
        self,
        config: Gateway = CONFIG,
        read_profile: Callable[[str, str], dict[str, Any] | None] = lambda *_: None,
        stewardship: Stewardship | None = None,
        door: Door | None = None,
        rights: Rights | None = None,
        regulations: Regulations | None = None,
        opendsr: OpenDsr | None = None,
        processors: Processors | None = None,
        pages: Routes = [],  # noqa: B006  # never written to
        read_decisions: ReadDecisions | None = None,
    ) -> None:
        self.writer = MemoryWriter()
        application = build(
            config,
            self.writer,
            read_profile,
            stewardship=stewardship,
            door=door,
            rights=rights,
            regulations=regulations,
            opendsr=opendsr,
            processors=processors,
            pages=pages,
            read_decisions=read_decisions,
        )
        self.routes = [route for route in application.routes if isinstance(route, Route)]
        self._transport = httpx.ASGITransport(application)
        self._loop = asyncio.Runner()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://gateway") as client:
                return await client.request(method, path, **options)

        return self._loop.run(send())

    def post(self, path: str, body: object, *, key: str | None = "demo", **options: Any) -> httpx.Response:
        """`body` is bytes as they are, or becomes JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = ({"authorization": f"Bearer {key}"} if key else {}) | options.pop("headers", {})
        return self.request("POST", path, content=content, headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The accepted messages in the log."""
        return [json.loads(event.value) for _, event in self.writer.stored if event.fault is None]

    @property
    def faults(self) -> list[RawEvent]:
        return [event for _, event in self.writer.stored if event.fault is not None]

    def close(self) -> None:
        self._loop.close()


@contextmanager
def gateway(*args: Any, **options: Any) -> Iterator[Client]:
    client = Client(*args, **options)
    try:
        yield client
    finally:
        client.close()
