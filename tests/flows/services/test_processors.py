"""Processors of ours that speak OpenDSR: they are asked to erase, and their signed callbacks are on the
receipt. The processor is a server of its own on loopback, that signs with `openssl`."""

import base64
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from connectors.sinks.opendsr_sink import request_id
from flows.services.subjects import requests
from flows.services.subjects.over_http import ProcessorDesk
from schemas.config import Config
from schemas.config.toml import load
from schemas.records.privacy_requests import PrivacyRequest, Step
from state.receipts import verified
from tests.connectors.gateway_kit import Client, gateway
from tests.dsr import OPENSSL, make_certificate
from tests.subjects import Erased, identify

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed here")
DOMAIN = "dsr.processor.example"
CALLBACK = "https://millrace.example.org/opendsr_callbacks"
TABLE = """
[[connector]]
name = "processor"
type = "opendsr"
url = "URL"
token = "user:secret"
domain = "dsr.processor.example"
certificate = "processor.pem"
callback = "CALLBACK"
identify = ["user_id", "email"]
allow_private = true
answer_within = "1h"
[deliver]
backoff = "1ms"
backoff_max = "2ms"
attempts = 3
"""


def sign(key: Path, body: bytes) -> str:
    made = subprocess.run(
        [str(OPENSSL), "dgst", "-sha256", "-sign", str(key)], input=body, capture_output=True, check=True
    )
    return base64.b64encode(made.stdout).decode()


class Processor:
    """Takes requests and signs its answers. `status`: what it answers; `forged`: another one signs; `more`:
    what else stands in an answer; `pause_s`: between its two halves."""

    def __init__(self, folder: Path) -> None:
        self.key, self.certificate = make_certificate(folder, DOMAIN, "processor")
        self.other, _ = make_certificate(folder, DOMAIN, "other")
        self.status, self.forged, self.domain = 201, False, DOMAIN
        self.more: dict[str, str] = {}
        self.pause_s = 0.0
        self.asked: list[tuple[dict[str, str], Any]] = []
        processor = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                processor.asked.append(({k.lower(): v for k, v in self.headers.items()}, document))
                said = {"subject_request_id": document["subject_request_id"]} | processor.more
                body = json.dumps(said).encode()
                self.send_response(processor.status)
                for name, value in processor.signed(body).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:20])
                time.sleep(processor.pause_s)
                with suppress(OSError):  # who reads has had enough
                    self.wfile.write(body[20:])

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v2/requests"

    def signed(self, body: bytes, name: str = "OpenDSR") -> dict[str, str]:
        key = self.other if self.forged else self.key
        return {f"X-{name}-Processor-Domain": self.domain, f"X-{name}-Signature": sign(key, body)}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Controller(Erased):
    processor: Processor
    callback = CALLBACK

    def _configured(self, few: int) -> Config:
        super()._configured(few)
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        if not hasattr(self, "processor"):
            self.processor = Processor(data)
        table = TABLE.replace("URL", self.processor.url).replace("CALLBACK", self.callback)
        self.file.write_text(self.file.read_text() + table)
        return load(self.file)


Make = Callable[..., Controller]


@pytest.fixture
def make(tmp_path: Path, redis_url: str) -> Iterator[Make]:
    made: list[Controller] = []

    def site(callback: str = CALLBACK) -> Controller:
        kind = type("Site", (Controller,), {"callback": callback})
        found: Controller = kind(tmp_path, redis_url, archive=False)
        made.append(found)
        found.start()
        found.say(identify("ana", "ana@example.org"))
        found.settle()
        return found

    yield site
    for one in made:
        one.processor.close()


def begun(site: Controller) -> PrivacyRequest:
    """An erasure as far as it comes without its processor's callback."""
    request = requests.erase(site.deployment, "user_id:ana", by="test").request
    erasing = site.erasing()
    for _ in range(6):
        request = erasing.advance(request)
        site.settle()
    return request


def call(
    client: Client, site: Controller, status: str, path: str = "/opendsr_callbacks", **more: Any
) -> httpx.Response:
    [(_, asked), *_] = site.processor.asked
    body = {
        "controller_id": "c-1",
        "expected_completion_time": "2026-12-30T09:30:00Z",
        "status_callback_url": CALLBACK,
        "subject_request_id": asked["subject_request_id"],
        "request_status": status,
    } | more
    content = msgspec.json.encode(body)
    return client.request("POST", path, content=content, headers=site.processor.signed(content))


def test_a_processor_is_asked_and_its_callback_is_the_answer_on_the_receipt(make: Make) -> None:
    site = make()
    request = begun(site)
    assert (request.step, request.answers["processor"].said) == (Step.SWEPT, "waiting")
    [(headers, asked)] = site.processor.asked
    assert headers["authorization"] == "Basic " + base64.b64encode(b"user:secret").decode()
    assert asked["subject_request_id"] == request_id(request.id, "processor")
    assert (asked["subject_request_type"], asked["regulation"]) == ("erasure", "gdpr")
    assert asked["status_callback_urls"] == [CALLBACK]
    identities = {one["identity_type"]: one["identity_value"] for one in asked["subject_identities"]}
    assert identities == {"controller_customer_id": "ana", "email": "ana@example.org"}
    with gateway(processors=ProcessorDesk(site.deployment)) as client:
        assert call(client, site, "in_progress").status_code == 202
        assert site.erasing().advance(begun_again(site, request)).step == Step.SWEPT
        assert call(client, site, "completed").status_code == 202
        assert call(client, site, "cancelled").status_code == 202  # too late
        done = site.erasing().advance(begun_again(site, request))
        assert call(client, site, "completed").status_code == 202  # once more, when all is over
    assert (done.step, done.names) == (Step.DONE, b"")
    receipt = verified(done.receipt, site.deployment.receipt_signer.public)
    told = {one["name"]: (one["said"], one["detail"]) for one in receipt["receivers"]}
    assert told["processor"] == ("taken", "says that it is completed")
    assert len(site.processor.asked) == 1


