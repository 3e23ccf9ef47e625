"""Erasures as requests of the protocol OpenDSR, to a processor of ours.

The id of a request is made of the erasure's and the connector's name, so it stays the same over retries, and
the processor's callback can be told apart. What it answers has to name this id and to be signed by the
certificate that is configured, or it does not count. Addresses that are not public are refused unless
`allow_private`.
"""

import uuid
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from connectors.sinks.sink import DELIVERED, Delivery, Failed, Outcome, Retry
from connectors.sinks.webhook import PrivateAddressError, public_socket, retry_after_s
from schemas.config import OpenDsrConnector
from schemas.errors import MillraceError
from schemas.wire.triggers import ERASURE

NAMES: Final = ("OpenDSR", "OpenGDPR", "OpenCompliance")  # that headers have had over time
_IDENTITIES: Final = {"user_id": "controller_customer_id"}
_ANSWER_BYTES: Final = 65_536
_AGAIN: Final = (401, 403, 404, 408, 425, 429)  # what may be another one later
Check = Callable[[Path, str, bytes, str], None]


class _Answer(msgspec.Struct, frozen=True):
    subject_request_id: str = ""


class OpenDsrSink:
    """One processor, a request at a time."""

    batch_max = 1
    concurrency = 1

    def __init__(
        self,
        connector: OpenDsrConnector,
        check: Check,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._connector = connector
        self._check = check
        self._clock = clock

    async def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]:
        """Ask for each erasure. 201 with a signature is success; an answer that cannot become another one is
        not asked for again."""
        return [await self._ask(delivery) for delivery in batch]

    async def close(self) -> None: ...

    async def _ask(self, delivery: Delivery) -> Outcome:
        connector = self._connector
        if delivery.trigger.rule != ERASURE:
            return Failed("a processor is asked for erasures alone")
        if not delivery.identifiers:
            return Failed("nothing is known any more by which it could know the customer")
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=None if connector.allow_private else public_socket),
            timeout=aiohttp.ClientTimeout(total=connector.timeout / 1000),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        headers = {
            "content-type": "application/json",
            "user-agent": "millrace",
            "authorization": _authorization(connector.token),
        }
        body = msgspec.json.encode(self._request(delivery))
        try:
            async with (
                session,
                session.post(connector.url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                said = await _whole(answer.content)
                request = request_id(delivery.trigger.id, connector.name)
                return self._outcome(answer.status, answer.headers, said, request)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, PrivateAddressError):
                return Failed("the processor's address is not public (allow_private is off)")
            return Retry(f"cannot connect: {error.os_error.strerror or type(error.os_error).__name__}")
        except TimeoutError:
            return Retry(f"no answer within {connector.timeout}")
        except aiohttp.ClientError as error:
            return Retry(f"connection: {type(error).__name__}")

    def _request(self, delivery: Delivery) -> dict[str, object]:
        connector, trigger = self._connector, delivery.trigger
        types = _IDENTITIES | connector.identities
        asked = datetime.fromtimestamp(trigger.receipt.event_ms / 1000, UTC)
        return {
            "regulation": connector.regulation,
            "subject_request_id": request_id(trigger.id, connector.name),
            "subject_request_type": "erasure",
            "submitted_time": asked.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "subject_identities": [
                {"identity_type": types.get(field, field), "identity_value": value, "identity_format": "raw"}
                for field, value in delivery.identifiers.items()
            ],
            "api_version": "2.0",
            "status_callback_urls": [connector.callback] if connector.callback else [],
        }

    def _outcome(self, status: int, headers: Mapping[str, str], body: bytes | None, request: str) -> Outcome:
        if status not in (200, 201, 202):
            reason = f"status {status}"
            if 400 <= status < 500 and status not in _AGAIN:
                return Failed(reason)
            return Retry(reason, retry_after_s(headers.get("Retry-After"), self._clock()))
        if body is None:
            return Retry("its answer is too long")
        domain, signature = signed_by(headers)
        if domain.lower() != self._connector.domain.lower():
            return Retry("its answer names another domain than the connector")
        try:
            self._check(Path(self._connector.certificate), domain, body, signature)
        except MillraceError as error:
            return Retry(f"its answer does not count: {error}")
        if _about(body) != request:  # else an answer from before would do for every other request
            return Retry("its answer is about another request")
        return DELIVERED


def signed_by(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return the domain that a message names as its signer, and the signature; empty where there is none."""
    for name in NAMES:
        domain = headers.get(f"X-{name}-Processor-Domain", "")
        signature = headers.get(f"X-{name}-Signature", "")
        if domain and signature:
            return domain, signature
    return "", ""


def request_id(erasure: str, connector: str) -> str:
    """Return what an erasure is called at a processor: a UUID of version 4, as the protocol wants it."""
    digest = blake2b(f"{erasure}\0{connector}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


async def _whole(content: aiohttp.StreamReader) -> bytes | None:
    """Return all of an answer; None for one that is too long."""
    found = bytearray()
    async for piece in content.iter_any():
        found += piece
        if len(found) > _ANSWER_BYTES:
            return None
    return bytes(found)


def _about(body: bytes) -> str:
    """Return the request that an answer names; empty for one that names none."""
    try:
        return msgspec.json.decode(body, type=_Answer).subject_request_id
    except (ValueError, RecursionError):
        return ""


def _authorization(token: str) -> str:
    if ":" in token:
        return "Basic " + b64encode(token.encode()).decode()
    return f"Bearer {token}"
