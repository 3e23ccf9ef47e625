"""OpenDSR over HTTP: requests of controllers, with each of the names and versions that the protocol has had.

Only with a token of `gateway.privacy_tokens`; what can be asked, and the certificate, is for anybody. Each
answer is signed. Each request leaves a line in the log: which token (a fingerprint), what, and nothing of
whom; what came is neither kept nor logged.
"""

import base64
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import msgspec
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.intake import read
from connectors.gateway.refusals import Refused
from connectors.gateway.routes import Endpoint, Routes, ask_in_thread, private
from connectors.gateway.tokens import Tokens, privacy_holder

log = structlog.get_logger()

BODY_BYTES: Final = 65_536
PREFIXES: Final = ("", "/v1", "/v2", "/v3")  # versions, as controllers write them
NAMES: Final = ("requests", "opendsr_requests", "opengdpr_requests", "opencompliance_requests")
Answer = TypeVar("Answer")


class OpenDsr(Protocol):
    """What is handed in. Called in a thread; raises `Unusable` for what cannot be done or is not there,
    `Unreachable`, `LogFull`."""

    def certificate(self) -> bytes: ...

    def signed(self, body: bytes) -> Mapping[str, str]:
        """Return the headers that sign a body."""

    def discovery(self) -> object: ...

    def receive(self, body: bytes, token: str) -> Any:
        """Return what was taken on: a mapping."""

    def exists(self, name: str) -> bool: ...

    def show(self, name: str) -> object: ...

    def cancel(self, name: str) -> object: ...

    def results(self, name: str) -> object: ...


def opendsr_routes(tokens: Tokens, opendsr: OpenDsr) -> Routes:
    """Return the routes for controllers, under all names."""
    pages = _Pages(tokens, opendsr)
    routes: Routes = [("GET", "/opendsr/certificate.pem", pages.certificate)]
    for prefix in PREFIXES:
        routes.append(("GET", f"{prefix}/discovery", pages.spoken(pages.discovery)))
        for name in NAMES:
            path = f"{prefix}/{name}"
            routes += [
                ("POST", path, pages.spoken(pages.receive)),
                ("GET", f"{path}/{{id}}", pages.spoken(pages.show)),
                ("DELETE", f"{path}/{{id}}", pages.spoken(pages.cancel)),
                ("GET", f"{path}/{{id}}/results", pages.spoken(pages.results)),
            ]
    return private(routes)


_ask = partial(ask_in_thread, unusable="dsr_invalid")


class _Pages:
    """What each route answers. All but the first raise `Refused`, which `spoken` puts in the words of the
    protocol."""

    def __init__(self, tokens: Tokens, opendsr: OpenDsr) -> None:
        self._tokens = tokens
        self._opendsr = opendsr

    async def certificate(self, _: Request) -> Response:
        return Response(self._opendsr.certificate(), media_type="application/x-pem-file")

    async def discovery(self, _: Request) -> Response:
        return await self._signed(await _ask(self._opendsr.discovery))

    async def receive(self, request: Request) -> Response:
        who = privacy_holder(self._tokens, request)
        body = await read(request, BODY_BYTES)
        taken = await _ask(self._opendsr.receive, body, who.fingerprint)
        log.info("opendsr_request", token=who.fingerprint, request=taken["subject_request_id"])
        return await self._signed(taken | {"encoded_request": base64.b64encode(body).decode()}, 201)

    async def show(self, request: Request) -> Response:
        privacy_holder(self._tokens, request)
        name = request.path_params["id"]
        return await self._signed(await _ask(self._opendsr.show, name, unusable="dsr_unknown"))

    async def cancel(self, request: Request) -> Response:
        who, name = privacy_holder(self._tokens, request), request.path_params["id"]
        await self._known(name)
        cancelled = await _ask(self._opendsr.cancel, name)
        log.info("opendsr_cancelled", token=who.fingerprint, request=name)
        return await self._signed(cancelled, 202)

    async def results(self, request: Request) -> Response:
        who, name = privacy_holder(self._tokens, request), request.path_params["id"]
        await self._known(name)
        found = await _ask(self._opendsr.results, name)
        log.info("opendsr_results", token=who.fingerprint, request=name)
        return await self._signed(found)

    async def _known(self, name: str) -> None:
        if not await _ask(self._opendsr.exists, name):
            raise Refused("dsr_unknown", "there is no request with this subject_request_id")

    async def _signed(
        self, found: object, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        body = msgspec.json.encode(found)
        signed = await run_in_threadpool(self._opendsr.signed, body)
        return Response(body, status, {**(headers or {}), **signed}, "application/json")

    def spoken(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint with its refusals in the words of the protocol."""

        async def answered(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Refused as refused:
                status = refused.response().status_code
                detail = {"domain": "millrace", "reason": refused.code, "message": str(refused)}
                error = {"code": status, "message": str(refused), "errors": [detail]}
                return await self._signed({"error": error}, status, refused.headers)

        return answered
