"""A CSV file as columns, and the choice of columns on the command line: names, `x*`, `x0:x49`."""

import csv
import gzip
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import typer

from flows.logic.bandit.scale import Floats
from flows.logic.bandit.settings import FEATURES_MAX

_CATEGORIES_MAX = 32  # of one text column; the rarer ones are together `other`


class Table:
    """Rows of text under names."""

    def __init__(self, names: list[str], rows: list[list[str]]) -> None:
        self.names = names
        self._rows = rows

    def texts(self, name: str) -> list[str]:
        if name not in self.names:
            raise typer.BadParameter(f"no column {name!r}; there are: {', '.join(self.names[:20])}{' ...' if len(self.names) > 20 else ''}")
        column = self.names.index(name)
        return [row[column] for row in self._rows]

    def numbers(self, name: str) -> Floats:
        """NaN where the text is empty; raises `typer.BadParameter` where it is no number."""
        try:
            return np.array([float(text) if text else np.nan for text in self.texts(name)])
        except ValueError as error:
            raise typer.BadParameter(f"column {name!r}: {error}") from error

    def names_without(self, names: list[str]) -> list[str]:
        return [name for name in self.names if name and name not in names]


def read(file: Path) -> Table:
    """Raises `typer.BadParameter` where it is no CSV with a header and rows of one width."""
    opener = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rt", encoding="utf-8-sig", newline="") as text:
            names, *rows = list(csv.reader(text)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise typer.BadParameter(f"{file} cannot be read as CSV: {error}") from error
    if not rows:
        raise typer.BadParameter(f"{file} has no rows below its header")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise typer.BadParameter(f"{file}, line {line}: {len(row)} values under {len(names)} names")
    return Table(names, rows)


def pick(table: Table, columns: str, without: list[str] | None = None) -> list[str]:
    """The columns that `columns` names, in the order of the file for patterns. Raises `typer.BadParameter`."""
    picked: list[str] = []
    for part in columns.split(","):
        first, colon, last = part.strip().partition(":")
        if part.strip() in table.names:
            found = [part.strip()]
        elif colon and first in table.names and last in table.names:
            found = table.names[table.names.index(first) : table.names.index(last) + 1]
        else:
            found = [name for name in table.names if fnmatchcase(name, part.strip())]
        if not found:
            raise typer.BadParameter(f"{part.strip()!r} names no column of the file")
        picked += [name for name in found if name not in picked and name not in (without or [])]
    return picked


def contexts(table: Table, names: list[str]) -> tuple[tuple[str, ...], Floats]:
    """Features (n, d): a column of numbers is one, a column of text one for each of its most frequent values."""
    features: list[str] = []
    columns: list[Floats] = []
    for name in names:
        texts = table.texts(name)
        try:
            columns.append(np.array([float(text) if text else np.nan for text in texts]))
            features.append(name)
        except ValueError:
            common = sorted(Counter(texts).items(), key=lambda item: (-item[1], item[0]))[:_CATEGORIES_MAX]
            for text, _ in common:
                columns.append(np.array([float(value == text) for value in texts]))
                features.append(f"{name}={text}")
    if len(features) > FEATURES_MAX:
        raise typer.BadParameter(f"--context makes {len(features)} features, at most {FEATURES_MAX} are taken")
    return tuple(features), np.column_stack(columns) if columns else np.empty((len(table.texts(table.names[0])), 0))
