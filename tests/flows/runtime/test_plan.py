"""The tracking plan as `resolve` runs it: no schema that somebody wrote, and no event that somebody sends,
stops it."""

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.logic.resolution.validation import PlanCheck
from flows.runtime import tracking_plan
from schemas.config import Config, PlanEvent, Validate
from schemas.errors import ConfigError


def made(folder: Path, schema: Any) -> PlanCheck:
    file = folder / "order.json"
    file.write_text(json.dumps(schema))
    return tracking_plan.load(PlanEvent(event="Order Completed", schema=str(file)))


BACKTRACKS = "^(a+)+$"
HOSTILE = "a" * 30_000 + "!"


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("schema", "properties", "wrong"),
    [
        (
            {"properties": {"id": {"pattern": BACKTRACKS}}},
            {"id": HOSTILE},
            "id: breaks 'pattern' of its schema",
        ),
        (
            {"properties": {"ids": {"items": {"pattern": BACKTRACKS}}}},
            {"ids": ["a", HOSTILE]},
            "ids.1: breaks 'pattern' of its schema",
        ),
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
        (
            {"propertyNames": {"pattern": BACKTRACKS}},
            {HOSTILE: 1},
            "properties: breaks 'propertyNames' of its schema",
        ),
        (
            {"$defs": {"a": {"pattern": BACKTRACKS}}, "properties": {"id": {"$ref": "#/$defs/a"}}},
            {"id": HOSTILE},
            "id: breaks 'pattern' of its schema",
        ),
        ({"$ref": "#"}, {"id": 1}, None),  # for ever, if one followed it
    ],
)
def test_no_event_takes_long(
    tmp_path: Path, schema: Any, properties: dict[str, Any], wrong: str | None
) -> None:
    check = made(tmp_path, schema)
    began = time.process_time()
    assert check(properties) == wrong
    assert time.process_time() - began < 1


def test_what_is_missing_is_named_and_values_are_not(tmp_path: Path) -> None:
    check = made(
        tmp_path, {"required": ["total"], "properties": {"total": {"type": "number"}, "who": {"enum": ["a"]}}}
    )
    assert check({"total": 3}) is None
    assert check({}) == "properties: 'total' is a required property"
    assert check({"total": "ann@example.com"}) == "total: breaks 'type' of its schema"
    assert check({"total": 1, "who": "ann@example.com"}) == "who: breaks 'enum' of its schema"


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (
            {"properties": {"id": {"pattern": "(?=x)"}}},
            "properties.id.pattern: lookahead and lookbehind cannot be checked",
        ),
        (
            {"properties": {"id": {"pattern": "(a)\\1"}}},
            "properties.id.pattern: references to a group cannot be checked",
        ),
        ({"patternProperties": {"(?!x)": {}}}, "patternProperties.(?!x): lookahead and lookbehind"),
        (
            {"properties": {"patternProperties": {"pattern": "["}}},
            "properties.patternProperties.pattern: no regular expression",
        ),
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
    assert str(raised.value).startswith(
        "plan of 'Order Completed': order.json is no schema that can be used: "
    )
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_schema_with_the_mark_of_windows_editors(tmp_path: Path) -> None:
    file = tmp_path / "order.json"
    file.write_text('{"required": ["total"]}', encoding="utf-8-sig")
    check = tracking_plan.load(PlanEvent(event="Order Completed", schema=str(file)))
    assert check({}) == "properties: 'total' is a required property"


@pytest.mark.parametrize(
    "kind",
    [
        "int",
        "bytes",
        "double",
        {"type": "int", "logicalType": "date"},
        {"type": "int", "logicalType": "time-millis"},
        {"type": "long", "logicalType": "timestamp-millis"},
        {"type": "long", "logicalType": "local-timestamp-micros"},
        {"type": "string", "logicalType": "uuid"},
        {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2},
        {"type": "fixed", "name": "F", "size": 4, "logicalType": "decimal", "precision": 5, "scale": 2},
        {"type": "enum", "name": "E", "symbols": ["a"]},
        ["null", {"type": "int", "logicalType": "date"}],
    ],
    ids=str,
)
def test_whatever_is_sent_avro_says_whether_it_fits(tmp_path: Path, kind: Any) -> None:
    """What raises would be held against our own logic, not against who sends it."""
    file = tmp_path / "order.avsc"
    file.write_text(json.dumps({"type": "record", "name": "Order", "fields": [{"name": "on", "type": kind}]}))
    check = tracking_plan.load(PlanEvent(event="Order Completed", schema=str(file)))
    for value in (
        "",
        "soon",
        "\0",
        "9" * 400,
        "2020-13-45",
        10**30,
        -1,
        1e308,
        [],
        ["int", 3],
        {"-type": "x"},
        {"a": 1},
    ):
        assert check({"on": value}) in (None, "does not fit its Avro schema")


