"""The columns of a history of decisions: their choice on the command line (names, `x*`, `x0:x49`), and what they are as a context."""

from collections import Counter
from fnmatch import fnmatchcase

import numpy as np
import typer

from flows.evaluate.encode import Numbers
from flows.evaluate.table import Table
from flows.evaluate.values import is_missing
from flows.logic.bandit.scale import Floats
from flows.logic.bandit.settings import FEATURES_MAX

_CATEGORIES_MAX = 32  # of one text column; the rarer ones are together `other`


def pick(table: Table, columns: str, without: list[str] | None = None) -> list[str]:
    """The columns that `columns` names, in the order of the file for patterns. Raises `typer.BadParameter`."""
    picked: list[str] = []
    names = list(table.columns)
    for part in columns.split(","):
        first, colon, last = part.strip().partition(":")
        if part.strip() in names:
            found = [part.strip()]
        elif colon and first in names and last in names:
            found = names[names.index(first) : names.index(last) + 1]
        else:
            found = [name for name in names if fnmatchcase(name, part.strip())]
        if not found:
            raise typer.BadParameter(f"{part.strip()!r} names no column of the file")
        picked += [name for name in found if name not in picked and name not in (without or [])]
    return picked


def contexts(table: Table, names: list[str]) -> tuple[tuple[str, ...], Floats]:
    """Features (n, d): a column of numbers or dates is one (and another one where it is missing), a column of text one for each of its
    most frequent values."""
    features: list[str] = []
    columns: list[Floats] = []
    for name in names:
        numbers = _numbers(table, name)
        if numbers is not None:
            part = Numbers(name, numbers)
            features += part.names
            columns += list(part.columns.T)
            continue
        texts = ["" if is_missing(text) else text.strip() for text in table.column(name)]
        common = sorted(Counter(texts).items(), key=lambda item: (-item[1], item[0]))[:_CATEGORIES_MAX]
        for text, _ in common:
            columns.append(np.array([float(value == text) for value in texts]))
            features.append(f"{name}={text}")
    if len(features) > FEATURES_MAX:
        raise typer.BadParameter(f"--context makes {len(features)} features, at most {FEATURES_MAX} are taken")
    return tuple(features), np.column_stack(columns) if columns else np.empty((table.rows, 0))


def _numbers(table: Table, name: str) -> Floats | None:
    if table.is_numeric(name):
        return table.numbers(name)
    return table.days(name) if table.is_time(name) else None
