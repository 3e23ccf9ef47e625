"""The published Segment clients, unchanged and with no option but host and write key, get every kind of
message into the log."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from segment.analytics.client import Client

from schemas.errors import LogFull
from tests.clients.install import environment
from tests.connectors.gateway_server import Served, served, wait_for
from tests.node_packages import fetched
from tests.running import running

KINDS = ["identify", "track", "page", "screen", "group", "alias"]
NODE_PACKAGES = ("@segment/analytics-node@3", "@segment/analytics-next@1", "jsdom@29")
PROGRAMS = Path(__file__).parents[1] / "clients" / "programs"  # what `make clients` runs as well
BROWSER_PACKAGES = ("playwright-core@1", "esbuild@0.25", "@jitsu/js@1", "@rudderstack/analytics-js@3")
NODE_PROGRAM = """
const { Analytics } = require('@segment/analytics-node')
const [host, writeKey] = process.argv.slice(2)
const analytics = new Analytics({ host, writeKey, maxRetries: 3 })
const errors = []
analytics.on('error', (error) => errors.push(String(error.reason ?? error.code)))
analytics.identify({ userId: 'u1', traits: { plan: 'gold', city: 'Zürich' } })
const timestamp = new Date('2026-01-01T00:00:00Z')
analytics.track({ userId: 'u1', event: 'Paid', properties: { total: 5 }, timestamp })
analytics.page({ anonymousId: 'a1', name: 'Home', properties: { url: '/' } })
analytics.screen({ userId: 'u1', name: 'Start' })
analytics.group({ userId: 'u1', groupId: 'g1', traits: { name: 'Acme' } })
analytics.alias({ userId: 'u1', previousId: 'a1' })
analytics.closeAndFlush({ timeout: 10000 }).then(() => console.log(JSON.stringify(errors)))
"""

BROWSER_PROGRAM = """
const { JSDOM } = require('jsdom')
const [host, writeKey] = process.argv.slice(2)
const { window } = new JSDOM('<!doctype html><title>Shop</title>', { url: 'https://shop.example/' })
const names = ['document', 'navigator', 'location', 'localStorage', 'sessionStorage', 'CustomEvent', 'Event']
for (const name of names)
  Object.defineProperty(globalThis, name, { value: window[name], configurable: true })
