"""Matching measured: a labelled table is replayed in random order, one pass, and the clusters are compared with the truth."""

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from flows.evaluate.agreement import Agreement, bcubed, pairwise
from flows.logic.matching.decide import Thresholds
from flows.logic.matching.guess import guess_fields
from flows.logic.matching.record import Record
from flows.logic.matching.stream import Matching

STATIONS: Final = (25, 50, 75, 100)  # per cent of the stream


class Station(msgspec.Struct, frozen=True):
    pairwise: Agreement
    bcubed: Agreement


class Report(msgspec.Struct, frozen=True):
    """Means over the seeds. `comparisons`: of a record with a cluster. `seconds`: CPU of one pass."""

    rows: int
    fields: dict[str, str]
    pairwise: Agreement
    bcubed: Agreement
    at: dict[str, Station]
    comparisons: float
    reviews: float
    seconds: float
    microseconds_per_record: float


class NoSuchColumn(ValueError):
    """The table has no column of that name; the message says which it has."""


def read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Headings and rows; what is too short is filled with nothing, what is too long is cut."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file, restkey="", restval="", skipinitialspace=True)
        rows = [{heading: value for heading, value in row.items() if heading and isinstance(value, str)} for row in reader]
        return [heading for heading in reader.fieldnames or [] if heading], rows


def evaluate(
    headings: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    truth: str,
    never: Sequence[str] = (),
    fields: Mapping[str, str] | None = None,
    seeds: int = 3,
    thresholds: Thresholds | None = None,
) -> Report:
    """`truth` is the column that holds the customer; `never` are ids, which hold the answer. `fields`: field by column, else guessed."""
    for column in (truth, *never, *(fields or {})):
        if column not in headings:
            raise NoSuchColumn(f"no column {column!r}; the table has {', '.join(headings)}")
    if not rows:
        raise NoSuchColumn("the table has no rows")
    meaning = dict(guess_fields(headings, rows, (truth, *never)) if fields is None else fields)
    passes = [_one_pass(rows, truth, meaning, seed, thresholds) for seed in range(1, seeds + 1)]
    at = {
        f"{station}%": Station(
            Agreement.mean([one.at[station].pairwise for one in passes]), Agreement.mean([one.at[station].bcubed for one in passes])
        )
        for station in STATIONS
    }
    seconds = sum(one.seconds for one in passes) / seeds
    return Report(
        len(rows),
        meaning,
        at["100%"].pairwise,
        at["100%"].bcubed,
        at,
        sum(one.comparisons for one in passes) / seeds,
        sum(one.reviews for one in passes) / seeds,
        seconds,
        seconds / len(rows) * 1e6,
    )


class _Pass(msgspec.Struct):
    at: dict[int, Station]
    comparisons: int = 0
    reviews: int = 0
    seconds: float = 0.0


def _one_pass(rows: Sequence[Mapping[str, str]], truth: str, meaning: Mapping[str, str], seed: int, thresholds: Thresholds | None) -> _Pass:
    order = list(range(len(rows)))
    Random(seed).shuffle(order)
    stations = {max(1, len(order) * station // 100): station for station in STATIONS}
    matching = Matching(thresholds)
    done = _Pass({})
    for count, row in enumerate(order, 1):
        began_s = time.process_time()
        verdict = matching.add(str(row), Record.of({field: rows[row].get(column, "") for column, field in meaning.items()}))
        done.seconds += time.process_time() - began_s
        done.reviews += verdict.kind == "review"
        if count in stations:
            found = [matching.cluster_of(str(one)) for one in order[:count]]
            right = [rows[one].get(truth, "") for one in order[:count]]
            done.at[stations[count]] = Station(pairwise(found, right), bcubed(found, right))
    done.comparisons = matching.comparisons
    return done
