"""Packages of npm that tests use, where Node.js is installed and the registry answers."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def fetched(folder: Path, packages: Sequence[str]) -> Path:
    """Return the folder, with these packages in it; skip the test where they cannot be had."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("Node.js with npm is not installed here, so its clients cannot be had")
    (folder / "package.json").write_text("{}")
    install = [
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--ignore-scripts",
        "--loglevel=error",
        *packages,
    ]
    try:
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry does not answer, so its clients cannot be had")
    if done.returncode != 0:
        pytest.skip(f"npm cannot install the clients: {done.stderr.strip().splitlines()[-1:]}")
    return folder
