"""The demo's own configuration, and the figures and stories that it shows."""

import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.lab.demo import stack
from flows.lab.demo.figures import Figures, percentile, raw_lag
from flows.lab.demo.follow import Follower
from flows.lab.demo.shop import WRITE_KEYS
from flows.lab.demo.stack import CONNECTOR, ORDERS, Stack, configuration, to_toml
from flows.lab.demo.trigger_receiver import Got, Receiver
from schemas.config.toml import load, problems
from schemas.errors import Unreachable
from tests.demo_life import LONG, first

# --- the stack's configuration --------------------------------------------------------------------

values = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text('abc-_ ."', min_size=1), values, max_size=5))
def test_toml_is_written_as_it_was_read(document: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(document)) == document


def test_the_demo_configuration_is_valid_and_shows_everything_within_seconds(tmp_path: Path) -> None:
    file = tmp_path / "demo.toml"
    with Receiver(lambda _: None) as receiver:
        text = to_toml(configuration(None, tmp_path / "data", receiver))
    assert problems(text) == []
    file.write_text(text)
    config = load(file)
    assert config.data.folder == str(tmp_path / "data")
    assert {key.key: key.source for key in config.gateway.write_keys} == {
        key: channel for channel, key in WRITE_KEYS.items()
    }
    assert all(CONNECTOR in rule.to for rule in config.trigger)
    assert ORDERS in {rule.name for rule in config.trigger}
    assert all(rule.on.within is None or rule.on.within <= 5_000 for rule in config.trigger)
    assert config.churn.horizon <= 8_000


def test_demos_that_start_at_the_same_moment_have_ports_of_their_own(tmp_path: Path) -> None:
    """None of them listens yet, and all would like the same one."""
    code = (
        "import pathlib, sys\n"
        "from flows.lab.demo.trigger_receiver import Receiver\n"
        "from flows.lab.demo.stack import configuration\n"
        "with Receiver(lambda _: None) as receiver:\n"
        "    print(configuration(None, pathlib.Path(sys.argv[1]), receiver)['gateway']['listen'], "
        "flush=True)\n"
        "    sys.stdin.read()\n"
    )
    demos = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    try:
        addresses = [demo.stdout.readline() for demo in demos if demo.stdout]
        assert len(set(addresses)) == 3
        assert "" not in addresses
    finally:
        for demo in demos:
            demo.communicate("")


def test_a_gateway_of_somebody_else_is_not_taken_for_ours(tmp_path: Path) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/readyz" else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server, Receiver(lambda _: None) as receiver:
        threading.Thread(target=server.serve_forever).start()
        try:
            document = configuration(None, tmp_path, receiver)
            document["gateway"]["listen"] = f"127.0.0.1:{server.server_port}"
            assert not Stack(document)._ready()
        finally:
            server.shutdown()


def test_a_configuration_of_the_users_own_keeps_its_paths_keys_and_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "own.toml"
    base.write_text(
        """
        data.folder = "here"
        [gateway]
        write_keys = [{key = "${SHOP_KEY}", source = "shop"}, {key = "demo", source = "other"}]
        [[validate.plan]]
        event = "Order Completed"
        schema = "plan/order.json"
        """
    )
    with Receiver(lambda _: None) as receiver:
        document = configuration(base, None, receiver)
    assert document["data"]["folder"] == str(tmp_path / "here")
    assert document["validate"]["plan"][0]["schema"] == str(tmp_path / "plan" / "order.json")
    assert [entry["key"] for entry in document["gateway"]["write_keys"]] == [
        "${SHOP_KEY}",
        *WRITE_KEYS.values(),
    ]
    assert problems(to_toml(document), {"SHOP_KEY": "k"}) == []


# --- what is shown --------------------------------------------------------------------------------


def test_the_lag_of_the_raw_log_is_that_of_its_readers() -> None:
    samples = [
        '{flow="profile",of="3"} 2.0',
        '{flow="resolve",of="events/0"} 5.0',
        '{flow="resolve",of="events/1"} 1.0',
    ]
    text = "\n".join(
        ["# TYPE millrace_lag gauge", *("millrace_lag" + sample for sample in samples), "other 9", ""]
    )
    assert raw_lag(text) == 6


def test_figures_are_those_since_an_earlier_look_but_tags_are_as_of_now() -> None:
    before = Figures.of({"applied": 10, "triggers:a": 1, "tag:vip": 3, "united": 2}, {})
    now = Figures.of(
        {"applied": 15, "triggers:a": 4, "tag:vip": 2, "united": 2, "rejected:too_deep": 1}, {"resolve": 3}
    )
    since = now.since(before)
    assert (since.applied, since.emitted, since.united, since.rejects) == (5, 3, 0, 1)
    assert (since.tags, since.lag) == ({"vip": 2}, {"resolve": 3})


@pytest.mark.parametrize(
    ("values_", "part", "expected"),
    [([], 0.5, None), ([7], 0.99, 7), (list(range(1, 101)), 0.5, 50), (list(range(1, 101)), 0.99, 99)],
)
def test_percentiles_by_nearest_rank(values_: list[int], part: float, expected: int | None) -> None:
    assert percentile(values_, part) == expected


def test_the_follower_tells_one_customers_story_from_the_first_page_to_the_trigger() -> None:
    follower = Follower()
    story = [item for item in LONG if item.journey == "story"]
    hero = story[0].person
    for item in first(25):
        follower.published(item, 1_000_000 + round(item.at_s * 1000))
    order = next(
        item
        for item in story
        if item.person == hero and item.valid and item.message.get("event") == "Order Completed"
    )
    receipt = {"received_ms": 1, "emitted_ms": 2}
    follower.delivered(
        Got(
            "t1",
            "c" * 24,
            "thanks",
            order.message["messageId"],
            {},
            receipt,
            1_000_000 + round(order.at_s * 1000) + 150,
        )
    )
    follower.delivered(Got("t2", "c" * 24, "thanks", "a stranger's", {}, receipt, 0))
    profile = {
        "customer": "ab" * 12,
        "events": 9,
        "segment": "high",
        "stage": "new",
        "tags": {"vip": 1},
        "identifiers": {"email": "m***@example.com", "products.0.name": "***"},
    }
    lines = [(where, what) for _, where, what in follower.look(lambda *_: profile, 2_000_000)]
    assert lines[0][0] == "web"
    assert lines[0][1].startswith("somebody unknown: page")
    assert any(what.startswith("logs in as") for _, what in lines)
    assert ("trigger", "thanks delivered, 150 ms after the event") in lines
    assert ("profile", "tag vip") in lines
    assert ("profile", "segment high") in lines
    assert ("profile", "9 events; email m***@example.com") in lines
    assert follower.look(lambda *_: profile, 2_000_001) == follower.look(lambda *_: profile, 2_000_002)


def test_who_waits_for_the_gateway_says_so_and_for_how_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Receiver(lambda _: None) as receiver:
        waiting = Stack(configuration(None, tmp_path, receiver))
    monkeypatch.setattr(stack, "_SAY_S", 0.05)
    monkeypatch.setattr(stack, "_READY_S", 1.0)
    waiting.log.touch()
    with pytest.raises(
        Unreachable, match=rf"the gateway at {waiting.url} is not ready after 1 s: it said nothing"
    ):
        waiting._wait()
    assert (
        f"waiting for the gateway at {waiting.url}, 0 s so far; what happens: {waiting.log}"
        in capsys.readouterr().err
    )