def test_text_that_is_no_date_does_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "order.avsc"
    date = {"type": "int", "logicalType": "date"}
    file.write_text(json.dumps({"type": "record", "name": "Order", "fields": [{"name": "on", "type": date}]}))
    check = tracking_plan.load(PlanEvent(event="Order Completed", schema=str(file)))
    assert check({"on": "2026-02-28"}) is None
    assert check({"on": "2026-02-30"}) == "does not fit its Avro schema"


NESTED = {"properties": {"a": {"properties": {"x": {}}}, "b": {}}}


@pytest.mark.parametrize(
    ("schema", "shape"),
    [
        ({"properties": {"a": {}, "b": {"type": "string"}}}, {"a": None, "b": None}),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"a": None}),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "string"}}, None),
        ({"properties": {"a": {}}, "patternProperties": {"^x": {}}}, None),
        ({"properties": {"a": {"items": {"properties": {"x": {}}}}}}, {"a": {"x": None}}),
        ({"properties": {"a": {"type": "object"}}}, {"a": None}),
        (
            {"allOf": [NESTED, {"properties": {"a": {"properties": {"y": {}}}}}]},
            {"a": {"x": None, "y": None}, "b": None},
        ),
        ({"anyOf": [{"required": ["a"]}, NESTED]}, {"a": {"x": None}, "b": None}),
        ({"$ref": "#/$defs/n", "$defs": {"n": NESTED}}, {"a": {"x": None}, "b": None}),
        (
            {"properties": {"a": {"$ref": "#/$defs/n~1o"}}, "$defs": {"n/o": NESTED}},
            {"a": {"a": {"x": None}, "b": None}},
        ),
        (True, {}),
        ({}, {}),
        ({"type": "object", "required": ["a"]}, {}),
        ({"type": "object", "additionalProperties": False}, {}),
        ({"properties": {"a": {"additionalProperties": False}}}, {"a": {}}),
        ({"additionalProperties": True}, None),
    ],
)
def test_the_names_of_a_plan(tmp_path: Path, schema: Any, shape: Any) -> None:
    file = tmp_path / "order.json"
    file.write_text(json.dumps(schema))
    assert tracking_plan.names(PlanEvent(event="Order Completed", schema=str(file))).shape == shape


def test_names_that_lead_back_to_themselves_end(tmp_path: Path) -> None:
    tree = {"properties": {"value": {}, "left": {"$ref": "#/$defs/tree"}, "right": {"$ref": "#/$defs/tree"}}}
    other = {"properties": {"left": {"$ref": "#/$defs/other"}, "colour": {}}}
    file = tmp_path / "tree.json"
    both = [{"$ref": "#/$defs/tree"}, {"$ref": "#/$defs/other"}]
    file.write_text(json.dumps({"allOf": both, "$defs": {"tree": tree, "other": other}}))
    shape: Any = tracking_plan.names(PlanEvent(event="x", schema=str(file))).shape
    assert shape.keys() == shape["left"].keys() == {"value", "left", "right", "colour"}
    assert shape["right"]["right"].keys() == {"value", "left", "right"}


def test_a_category_that_is_no_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "order.json"
    file.write_text(json.dumps({"properties": {"steps": {"x-category": "my health"}}}))
    entry = PlanEvent(event="x", schema=str(file))
    config = msgspec.structs.replace(Config(), validate=Validate(plan=(entry,)))
    with pytest.raises(ConfigError, match="a category needs a name of one word"):
        tracking_plan.categories(config)
