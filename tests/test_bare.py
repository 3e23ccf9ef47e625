"""What `make test-bare` hides, and which tests it runs."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.bare import HIDDEN, path_without
from tests.parts import PROGRAMS, header, looks_for_parts


def test_nothing_is_hidden_from_path_but_what_is_named(tmp_path: Path) -> None:
    folders = {"both": ("redis-server", "java", "make"), "other": ("python3",), "scratch": ()}
    for folder, programs in folders.items():
        (tmp_path / folder).mkdir()
        for program in programs:
            (tmp_path / folder / program).touch(0o755)
    before = os.pathsep.join(str(tmp_path / folder) for folder in ("both", "other", "absent"))
    bare = path_without(HIDDEN, before, tmp_path / "scratch")
    assert {
        name: shutil.which(name, path=bare) is not None
        for name in ("redis-server", "java", "make", "python3")
    } == {
        "redis-server": False,
        "java": False,
        "make": True,
        "python3": True,
    }


def test_the_header_says_what_is_here_and_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("java", "node"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{name} version \"17.0.9\" 2023-10-17'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    here, absent = header()
    assert here.startswith("real parts: Valkey 9.")
    assert here.endswith("from its wheel, java 17.0.9, node 17.0.9")
    assert absent == "not here: a server on PATH, mvn, npm, chromium, faketime"


def test_whatever_the_header_names_is_hidden_from_the_bare_run() -> None:
    assert PROGRAMS.keys() <= HIDDEN


def test_a_test_that_looks_for_a_program_is_known_by_its_file_or_by_what_it_asks_for(tmp_path: Path) -> None:
    def item(source: str, *fixtures: str) -> Any:
        file = tmp_path / f"test_{len(source)}.py"
        file.write_text(source)
        return SimpleNamespace(path=file, fixturenames=fixtures)

    assert looks_for_parts(item("shutil.which('node')"))
    assert looks_for_parts(item("program = find_server()"))
    assert looks_for_parts(item("def test(kafka): ...", "kafka"))
    assert looks_for_parts(item("def test(site): ...", "site", "redis_url", "redis_server"))
    assert not looks_for_parts(item("def test(): ..."))
