"""`run all` says that it is ready once, when every process below it has begun, and not before."""

import os
from pathlib import Path

import pytest

from flows.runtime.ready import SUFFIX, Ready, begun
from flows.services.processes import _empty


def test_one_line_when_all_have_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pids: list[int | None] = [11, None]
    ready = Ready(tmp_path, lambda: pids, "ready at http://127.0.0.1:1")
    ready()
    (tmp_path / f"11{SUFFIX}").touch()
    ready()
    pids[1] = 12
    ready()
    assert capsys.readouterr().out == ""
    (tmp_path / f"12{SUFFIX}").touch()
    ready()
    ready()
    assert capsys.readouterr().out == "ready at http://127.0.0.1:1\n"


def test_a_process_leaves_its_mark_for_its_supervisor_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    begun()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    begun()
    assert [file.name for file in tmp_path.iterdir()] == [f"{os.getpid()}{SUFFIX}"]
    (tmp_path / f"1{SUFFIX}").touch()
    (tmp_path / "counter_1.db").touch()
    _empty(tmp_path)
    assert not (tmp_path / f"1{SUFFIX}").exists(), "an earlier start's would say that this one is ready"
