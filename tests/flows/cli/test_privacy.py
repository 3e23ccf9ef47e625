"""`millrace privacy` as a person runs it."""

import sys
from pathlib import Path

import pytest

from flows.cli.main import main
from flows.services.centre.desk import CentreDesk
from tests.subjects import Erased, identify


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Erased:
    made = Erased(tmp_path, redis_url, archive=False)
    made.start()
    made.say(identify("ana", "ana@example.org"))
    made.settle()
    return made


@pytest.fixture
def run(site: Erased, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def ran(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["millrace", "privacy", *argv, "-c", str(site.file)])
        code = main()
        out, err = capsys.readouterr()
        return code, out, err

    return ran


def test_a_link_is_one_line_that_lets_its_customer_in(site: Erased, run) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run("link", "email:ana@example.org", "--lang", "zh", "--days", "2")
    assert (code, err, out.count("\n")) == (0, "", 1)
    address, _, token = out.strip().rpartition("/")
    assert address == "http://127.0.0.1:8080/privacy/link"
    assert CentreDesk(site.deployment).look(token) == "zh"
    assert "ana" not in out


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("link", "user_id:nobody"), 1, "nobody is known as user_id:nobody"),
        (("link", "ana"), 1, "expected 24 hex digits"),
        (("link", "user_id:ana", "--days", "0"), 2, "greater than or equal to 1"),
        (("link", "user_id:ana", "--days", "91"), 2, "less than or equal to 90"),
        (("link", "user_id:ana", "--lang", "fr"), 2, "'fr' is not one of"),
    ],
)
def test_what_gives_no_link(run, argv: tuple[str, ...], code: int, said: str) -> None:  # type: ignore[no-untyped-def]
    found, out, err = run(*argv)
    assert (found, out) == (code, "")
    assert said in err
