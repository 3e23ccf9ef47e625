"""`millrace demo` as a user runs it: real processes, a real redis-server, the published Segment client,
signed webhooks."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.lab.chaos.ports import free_ports
from flows.logic.models import best_action, cluster_assigner, recommendation_index
from flows.logic.models.binary import BINARY
from schemas.config.toml import DEFAULT
from tests.waiting import eventually


def as_in_a_terminal() -> None:
    """Who starts the tests in the background has Ctrl-C ignored, and so have all that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A running `millrace demo --headless --json` in an empty folder. Whatever of it is left at the end is a
    failure."""
    command = [sys.executable, "-P", "-m", "flows.cli", "demo", "--headless", "--json", *options]
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_in_a_terminal,
    ) as process:
        try:
            yield process
        finally:
            family = (
                [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                if process.poll() is None
                else []
            )
            for member in family:
                member.kill()
    assert not family, f"still running: {[member.pid for member in family]}"


def report_of(process: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    out, err = process.communicate(timeout=timeout_s)
    assert out, err
    report: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert process.returncode == 0, f"{report}\n{err}"
    return report


def workers(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """The processes of the flows, by flow."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        line = child.cmdline()
        if "--worker" in line:
            found[line[line.index("run") + 1]] = child
    return found


def check(report: dict[str, Any]) -> None:
    """What must hold of every run, however it went."""
    assert (
        report["lost"],
        report["doubled"],
        report["split"],
        report["mixed"],
        report["forged"],
        report["misread"],
    ) == (0,) * 6
    assert report["events_published"] >= report["events_accepted"] > 0
    assert (
        report["events_accepted"]
        <= report["events_applied"] + report["events_rejected"] + report["duplicates_dropped"]
    )
    assert report["triggers_delivered"] + report["triggers_withheld"] == report["triggers_emitted"]
    assert report["triggers_delivered"] > 0
    assert report["wrong"] == []


def test_a_counted_run_loses_nothing_doubles_nothing_and_delivers(tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "8") as process:
        report = report_of(process, timeout_s=120)
    check(report)
    assert report["events_applied"] > 1_000
    assert report["events_rejected"] > 5
    assert report["duplicates_dropped"] > 5
    assert report["profiles"] > 100
    assert report["merges"] > 0
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]
    assert list(tmp_path.iterdir()) == []
    withdrawal, erasure = report["withdrawal"], report["erasure"]
    assert (withdrawal["purpose"], withdrawal["offers_before"], withdrawal["fired_after"]) == (
        "marketing",
        1,
        1,
    )
    assert withdrawal["sent_after"] == 0
    assert withdrawal["why"] == "consent: the customer has refused marketing by email"
    assert report["triggers_withheld"] >= 1
    assert list(erasure["steps_ms"]) == ["asked", "detached", "settled", "gone", "swept", "done"]
    assert erasure["receivers"] == {"file": "taken", "demo-receiver": "taken"}
    assert (erasure["receipt"], erasure["left"], erasure["events_gone"]) == ("verified", [], 3)
    assert erasure["came_back_events"] == 1
    assert erasure["came_back_as"] != erasure["customer"]


@pytest.mark.slow
def test_every_model_learns_scores_and_drives_triggers(tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "20") as process:
        report = report_of(process, timeout_s=80)
    check(report)
    for model in ("churn", "best_action", "recommendation", "clusters"):
        assert report["models"][model]["version"] > 0, model
        assert report["models"][model]["triggers"] > 0, model
    assert len(report["actions"]) > 2


def test_ctrl_c_ends_it_in_order_and_no_file_has_an_address_in_the_clear(tmp_path: Path) -> None:
    with demo(tmp_path, "-c", packaged(tmp_path)) as process:
        wait_until_it_delivers(process, tmp_path)
        process.send_signal(signal.SIGINT)
        report = report_of(process, timeout_s=120)
    check(report)
    left = [file for file in (tmp_path / "data").rglob("*") if file.is_file()]
    assert {"triggers.jsonl", "demo.log"} < {file.name for file in left}
    assert any(file.suffix == ".aof" and file.stat().st_size > 100_000 for file in left)
    assert not [file.name for file in left if re.search(rb"@example\.(com|cn)", file.read_bytes())]


def test_ctrl_c_while_the_engine_is_behind_loses_nothing_and_takes_no_quarter_of_a_minute(
    tmp_path: Path,
) -> None:
    """`resolve` stands still, as if the machine had no time for it: what it has not read was acknowledged and
    is not lost."""
    with demo(tmp_path, "-c", packaged(tmp_path)) as process:
        wait_until_it_delivers(process, tmp_path)
        workers(process)["resolve"].suspend()
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        out, err = process.communicate(timeout=60)
        took_s = time.monotonic() - began
    assert out, f"code {process.returncode} after {took_s:.1f} s: {err}"
    report = json.loads(out.splitlines()[-1])
    assert (process.returncode, report["lost"], report["doubled"]) == (0, 0, 0), f"{report}\n{err}"
    assert report["events_on_the_way"] > 100
    assert took_s < 20  # fifteen, and what a busy machine takes to end a process
    assert "finishing, within 15 s" in err
    assert re.search(r"millrace demo: [\d,]+ of [\d,]+ events applied", err)


@pytest.mark.slow  # what the pipeline's test shows as well
def test_kill_9_of_every_flow_in_mid_flow_is_survived(tmp_path: Path) -> None:
    with demo(tmp_path, "-c", packaged(tmp_path), "--seconds", "12") as process:
        wait_until_it_delivers(process, tmp_path)
        for flow in ("resolve", "profile", "deliver", "gateway", "learn"):
            workers(process)[flow].kill()
            time.sleep(1.5)
        report = report_of(process, timeout_s=120)
    check(report)


def packaged(folder: Path) -> str:
    """The packaged configuration with its data in `folder`, on free ports: beside another demo it would have
    that one's events."""
    ports = iter(free_ports(2))
    text = re.sub(
        r'(?m)^listen = "127\.0\.0\.1:\d+"',
        lambda _: f'listen = "127.0.0.1:{next(ports)}"',
        DEFAULT.read_text(),
    )
    (folder / "millrace.toml").write_text(text)
    return "millrace.toml"


def wait_until_it_delivers(process: subprocess.Popen[str], folder: Path) -> None:
    """The packaged configuration writes triggers to this file as well."""
    triggers = folder / "data" / "triggers.jsonl"

    def delivers() -> bool:
        assert process.poll() is None, process.communicate()
        return triggers.exists() and triggers.stat().st_size > 0

    eventually(delivers)


@pytest.mark.slow
def test_every_model_has_asked_learnt_scored_and_driven_a_trigger(tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "30") as process:
        report = report_of(process, timeout_s=90)
    check(report)
    assert set(report["models"]) == {
        *BINARY,
        best_action.NAME,
        recommendation_index.NAME,
        cluster_assigner.NAME,
    }
    for model, learnt in report["models"].items():
        assert learnt["examples"] >= 50, model
        assert learnt["version"] >= 1, model
        assert learnt["triggers"] >= 1, model
