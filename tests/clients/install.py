"""Fetching a client by its own package manager, into a folder of its own; and the command that runs its
program there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.clients.catalogue import Client, Kind

PROGRAMS = Path(__file__).parent / "programs"
FETCH_S = 600
DRIVER = ("playwright-core@1.56.1", "esbuild@0.25.11")
NEEDED = {
    Kind.PYTHON: (),
    Kind.NODE: ("node", "npm"),
    Kind.BROWSER: ("node", "npm", "chromium"),
    Kind.GO: ("go",),
    Kind.JAVA: ("java", "mvn"),
    Kind.RUST: ("cargo",),
    Kind.SHELL: ("curl",),
}
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>clients</groupId><artifactId>client</artifactId><version>1</version><dependencies><dependency>
<groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency></dependencies></project>
"""


class CannotFetch(Exception):
    """The client, or what runs it, cannot be had here; the message says which."""


def command(client: Client, folder: Path) -> list[str]:
    """Fetch `client` into `folder`, unless it is there, and return the command line that runs its program.

    Raises `CannotFetch`.
    """
    missing = [program for program in NEEDED[client.kind] if shutil.which(program) is None]
    if missing:
        raise CannotFetch(f"{', '.join(missing)} not installed here")
    folder.mkdir(parents=True, exist_ok=True)
    program = PROGRAMS / client.program
    match client.kind:
        case Kind.PYTHON:
            _run(
                [
                    sys.executable,
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--target",
                    "lib",
                    "requests",
                    *client.packages,
                ],
                folder,
                "lib",
            )
            shutil.copy(program, folder / "program.py")
            return [sys.executable, "-c", _isolated("lib"), "program.py"]
        case Kind.NODE:
            _npm(client.packages, folder)
            shutil.copy(program, folder)
            return ["node", client.program]
        case Kind.BROWSER:
            _npm([*DRIVER, *client.packages], folder)
            for script in (PROGRAMS / "browser").iterdir():
                shutil.copy(script, folder)
            return ["node", "drive.js"]
        case Kind.GO:
            return _go(client, program, folder)
        case Kind.JAVA:
            for package in client.packages:
                (folder / "pom.xml").write_text(POM.format(*package.split(":")))
                _run(
                    ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"],
                    folder,
                    "lib",
                )
            return ["java", "-cp", str(folder / "lib" / "*"), str(program)]
        case Kind.RUST:
            return _rust(client, program, folder)
        case Kind.SHELL:
            return ["sh", str(program)]


def arguments(client: Client) -> list[str]:
    """Return what its program is told besides URL, write key and user."""
    return [client.program, *client.arguments] if client.kind is Kind.BROWSER else list(client.arguments)


def environment() -> dict[str, str]:
    """Return our environment, with the browser's place."""
    return {**os.environ, "CHROMIUM": shutil.which("chromium") or ""}


def _npm(packages: Sequence[str], folder: Path) -> None:
    (folder / "package.json").write_text("{}")
    quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    _run(["npm", "install", *quiet, *packages], folder, "node_modules")


def _go(client: Client, program: Path, folder: Path) -> list[str]:
    (package,) = client.packages
    (folder / "main.go").write_text(program.read_text().replace("PACKAGE", package.partition("@")[0]))
    if not (folder / "client").exists():
        (folder / "go.mod").unlink(missing_ok=True)
        for step in (
            ["mod", "init", "client"],
            ["get", package],
            ["mod", "tidy"],
            ["build", "-o", "client", "."],
        ):
            _run(["go", *step], folder)
    return [str(folder / "client")]


def _rust(client: Client, program: Path, folder: Path) -> list[str]:
    if not (folder / "target" / "debug" / "client").exists():
        if not (folder / "Cargo.toml").exists():
            _run(["cargo", "init", "--quiet", "--name", "client", "--vcs", "none"], folder)
        _run(["cargo", "add", "--quiet", *client.packages], folder)
        shutil.copy(program, folder / "src" / "main.rs")
        _run(["cargo", "build", "--quiet"], folder)
    return [str(folder / "target" / "debug" / "client")]


def _isolated(library: str) -> str:
    """A program's packages instead of ours: the demo's own client must not stand in for another version of
    it."""
    return (
        f"import runpy, sys; sys.path = ['{library}'] + [p for p in sys.path if 'site-packages' not in p];"
        " sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )


def _run(argv: Sequence[str], folder: Path, made: str = "") -> None:
    """Run one step in `folder`, unless it was done before: then `made` is there."""
    if made and (folder / made).exists():
        return
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise CannotFetch(f"{argv[0]} took more than {FETCH_S} s") from error
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise CannotFetch(f"{' '.join(argv[:3])}: {' '.join(last)[:200]}")
