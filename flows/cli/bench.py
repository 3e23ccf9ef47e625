"""`millrace bench`: the benchmarks live in the checkout's `bench/`, not in the package."""

import subprocess
import sys
from pathlib import Path

from schemas.errors import ConfigError

_BENCH = Path(__file__).resolve().parent.parent.parent / "bench" / "run.py"


def run(as_json: bool) -> int:
    """Run them. Raises `ConfigError` outside a checkout."""
    if not _BENCH.exists():
        raise ConfigError(
            "the benchmarks are not part of the installed package: run `make bench` in a checkout"
        )
    return subprocess.run(
        [sys.executable, "-m", "bench.run", *(["--json"] if as_json else [])],
        cwd=_BENCH.parent.parent,
        check=False,
    ).returncode
