"""`validate.collect = "listed"`: what no plan names goes no further than `resolve`, on a whole deployment."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.runtime.archived_windows import events_of, unpacked
from schemas.config import Config
from schemas.config.toml import load
from schemas.errors import ConfigError
from schemas.records.journal import JournalKind
from schemas.wire.events import RawEvent
from tests.site import Site
from tests.subjects import Erased

ORDER = {
    "type": "object",
    "additionalProperties": False,
    "required": ["total"],
    "properties": {
        "total": {"type": "number"},
        "steps": {"type": "integer", "x-category": "health"},
        "delivery": {"$ref": "#/$defs/place"},
        "products": {"type": "array", "items": {"properties": {"sku": {}}}},
    },
    "$defs": {"place": {"properties": {"city": {}, "within": {"$ref": "#/$defs/place"}}}},
}
SEARCHED = {
    "type": "record",
    "name": "Searched",
    "fields": [
        {"name": "words", "type": "string", "x-category": "text"},
        {"name": "where", "type": ["null", {"type": "record", "name": "W", "fields": [
            {"name": "page", "type": "string"}]}], "default": None},
    ],
}  # fmt: skip
PLAN = """
[validate]
collect = "listed"
traits = ["plan"]
[[validate.plan]]
event = "Order Completed"
schema = "order.json"
[[validate.plan]]
event = "Searched"
schema = "searched.avsc"
category = "searches"
"""


class Planned(Erased):
    def _configured(self, few: int) -> Config:
        super()._configured(few)
        (self.folder / "order.json").write_text(json.dumps(ORDER))
        (self.folder / "searched.avsc").write_text(json.dumps(SEARCHED))
        self.file.write_text(self.file.read_text() + PLAN)
        return load(self.file)


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Site:
    return Planned(tmp_path, redis_url, archive=True).start()


def archived(site: Site) -> list[dict[str, Any]]:
    archiver = site.archiver()
    while archiver.round(block_ms=0):
        pass
    deployment = site.deployment  # type: ignore[attr-defined]
    return [
        json.loads(event.value)
        for found in deployment.archive.entries(0)
        if found.entry.kind == JournalKind.WINDOW
        for event in events_of(unpacked(found.entry.content), deployment.data_keys)
        if event is not None
    ]


def test_profile_archive_and_dead_letters_hold_only_what_is_listed(site: Any) -> None:
    order = {
        "total": 5,
        "hidden": "UNLISTED-1",
        "delivery": {"city": "Bern", "door": "UNLISTED-2", "within": {"city": "x", "door": "UNLISTED-3"}},
        "products": [{"sku": "a", "colour": "UNLISTED-4"}],
    }
    site.say(
        {"event": "Order Completed", "userId": "ana", "properties": order},
        {"event": "Searched", "userId": "ana", "properties": {"words": "w", "where": {"page": "p", "q": 1}}},
        {"event": "Not Planned", "userId": "ana", "properties": {"x": "UNLISTED-5"}},
        {"type": "identify", "userId": "ana", "traits": {"Plan": "gold", "diet": "UNLISTED-6"}},
        {"event": "Order Completed", "userId": "ana", "properties": {"total": "five", "y": "UNLISTED-7"}},
    )
    site.settle()
    events = archived(site)
    assert events[0]["properties"] == {
        "total": 5,
        "delivery": {"city": "Bern", "within": {"city": "x"}},
        "products": [{"sku": "a"}],
    }
    assert events[1]["properties"] == {"words": "w", "where": {"page": "p"}}
    profile = site.deployment.profile_reader("user_id", "ana")
    assert profile["traits"]["Plan"] == "gold"
    [found] = site.deployment.dead_events.newest()
    dead = site.deployment.log_seal.open(found.letter.sealed)
    assert json.loads(dead)["properties"] == {"total": "five"}
    assert b"UNLISTED" not in repr((events, profile, dead)).encode()


def test_a_plan_says_the_category_of_a_property_and_of_an_event(site: Any) -> None:
    categories = site.deployment.validator().categories
    assert (categories.of_field("steps"), categories.of_event("track", "Searched")) == ("health", "searches")
    assert {"health", "searches"} <= set(categories.names)
    site.say(
        {"type": "identify", "userId": "ana", "traits": {"consent": {"health": False, "searches": False}}}
    )
    site.say(
        {"event": "Order Completed", "userId": "ana", "properties": {"total": 5, "steps": 9_999}},
        {"event": "Searched", "userId": "ana", "properties": {"words": "w"}},
    )
    site.settle()
    assert [event.get("properties") for event in archived(site)] == [None, {"total": 5}, None]


def test_the_door_refuses_nothing_that_is_only_left_out(site: Any) -> None:
    event = {"type": "track", "event": "Order Completed", "userId": "ana", "messageId": "m"}

    def refusal(properties: dict[str, Any]) -> object:
        value = json.dumps(event | {"properties": properties}).encode()
        return site.deployment.validator().refusal(RawEvent(value, site.now_s * 1000, "web"))

    assert refusal({"total": 5, "unlisted": 1}) is None
    assert getattr(refusal({"unlisted": 1}), "reason", None) == "plan_violation"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[validate]\ntraits = ["plan"]', "validate.traits"),
        ('[validate]\ncollect = "some"', "validate.collect"),
    ],
)
def test_what_makes_no_sense_is_refused_at_start(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(f'[data]\nfolder = "{tmp_path}"\n{text}\n')
    with pytest.raises(ConfigError, match=said):
        load(file)
