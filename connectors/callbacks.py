"""Signed messages to URLs that somebody else has given: to public addresses only, over https.

The address is looked at when its socket is made, so what is checked is what is connected to, whatever name
service, literal or changing answer (DNS rebinding) it came from. Redirects are not followed, proxies of the
environment not used, and of an answer nothing is read but its status.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp

from connectors.sinks.webhook import PrivateAddressError, is_public, public_socket
from schemas.errors import Unusable

TIMEOUT_S: Final = 10.0
URL_MAX: Final = 2_048  # characters
CONCURRENT: Final = 8


class Message(NamedTuple):
    """What is sent, and where to."""

    url: str
    body: bytes
    headers: Mapping[str, str]


def check_url(url: str, *, allow_private: bool) -> None:
    """Check that a callback may be sent there, as far as the URL alone says. Raises `Unusable`; the message
    does not show the URL, which may hold a secret."""
    if len(url) > URL_MAX:
        raise Unusable(f"expected a URL of at most {URL_MAX} characters, got {len(url)}")
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError:
        raise Unusable("expected a URL, got one whose host or port cannot be read") from None
    if not (parts.scheme == "https" or (parts.scheme == "http" and allow_private)):
        raise Unusable("expected a URL that begins with https://")
    if not host or parts.username is not None:
        raise Unusable("expected a URL that names a host, and no user")
    try:
        public = is_public(host)
    except ValueError:  # a name: its addresses are looked at when it is connected to
        public = True
    if not (public or allow_private):
        raise Unusable("expected a URL of the public internet, got a private address")


def send(messages: Sequence[Message], *, allow_private: bool) -> list[str]:
    """Send each once, and return for each why it was not taken; empty: it was."""
    return asyncio.run(_send(messages, allow_private)) if messages else []


async def _send(messages: Sequence[Message], allow_private: bool) -> list[str]:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=CONCURRENT, socket_factory=None if allow_private else public_socket
        ),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
    async with session:
        return await asyncio.gather(*(_post(session, message) for message in messages))


async def _post(session: aiohttp.ClientSession, message: Message) -> str:
    try:
        async with session.post(
            message.url, data=message.body, headers=dict(message.headers), allow_redirects=False
        ) as answer:
            return "" if 200 <= answer.status < 300 else f"status {answer.status}"
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, PrivateAddressError):
            return "its address is not public"
        return f"cannot connect: {type(error.os_error).__name__}"
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:.0f} s"
    except (aiohttp.ClientError, ValueError) as error:
        return f"connection: {type(error).__name__}"
