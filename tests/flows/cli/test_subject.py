"""`millrace subject` as a person runs it."""

import json
import sys
from pathlib import Path

import pytest

from flows.cli.main import main
from tests.subjects import Erased, ana, identify, viewed


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Erased:
    made = Erased(tmp_path, redis_url, archive=True)
    made.start()
    made.say(identify("ana", "ana@example.org", anonymousId="ana-phone"), identify("bea", "bea@example.org"))
    made.say(ana(event="Product Viewed"), viewed(userId="bea"))
    made.tick()
    made.settle()
    return made


@pytest.fixture
def run(site: Erased, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def ran(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["millrace", "subject", *argv, "-c", str(site.file)])
        capsys.readouterr()  # what was said before
        code = main()
        out, err = capsys.readouterr()
        return code, out, err

    return ran


def test_an_unknown_name_is_one_line(run) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run("erase", "user_id:nobody", "--yes")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("millrace: nobody is known as user_id:nobody")


def test_without_the_process_it_waits_and_says_for_what(site: Erased, run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("erase", "user_id:ana", "--yes", "--wait", "0")
    assert code == 3
    assert "`millrace run privacy` carries it on" in out
    code, out, _ = run("erase", "user_id:ana", "--yes", "--wait", "0", "--json")
    assert json.loads(out)["already"] is True
    [request] = site.deployment.privacy_requests.unfinished()
    site.carry_on(request)
    code, out, _ = run("status", request.id, "--json")
    assert (code, json.loads(out)[0]["step"]) == (0, "done")
    code, out, _ = run("list")
    assert request.id in out
    assert run("list", "--open", "--json")[1] == "[]\n"


def test_a_receipt_is_verified_by_whoever_has_the_key(site: Erased, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    site.erase("user_id:ana")
    [request] = site.deployment.privacy_requests.everything()
    _, receipt, _ = run("receipt", "show", request.id)
    file = tmp_path / "receipt.json"
    file.write_text(receipt)
    _, key, _ = run("receipt", "key")
    assert run("receipt", "verify", str(file), "--key", key.strip())[1].startswith("genuine: ")
    assert json.loads(run("receipt", "verify", str(file), "--json")[1])["id"] == request.id
    file.write_text(receipt.replace('"taken"', '"broken"'))
    code, _, err = run("receipt", "verify", str(file))
    assert (code, "the signature is wrong" in err) == (1, True)


def test_an_export_holds_everything_in_the_clear_and_nobody_else(site: Erased, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    archiver = site.archiver()
    while archiver.round(block_ms=0):
        pass
    archiver.close()
    code, out, _ = run("export", "email:ana@example.org")
    found = json.loads(out)
    assert code == 0
    assert found["stated"] == {"email": "ana@example.org", "user_id": "ana"}
    assert found["profile"]["events"] == 2
    assert {one["namespace"] for one in found["identifiers"]} == {"user_id", "email", "anonymous"}
    assert [one["event"]["type"] for one in found["events"]] == ["identify", "track"]
    assert [one["rule"] for one in found["waiting_to_be_sent"]] == ["viewed"]
    assert found["recipients"][0]["name"] == "crm"
    assert not [plain for plain in ('"bea"', "bea@example.org") if plain in out]
    page = tmp_path / "ana.html"
    for lang, title in (("en", "What we hold about you"), ("zh", "我们持有的关于您的信息")):
        assert run("export", "user_id:ana", "--html", str(page), "--lang", lang)[0] == 0
        written = page.read_text()
        assert title in written
        assert "ana@example.org" in written
    assert page.stat().st_mode & 0o077 == 0


def test_of_the_erased_nothing_is_exported(site: Erased, run) -> None:  # type: ignore[no-untyped-def]
    request = site.erase("user_id:ana")
    code, _, err = run("export", request.customer.hex())
    assert (code, "was erased" in err) == (1, True)


@pytest.mark.parametrize("right", ["correct", "restrict", "move", "complain"])
def test_what_people_answer_has_a_date_and_an_end(site: Erased, run, right: str) -> None:  # type: ignore[no-untyped-def]
    _, out, _ = run(right, "user_id:ana", "--reason", "the address is old", "--json")
    asked = json.loads(out)
    assert (asked["right"], asked["step"], asked["due"] > asked["asked"]) == (right, "asked", True)
    assert run("close", asked["id"], "--reason", "done as asked")[0] == 0
    code, _, err = run("close", asked["id"])
    assert (code, "was closed before" in err) == (1, True)
    [found] = json.loads(run("status", asked["id"], "--json")[1])
    assert (found["step"], found["note"]) == ("done", "done as asked")
    assert run("list", "--open", "--json")[1] == "[]\n"


def test_an_erasure_cannot_be_closed_by_hand(site: Erased, run) -> None:  # type: ignore[no-untyped-def]
    run("erase", "user_id:ana", "--yes", "--wait", "0")
    [request] = site.deployment.privacy_requests.unfinished()
    code, _, err = run("close", request.id)
    assert (code, "ends by itself" in err) == (1, True)


def test_what_a_customer_allows_is_shown_and_a_new_word_waits_until_it_is_resolved(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("consent", "user_id:ana")
    assert code == 0
    assert "nothing was said" in out
    said = ("--say", "marketing=no", "--say", "sharing=yes", "--wait", "0")
    code, out, _ = run("consent", "user_id:ana", *said)
    assert (code, "waits in the raw log" in out) == (3, True)
    code, out, _ = run("consent", "user_id:ana", "--json")
    assert json.loads(out)["words"] == []
    code, _, err = run("consent", "user_id:ana", "--say", "marketing")
    assert (code, err) == (1, "millrace: expected THING=WORD, such as marketing=no; got 'marketing'\n")


def test_on_hold_a_customer_is_not_erased_until_it_is_released(site: Erased, run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("hold", "user_id:ana", "--reason", "a dispute; ana@example.org rang")
    assert (code, "is on hold" in out) == (0, True)
    code, _, err = run("erase", "user_id:ana", "--yes", "--wait", "0")
    assert (code, "is on hold" in err) == (1, True)
    assert site.deployment.privacy_requests.everything() == []
    [held] = json.loads(run("held", "--json")[1])
    assert (held["by"], held["note"]) == ("command", "a dispute; (redacted) rang")
    assert "a dispute" in run("held")[1]
    assert run("release", "user_id:ana")[0] == 0
    assert run("release", "user_id:ana")[0] == 1
    assert run("erase", "user_id:ana", "--yes", "--wait", "0")[0] == 3
