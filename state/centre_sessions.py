"""Who is in the privacy centre, and which links were used: in a slot of their own, and all of it expires.

The cookie of a browser is random; what lies in Redis is named by its hash, so who reads Redis gets into no
session. None of it goes into backups.
"""

import secrets
from hashlib import blake2b
from typing import Any, Final, cast

import msgspec
import redis

from schemas.records.centre_sessions import CentreSession
from state.redis.client import writing
from state.redis.names import Names

COOKIE_BYTES: Final = 32
COOKIE_CHARS: Final = (COOKIE_BYTES * 4 + 2) // 3
_NAME_BYTES: Final = 16
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CentreSession).decode


class CentreSessions:
    """Sessions by cookie; a used link by its nonce. Raises `Unreachable` where the server cannot be
    reached."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self._redis = client
        self._names = names

    def begin(self, nonce: bytes, nonce_ms: int, session: CentreSession, idle_ms: int) -> str | None:
        """Use up a link and begin a session with it, together; return its cookie, None where the link was
        used before. `nonce_ms`: how long that is remembered. Raises `LogFull`."""
        cookie = secrets.token_urlsafe(COOKIE_BYTES)
        key = self._key(cookie)
        pipeline: Any = self._redis.pipeline(transaction=True)
        pipeline.set(self._names.used_link(nonce), b"1", nx=True, px=nonce_ms)
        pipeline.set(key, _encode(session), px=idle_ms)
        with writing():
            is_first, _ = pipeline.execute()
        if is_first:
            return cookie
        self._redis.delete(key)
        return None

    def is_used(self, nonce: bytes) -> bool:
        """Return whether a link with this nonce was used."""
        return bool(self._redis.exists(self._names.used_link(nonce)))

    def visit(self, cookie: str, idle_ms: int | None, now_ms: int) -> CentreSession | None:
        """Return the session of a cookie, which lasts for another `idle_ms` now, or as long as it would have;
        None where there is none any more."""
        if len(cookie) != COOKIE_CHARS or not cookie.isascii():
            return None
        key = self._key(cookie)
        found = self._redis.get(key) if idle_ms is None else self._redis.getex(key, px=idle_ms)
        packed = cast(bytes | None, found)
        if packed is None:
            return None
        session = _decode(packed)
        if now_ms >= session.until_ms:
            self.end(cookie)
            return None
        return session

    def save(self, cookie: str, session: CentreSession) -> None:
        """Replace what is remembered, unless it has ended meanwhile. Raises `LogFull`."""
        with writing():
            self._redis.set(self._key(cookie), cast(str, _encode(session)), xx=True, keepttl=True)

    def end(self, cookie: str) -> None:
        """End the session of a cookie."""
        self._redis.delete(self._key(cookie))

    def _key(self, cookie: str) -> bytes:
        return self._names.centre_session(
            blake2b(cookie.encode(), digest_size=_NAME_BYTES, person=b"millrace centre").digest()
        )
