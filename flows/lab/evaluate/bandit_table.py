"""The columns of a history of decisions: their choice on the command line (names, `x*`, `x0:x49`), and what
they are as a context."""

from collections import Counter
from fnmatch import fnmatchcase

import numpy as np
import typer

from flows.lab.evaluate.encode import Numbers
from flows.lab.evaluate.input_table import Table
from flows.logic.bandit.scale import Floats
from flows.logic.bandit.settings import FEATURES_MAX
from flows.services.importing.column_values import is_missing
from schemas.bilingual import Words

_CATEGORIES_MAX = 32  # of one text column; the rarer ones are together `other`
_NAMED = 12  # columns, in a note


def pick(table: Table, columns: str, without: list[str] | None = None) -> list[str]:
    """Return the columns that `columns` names, in the order of the file for patterns. Raises
    `typer.BadParameter`."""
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


def no_context(table: Table, columns: list[str], *, logged: bool) -> Words:
    """Return a note of what policies are shown where no `--context` was named."""
    if logged:
        shown = _few(list(table.columns))
        return Words(
            "no --context: the policies see nothing of the customer, and can do no better than one action "
            f"for all; the file has {shown}",
            f"未指定 --context：策略看不到客户的任何信息，最多只能为所有人选同一个动作；文件中的列：{shown}",
        )
    if not columns:
        return Words(
            "no --context, and no column beside the rewards: the policies see nothing of the customer",
            "未指定 --context，除收益外也没有其他列：策略看不到客户的任何信息",
        )
    shown = _few(columns)
    return Words(
        f"no --context: every column beside the rewards was taken for it ({shown}); name those that are "
        "known when a choice is made",
        f"未指定 --context：除收益外的所有列都当作情境（{shown}）；请指定做选择时已知的列",
    )


def _few(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f", … ({len(names)})" if len(names) > _NAMED else "")


def contexts(table: Table, names: list[str]) -> tuple[tuple[str, ...], Floats]:
    """Return features (n, d): a column of numbers or dates is one (and another one where it is missing), a
    column of text one for each of its most frequent values."""
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
        raise typer.BadParameter(
            f"--context makes {len(features)} features, at most {FEATURES_MAX} are taken"
        )
    return tuple(features), np.column_stack(columns) if columns else np.empty((table.rows, 0))


def _numbers(table: Table, name: str) -> Floats | None:
    if table.is_numeric(name):
        return table.numbers(name)
    return table.days(name) if table.is_time(name) else None
