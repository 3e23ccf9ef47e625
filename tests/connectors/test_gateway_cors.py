"""Web pages of other origins: what they are told, and that a real browser lets them do it."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import httpx
import msgspec
import pytest

from tests.connectors.gateway_kit import CONFIG, Client, gateway
from tests.connectors.gateway_server import served, wait_for

SHOP = "https://shop.example"
TRACK = {"type": "track", "event": "Paid", "userId": "u1", "messageId": "m1"}
NAMED = msgspec.structs.replace(CONFIG, cors_origins=(SHOP,))
CREDENTIALS = "access-control-allow-credentials"
ORIGIN = "access-control-allow-origin"


@pytest.fixture
def client() -> Iterator[Client]:
    parts = ("stewardship", "rights", "regulations", "opendsr", "processors", "read_decisions")
    stub = SimpleNamespace(signed=lambda _: {})  # nothing else of them is asked
    with gateway(**dict.fromkeys(parts, stub)) as client:
        yield client


def preflight(client: Client, path: str, origin: str = SHOP, **headers: str) -> httpx.Response:
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    return client.request(
        "OPTIONS", path, headers=asked | {name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest.mark.parametrize("path", ["/v1/track", "/v1/b", "/v1/events", "/v1/projects/demo/settings"])
def test_a_page_may_send_with_credentials(client: Client, path: str) -> None:
    answer = preflight(client, path)
    assert (answer.status_code, answer.headers[ORIGIN], answer.headers[CREDENTIALS]) == (200, SHOP, "true")
    sent = client.post(path, TRACK, headers={"origin": SHOP})
    assert (sent.headers[ORIGIN], sent.headers[CREDENTIALS], sent.headers["vary"]) == (SHOP, "true", "Origin")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/profiles/user_id:u1",
        "/v1/identity/user_id:u1",
        "/v1/reviews",
        "/v1/reviews/x",
        "/v1/subjects/user_id:u1/export",
        "/v1/subjects",
        "/v1/customers/user_id:u1/decisions",
        "/regulations",
        "/regulations/x",
        "/suppressions",
        "/requests/x",
        "/v3/opengdpr_requests/x/results",
        "/opendsr_callbacks",
    ],
)
def test_what_needs_a_token_is_not_read_with_what_the_browser_remembers(client: Client, path: str) -> None:
    for answer in (preflight(client, path), client.get(path, headers={"origin": SHOP})):
        assert answer.headers[ORIGIN] == "*"
        assert CREDENTIALS not in answer.headers


@pytest.mark.parametrize("path", ["/v1/track", "/v1/profiles/user_id:u1"])
def test_an_origin_that_is_named_is_trusted_and_others_are_not(path: str) -> None:
    with gateway(NAMED) as client:
        named, other = preflight(client, path), preflight(client, path, "https://evil.example")
        assert (named.status_code, named.headers[ORIGIN], named.headers[CREDENTIALS]) == (200, SHOP, "true")
        assert other.status_code == 400
        assert ORIGIN not in other.headers
        assert client.get(path, headers={"origin": SHOP}).headers[ORIGIN] == SHOP
        assert ORIGIN not in client.get(path, headers={"origin": "https://evil.example"}).headers


def test_a_public_page_may_reach_a_private_address(client: Client) -> None:
    answer = preflight(client, "/v1/track", access_control_request_private_network="true")
    assert (answer.status_code, answer.headers["access-control-allow-private-network"]) == (200, "true")
    assert "access-control-allow-private-network" not in preflight(client, "/v1/track").headers


PAGE = """<!doctype html><script>
const gateway = %s, json = { 'content-type': 'application/json' }
const event = (messageId) =>
  JSON.stringify({ event: 'Paid', userId: 'u1', messageId, writeKey: 'demo' })
const posted = (credentials) =>
  tried('/v1/track', { method: 'POST', credentials, headers: json, body: event(credentials) })
const reader = { authorization: 'Bearer reader' }
const tried = (path, options) =>
  fetch(gateway + path, options).then((answer) => answer.status, () => 'blocked')
const run = async () => ({
  beacon: navigator.sendBeacon(
    gateway + '/v1/track', new Blob([event('beacon')], { type: 'application/json' })),
  include: await posted('include'),
  omit: await posted('omit'),
  read: await tried('/v1/profiles/user_id:u1', { headers: reader }),
  remembered: await tried('/v1/profiles/user_id:u1', { credentials: 'include', headers: reader }),
})
run().then((found) => fetch('/done?' + encodeURIComponent(JSON.stringify(found))))
</script>"""


@contextmanager
def page(text: str) -> Iterator[tuple[str, list[str]]]:
    """The URL of this page, and what it says when it is done."""
    said: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/done?"):
                said.append(unquote(self.path.partition("?")[2]))
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", said
        finally:
            server.shutdown()


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_page_in_chromium(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={tmp_path}",
    )
    with served(lambda *_: {"traits": {}}) as gateway, page(PAGE % json.dumps(gateway.url)) as (url, said):
        browser = subprocess.Popen(
            [CHROMIUM, *options, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(lambda: bool(said))
            messages = gateway.messages(3, 10)
        finally:
            browser.terminate()
            browser.wait(20)
    assert [json.loads(one) for one in said] == [
        {"beacon": True, "include": 200, "omit": 200, "read": 200, "remembered": "blocked"}
    ]
    assert sorted(message["messageId"] for message in messages) == ["beacon", "include", "omit"]
