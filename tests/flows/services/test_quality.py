"""`millrace quality`: what sources state, from events through real shards to the printed table."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.cli.quality_screen import run
from flows.runtime.windows import Window
from schemas.metrics import QUALITY
from schemas.wire.events import RawEvent
from tests.site import Site


def take(site: Site, *events: tuple[str, dict[str, Any]]) -> None:
    """Each by its source: a whole message, or the traits of Ana."""
    raw = [
        RawEvent(
            msgspec.json.encode(
                {
                    "messageId": f"m{site.now_s}-{n}",
                    **(said if "type" in said else {"type": "identify", "userId": "ana", "traits": said}),
                }
            ),
            site.now_s * 1000,
            source,
        )
        for n, (source, said) in enumerate(events)
    ]
    before = site.directory.offsets().get("events/0", -1)
    window = Window("events/0", before, before + len(raw), raw, list(range(len(raw))), 0.0)
    assert site.resolver.commit(site.resolver.judge(window)) is window
    site.apply()


def test_figures_by_source_and_field(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path, redis_url, archive=False).start()
    assert run(site.config, as_json=False) == 0
    assert "no source has stated" in capsys.readouterr().out
    first = [
        ("web", {"phone": "13800138000"}),
        ("store", {"phone": "13800138001"}),
        ("web", {"phone": "call me"}),
        ("web", {"plan": "a"}),
    ]
    take(site, *first)
    take(site, *first)  # the same messages again
    assert run(site.config, as_json=True) == 0
    store, web = msgspec.json.decode(capsys.readouterr().out)
    assert web == {
        "source": "web",
        "field": "phone",
        "records": 3,
        "stated": 2,
        "valid": 1,
        "conflicts": 0,
        "bad": {"not_a_number": 1},
        "coverage": 0.6667,
        "validity": 0.5,
        "conflict_rate": 0.0,
    }
    assert (store["records"], store["conflict_rate"]) == (1, 1.0)
    assert run(site.config, as_json=False) == 0
    printed = capsys.readouterr().out
    assert "not_a_number 1" in printed.replace("\n", " ")
    assert "66.7%" in printed


def test_numbers_that_are_none_are_told_by_source_and_property(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path, redis_url, archive=False).start()
    before = QUALITY.labels("till", "properties.total", "not_a_number")._value.get()
    order = {"type": "track", "userId": "ana", "event": "Order Completed"}
    take(site, *(("till", order | {"properties": {"total": total}}) for total in ("6_20", "abc", "620")))
    assert run(site.config, as_json=True) == 0
    assert msgspec.json.decode(capsys.readouterr().out)[-1] == {
        "source": "till",
        "field": "properties.total",
        "unread": 2,
    }
    assert run(site.config, as_json=False) == 0
    printed = capsys.readouterr().out
    assert "properties.total" in printed
    assert "abc" not in printed
    assert QUALITY.labels("till", "properties.total", "not_a_number")._value.get() == before + 2
