"""`millrace eval` as it is called, and tables for it."""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

Run = Callable[..., tuple[int, str, str]]  # the arguments behind `eval` -> exit code, stdout, stderr


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path
