"""`millrace check FILE --event EVENTS`: what an event would do, with nothing running."""

import json
import time
from pathlib import Path

import pytest
from rich.cells import cell_len

from flows.cli.what_if_screen import show
from flows.services.configuration_check import sound
from flows.services.first_configuration import init
from flows.services.what_if import events_of
from schemas.errors import Unusable

ORDER = {
    "userId": "u-secret-77",
    "event": "Order Completed",
    "messageId": "m-1",
    "properties": {"total": 120},
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    file = tmp_path / "millrace.toml"
    init(file)
    return file


def said(shop: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    events = shop.parent / "events.json"
    events.write_text(text)
    code = show(sound(shop), events)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert not (shop.parent / "data").exists(), "nothing is left behind, no key file either"
    return code, [" ".join(line.split()) for line in lines]


def test_an_event_is_translated_masked_and_followed_to_its_trigger(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = said(shop, json.dumps(ORDER | {"traits": {"email": "ana@example.com"}}), capsys)
    assert (code, lines[0]) == (0, "event 1: accepted")
    assert {"is track Order Completed", "figure orders: 1", "trigger thank_you -> file"} <= set(lines)
    assert any(line.startswith("known by user_id") for line in lines)
    assert "u-secret-77" not in " ".join(lines)
    assert "ana@example.com" not in " ".join(lines)


def test_what_rules_may_see_of_personal_data_is_said(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop.write_text(
        shop.read_text()
        + """
[privacy]
attributes = ["age_band", "gender", "region"]
[[tag]]
name = "members_of_35"
when = 'age_band == "35-39" and gender == "female"'
"""
    )
    now = time.gmtime()
    born = f"{now.tm_year - 36}-06-15"
    traits = {"生日": born, "性别": "女", "address": "浙江省杭州市西湖区文三路123号"}
    event = {"type": "identify", "userId": "u-1", "messageId": "m-1", "traits": traits}
    code, lines = said(shop, json.dumps(event), capsys)
    assert code == 0
    assert {
        "attribute age_band: 35-39",
        "attribute gender: female",
        "attribute region: 浙江省",
        "tag members_of_35 begins",
    } <= set(lines)
    assert "文三路" not in " ".join(lines)
    assert born not in " ".join(lines)


def test_events_follow_one_another(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The third makes a regular; the trigger rests for a day after the first."""
    code, lines = said(shop, "\n".join(json.dumps(ORDER | {"messageId": f"m-{n}"}) for n in range(3)), capsys)
    assert code == 0
    assert lines.count("trigger thank_you -> file") == 1
    assert lines.count("held thank_you: cooldown") == 2
    assert lines.count("figure orders: 1 -> 2") == lines.count("tag regular begins") == 1
    assert lines.index("tag regular begins") > lines.index("event 3: accepted")


def test_what_would_be_refused_says_why_and_the_rest_goes_on(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = {"batch": [{"userId": "u-1", "messageId": "m-0", "type": "track"}, ORDER]}
    code, lines = said(shop, json.dumps(batch), capsys)
    assert code == 1
    assert lines[0] == "event 1: refused: event_missing: expected `event`, the name of what happened"
    assert "event 2: accepted" in lines
    assert said(shop, "{oops", capsys)[1][0].startswith("event 1: refused: not_json")


def test_a_file_without_events_is_said_so(tmp_path: Path) -> None:
    (file := tmp_path / "empty").touch()
    with pytest.raises(Unusable, match=r"expected from 1 to 1,000 events as JSON, got 0"):
        events_of(file)
