"""Matching measured: a labelled table is replayed in random order, one pass, and the customers that come of it are compared with the truth.

Each row is an `identify` event of a visitor of its own, so that nothing but its values speaks for anything. It takes the whole way:
validation, `resolve`, the directory, the matcher. The directory is the twin in memory, or a Redis.
"""

import io
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from connectors.table_cells import Broken
from connectors.table_csv import looked_through, records
from connectors.table_shape import FOOTER, shaped
from flows.engine import Stop
from flows.evaluate import table
from flows.evaluate.agreement import Agreement, bcubed, pairwise
from flows.evaluate.report import progress
from flows.evaluate.table import unpacked
from flows.evaluate.values import is_missing
from flows.logic.matching import guess_fields
from flows.logic.matching.fields import KIND_OF, tells_who
from flows.logic.validate import Validator
from flows.match import Matcher
from flows.resolve import Resolver
from flows.windows import Window
from schemas.config import Config, Identity, MatchField, Matching, Namespace
from schemas.errors import ConfigError
from schemas.events import RawEvent
from state.client import connect, reported
from state.directory import Directory, Layout, RedisDirectory
from state.keys import LogSeal
from state.matches import Matches, RedisMatches
from state.memory import MemoryDirectory
from state.models import Signer
from state.names import Names
from state.policy import Policy

STATIONS: Final = (25, 50, 75, 100)  # per cent of the stream
WINDOW: Final = 500  # rows
NOBODY_TOLD: Final = (
    "no column is known as the customer's own (a name, a birth date, a mail address, a number): what is compared may be what a\n"
    "household shares, so hardly any rows can be united. Say what the columns mean: --map COLUMN=FIELD"
)
_KEY: Final = b"a key for an evaluation, no more"


class Station(msgspec.Struct, frozen=True):
    pairwise: Agreement
    bcubed: Agreement


class Report(msgspec.Struct, frozen=True):
    """Means over the seeds. `comparisons`: of a record with a customer. `seconds`: CPU of matching in one pass."""

    rows: int
    fields: dict[str, str]  # by column
    pairwise: Agreement
    bcubed: Agreement
    at: dict[str, Station]
    comparisons: float
    reviews: float
    seconds: float
    microseconds_per_record: float
    left_out: int  # rows without a truth
    warnings: list[str]  # what has to be known before the figures are believed


class Place(msgspec.Struct):
    """Where the customers of one pass live."""

    directory: Directory
    matches: Matches


def in_memory(layout: Layout) -> Place:
    """The twin."""
    twin = MemoryDirectory(layout, lambda: 0, log_max=10**9)
    return Place(twin, twin)


class OpenKey:
    """Seals nothing: an evaluation keeps nothing."""

    def seal(self, _field: str, plain: bytes) -> bytes:
        return plain

    def open(self, _field: str, sealed: bytes) -> bytes | None:
        return sealed


OPEN: Final = OpenKey()


class OpenKeys:
    """The keys of an evaluation."""

    def of(self, origins: Iterable[bytes], *, create: bool = False) -> dict[bytes, OpenKey]:  # noqa: ARG002  # as data keys have it
        return dict.fromkeys(origins, OPEN)

    def current(self, origins: Sequence[bytes]) -> list[OpenKey]:
        return [OPEN] * len(origins)


