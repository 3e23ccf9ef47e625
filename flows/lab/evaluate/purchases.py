"""The purchases of a file: who bought when, and for how much."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.lab.evaluate.headings import OF_ONE, OF_ONE_WITHIN
from flows.lab.evaluate.input_table import Table, has_word
from schemas.bilingual import Words


class Purchases(NamedTuple):
    """In order of time."""

    customers: NDArray[np.int64]  # numbered by first purchase
    times: NDArray[np.int64]
    values: NDArray[np.float64]


class _Lines(NamedTuple):
    """Those of the file, in order of time."""

    customers: NDArray[np.int64]
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    quantities: NDArray[np.float64] | None  # NaN where it is not known


def purchases_of(
    table: Table, customer: str, time: str, value: str | None, quantity: str | None
) -> Purchases:
    """Return the purchases. Lines of one customer at one moment are one purchase: many shops write a line for
    each product.

    One that brings nothing but goods back (no quantity is above 0; without quantities: it is below 0 as a
    whole) is a return, and is left out: nobody came back by it. Both are noted. Raises `Unusable`.
    """
    lines = _lines(table, customer, time, value, quantity)
    firsts = _firsts(lines)
    values = np.add.reduceat(lines.values, firsts)
    returned = (
        values < 0.0
        if lines.quantities is None
        else ~np.logical_or.reduceat(~(lines.quantities <= 0.0), firsts)
    )
    if returned.any():
        table.notes.append(_returns(int(returned.sum()), quantity))
    bought = firsts[~returned]
    return Purchases(_numbered(lines.customers[bought]), lines.times[bought], values[~returned])


def _returns(count: int, quantity: str | None) -> Words:
    by = (
        Words(f"no {quantity} above 0", f"{quantity} 都不大于 0")
        if quantity
        else Words("a negative value", "金额为负")
    )
    returns = "return" if count == 1 else "returns"
    return Words(
        f"{count} {returns} ({by.en}) left out: nobody bought",
        f"有 {count} 次退货（{by.zh}），不是购买，未计入",
    )


def is_of_one(value: str) -> bool:
    """Return whether a price is of one piece, by its heading."""
    return any(has_word(value, word) for word in OF_ONE) or any(
        word in value.lower() for word in OF_ONE_WITHIN
    )


def _lines(table: Table, customer: str, time: str, value: str | None, quantity: str | None) -> _Lines:
    times, names = table.times(time), table.column(customer)
    values = np.nan_to_num(table.numbers(value)) if value is not None else np.zeros(table.rows)
    quantities = table.numbers(quantity) if quantity is not None else None
    if value is not None and quantities is not None and is_of_one(value):
        values = values * np.nan_to_num(quantities, nan=1.0)
        table.notes.append(
            Words(
                f"{value} is the price of one: multiplied by {quantity}", f"{value} 是单价：已乘以 {quantity}"
            )
        )
    numbers: dict[str, int] = {}
    customers = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
    order = np.lexsort((customers, times))
    return _Lines(
        customers[order], times[order], values[order], quantities[order] if quantities is not None else None
    )


def _firsts(lines: _Lines) -> NDArray[np.int64]:
    """Where another customer or another moment begins."""
    return np.flatnonzero(np.r_[True, (np.diff(lines.times) != 0) | (np.diff(lines.customers) != 0)])


def _numbered(customers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Anew, by first purchase."""
    _, first, places = np.unique(customers, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[places])