def begun_again(site: Controller, request: PrivacyRequest) -> PrivacyRequest:
    return requests.get(site.deployment, request.id)


@pytest.mark.parametrize("path", ["/opendsr_callbacks", "/opengdpr_callbacks", "/opencompliance_callbacks"])
def test_a_callback_that_is_not_signed_by_the_processor_is_refused(make: Make, path: str) -> None:
    site = make()
    request = begun(site)
    processor = site.processor
    with gateway(processors=ProcessorDesk(site.deployment)) as client:
        processor.forged = True
        forged = call(client, site, "completed", path)
        processor.forged, processor.domain = False, "somebody.example"
        strange = call(client, site, "completed", path)
        processor.domain = DOMAIN
        [(_, asked)] = processor.asked
        body = msgspec.json.encode({"subject_request_id": asked["subject_request_id"]})
        changed = client.request("POST", path, content=body + b" ", headers=processor.signed(body))
        unsigned = client.request("POST", path, content=body)
        elsewhere = call(client, site, "completed", path, status_callback_url="https://other.example/cb")
    answers = [forged, strange, changed, unsigned, elsewhere]
    assert [one.status_code for one in answers] == [403] * 5
    assert {one.json()["code"] for one in answers} == {"callback_refused"}
    assert begun_again(site, request).answers["processor"].said == "waiting"


def test_an_expired_certificate_counts_no_more(make: Make) -> None:
    site = make()
    request = begun(site)
    key, certificate = make_certificate(site.folder / "data", DOMAIN, "processor", days=-1)
    assert certificate == site.processor.certificate
    assert key == site.processor.key
    with gateway(processors=ProcessorDesk(site.deployment)) as client:
        answer = call(client, site, "completed")
    assert (answer.status_code, "has expired" in answer.json()["message"]) == (403, True)
    assert begun_again(site, request).answers["processor"].said == "waiting"


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_certificate_that_cannot_be_read_is_for_the_log_alone(make: Make, content: bytes | None) -> None:
    site = make()
    begun(site)
    certificate = site.processor.certificate
    certificate.unlink() if content is None else certificate.write_bytes(content)
    with gateway(processors=ProcessorDesk(site.deployment)) as client, capture_logs() as logs:
        answer = call(client, site, "completed")
    assert (answer.status_code, answer.json()["message"]) == (403, "the signature cannot be checked now")
    assert str(certificate) not in answer.text
    [told] = [entry for entry in logs if entry["event"] == "callback_unchecked"]
    assert str(certificate) in told["reason"]


def test_a_processor_that_never_says_what_came_of_it(make: Make) -> None:
    from dataclasses import replace

    from flows.services.subjects.erasing import Erasing, parts_of

    site = make()
    request = begun(site)
    later = request.answers["processor"].again_ms + 1
    parts = replace(parts_of(site.deployment, site.directory), clock_ms=lambda: later)
    done = Erasing(parts).advance(request)
    assert (done.step, done.answers["processor"].said) == (Step.DONE, "refused")
    assert "never said" in done.answers["processor"].detail
    assert len(site.processor.asked) == 1


def test_without_a_callback_a_request_that_is_taken_is_the_answer(make: Make) -> None:
    site = make("")
    request = begun(site)
    assert (request.step, request.answers["processor"].said) == (Step.DONE, "taken")
    assert site.processor.asked[0][1]["status_callback_urls"] == []


@pytest.mark.parametrize(
    ("status", "forged", "tries", "told"),
    [
        (400, False, 1, "status 400"),
        (503, False, 3, "status 503"),
        (302, False, 3, "status 302"),
        (201, True, 3, "the signature is wrong"),
    ],
)
def test_what_is_not_taken_is_tried_again_where_that_may_help(
    make: Make, status: int, forged: bool, tries: int, told: str
) -> None:
    site = make("")
    site.processor.status, site.processor.forged = status, forged
    request = begun(site)
    import time

    for _ in range(20):
        if request.step == Step.DONE:
            break
        time.sleep(0.01)
        request = site.erasing().advance(request)
    answer = request.answers["processor"]
    assert (request.step, answer.said, told in answer.detail) == (Step.DONE, "refused", True)
    assert len(site.processor.asked) == tries


def test_an_answer_that_comes_in_pieces_is_read_to_its_end(make: Make) -> None:
    site = make("")
    site.processor.pause_s = 0.2
    request = begun(site)
    assert (request.step, request.answers["processor"].said) == (Step.DONE, "taken")
    assert len(site.processor.asked) == 1


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"subject_request_id": "6d8d4f2e-0000-4000-8000-000000000000"}, "about another request"),
        ({"padding": "x" * 70_000}, "too long"),
    ],
)
def test_a_signed_answer_that_is_none_to_this_request_does_not_count(
    make: Make, more: dict[str, str], told: str
) -> None:
    site = make("")
    site.processor.more = more
    request = begun(site)
    answer = request.answers["processor"]
    assert (answer.said, told in answer.detail) == ("refused", True)
