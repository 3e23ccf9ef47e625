"""The README's way to a first trigger, as a newcomer walks it: its own commands, in an empty folder, with a
real millrace."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil

from flows.lab.chaos.ports import free_ports
from tests.running import STOP_S, environment
from tests.waiting import WITHIN_S, eventually

ROOT = Path(__file__).parents[2]
PORT = "8080"
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: str, heading: str) -> list[str]:
    """What stands in the blocks of shell below a heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return _BLOCK.findall(section)


def test_both_readmes_have_the_same_commands() -> None:
    assert commands("README.md", "Your first trigger") == commands("README.zh.md", "第一条触发消息") != []


def test_the_first_two_commands_are_the_demo_and_the_tests() -> None:
    for page in ("README.md", "README.zh.md"):
        first, *_ = _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
        assert [line.partition("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]


def test_a_newcomer_sees_a_first_trigger(tmp_path: Path) -> None:
    begun = time.monotonic()
    (tmp_path / ".venv").symlink_to(sys.prefix)  # what `make setup` makes
    (port,) = free_ports(1)
    shop = tmp_path / "shop"
    setup, run, post, see = commands("README.md", "Your first trigger")

    made = _shell(setup.removeprefix("make setup\n"), tmp_path)
    assert "thank_you: event Order Completed -> file" in made
    assert max(map(len, made.splitlines())) <= 80
    file = shop / "millrace.toml"
    file.write_text(file.read_text().replace(PORT, str(port)))  # another may be taken here

    log = shop / "log"
    with log.open("wb") as output:
        millrace = subprocess.Popen(
            ["sh", "-c", f"exec {run}"], cwd=shop, env=environment(), stdout=output, stderr=output
        )
    try:
        said = f"ready at http://127.0.0.1:{port}\n"
        eventually(lambda: millrace.poll() is not None or said in log.read_text(), log.read_text)
        assert millrace.poll() is None, log.read_text()
        workers = [
            child for child in psutil.Process(millrace.pid).children() if "--worker" in child.cmdline()
        ]
        assert len(workers) >= 6, "it says so when all are up, not before"

        assert "success" in _shell(post.replace(PORT, str(port)), shop)
        triggers = shop / "data" / "triggers.jsonl"
        eventually(lambda: triggers.exists() and triggers.read_text(), log.read_text)
        seen = _shell(see, shop)
        trigger, _, customer = seen.partition("\n")
        assert json.loads(trigger)["data"]["rule"] == "thank_you"
        assert "orders" in customer
        assert max(map(len, customer.splitlines())) <= 80
    finally:
        millrace.terminate()
        assert millrace.wait(STOP_S) == 0
    assert time.monotonic() - begun < 300, "five minutes, of which the machine needs most of one"


def _shell(script: str, folder: Path) -> str:
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
