"""The tracking plan as `resolve` runs it: no schema that somebody wrote, and no event that somebody sends, stops it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from flows import plan
from flows.logic.validate import PlanCheck
from schemas.config import PlanEvent
from schemas.errors import ConfigError


def made(folder: Path, schema: Any) -> PlanCheck:
    file = folder / "order.json"
    file.write_text(json.dumps(schema))
    return plan.load(PlanEvent(event="Order Completed", schema=str(file)))


BACKTRACKS = "^(a+)+$"
HOSTILE = "a" * 30_000 + "!"


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("schema", "properties", "wrong"),
    [
        ({"properties": {"id": {"pattern": BACKTRACKS}}}, {"id": HOSTILE}, "id: breaks 'pattern' of its schema"),
        ({"properties": {"ids": {"items": {"pattern": BACKTRACKS}}}}, {"ids": ["a", HOSTILE]}, "ids.1: breaks 'pattern' of its schema"),
        ({"patternProperties": {BACKTRACKS: {"type": "number"}}}, {HOSTILE: "x"}, None),
        (
            {"patternProperties": {BACKTRACKS: True}, "additionalProperties": False},
            {HOSTILE: 1},
            "properties: breaks 'additionalProperties' of its schema",
        ),
        (
            {"allOf": [{"patternProperties": {BACKTRACKS: True}}], "unevaluatedProperties": False},
            {HOSTILE: 1},
            "properties: breaks 'unevaluatedProperties' of its schema",
        ),
        ({"propertyNames": {"pattern": BACKTRACKS}}, {HOSTILE: 1}, "properties: breaks 'propertyNames' of its schema"),
        (
            {"$defs": {"a": {"pattern": BACKTRACKS}}, "properties": {"id": {"$ref": "#/$defs/a"}}},
            {"id": HOSTILE},
            "id: breaks 'pattern' of its schema",
        ),
        ({"$ref": "#"}, {"id": 1}, None),  # for ever, if one followed it
    ],
)
def test_no_event_takes_long(tmp_path: Path, schema: Any, properties: dict[str, Any], wrong: str | None) -> None:
    check = made(tmp_path, schema)
    began = time.process_time()
    assert check(properties) == wrong
    assert time.process_time() - began < 1


def test_what_is_missing_is_named_and_values_are_not(tmp_path: Path) -> None:
    check = made(tmp_path, {"required": ["total"], "properties": {"total": {"type": "number"}, "who": {"enum": ["a"]}}})
    assert check({"total": 3}) is None
    assert check({}) == "properties: 'total' is a required property"
    assert check({"total": "ann@example.com"}) == "total: breaks 'type' of its schema"
    assert check({"total": 1, "who": "ann@example.com"}) == "who: breaks 'enum' of its schema"


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"properties": {"id": {"pattern": "(?=x)"}}}, "properties.id.pattern: lookahead and lookbehind cannot be checked"),
        ({"properties": {"id": {"pattern": "(a)\\1"}}}, "properties.id.pattern: references to a group cannot be checked"),
        ({"patternProperties": {"(?!x)": {}}}, "patternProperties.(?!x): lookahead and lookbehind"),
        ({"properties": {"patternProperties": {"pattern": "["}}}, "properties.patternProperties.pattern: no regular expression"),
        ({"properties": {"id": {"pattern": "a.{1000}b.{1000}c"}}}, "too large when compiled"),
        ({"properties": {"id": {"type": "objekt"}}}, "properties.id.type: "),
        ({"$ref": "#/$defs/nowhere"}, "/$defs/nowhere"),
        ({"$ref": "http://127.0.0.1:9/shared.json"}, "nothing is fetched"),
        ({"$ref": "file:///etc/hostname"}, "nothing is fetched"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place(tmp_path: Path, schema: Any, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        made(tmp_path, schema)
    assert str(raised.value).startswith("plan of 'Order Completed': order.json is no schema that can be used: ")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
