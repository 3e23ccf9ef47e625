"""Which web pages may use the gateway (`gateway.cors_origins`), from a browser that asks first.

A page that sends events may do so with credentials, since `navigator.sendBeacon` and clients with
`credentials: "include"` always have them: then a browser accepts no `*`, only the page's own origin. What
needs a token stays without: a page that was not given the token must not read customers with what the browser
remembers, be it Basic or the cookie of a proxy. An origin that stands in the configuration by name is trusted
with that as well. Pages for people are read by nobody else.
"""

from collections.abc import Sequence
from typing import Any, Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

PAGES: Final = (
    "/privacy",
    "/assets/",
)  # for people: no other page reads them, whatever the configuration says
_PREFLIGHT_S = 86_400


class Cors:
    """Three sorts of paths, each with rules of its own."""

    def __init__(self, app: ASGIApp, origins: Sequence[str], guarded: tuple[str, ...]) -> None:
        """`guarded`: how the paths begin that need a token."""
        every = "*" in origins
        common: dict[str, Any] = {
            "allow_methods": ("GET", "POST"),
            "allow_headers": ("*",),
            "expose_headers": ("Retry-After", "X-RateLimit-Reset"),
            # Chromium asks it of public pages where the gateway's address is a private one
            "allow_private_network": True,
            "max_age": _PREFLIGHT_S,
        }
        self._app = app
        self._open = CORSMiddleware(
            app,
            allow_origins=() if every else origins,
            allow_origin_regex=".*" if every else None,
            allow_credentials=True,
            **common,
        )
        self._needs_token = guarded
        self._guarded = CORSMiddleware(app, allow_origins=origins, allow_credentials=not every, **common)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(PAGES):
            await self._app(scope, receive, send)
        elif scope["path"].startswith(self._needs_token):
            await self._guarded(scope, receive, send)
        else:
            await self._open(scope, receive, send)