def read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Headings and rows of a CSV file, also of a gzipped one, or of an Excel file; what is too short is filled with nothing, what is too
    long is cut. What stands above the headings and below the last row is left out. Raises `ConfigError` and `Unusable`."""
    body = unpacked(path)
    if body[:4] == table.ZIP:
        book = table.read(path)
        return list(book.columns), [dict(zip(book.columns, row, strict=True)) for row in zip(*book.columns.values(), strict=True)]
    headings: list[str] | None = None
    rows: list[dict[str, str]] = []
    _, encoding = looked_through(io.BytesIO(body), lines=True)
    text = io.TextIOWrapper(io.BytesIO(body), encoding, errors="replace", newline="")
    for number, cells in shaped(records(text, skip_blanks=True), list):
        if isinstance(cells, Broken):
            if cells == FOOTER:
                continue
            raise ConfigError(f"{path} row {number} cannot be read: {cells.detail}")
        if headings is None:
            headings = cells
            continue
        cells += [""] * (len(headings) - len(cells))
        rows.append({heading: cell for heading, cell in zip(headings, cells, strict=False) if heading})
    return [heading for heading in headings or [] if heading], rows


def evaluate(
    headings: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    truth: str,
    never: Sequence[str] = (),
    fields: Mapping[str, str] | None = None,
    seeds: int = 3,
    place: Callable[[Layout], Place] = in_memory,
    show: Callable[[str], None] = progress,
) -> Report:
    """Compare the customers that come of the rows with `truth`, the column that holds them.

    A row whose truth is missing is left out: it would be one customer with all the others of the kind. `never` are ids, which hold the
    answer. `fields`: field by column, else guessed. `show` is told how far it is. Raises `ConfigError`.
    """
    for column in (truth, *never, *(fields or {})):
        if column not in headings:
            raise ConfigError(f"no column {column!r}; the table has {', '.join(headings)}")
    if not rows:
        raise ConfigError("the table has no rows")
    labelled = [row for row in rows if not is_missing(row.get(truth, ""))]
    if not labelled:
        raise ConfigError(f"no row says in {truth!r} who it really is")
    left_out, rows = len(rows) - len(labelled), labelled
    meaning = dict(guess_fields(headings, rows, (truth, *never)) if fields is None else fields)
    if not meaning:
        raise ConfigError("nothing to compare: no heading says what its column means; name them with --map COLUMN=field")
    config = _config(meaning)
    policy = Policy.of(config.identity, config.matching)
    layout = Layout.of("evaluation", 4, 16 * len(rows), [10**6], policy=msgspec.structs.replace(policy, budget=10**9, breaker_unions=10**9))
    passes = []
    for seed in range(1, seeds + 1):
        told = partial(_told, show, f"order {seed} of {seeds}", len(rows))
        passes.append(_one_pass(config, rows, truth, meaning, seed, place(layout), told))
    show("")
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
        left_out,
        [] if any(map(tells_who, meaning.values())) else [NOBODY_TOLD],
    )


def _told(show: Callable[[str], None], which: str, rows: int, done: int) -> None:
    show(f"{which}: row {done} of {rows}")


def _config(meaning: Mapping[str, str]) -> Config:
    """The defaults, but that a row's number is the only identifier, and the columns are what is compared."""
    matching = Matching(field=tuple(MatchField(name=field, paths=(f"traits.{field}",)) for field in dict.fromkeys(meaning.values())))
    row = Namespace(name="row", paths=("anonymousId",), limit=1_000_000)
    return Config(identity=Identity(namespace=(row,)), matching=matching)


@contextmanager
def in_redis(url: str) -> Iterator[Callable[[Layout], Place]]:
    """In a Redis, each pass under a prefix of its own; all of it is removed at the end."""
    client, prefixes = connect(url), list[str]()

    def place(layout: Layout) -> Place:
        prefixes.append(f"evaluation-{secrets.token_hex(6)}")
        names = Names(prefixes[-1])
        directory = RedisDirectory(client, names, layout, log_max=10**9)
        with reported():
            directory.create()
        return Place(directory, RedisMatches(client, names, layout))

    try:
        yield place
    finally:
        with reported():
            for prefix in prefixes:
                for key in client.scan_iter(match=f"{prefix}:*", count=1_000):
                    client.unlink(key)


class _Pass(msgspec.Struct):
    at: dict[int, Station]
    comparisons: int = 0
    reviews: int = 0
    seconds: float = 0.0


