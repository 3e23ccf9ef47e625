"""Any table's columns as features: numbers with their gaps, words within a bounded vocabulary. Nothing is used before it is known."""

from math import log

import numpy as np
from numpy.typing import NDArray

from flows.evaluate.table import MISSING, Table
from flows.logic.models.trainer import FEATURE_MAX

LOOKED_AT = 1_000  # first rows, whose numbers (never labels) tell how large a column's are
VOCABULARY = 16  # words of a column that have a feature of their own: the first ones that come
REMEMBERED = 10_000  # words of a column whose answers are counted
_PRIOR = 20.0  # answers' worth of the base rate in what a word says
_HEAVY = 20.0  # a column whose largest are so many times its middle is taken as logarithms


class Numbers:
    """A numeric column: one feature, and another one where values are missing."""

    def __init__(self, name: str, values: NDArray[np.float64]) -> None:
        first = values[:LOOKED_AT]
        known = first[~np.isnan(first)]
        self._middle = float(np.median(known)) if len(known) else 0.0
        away = np.abs(known - self._middle)
        typical = float(np.median(away)) if len(away) else 0.0
        heavy = bool(typical) and float(np.quantile(away, 0.99)) > _HEAVY * typical
        largest = float(np.abs(known).max(initial=0.0))
        filled = np.where(np.isnan(values), self._middle, values) - self._middle
        if heavy or largest > FEATURE_MAX / 10:
            filled = np.arcsinh(filled / (typical or 1.0))  # a line near the middle, a logarithm far out
        columns, self.names, self.bent = [np.clip(filled, -FEATURE_MAX, FEATURE_MAX)], [name], [True]
        if np.isnan(values).any():
            columns.append(np.isnan(values).astype(float))
            self.names.append(f"{name} missing")
            self.bent.append(False)
        self._columns = np.stack(columns, axis=1)

    def row(self, at: int) -> list[float]:
        return self._columns[at].tolist()  # type: ignore[no-any-return]  # an array of float is a list of float

    def learn(self, at: int, answer: bool) -> None:
        """Numbers need no answers."""


class Words:
    """A column of words: a feature for each of the first `VOCABULARY` words, and what the answers of a word have been so far."""

    def __init__(self, name: str, texts: list[str]) -> None:
        self._texts = ["" if text.strip().lower() in MISSING else text.strip() for text in texts]
        self.names = [*(f"{name} word {place + 1}" for place in range(VOCABULARY)), f"{name} so far"]
        self.bent = [False] * VOCABULARY + [True]
        self._places: dict[str, int] = {}
        self._counts: dict[str, list[int]] = {}  # answers, true ones
        self._all = [0, 0]

    def row(self, at: int) -> list[float]:
        word, row = self._texts[at], [0.0] * VOCABULARY
        if word not in self._places and len(self._places) < VOCABULARY:
            self._places[word] = len(self._places)
        if word in self._places:
            row[self._places[word]] = 1.0
        base = (self._all[1] + 1.0) / (self._all[0] + 2.0)
        count, trues = self._counts.get(word, (0, 0))
        share = (trues + _PRIOR * base) / (count + _PRIOR)
        return [*row, log(share / (1.0 - share)) - log(base / (1.0 - base))]

    def learn(self, at: int, answer: bool) -> None:
        word = self._texts[at]
        if word not in self._counts and len(self._counts) >= REMEMBERED:
            word = ""
        counted = self._counts.setdefault(word, [0, 0])
        for counts in (counted, self._all):
            counts[0] += 1
            counts[1] += answer


class Encoder:
    """Rows of a table as features. Rows are asked for in order of time."""

    def __init__(self, table: Table, columns: list[str], order: NDArray[np.int64]) -> None:
        self._parts: list[Numbers | Words] = []
        for name in columns:
            if table.is_numeric(name):
                self._parts.append(Numbers(name, table.numbers(name)[order]))
            else:
                texts = table.column(name)
                self._parts.append(Words(name, [texts[row] for row in order]))
        self.names = tuple(name for part in self._parts for name in part.names)
        self.bent = [bent for part in self._parts for bent in part.bent]

    def row(self, at: int) -> list[float]:
        return [value for part in self._parts for value in part.row(at)]

    def learn(self, at: int, answer: bool) -> None:
        for part in self._parts:
            part.learn(at, answer)
