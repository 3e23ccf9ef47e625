"""What is in `deploy/` and in `schemas/metrics.py` agrees."""

import os
import re
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from schemas import metrics

ROOT = Path(__file__).parent.parent


def names() -> set[str]:
    """Every name of a metric, and of a series of it, that a process can expose."""
    body, _ = metrics.exposition()
    families = [
        family
        for family in text_string_to_metric_families(body.decode())
        if family.name.startswith("millrace_")
    ]
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["", "_bucket", "_sum", "_count"]}
    return {family.name + suffix for family in families for suffix in suffixes[family.type]}


def test_alerts_name_only_metrics_that_exist() -> None:
    rules = (ROOT / "deploy/prometheus/millrace.rules.yml").read_text()
    named = set(re.findall(r"\bmillrace_[a-z_]+", rules))
    assert named - names() == set()
    assert len(named) >= 10


def test_every_metric_is_used_by_some_flow() -> None:
    sources = "\n".join(
        path.read_text()
        for folder in ("flows", "connectors", "state")
        for path in (ROOT / folder).rglob("*.py")
    )
    objects = [
        name
        for name in vars(metrics)
        if name.isupper() and not name.startswith("_") and name not in ("CONTENT_TYPE_LATEST", "REGISTRY")
    ]
    assert [name for name in objects if not re.search(rf"\b{name}\b", sources)] == []


WRITER = "from schemas.metrics import DUPLICATES, LAG; DUPLICATES.inc(2); LAG.labels('profile', 'all').set(5)"
READER = "from schemas.metrics import exposition; print(exposition()[0].decode())"


def test_figures_of_several_processes_are_added_up(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for code in (WRITER, WRITER):
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=30)
    seen = subprocess.run(
        [sys.executable, "-c", READER],
        env=environment,
        check=True,
        timeout=30,
        capture_output=True,
        text=True,
    ).stdout
    assert "millrace_duplicates_total 4.0" in seen
    assert 'millrace_lag{flow="profile",of="all"} 5.0' in seen
