"""A full disk must not end a process by what it counts."""

import os
import subprocess
import sys
from pathlib import Path

EVERYTHING = """
import schemas.metrics as metrics
from prometheus_client.metrics import MetricWrapperBase

for metric in vars(metrics).values():
    if isinstance(metric, MetricWrapperBase):
        one = metric.labels(*("x" * 20 for _ in metric._labelnames)) if metric._labelnames else metric
        next(getattr(one, how) for how in ("observe", "set", "inc") if hasattr(one, how))(1)
"""


def test_every_file_of_figures_has_its_blocks_before_it_is_mapped(tmp_path: Path) -> None:
    """A hole that is written to on a full disk is a bus error."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", EVERYTHING], env=environment, check=True)
    files = {file.name.rpartition("_")[0]: file.stat() for file in tmp_path.glob("*.db")}
    assert {"counter", "histogram", "gauge_livemax", "gauge_livemostrecent", "gauge_mostrecent"} == set(files)
    assert all(found.st_blocks * 512 >= found.st_size > 0 for found in files.values()), files
