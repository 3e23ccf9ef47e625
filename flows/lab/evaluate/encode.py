"""Any table's columns as features: numbers with their gaps, words within a bounded vocabulary, dates. Nothing
is used too early."""

from math import log, pi

import numpy as np
from numpy.typing import NDArray

from flows.lab.evaluate.input_table import Table
from flows.logic.models.binary_trainer import FEATURE_MAX
from flows.logic.models.features import DAY_MS
from flows.services.importing.column_values import is_missing

LOOKED_AT = 1_000  # first rows, whose numbers (never labels) tell how large a column's are
VOCABULARY = 16  # words of a column that have a feature of their own: the first ones that come
REMEMBERED = 10_000  # words of a column whose answers are counted
_PRIOR = 20.0  # answers' worth of the base rate in what a word says
_CODE_EACH = 20  # rows of a whole number, on average, for it to be looked at as a code too
_WEEK_MS = 7 * DAY_MS
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
        self.columns = np.stack(columns, axis=1)

    def row(self, at: int) -> list[float]:
        # an array of float is a list of float
        return self.columns[at].tolist()  # type: ignore[no-any-return]

    def learn(self, at: int, answer: bool) -> None:
        """Do nothing: numbers need no answers."""


class Clock:
    """The hour of the day and the day of the week, as places on a circle; what the rows' times do not span is
    left out."""

    def __init__(self, times: NDArray[np.int64]) -> None:
        span, columns = int(times[-1] - times[0]), []
        self.names: list[str] = []
        for name, period, least in (("hour", DAY_MS, 2 * DAY_MS), ("weekday", _WEEK_MS, 2 * _WEEK_MS)):
            place = (
                times
                % period
                // (period // 7 if period == _WEEK_MS else 1)
                * (period / 7 if period == _WEEK_MS else 1)
            )
            if span >= least and (place != place[0]).any():
                columns += [np.sin(place * (2.0 * pi / period)), np.cos(place * (2.0 * pi / period))]
                self.names += [f"{name} sine", f"{name} cosine"]
        self.bent = [True] * len(self.names)
        self._columns = np.stack(columns, axis=1) if columns else np.zeros((len(times), 0))

    def row(self, at: int) -> list[float]:
        return self._columns[at].tolist()  # type: ignore[no-any-return]  # as above

    def learn(self, at: int, answer: bool) -> None:
        """Do nothing: times need no answers."""


class Words:
    """A column of words: a feature for each of the first `vocabulary` words, and what the answers of a word
    have been so far."""

    def __init__(self, name: str, texts: list[str], vocabulary: int = VOCABULARY) -> None:
        self._texts = ["" if is_missing(text) else text.strip() for text in texts]
        self._vocabulary = min(vocabulary, len(set(self._texts)))
        self.names = [*(f"{name} word {place + 1}" for place in range(self._vocabulary)), f"{name} so far"]
        self.bent = [False] * self._vocabulary + [True]
        self._places: dict[str, int] = {}
        self._counts: dict[str, list[int]] = {}  # answers, true ones
        self._all = [0, 0]

    def row(self, at: int) -> list[float]:
        word, row = self._texts[at], [0.0] * self._vocabulary
        if word not in self._places and len(self._places) < self._vocabulary:
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

    def __init__(
        self,
        table: Table,
        columns: list[str],
        order: NDArray[np.int64],
        times: NDArray[np.int64],
        *,
        clock: bool,
    ) -> None:
        """Take `times` in that order; `clock`: look at them too."""
        self._parts: list[Numbers | Words | Clock] = [Clock(times)] if clock else []
        for name in columns:
            column = table.column(name)
            texts = [column[row] for row in order]
            if table.is_time(name):
                self._parts.append(Numbers(f"{name} days ago", _days_ago(table, name, order, times)))
            elif table.is_numeric(name):
                numbers = table.numbers(name)[order]
                self._parts.append(Numbers(name, numbers))
                different = len(set(texts))
                if (
                    2 < different <= len(texts) // _CODE_EACH
                    and (np.isnan(numbers) | (numbers == np.floor(numbers))).all()
                ):
                    self._parts.append(
                        Words(f"{name} as a code", texts, VOCABULARY if different <= VOCABULARY else 0)
                    )
            else:
                self._parts.append(Words(name, texts))
        self.names = tuple(name for part in self._parts for name in part.names)
        self.bent = [bent for part in self._parts for bent in part.bent]

    def row(self, at: int) -> list[float]:
        return [value for part in self._parts for value in part.row(at)]

    def learn(self, at: int, answer: bool) -> None:
        for part in self._parts:
            part.learn(at, answer)


def _days_ago(
    table: Table, name: str, order: NDArray[np.int64], times: NDArray[np.int64]
) -> NDArray[np.float64]:
    """From a date to the row's own time; NaN where there is no date."""
    return np.asarray(times / DAY_MS - table.days(name)[order])