Object.defineProperty(globalThis, 'window', { value: window, configurable: true })
window.fetch = globalThis.fetch
const { AnalyticsBrowser } = require('@segment/analytics-next')
const analytics = AnalyticsBrowser.load({ writeKey, cdnURL: host })
const run = async () => {
  await analytics.page('Home')
  await analytics.identify('u1', { plan: 'gold', city: 'Zürich' })
  await analytics.track('Paid', { total: 5 })
  await analytics.group('g1', { name: 'Acme' })
  await analytics.alias('u2', 'u1')
  console.log('[]')
}
run()
"""

pytestmark = pytest.mark.xdist_group("clients")  # fetched once


@pytest.fixture
def gateway() -> Iterator[Served]:
    with served() as gateway:
        yield gateway


def check(messages: list[dict[str, Any]]) -> None:
    """One message of each kind, as the script of either client sends them."""
    by_kind = {message["type"]: message for message in messages}
    assert sorted(by_kind) == sorted(KINDS)
    assert len(messages) == len(KINDS)
    assert by_kind["identify"]["traits"] == {"plan": "gold", "city": "Zürich"}
    assert by_kind["track"]["event"] == "Paid"
    assert by_kind["track"]["properties"] == {"total": 5}
    assert by_kind["track"]["timestamp"].startswith("2026-01-01T00:00:00")
    assert by_kind["page"]["anonymousId"] == "a1"
    assert by_kind["group"]["groupId"] == "g1"
    assert by_kind["alias"]["previousId"] == "a1"
    assert len({message["messageId"] for message in messages}) == len(KINDS)
    assert all(
        message["sentAt"] and message["timestamp"] and message["context"]["library"]["name"]
        for message in messages
    )


@pytest.mark.parametrize("gzip", [False, True])
def test_python(gateway: Served, gzip: bool) -> None:
    errors: list[Exception] = []
    client = Client("demo", host=gateway.url, gzip=gzip, on_error=lambda error, _: errors.append(error))
    publish(client)
    client.shutdown()
    check(gateway.messages(len(KINDS)))
    assert errors == []


def test_python_comes_back_when_told_to_wait(gateway: Served) -> None:
    """429 with Retry-After is what the client waits for; nothing is lost and nothing reaches its error
    handler."""
    errors: list[Exception] = []
    gateway.writer.error = LogFull("full", retry_after_s=1)
    client = Client("demo", host=gateway.url, on_error=lambda error, _: errors.append(error))
    publish(client)
    wait_for(lambda: any(consumer.rate_limited_until is not None for consumer in client.consumers))
    gateway.writer.error = None
    check(gateway.messages(len(KINDS)))
    client.shutdown()
    assert errors == []


def test_python_understands_a_refusal(gateway: Served) -> None:
    """It reads `code` and `message`, and does not try a permanent error again."""
    errors: list[Exception] = []
    client = Client("wrong", host=gateway.url, on_error=lambda error, _: errors.append(error))
    client.track("u1", "Paid")
    client.shutdown()
    assert [str(error).partition(": ")[0] for error in errors] == ["[Segment] write_key_invalid"]
    assert gateway.writer.stored == []


def test_node(gateway: Served, node_client: Path) -> None:
    assert run_node(node_client, NODE_PROGRAM, gateway.url, "demo") == []
    check(gateway.messages(len(KINDS)))


def test_node_is_told_of_a_wrong_key(gateway: Served, node_client: Path) -> None:
    errors = run_node(node_client, NODE_PROGRAM, gateway.url, "wrong")
    assert errors
    assert all("401" in error for error in errors)
    assert gateway.writer.stored == []


def test_browser(gateway: Served, node_client: Path) -> None:
    """The client takes its settings from the gateway, and learns there where to send."""
    assert run_node(node_client, BROWSER_PROGRAM, gateway.url, "demo") == []
    messages = gateway.messages(5)
    assert [message["type"] for message in messages] == ["page", "identify", "track", "group", "alias"]
    assert messages[0]["anonymousId"] == messages[2]["anonymousId"]
    assert messages[1]["traits"] == {"plan": "gold", "city": "Zürich"}
    assert (messages[2]["event"], messages[2]["userId"], messages[2]["properties"]) == (
        "Paid",
        "u1",
        {"total": 5},
    )
    assert all(message["messageId"] and message["timestamp"] for message in messages)


def publish(client: Client) -> None:
    client.identify("u1", {"plan": "gold", "city": "Zürich"})
    client.track("u1", "Paid", {"total": 5}, timestamp=datetime(2026, 1, 1, tzinfo=UTC))
    client.page(anonymous_id="a1", name="Home", properties={"url": "/"})
    client.screen("u1", name="Start")
    client.group("u1", "g1", {"name": "Acme"})
    client.alias("a1", "u1")


def run_node(folder: Path, source: str, url: str, write_key: str) -> list[str]:
    """The errors that the client reported."""
    program = folder / "publish.js"
    program.write_text(source)
    done = subprocess.run(
        ["node", program, url, write_key], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    errors: list[str] = json.loads(done.stdout)
    return errors


@pytest.mark.parametrize("gpc", [True, False])
@pytest.mark.parametrize(
    ("script", "argument"), [("rudder.js", "xhr"), ("rudder.js", "beacon"), ("jitsu.js", "")]
)
def test_other_clients_in_a_real_browser(
    gateway: Served, browser_clients: Path, script: str, argument: str, gpc: bool
) -> None:
    """RudderStack's asks for its source, sends by XHR, and by beacon where it is told to; Jitsu's has a
    header for its key. `gpc`: the browser asks not to sell or share, which is then in each message."""
    driver = ["node", "drive.js", gateway.url, "demo", "u1", script, argument]
    done = subprocess.run(
        driver,
        cwd=browser_clients,
        env=environment() | ({"HEADERS": '{"Sec-GPC": "1"}'} if gpc else {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    messages = gateway.messages(5)
    assert sorted(message["type"] for message in messages) == ["group", "identify", "page", "track", "track"]
    assert sorted(message["properties"]["total"] for message in messages if message["type"] == "track") == [
        5,
        40.9,
    ]
    assert {message.get("userId") for message in messages} == {"u1"}
    assert [message["context"].get("gpc") for message in messages] == [True if gpc else None] * 5


@pytest.fixture(scope="session")
def browser_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clients that need a real browser, and what drives it."""
    if not shutil.which("chromium"):
        pytest.skip("Chromium is not installed here")
    folder = fetched(tmp_path_factory.mktemp("browser"), BROWSER_PACKAGES)
    for script in (PROGRAMS / "browser").iterdir():
        shutil.copy(script, folder)
    return folder


@pytest.fixture(scope="session")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published Node and browser clients in it."""
    return fetched(tmp_path_factory.mktemp("node"), NODE_PACKAGES)


def test_what_the_clients_publish_is_in_the_profile(tmp_path: Path, node_client: Path) -> None:
    """All of millrace behind the gateway: both clients say the same of the same customer, and each message
    counts once."""
    with running(tmp_path, "[shards]\ncount = 4") as millrace:
        client = Client("demo", host=millrace.url)
        publish(client)
        client.shutdown()
        assert run_node(node_client, NODE_PROGRAM, millrace.url, "demo") == []
        millrace.eventually(lambda: millrace.profile("u1").get("events") == 2 * len(KINDS))
        profile = millrace.profile("u1")
    assert profile["traits"]["plan"] == "gold"
    assert profile["channels"] == {"web": 2 * len(KINDS)}
