"""Counts what looks like personal data in fields that nobody listed: by source, event and field.

It looks at all of the first `FIRST` events, so that a report has something to say on the first day, and then
at one in `EVERY` or so: a hash of its id says how many are passed over before the next. What is counted is
bounded, and is an estimate: an event that is handled again is counted again.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final
from zlib import crc32

import msgspec

from flows.logic.fields.likely_personal import NAME, PERHAPS, kind_of, masked
from flows.logic.fields.personal import Personal
from schemas.records.personal_findings import FieldFindings, PersonalFindings

EVERY: Final = 512
FIRST: Final = 1_000
FIELDS_MAX: Final = 500
VALUES_MAX: Final = 64  # of one event
_DEPTH_MAX: Final = 8
_PATH_MAX: Final = 128
_INT_LEAST: Final = 10**9  # the smallest number that could be one of somebody
_FORGOTTEN_MS: Final = 30 * 86_400_000  # a field without a hit for so long is no longer told of
# What one value does not tell (names of people, numbers under the name of a code) most values of a field do,
# where they are many different ones.
_SHARE: Final = 0.5
_LEAST: Final = 8


class PersonalTally:
    """What one worker has seen. `held` goes on from what was stored."""

    def __init__(self, held: PersonalFindings | None = None) -> None:
        self._events = held.events if held else 0
        self._beyond = held.beyond if held else 0
        self._failed = held.failed if held else 0
        self._fields = {(one.source, one.event, one.field): one for one in held.fields} if held else {}
        self.changed = False  # since it was last stored
        self._now_ms = 0  # of the last event that was looked at
        self._passed_over = 0  # events that still are, before the next is looked at

    def samples(self, message: str) -> bool:
        """Return whether the event of this id is looked at; to be asked once for each event, in order."""
        if self._passed_over:
            self._passed_over -= 1
            return False
        if self._events >= FIRST:
            self._passed_over = crc32(message.encode(errors="replace")) % (2 * EVERY - 1)
        return True

    def look(
        self, source: str, event: str, stated: dict[str, dict[str, Any]], personal: Personal, now_ms: int
    ) -> None:
        """Look at the properties and traits of an event (`stated`, by what they are). Never raises."""
        self._events += 1
        self._now_ms = now_ms
        self.changed = True
        try:
            self._look(source, event, stated, personal, now_ms)
        except Exception:  # noqa: BLE001  # a defect of ours in what is only a report must not cost an event
            self._failed += 1

    def _look(
        self, source: str, event: str, stated: dict[str, dict[str, Any]], personal: Personal, now_ms: int
    ) -> None:
        year = 1970 + now_ms // 31_556_952_000
        found = (one for what, data in stated.items() for one in _values(data, what, personal, year))
        for (path, name, text), _ in zip(found, range(VALUES_MAX), strict=False):
            known = self._fields.get((source, event, path)) or self._new(source, event, path)
            if known is None:
                continue
            known.looked_at += 1
            looks = kind_of(name, text, personal, year)
            if looks is not None:
                kind, part = looks
                known.hits[kind] = known.hits.get(kind, 0) + 1
                if personal.redact(text, year, {}, name) == text:
                    known.kept[kind] = known.kept.get(kind, 0) + 1
                known.examples[kind] = masked(kind, part)
                bit = 1 << crc32(text.encode(errors="replace")) % 64
                known.different[kind] = known.different.get(kind, 0) | bit
                known.seen_ms = now_ms

    def findings(self) -> PersonalFindings:
        """Return what is to be stored: the fields that had a hit lately. The others are forgotten."""
        self.changed = False
        old = [
            key
            for key, one in self._fields.items()
            if one.hits and self._now_ms - one.seen_ms >= _FORGOTTEN_MS
        ]
        for key in old:
            del self._fields[key]
        hit = [one for one in self._fields.values() if one.hits]
        return PersonalFindings(self._events, hit, self._beyond, self._failed)

    def _new(self, source: str, event: str, path: str) -> FieldFindings | None:
        """A field that was not seen yet; where there is no room one without a hit makes some."""
        if len(self._fields) >= FIELDS_MAX:
            spare = next((key for key, one in self._fields.items() if not one.hits), None)
            if spare is None:
                self._beyond += 1
                return None
            del self._fields[spare]
        found = self._fields[source, event, path] = FieldFindings(source, event, path)
        return found


class LikelyPersonal(msgspec.Struct, frozen=True):
    """A field whose values look like personal data of one kind."""

    source: str
    event: str
    field: str
    kind: str
    looked_at: int
    hits: int
    kept: int  # of the hits: those that stay in the open
    example: str  # masked
    seen_ms: int


def report(workers: Iterable[PersonalFindings], now_ms: int) -> list[LikelyPersonal]:
    """Return what the workers have found together, what stays in the open first, then the most frequent."""
    whole: dict[tuple[str, str, str], FieldFindings] = {}
    for worker in workers:
        for one in worker.fields:
            if now_ms - one.seen_ms < _FORGOTTEN_MS:
                known = whole.setdefault(
                    (one.source, one.event, one.field), FieldFindings(one.source, one.event, one.field)
                )
                _add(known, one)
    rows = [_row(one, kind) for one in whole.values() for kind in one.hits if _is_told(one, kind)]
    return sorted(rows, key=lambda row: (-row.kept, -row.hits, row.source, row.event, row.field, row.kind))


def _row(one: FieldFindings, kind: str) -> LikelyPersonal:
    return LikelyPersonal(
        source=one.source,
        event=one.event,
        field=one.field,
        kind=kind,
        looked_at=one.looked_at,
        hits=one.hits[kind],
        kept=one.kept.get(kind, 0),
        example=one.examples[kind],
        seen_ms=one.seen_ms,
    )


def _is_told(one: FieldFindings, kind: str) -> bool:
    if kind != NAME and not kind.endswith(PERHAPS):
        return True
    return one.hits[kind] >= _SHARE * one.looked_at and one.different.get(kind, 0).bit_count() >= _LEAST


def _add(known: FieldFindings, one: FieldFindings) -> None:
    known.looked_at += one.looked_at
    for kind, n in one.hits.items():
        known.hits[kind] = known.hits.get(kind, 0) + n
        known.kept[kind] = known.kept.get(kind, 0) + one.kept.get(kind, 0)
        known.different[kind] = known.different.get(kind, 0) | one.different.get(kind, 0)
        if one.seen_ms >= known.seen_ms or kind not in known.examples:
            known.examples[kind] = one.examples[kind]
    known.seen_ms = max(known.seen_ms, one.seen_ms)


def _values(
    data: dict[str, Any], path: str, personal: Personal, year: int, depth: int = _DEPTH_MAX
) -> Iterator[tuple[str, str, str]]:
    """Path, own name and text of each value; not of what only we write."""
    for name, value in data.items():
        if name.startswith("$"):
            continue
        shown = personal.redact(name, year, {}, "id")  # a name may be a value itself
        yield from _of(value, f"{path}.{shown}"[:_PATH_MAX], name, personal, year, depth)


def _of(
    value: Any, path: str, name: str, personal: Personal, year: int, depth: int
) -> Iterator[tuple[str, str, str]]:
    if type(value) is str:
        if value:
            yield path, name, value
    elif type(value) is int and value >= _INT_LEAST:
        yield path, name, str(value)
    elif type(value) is dict and depth:
        yield from _values(value, path, personal, year, depth - 1)
    elif type(value) is list and depth:
        for item in value:
            yield from _of(item, f"{path}.*"[:_PATH_MAX], name, personal, year, depth - 1)