def _one_pass(
    config: Config,
    rows: Sequence[Mapping[str, str]],
    truth: str,
    meaning: Mapping[str, str],
    seed: int,
    place: Place,
    told: Callable[[int], None],
) -> _Pass:
    order = list(range(len(rows)))
    Random(seed).shuffle(order)
    validator, keys = Validator(config, _KEY, {}), OpenKeys()
    seal = LogSeal(_KEY)
    resolver = Resolver(config, validator, place.directory, keys, seal, Stop(), clock=lambda: 0.0)  # type: ignore[arg-type]  # keys that seal nothing
    matcher = Matcher(config, place.directory, place.matches, keys, Signer(_KEY), _KEY, seal)  # type: ignore[arg-type]  # as above
    done = _Pass({})
    at = 0
    for station in STATIONS:
        end = max(1, len(order) * station // 100)
        while at < end:
            window = order[at : min(at + WINDOW, end)]
            events = [RawEvent(_event(row, rows[row], meaning), 1_000, "table") for row in window]
            resolver.commit(resolver.judge(Window("table/0", at - 1, at + len(window) - 1, events, list(range(at, at + len(window))), 0.0)))
            at += len(window)
            began_s = time.process_time()
            for said in matcher.read(0):
                matcher.take(said)
            done.seconds += time.process_time() - began_s
            told(at)
        hashes = [validator.identifiers.hash("row", f"r{row}") for row in order[:end]]
        found = place.directory.lookup([hashed for hashed in hashes if hashed is not None])
        right = [rows[row].get(truth, "") for row in order[:end]]
        done.at[station] = Station(pairwise(found, right), bcubed(found, right))
    done.comparisons = matcher.comparisons
    done.reviews = matcher.reviews
    return done


def _event(number: int, row: Mapping[str, str], meaning: Mapping[str, str]) -> bytes:
    traits: dict[str, str] = {}
    for column, field in meaning.items():
        if value := row.get(column, ""):
            traits.setdefault(field, value)
    return msgspec.json.encode({"type": "identify", "messageId": f"m{number}", "anonymousId": f"r{number}", "traits": traits})


# --- the command ----------------------------------------------------------------------------------------------------


def run(file: Path, truth: str, never: Sequence[str], mapped: Sequence[str], seeds: int, redis: str | None, as_json: bool) -> int:
    """`mapped`: COLUMN=field each; with any, only these columns are compared."""
    fields: dict[str, str] = {}
    for one in mapped:
        column, equals, field = one.rpartition("=")
        if not equals or not column or not field:
            raise ConfigError(f"--map {one}: expected COLUMN=field, such as surname=family_name")
        if column == truth or column in never:
            option = "--truth" if column == truth else "--id"
            raise ConfigError(f"--map {one}: {column} is {option}, which holds the answer and is never compared")
        if field not in KIND_OF and field not in guess_fields([column], []).values():
            near = get_close_matches(field, KIND_OF, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KIND_OF)}"
            raise ConfigError(f"--map {one}: no field is called {field!r}; {hint}")
        fields[column] = field
    headings, rows = read(file)
    if redis is None:
        report = evaluate(headings, rows, truth, never, fields or None, seeds)
    else:
        with in_redis(redis) as place:
            report = evaluate(headings, rows, truth, never, fields or None, seeds, place)
    print(msgspec.json.encode(report).decode() if as_json else _table(report, guessed=not fields, seeds=seeds))
    return 0


def _table(report: Report, guessed: bool, seeds: int) -> str:
    meaning = ", ".join(column if column == field else f"{column} = {field}" for column, field in report.fields.items())
    lines = [
        *report.warnings,
        f"{'guessed' if guessed else 'compared'}: {meaning}",
        f"{report.rows:,} rows, mean of {seeds} random orders",
        "",
    ]
    if report.left_out:
        lines.insert(-1, f"{report.left_out:,} rows without a truth were left out")
    lines.append(f"{'':>6} {'pairwise':^26} {'clusters (B³)':^26}")
    lines.append(f"{'':>6} " + " ".join(f"{name:>8}" for name in ("prec.", "recall", "F1") * 2))
    for station, found in report.at.items():
        both = (found.pairwise, found.bcubed)
        lines.append(f"{station:>6} " + " ".join(f"{value:8.4f}" for one in both for value in (one.precision, one.recall, one.f1)))
    lines.append("")
    lines.append(f"{report.comparisons:,.0f} comparisons, {report.reviews:,.0f} for a steward, {report.seconds:.1f} s of CPU")
    lines.append(f"{report.microseconds_per_record:.0f} µs for each record")
    return "\n".join(lines)
