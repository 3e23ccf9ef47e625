"""Matching measured: a labelled table is replayed in random order, one pass, and the customers that come of
it are compared with the truth.

Each row is an `identify` event of a visitor of its own, so that nothing but its values speaks for anything.
It takes the whole way: validation, `resolve`, the directory, the matcher. The directory is the twin in
memory, or a Redis.
"""

import io
import secrets
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from connectors.files.cells import Broken
from connectors.files.csv_files import records
from connectors.files.shape import FOOTER, shaped
from flows.lab.evaluate import input_table
from flows.lab.evaluate.agreement import Agreement, bcubed, f1_apart, pairwise, united
from flows.lab.evaluate.exact import exact
from flows.lab.evaluate.tops import Edge
from flows.lab.evaluate.verdict_output import progress
from flows.logic.matching import guess_fields
from flows.logic.matching.columns import tells_who
from flows.logic.resolution.validation import Validator
from flows.match import Matcher
from flows.resolve import Resolver
from flows.runtime.engine import Stop
from flows.runtime.windows import Window
from flows.services.importing.column_values import is_missing
from schemas.config import Config, Identity, MatchField, Matching, Namespace
from schemas.errors import ConfigError
from schemas.wire.events import RawEvent
from state.directory.directory_protocol import Directory
from state.directory.layout import Layout
from state.directory.matches import Matches, RedisMatches
from state.directory.policy import Policy
from state.directory.redis_directory import RedisDirectory
from state.keys import LogSeal
from state.memory.memory_directory import MemoryDirectory
from state.model_store import Signer
from state.open_keys import OpenKeys
from state.redis.client import connect, reported
from state.redis.names import Names

STATIONS: Final = (25, 50, 75, 100)  # per cent of the stream
WINDOW: Final = 500  # rows
NOBODY_TOLD: Final = (
    "no column is known as the customer's own (a name, a birth date, a mail address, a number): what is "
    "compared may be what a\n"
    "household shares, so hardly any rows can be united. Say what the columns mean: --map COLUMN=FIELD"
)
_KEY: Final = b"a key for an evaluation, no more"


class Station(msgspec.Struct, frozen=True):
    pairwise: Agreement
    bcubed: Agreement


class Customers(msgspec.Struct, frozen=True):
    """How many there are in truth, and means over the orders of how many came out of it."""

    true: int
    with_several_rows: int
    found: float
    mixed: float  # that have rows of several true ones
    split: float  # true ones whose rows are in several


class Report(msgspec.Struct, frozen=True):
    """Means over the seeds. `comparisons`: of a record with a customer. `seconds`: CPU of matching in one
    pass."""

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
    customers: Customers
    exact: Station  # what comes of uniting rows that are the same (see `flows.lab.evaluate.exact`)
    f1_over_exact: Edge  # over pairs
    warnings: list[str]  # what has to be known before the figures are believed


class Place(msgspec.Struct):
    """Where the customers of one pass live."""

    directory: Directory
    matches: Matches


def in_memory(layout: Layout) -> Place:
    """Return the twin."""
    twin = MemoryDirectory(layout, lambda: 0, log_max=10**9)
    return Place(twin, twin)


def read(path: Path, encoding: str | None = None) -> tuple[list[str], list[dict[str, str]]]:
    """Return headings and rows of a CSV file, also of a gzipped one, or of an Excel file; what is too short
    is filled with nothing, what is too long is cut. What stands above the headings and below the last row is
    left out. Raises `ConfigError` and `Unusable`."""
    if input_table.is_book(path):
        book = input_table.read(path)
        return list(book.columns), [
            dict(zip(book.columns, row, strict=True)) for row in zip(*book.columns.values(), strict=True)
        ]
    headings: list[str] | None = None
    rows: list[dict[str, str]] = []
    text = io.StringIO(input_table.text_of(path, encoding, "replace"), newline="")
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

    A row whose truth is missing is left out: it would be one customer with all the others of the kind.
    `never` are ids, which hold the answer. `fields`: field by column, else guessed. `show` is told how far it
    is. Raises `ConfigError`.
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
        raise ConfigError(
            "nothing to compare: no heading says what its column means; name them with --map COLUMN=field"
        )
    config = _config(meaning)
    policy = Policy.of(config.identity, config.matching)
    layout = Layout.of(
        "evaluation",
        4,
        16 * len(rows),
        [10**6],
        policy=msgspec.structs.replace(policy, budget=10**9, breaker_unions=10**9),
    )
    right = [row.get(truth, "") for row in rows]
    simple = exact(rows, meaning)
    passes = []
    for seed in range(1, seeds + 1):
        told = partial(_told, show, f"order {seed} of {seeds}", len(rows))
        passes.append(_one_pass(config, rows, truth, meaning, seed, place(layout), told))
    show("")
    at = {
        f"{station}%": Station(
            Agreement.mean([one.at[station].pairwise for one in passes]),
            Agreement.mean([one.at[station].bcubed for one in passes]),
        )
        for station in STATIONS
    }
    seconds = sum(one.seconds for one in passes) / seeds
    return Report(
        rows=len(rows),
        fields=meaning,
        pairwise=at["100%"].pairwise,
        bcubed=at["100%"].bcubed,
        at=at,
        comparisons=sum(one.comparisons for one in passes) / seeds,
        reviews=sum(one.reviews for one in passes) / seeds,
        seconds=seconds,
        microseconds_per_record=seconds / len(rows) * 1e6,
        left_out=left_out,
        customers=_customers(right, passes),
        exact=Station(pairwise(simple, right), bcubed(simple, right)),
        f1_over_exact=_mean([f1_apart(united(one.found, right), united(simple, right)) for one in passes]),
        warnings=_warnings(meaning, guessed=fields is None),
    )


