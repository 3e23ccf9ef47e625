"""Triggers as HTTP requests: Standard Webhooks (standardwebhooks.com) whose body is a structured CloudEvent.

`webhook-id` is the trigger's id and stays the same over retries; the timestamp is that of the attempt; there
is one signature for each secret, so that a receiver can change its secret without a gap. Redirects are not
followed, proxies of the environment not used.

Addresses that are not public are refused unless `allow_private`. The address is looked at when its socket is
made, so what is checked is what is connected to, whatever name service, literal or changing answer (DNS
rebinding) it came from.
"""

import base64
import binascii
import ipaddress
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from standardwebhooks import Webhook

from connectors.sinks.sink import DELIVERED, Delivery, Disable, Failed, Outcome, Retry, encode_each
from schemas.config import WebhookConnector
from schemas.errors import ConfigError
from schemas.wire import cloudevents

_RETRY_AFTER_S_MAX = 3_600.0  # a receiver may not put us off for longer
_SECRET_BYTES = range(24, 65)
_ANSWER_BYTES = 65_536  # what is read of an answer, so that its connection can be used again

Clock = Callable[[], datetime]
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


class PrivateAddressError(OSError):
    """The receiver's name leads to an address that is not public."""


class WebhookSink:
    """One endpoint. Connections are kept alive, at most `connector.concurrency` of them."""

    batch_max = 1

    def __init__(
        self, connector: WebhookConnector, source: str, clock: Clock = lambda: datetime.now(UTC)
    ) -> None:
        """Raises `ConfigError` for a URL or a secret that can never work."""
        _check_url(connector)
        if not connector.secrets:
            raise ConfigError(f"connector {connector.name}: a webhook needs at least one secret (whsec_...)")
        self.concurrency = connector.concurrency
        self._connector = connector
        self._source = source
        self._clock = clock
        self._signers = [_signer(secret, connector.name) for secret in connector.secrets]
        self._session: aiohttp.ClientSession | None = None

    async def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]:
        """Send one request for each delivery. 2xx is success, 410 disables, anything else is tried again."""
        bodies = encode_each(
            batch, lambda item: cloudevents.structured(item.trigger, self._source, item.identifiers)
        )
        return [
            body if isinstance(body, Failed) else await self._send(item.trigger.id, body)
            for item, body in zip(batch, bodies, strict=True)
        ]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _send(self, trigger_id: str, body: bytes) -> Outcome:
        # here, because a session belongs to the loop that it is made in
        self._session = self._session or self._open()
        try:
            async with self._session.post(
                self._connector.url, data=body, headers=self._signed(trigger_id, body), allow_redirects=False
            ) as answer:
                outcome = _outcome(answer.status, answer.headers.get("Retry-After"), self._clock())
                if outcome is DELIVERED:
                    await answer.content.read(_ANSWER_BYTES)
                return outcome
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, PrivateAddressError):
                return Failed("the receiver's address is not public (allow_private is off)")
            return Retry(f"cannot connect: {error.os_error.strerror or type(error.os_error).__name__}")
        except TimeoutError:
            return Retry(f"no answer within {self._connector.timeout}")
        except aiohttp.ClientError as error:
            return Retry(f"connection: {type(error).__name__}")

    def _signed(self, trigger_id: str, body: bytes) -> dict[str, str]:
        now = self._clock()
        text = body.decode()
        return {
            "content-type": cloudevents.STRUCTURED,
            "user-agent": "millrace",
            "webhook-id": trigger_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(trigger_id, now, text) for signer in self._signers),
        }

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self.concurrency,
                socket_factory=None if self._connector.allow_private else public_socket,
            ),
            timeout=aiohttp.ClientTimeout(total=self._connector.timeout / 1000),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # answers are not looked into, and may be bombs
        )


def is_public(address: str) -> bool:
    """Return whether this IP address is one of the public internet, also where it wraps an IPv4 address.

    >>> is_public("93.184.215.14"), is_public("10.0.0.1"), is_public("::ffff:127.0.0.1")
    (True, False, False)
    >>> is_public("169.254.169.254")
    False
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _wrapped(ip)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Return the pause that a `Retry-After` header asks for, seconds or HTTP date, as seconds from now (at
    most an hour).

    None if it asks for none: where it cannot be read, is 0, or lies in the past.
    """
    if value is None:
        return None
    text = value.strip()
    seconds = float(text) if text.isascii() and text.isdigit() else _seconds_until(text, now)
    return min(seconds, _RETRY_AFTER_S_MAX) if seconds > 0 else None


def _seconds_until(text: str, now: datetime) -> float:
    """0 where it is no date, or one that no calendar holds."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    return (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _wrapped(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


def public_socket(info: AddressInfo) -> socket.socket:
    """Return a socket for this address. Raises `PrivateAddressError`."""
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise PrivateAddressError("not a public address")
    return socket.socket(family, kind, protocol)


def _outcome(status: int, retry_after: str | None, now: datetime) -> Outcome:
    if 200 <= status < 300:
        return DELIVERED
    if status == 410:
        return Disable("410 Gone")
    if status == 413:
        return Failed("413: the receiver finds it too large")
    return Retry(f"status {status}", retry_after_s(retry_after, now))


def _check_url(connector: WebhookConnector) -> None:
    """Never names the URL in its errors, which may hold a secret."""
    try:
        url = urlsplit(connector.url)
        host, _ = (url.hostname or "").encode("idna"), url.port
    except ValueError:
        raise ConfigError(
            f"connector {connector.name}: url is none: its host or its port cannot be read"
        ) from None
    if url.scheme not in ("http", "https"):
        raise ConfigError(f"connector {connector.name}: url must be http:// or https://")
    if not host:
        raise ConfigError(f"connector {connector.name}: url must name a host")


def _signer(secret: str, name: str) -> Webhook:
    """Never names the secret in its errors."""
    try:
        text = secret.removeprefix("whsec_")
        size = len(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except binascii.Error:
        raise ConfigError(f"connector {name}: a secret must be whsec_ and base64") from None
    if size not in _SECRET_BYTES:
        raise ConfigError(f"connector {name}: a secret must hold 24 to 64 bytes, this one holds {size}")
    return Webhook(secret)
