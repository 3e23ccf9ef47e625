"""Says once that all processes of this machine's supervisor have begun to work: each leaves an empty file
beside its figures."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

SUFFIX = ".up"
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the supervisor's, which empties it at its start


def begun() -> None:
    """Say that this process has all it needs and takes work from now on. Without a supervisor nobody asks."""
    if _FOLDER in os.environ:
        with suppress(OSError):  # a full disk must not end what works
            Path(os.environ[_FOLDER], f"{os.getpid()}{SUFFIX}").touch()


class Ready:
    """Call it as often as you like: it prints one line, once, when all of `pids` have begun."""

    def __init__(self, folder: Path, pids: Callable[[], Sequence[int | None]], line: str) -> None:
        """`pids`: those of what should run; None for one that does not."""
        self._folder, self._pids, self._line = folder, pids, line
        self._said = False

    def __call__(self) -> None:
        if not self._said and all(
            pid is not None and (self._folder / f"{pid}{SUFFIX}").exists() for pid in self._pids()
        ):
            self._said = True
            with suppress(OSError):  # nobody reads it
                print(self._line, flush=True)
