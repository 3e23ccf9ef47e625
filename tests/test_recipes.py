"""The recipes of docs/contributing.md, followed word for word in a copy of the repository: they take the
files that they name, and work."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("flows", "schemas", "state", "connectors", "tests", "deploy", "pyproject.toml")
FLOORS = "tests/test_floors.py::"
STEP = re.compile(r"^```(python|diff) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Step = tuple[str, str, str]  # how, file, text


def recipe(title: str) -> list[Step]:
    page = (ROOT / "docs" / "contributing.md").read_text()
    [section] = re.findall(rf"^## {title}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return STEP.findall(section)


def follow(steps: list[Step], folder: Path) -> None:
    for how, file, text in steps:
        path = folder / file
        if how == "python":
            assert not path.exists(), f"{file} is new"
            path.write_text(text)
        else:
            lines = text.splitlines()
            after = "\n".join(line[1:] for line in lines if line.startswith(" "))
            added = "\n".join(line[1:] for line in lines if line.startswith("+"))
            assert path.read_text().count(f"{after}\n") == 1, f"{file}: {after!r} stands there once"
            path.write_text(path.read_text().replace(f"{after}\n", f"{after}\n{added}\n"))


@pytest.mark.parametrize("title", ["A connector", "A facet"])
def test_a_recipe_takes_the_files_that_it_names(title: str, tmp_path: Path) -> None:
    for name in SOURCES:
        copied = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copied(ROOT / name, tmp_path / name)
    steps = recipe(title)
    tests = [file for _, file, _ in steps if file.startswith("tests/")]
    assert len(tests) == 1
    assert 1 < len({file for _, file, _ in steps} - {*tests}) <= 3
    follow(steps, tmp_path)
    tests += [
        FLOORS + "test_no_floor_uses_a_higher_one",
        FLOORS + "test_no_module_imports_itself_by_way_of_others",
    ]
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        *tests,
        "tests/test_floors.py",
    ]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-2_000:]
    assert re.search(r"^\d+ passed", done.stdout, re.MULTILINE)