def _customers(right: Sequence[str], passes: "Sequence[_Pass]") -> Customers:
    found = [len(set(one.found)) for one in passes]
    both = [set(zip(one.found, right, strict=True)) for one in passes]
    mixed = [sum(count > 1 for count in Counter(cluster for cluster, _ in pairs).values()) for pairs in both]
    split = [
        sum(count > 1 for count in Counter(customer for _, customer in pairs).values()) for pairs in both
    ]
    several = sum(count > 1 for count in Counter(right).values())
    return Customers(
        len(set(right)), several, *(sum(counts) / len(passes) for counts in (found, mixed, split))
    )


def _mean(edges: Sequence[Edge]) -> Edge:
    return Edge(
        *(sum(getattr(edge, name) for edge in edges) / len(edges) for name in ("value", "low", "high"))
    )


def _warnings(meaning: Mapping[str, str], guessed: bool) -> list[str]:
    """What is compared without anybody having said that it is the customer's own."""
    if not any(map(tells_who, meaning.values())):
        return [NOBODY_TOLD]
    unsaid = [
        column
        for column, field in meaning.items()
        if tells_who(field) and field not in guess_fields([column], []).values()
    ]
    if not guessed or len(unsaid) < sum(map(tells_who, meaning.values())):
        return []
    return [
        f"no heading is known as the customer's own: {column} is taken for {meaning[column]}, by its "
        "values. If it is something else:\n"
        f"--map {column}=FIELD, and so for each column that counts"
        for column in unsaid
    ]


def _told(show: Callable[[str], None], which: str, rows: int, done: int) -> None:
    show(f"{which}: row {done} of {rows}")


def _config(meaning: Mapping[str, str]) -> Config:
    """The defaults, but that a row's number is the only identifier, and the columns are what is compared."""
    matching = Matching(
        field=tuple(
            MatchField(name=field, paths=(f"traits.{field}",)) for field in dict.fromkeys(meaning.values())
        )
    )
    row = Namespace(name="row", paths=("anonymousId",), limit=1_000_000)
    return Config(identity=Identity(namespace=(row,)), matching=matching)


@contextmanager
def in_redis(url: str) -> Iterator[Callable[[Layout], Place]]:
    """Work in a Redis, each pass under a prefix of its own; all of it is removed at the end."""
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
    found: Sequence[Hashable] = ()  # the customer of each row, in the order of the table
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
            resolver.commit(
                resolver.judge(
                    Window(
                        partition="table/0",
                        before=at - 1,
                        after=at + len(window) - 1,
                        events=events,
                        positions=list(range(at, at + len(window))),
                        opened=0.0,
                    )
                )
            )
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
    place_of = {row: place for place, row in enumerate(order)}
    done.found = [found[place_of[row]] for row in range(len(rows))]
    done.comparisons = matcher.comparisons
    done.reviews = matcher.reviews
    return done


def _event(number: int, row: Mapping[str, str], meaning: Mapping[str, str]) -> bytes:
    traits: dict[str, str] = {}
    for column, field in meaning.items():
        # NA is what R writes; Na is somebody's name.
        if (value := row.get(column, "")) and (value == "Na" or not is_missing(value)):
            traits.setdefault(field, value)
    return msgspec.json.encode(
        {"type": "identify", "messageId": f"m{number}", "anonymousId": f"r{number}", "traits": traits}
    )
