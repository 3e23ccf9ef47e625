"""Data quality as counts of a shard: taken when a fact is applied, so exactly once; committed with the shard.

quality:<source>                      records: facts that identify, or state a field that is checked
quality:<source>:<field>:ok           valid values of a field
quality:<source>:<field>:<reason>     bad ones
quality:<source>:<field>:conflict     valid ones that are not what the customer's profile held
unread:<source>:<field>               values of a property that a figure or a rule reads as a number, and that
                                      are none
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from flows.logic.fields.check import OK, QUALITY
from schemas.records.customer_profile import Fragment
from schemas.wire.events import Fact

PREFIX: Final = "quality:"
CONFLICT: Final = "conflict"
UNREAD: Final = "unread:"
NOT_A_NUMBER: Final = "not_a_number"


def stated(fact: Fact, held: Fragment, count: Callable[[str], None]) -> list[tuple[str, str, str]]:
    """Count what this fact states, before it is added to `held`. The (source, field, outcome)s, for the
    metrics."""
    outcomes = []
    for name, said in fact.traits.items():
        if not name.startswith(QUALITY) or type(said) is not str:
            continue
        field = name.removeprefix(QUALITY)
        good = said.startswith(OK)
        outcomes.append((fact.channel, field, OK if good else said))
        before = held.traits.get(name)
        if (
            good
            and before is not None
            and type(before[1]) is str
            and before[1].startswith(OK)
            and before[1] != said
        ):
            outcomes.append((fact.channel, field, CONFLICT))
    if outcomes or fact.type == "identify":
        count(PREFIX + fact.channel)
        for outcome in outcomes:
            count(PREFIX + ":".join(outcome))
    return outcomes


def unread(source: str, fields: Iterable[str], count: Callable[[str], None]) -> list[tuple[str, str, str]]:
    """Count properties in which a number was looked for in vain. The (source, field, outcome)s, for the
    metrics."""
    outcomes = []
    for field in fields:
        count(f"{UNREAD}{source}:{field}")
        outcomes.append((source, field, NOT_A_NUMBER))
    return outcomes


class FieldQuality(msgspec.Struct, frozen=True):
    """One field of one source. Shares from 0 to 1; of nothing they are 0."""

    source: str
    field: str
    records: int  # of the source
    stated: int
    valid: int
    conflicts: int
    bad: dict[str, int]  # reason -> count, the most frequent first

    @property
    def coverage(self) -> float:
        return self.stated / self.records if self.records else 0.0

    @property
    def validity(self) -> float:
        return self.valid / self.stated if self.stated else 0.0

    @property
    def conflict_rate(self) -> float:
        return self.conflicts / self.valid if self.valid else 0.0


class Unread(msgspec.Struct, frozen=True):
    """One property of one source, and how many of its values should have been numbers and were none."""

    source: str
    field: str
    unread: int


def unread_report(totals: Mapping[str, int]) -> list[Unread]:
    """Return what the counters of all shards, added up, say; the most frequent first."""
    found = []
    for name, n in totals.items():
        if name.startswith(UNREAD):
            source, _, field = name.removeprefix(UNREAD).rpartition(":properties.")
            found.append(Unread(source, f"properties.{field}", n))
    return sorted(found, key=lambda one: (-one.unread, one.source, one.field))


def report(totals: Mapping[str, int]) -> list[FieldQuality]:
    """Return what the counters of all shards, added up, say; by source and field."""
    records: dict[str, int] = {}
    outcomes: dict[tuple[str, str], dict[str, int]] = {}
    for name, n in totals.items():
        if name.startswith(PREFIX):
            source, *rest = name.removeprefix(PREFIX).rsplit(":", 2)  # a field or an outcome has no colon
            if len(rest) == 2:
                outcomes.setdefault((source, rest[0]), {})[rest[1]] = n
            else:
                records[":".join((source, *rest))] = n
    found = []
    for (source, field), counts in sorted(outcomes.items()):
        valid, conflicts = counts.pop(OK, 0), counts.pop(CONFLICT, 0)
        bad = dict(sorted(counts.items(), key=lambda reason: (-reason[1], reason[0])))
        quality = FieldQuality(
            source=source,
            field=field,
            records=records.get(source, 0),
            stated=valid + sum(bad.values()),
            valid=valid,
            conflicts=conflicts,
            bad=bad,
        )
        found.append(quality)
    return found
