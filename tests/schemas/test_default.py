"""The packaged configuration is right, complete and described; and its rules survive their way through the
logs."""

import re
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import msgspec
import pytest

from schemas.config import Aggregate, Config, On, Rules, Tag, TriggerRule
from schemas.config.locate import lines
from schemas.config.reference import reference
from schemas.config.toml import DEFAULT, load, problems, read, resolved, rules_document, rules_from, spelled
from schemas.errors import ConfigError
from schemas.units import Duration

ROOT = Path(__file__).parent.parent.parent
FULL = re.sub(r"(?m)^#(?=\S)", "", DEFAULT.read_text())  # with every option that is off turned on
ENVIRONMENT = {"KAFKA_PASSWORD": "x", "CRM_WEBHOOK_SECRET": "whsec_" + "QUJD" * 8, "PROCESSOR_TOKEN": "x"}

# --- the packaged default


def test_the_packaged_default_loads_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(None, {})
    assert config.data.folder == str(tmp_path / "data")
    assert {key.key: key.source for key in config.gateway.write_keys} == {
        "demo": "web", "demo-app": "app", "demo-store": "store", "demo-social": "social", "demo-desk": "desk",
    }  # fmt: skip
    assert [connector.name for connector in config.connector if connector.enabled] == ["file"]


def test_without_a_packaged_default_the_built_in_one_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schemas.config.toml.DEFAULT", tmp_path / "none.toml")
    monkeypatch.chdir(tmp_path)
    assert load(None, {}) == resolved(Config(), tmp_path)


def test_the_machinery_of_the_packaged_default_is_the_built_in_one() -> None:
    packaged, built_in = read(DEFAULT.read_text(), {}).config, Config()
    chosen = {"gateway", "connector", *Rules.__struct_fields__}
    for name in set(Config.__struct_fields__) - chosen | {"value", "lifecycle", "churn"}:
        assert getattr(packaged, name) == getattr(built_in, name), name


def test_options_that_are_off_in_the_packaged_default_are_right() -> None:
    assert problems(FULL, ENVIRONMENT) == []


def options(table: type[msgspec.Struct]) -> dict[str, Any]:
    """Every option as a pattern of its path, with [] for an index."""
    known: dict[str, Any] = {}
    for field in msgspec.structs.fields(table):
        element = get_args(field.type)[0] if get_origin(field.type) is tuple else field.type
        kinds = get_args(element) if get_origin(element) is UnionType else (element,)
        tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
        inner = {name: below for kind in tables for name, below in options(kind).items()}
        mark = "[]" if element is not field.type else ""
        known |= {field.name: field} | {f"{field.name}{mark}.{name}": below for name, below in inner.items()}
    return known


def test_every_option_is_in_the_packaged_default() -> None:
    shown = {re.sub(r"\[\d+\]", "[]", spelled(place)) for place in lines(FULL)} | {"identity", "validate"}
    assert set(options(Config)) - shown == set()


def test_the_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == reference(), (
        "run: python -m schemas.config.reference > docs/configuration.md"
    )


def test_every_option_has_a_meaning_in_the_reference() -> None:
    assert [line for line in reference().splitlines() if re.search(r"\|\s*\|$", line)] == []


# --- the rules on their way through the logs


def test_rules_are_announced_in_canonical_form() -> None:
    config = read(DEFAULT.read_text(), {}).config
    document = rules_document(config)
    rules = rules_from(document)
    assert all(getattr(rules, name) == getattr(config, name) for name in Rules.__struct_fields__)
    assert rules_document(rules) == document


def test_the_announced_form_says_defaults_and_nothing_of_the_machinery() -> None:
    rules = Rules(
        aggregate=(Aggregate(name="a", of="count", over=Duration.parse("36h")),),
        tag=(Tag(name="é", when="True"),),
        trigger=(TriggerRule(name="t", on=On(score_above={"churn": 0.5})),),
    )
    assert rules_document(rules).decode() == (
        '{"action":[],"age":{"bands":[14,18,25,30,35,40,45,50,55,60,65]},"aggregate":[{"k":3,"name":"a","of":"count","on":["*"],"over":"36h","purposes":[],"value":""}],'
        '"best_action":{"floor":0.005,"half_life":0,"period":"1d","policy":"logistic_ucb","repeat":"max","reward":[],"shared":false,"within":"1d"},'
        '"churn":{"enabled":true,"every":"1d","horizon":"30d","learning_rate":0.05},'
        '"clusters":{"enabled":false,"every":"1h","k":5},'
        '"lifecycle":{"lost":"90d","new":"1w","slipping":"30d","won_back":"30d"},"model":[],'
        '"recommendation":{"half_life":"30d","k":5,"touch":[]},"segment":[],'
        '"tag":[{"name":"é","purposes":[],"weight":1.0,"when":"True"}],'
        '"trigger":[{"action":"","channel":"","name":"t","on":{"score_above":{"churn":0.5}},"purpose":"marketing","to":[],"when":"True"}],'
        '"value":{"amount":"total","events":["Order Completed"],"high":100.0,"middle":20.0}}'
    )
    assert rules_from(rules_document(rules)) == rules


@pytest.mark.parametrize("document", [b"{", b"[]", b'{"tag": 3}', b'{"tga": []}', b"\xff"])
def test_what_is_no_rules_document_is_refused(document: bytes) -> None:
    with pytest.raises(ConfigError, match="the announced rules"):
        rules_from(document)
