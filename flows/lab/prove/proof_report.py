"""What a proof ends with: by kind of store what was searched and found, by way what arrived, and each hit."""

from collections.abc import Sequence

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.lab.prove.search import Hit

SHOWN = 30  # hits


class StoreRow(msgspec.Struct, frozen=True):
    """One kind of store."""

    store: str
    places: int
    bytes: int
    hits: int
    planted: int
    planted_found: int


class WayRow(msgspec.Struct, frozen=True):
    """One way in: how many values were sent by it, how much of it arrived."""

    way: str
    values: int
    arrived: int


class Proof(msgspec.Struct, frozen=True):
    """`hits` counts values in places; `where` says which, without telling them."""

    values: int
    places: int
    bytes: int
    hits: int
    planted: int
    planted_found: int
    stores: list[StoreRow]
    ways: list[WayRow]
    where: list[Hit]
    missed: list[str]  # planted leaks that were not found: store and encoding
    not_walked: list[str]  # ways by which nothing arrived, stores in which there was nothing
    left_out: list[str]  # what is not searched on purpose, or not here
    seconds: float
    kept: str = ""  # the folder, where it was asked for

    @property
    def good(self) -> bool:
        """Say whether nothing was found, and the search would have found it."""
        return not (self.hits or self.missed or self.not_walked) and self.planted_found == self.planted > 0


def shown(proof: Proof) -> RenderableType:
    """Return it as people read it."""
    title = "nothing lies open" if proof.good else "NOT as it should be"
    stores = Table(title=f"millrace prove sealed: {title}", title_justify="left")
    stores.add_column("searched")
    for name in ("places", "bytes", "hits", "planted", "found"):
        stores.add_column(name, justify="right")
    for row in proof.stores:
        stores.add_row(row.store, *(f"{n:,}" for n in _figures(row)))
    ways = Table("way", title="what was sent", title_justify="left")
    for name in ("values", "arrived"):
        ways.add_column(name, justify="right")
    for way in proof.ways:
        ways.add_row(way.way, f"{way.values:,}", f"{way.arrived:,}")
    words = [
        f"{proof.values:,} values in {proof.places:,} places, {proof.bytes:,} bytes: {proof.hits:,} hits; of "
        f"{proof.planted:,} planted leaks {proof.planted_found:,} were found; {proof.seconds:.0f} s"
    ]
    words += [f"not searched: {what}" for what in proof.left_out]
    words += [f"NOT WALKED: {what}" for what in proof.not_walked]
    words += [f"PLANTED, NOT FOUND: {what}" for what in proof.missed]
    words += _hits(proof.where)
    words += [f"all of it is kept in {proof.kept}"] if proof.kept else []
    return Group(stores, ways, Text("\n".join(words)))


def _figures(row: StoreRow) -> Sequence[int]:
    return row.places, row.bytes, row.hits, row.planted, row.planted_found


def _hits(where: Sequence[Hit]) -> list[str]:
    lines = [_line(hit) for hit in where[:SHOWN]]
    more = len(where) - SHOWN
    return [*lines, f"... and {more:,} more (see --json)"] if more > 0 else lines


def _line(hit: Hit) -> str:
    what = f"{hit.kind} {hit.masked}, {hit.guise}, {hit.times} times"
    return f"FOUND in {hit.store} ({hit.place}): {what}; sent by: {hit.way}"
