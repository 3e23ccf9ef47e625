"""Why something was not sent: in words, for whoever asks."""

import re
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from flows.cli.main import main
from flows.gateway import _decisions
from flows.logic.bandit.choose import Withheld
from flows.services import decisions
from schemas.config import Config, Secret
from schemas.config.toml import load
from schemas.errors import Unusable
from schemas.wire.reasons import REASONS, WITHHELD
from tests.connectors.gateway_kit import CONFIG, Client
from tests.subjects import Erased, identify

RULE = """
[[trigger]]
name = "rests"
on = {event = "Rated"}
cooldown = "1h"
[[trigger]]
name = "picks"
on = {event = "Chose"}
action = "best"
[[best_action.reward]]
event = "Paid"
[[action]]
name = "call"
when = "events > 100"
[[action]]
name = "gift"
capacity = 40
silent = true
"""


class Deciding(Erased):
    def _configured(self, few: int) -> Config:
        super()._configured(few)
        self.file.write_text(self.file.read_text() + RULE)
        return load(self.file)


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Deciding:
    made = Deciding(tmp_path, redis_url, archive=False)
    made.start()
    made.say(identify("ana", "ana@example.org"), identify("bea", "bea@example.org"))
    for event in ("Rated", "Rated", "Chose"):
        made.say({"event": event, "userId": "ana"})
        made.settle()
    return made


def test_what_was_not_sent_is_said_with_its_reason_and_about_nobody_else(site: Deciding) -> None:
    found = [decisions.plain(one, "en") for one in decisions.of(site.deployment, "user_id:ana")]
    assert {(one["rule"], one["reason"], one["why"]) for one in found} == {
        ("rests", "cooldown", REASONS["cooldown"].en),
        ("picks", "silent", REASONS["silent"].en),
    }
    [picks] = [one for one in found if one["rule"] == "picks"]
    assert (picks["action"], picks["others"]) == ("gift", {"call": WITHHELD["not_eligible"].en})
    assert decisions.of(site.deployment, "user_id:bea") == []
    assert len(decisions.of(site.deployment, "email:ana@example.org", limit=1)) == 1
    with pytest.raises(Unusable, match="nobody is known as user_id:zoe"):
        decisions.of(site.deployment, "user_id:zoe")


def test_every_code_that_is_written_has_words_in_both_languages() -> None:
    written = set()
    for path in (Path(__file__).parents[3] / "flows").rglob("*.py"):
        if "lab" not in path.parts:
            source = path.read_text()
            for made in re.findall(r"\bDecision\(.*?\n *\)", source, re.DOTALL):
                reason = re.search(r"reason=([^\n]*)", made)
                written |= set(re.findall(r'"([a-z_]+)"', reason[1].partition(", id=")[0] if reason else ""))
            written |= set(re.findall(r'^CODE = "([a-z_]+)"', source, re.MULTILINE))
    assert written == set(REASONS)
    assert set(get_args(Withheld)) == set(WITHHELD)
    for words in (*REASONS.values(), *WITHHELD.values()):
        assert words.en
        assert words.zh


@pytest.mark.parametrize(("lang", "said"), [("en", "a short while before"), ("zh", "不久前")])
def test_the_command(site: Deciding, lang: str, said: str, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    argv = ["millrace", "why", "user_id:ana", "--lang", lang, "-c", str(site.file)]
    monkeypatch.setattr(sys, "argv", argv)
    assert main() == 0
    out = capsys.readouterr().out
    assert said in out
    assert "rests" in out
    monkeypatch.setattr(sys, "argv", [*argv[:2], "user_id:bea", *argv[3:]])
    assert main() == 0
    assert "nothing was withheld" in capsys.readouterr().out


def test_over_http_with_a_read_token_alone(site: Deciding) -> None:
    config = msgspec.structs.replace(CONFIG, read_tokens=(Secret("reading"),))

    def read(who: str, limit: int, lang: str) -> list[dict[str, Any]]:
        return _decisions(site.deployment, who, limit, lang)

    client = Client(config, read_decisions=read)
    token = {"authorization": "Bearer reading"}

    def ask(path: str, **headers: str) -> Any:
        return client.get(f"/v1/customers/{path}", headers=headers)

    assert ask("user_id:ana/decisions").status_code == 401
    answer = ask("user_id:ana/decisions?limit=1&lang=zh", **token)
    assert answer.status_code == 200
    [one] = answer.json()["decisions"]
    assert one["why"] in {words.zh for words in REASONS.values()}
    assert "no-store" in answer.headers["cache-control"]
    assert ask("user_id:zoe/decisions", **token).status_code == 404
    for wrong in ("limit=0", "limit=1001", "limit=x", "lang=fr"):
        assert ask(f"user_id:ana/decisions?{wrong}", **token).status_code == 422
    client.close()
