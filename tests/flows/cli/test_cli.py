"""The command line as a person meets it: what it says, and what it exits with."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from flows.cli import inspection_commands, main, run_commands
from flows.cli.configuration_screen import check
from schemas.errors import Fenced, MillraceError

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def millrace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["millrace", *argv])
        code = main.main()
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["nope"], "No such command 'nope'"),
        (["run", "bogus"], "'bogus' is none of all, gateway, resolve, profile, deliver, learn"),
        (["run", "all", "--worker", "0/2"], "--worker goes with one flow"),
        (["run", "resolve", "--worker", "2/2"], "expected K/N with K from 0 to N-1"),
        (["run", "resolve", "--worker", "half"], "expected K/N"),
        (["run", "resolve", "--worker", "0/2", "--workers", "2"], "give one"),
        (["run", "resolve", "--workers", "0"], "greater than or equal to 1"),
        (["run", "learn", "--workers", "2"], "learn has one process"),
        (["run", "gateway", "--worker", "0/2"], "gateway has one process"),
        (["run", "-c", "/no/such/file"], "'/no/such/file' does not exist"),
        (["check"], "Missing argument"),
        (["dead", "replay"], "give ids, or --reason, or --all"),
        (["dead", "replay", "--all", "--reason", "not_json"], "give ids, or --reason, or --all"),
        (["status", "--loud"], "No such option: --loud"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(millrace: Call, argv: list[str], says: str) -> None:
    code, out, err = millrace(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("millrace: ")
    assert err.count("\n") == 1
    assert says in err


@pytest.mark.parametrize(
    "error", [Fenced("shard 3 belongs to another writer (epoch 7, ours is 6)"), MillraceError("no")]
)
def test_an_error_of_ours_is_one_line_and_exit_code_1(
    millrace: Call, monkeypatch: pytest.MonkeyPatch, error: MillraceError
) -> None:
    def fail(_path: Path | None, *, secrets: bool) -> None:  # as the real one
        raise error

    monkeypatch.setattr(inspection_commands, "load", fail)
    assert millrace("status") == (1, "", f"millrace: {error}\n")


def test_a_wrong_file_names_the_place(millrace: Call, tmp_path: Path) -> None:
    file = tmp_path / "millrace.toml"
    file.write_text("[window]\nwait = 200\nevnets = 3\n")
    code, _, err = millrace("status", "-c", str(file))
    assert code == 1
    assert "millrace.toml:3" in err
    assert "events" in err, "the nearest known name"
    assert "Traceback" not in err


def test_version(millrace: Call) -> None:
    assert millrace("version") == millrace("--version") == (0, f"millrace {version('millrace')}\n", "")


def test_it_works_from_any_folder_and_is_not_led_astray_there(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("raise SystemExit('not ours')")
    command = Path(sys.executable).with_name("millrace")
    done = subprocess.run([command, "version"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"millrace {version('millrace')}\n", "")


def test_no_command_loads_what_only_a_flow_needs() -> None:
    code = (
        "import sys, flows.cli.main; print([name for name in ('bytewax', 'river', 'numpy', 'redis', "
        "'cryptography') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30).stdout
        == "[]\n"
    )


@pytest.mark.parametrize(
    "command", ["", "run", "check", "demo", "status", "bench", "reload", "version", "dead"]
)
def test_every_command_has_help(millrace: Call, command: str) -> None:
    code, out, err = millrace(*[command] if command else [], "--help")
    assert (code, err) == (0, "")
    assert "Usage: millrace" in out


def test_a_worker_says_which_one_it_is_when_it_ends(
    millrace: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_args: object) -> None:
        raise Fenced("shard 3 belongs to another writer")

    monkeypatch.setattr(run_commands, "one", fail)
    with pytest.raises(SystemExit, match="1"):
        millrace("run", "profile", "--worker", "3/16")
    assert capsys.readouterr().err == "millrace profile 3/16: shard 3 belongs to another writer\n"


def test_an_address_that_cannot_be_had_is_one_line(millrace: Call, tmp_path: Path) -> None:
    file = tmp_path / "millrace.toml"
    file.write_text('[metrics]\nlisten = "192.0.2.1:9464"\n')  # nobody's (RFC 5737)
    command = [sys.executable, "-m", "flows.cli", "run", "resolve", "--workers", "2", "-c", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert (
        done.stderr
        == "millrace: metrics.listen: cannot serve on 192.0.2.1:9464: Cannot assign requested address\n"
    )


@pytest.mark.parametrize("argv", [["run"], ["run", "resolve"], ["status"]])
def test_a_data_folder_that_is_a_file_is_one_line(tmp_path: Path, argv: list[str]) -> None:
    (tmp_path / "data").write_text("")
    file = tmp_path / "millrace.toml"
    file.write_text('[data]\nfolder = "data"\n')
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *argv, "-c", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert (done.stdout, done.stderr.count("\n")) == ("", 1), done.stderr
    assert done.stderr.startswith("millrace: ")
    assert str(tmp_path / "data") in done.stderr


def test_logs_are_json_without_local_variables() -> None:
    """What a variable held when something failed may be personal data."""
    code = """if True:
        import logging, structlog
        from flows.runtime.logs import configure
        from schemas.config import Log
        configure(Log(format="json", level="warning"), "resolve", "0/2")
        email = "anna" + "@" + "example.org"
        structlog.get_logger().info("too_quiet")
        structlog.get_logger().warning("window_slow", took_ms=7)
        for log in (structlog.get_logger(), logging.getLogger("somebody")):
            try:
                1 / 0
            except ZeroDivisionError:
                log.exception("failed")
    """
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    ).stderr
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["event"] for line in lines] == ["window_slow", "failed", "failed"]
    assert all(line["flow"] == "resolve" and line["worker"] == "0/2" for line in lines)
    assert lines[0]["took_ms"] == 7
    assert "ZeroDivisionError" in lines[1]["exception"]
    assert "example.org" not in said


def test_a_start_says_what_check_finds_in_the_same_words_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "millrace.toml"
    rules = '[[tag]]\nname = "vip"\nwhen = "events > 9"\n[[trigger]]\nname = "t"\non = { event = "E" }\n'
    file.write_text(f"{rules}when = \"'vpi' in tags\"\n")
    assert check(file) == 1
    *found, count = capsys.readouterr().out.splitlines()
    assert (f"{file}:7: " in found[0], count) == (True, "1 error")
    run_commands._started(file)
    said = capsys.readouterr().err
    assert said.startswith("\n".join(found))
    assert "starts all the same" in said
    file.write_text(f"{rules}when = \"'vip' in tags\"\n")
    run_commands._started(file)
    assert capsys.readouterr().err == ""
