"""A row of a table as an event: which column is which field, and how cells become JSON."""

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from flows.logic.fields.check import folded
from schemas.config import Config
from schemas.errors import ConfigError

Kind = Literal["identify", "track"]
_UTC: Final = ZoneInfo("UTC")
TOP: Final = ("userId", "anonymousId", "timestamp", "event")  # fields of the message itself
_OF_HEADING: Final = {folded(name): name for name in TOP} | {"用户id": "userId", "用户编号": "userId"}
_INSIDE: Final = ("traits", "properties", "context")


def mapping(pairs: Sequence[str], kind: Kind) -> dict[str, tuple[str, ...]]:
    """Return the places of `COLUMN=field` pairs. A field is one of `TOP`, a path such as `traits.email` or
    `context.device.id`, or the name of a trait (for `track`: of a property). Raises `ConfigError`."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        column, equals, field = pair.rpartition("=")
        if not (equals and column and field):
            raise ConfigError(f"--map {pair}: expected COLUMN=field, such as 手机号=phone")
        if column in found:
            raise ConfigError(f"--map {pair}: the column is mapped twice")
        found[column.strip()] = place(field.strip(), kind)
    if len(set(found.values())) < len(found):
        raise ConfigError("--map: two columns have the same field")
    return found


def place(field: str, kind: Kind) -> tuple[str, ...]:
    """Return where a field stands in a message."""
    if field in TOP:
        return (field,)
    first, *rest = field.split(".")
    if first == "traits" and kind == "track":
        return ("context", "traits", ".".join(rest))
    if first in _INSIDE and rest and all(rest):
        return (first, *rest) if first == "context" else (first, ".".join(rest))
    return ("traits" if kind == "identify" else "properties", field)


def guessed(columns: Sequence[str], kind: Kind) -> dict[str, tuple[str, ...]]:
    """Place each column under its own heading; those that look like a field of the message are that."""
    found: dict[str, tuple[str, ...]] = {}
    for column in columns:
        where = place(_OF_HEADING.get(folded(column), column), kind)
        if column and where not in found.values():
            found[column] = where
    return found


def unidentified(places: Mapping[str, tuple[str, ...]], config: Config) -> str:
    """Return what to map, where no column can say who a row is about, so that each row would be rejected;
    empty where one can."""
    wanted = [tuple(path.split(".")) for namespace in config.identity.namespace for path in namespace.paths]
    # A column may hold the object around it.
    if any(path[: len(at)] == at for at in places.values() for path in wanted):
        return ""
    tries = [
        f"--map {column}={path[-1]}"
        for column in places
        for path in wanted
        if _alike(column, path[-1], config)
    ]
    shown = " ".join(dict.fromkeys(tries)) or "--map COLUMN=userId"
    return f"no column is an identifier, so no row could be sent: {', '.join(places)}; try {shown}"


def _alike(column: str, field: str, config: Config) -> bool:
    """Whether a heading and a field are names of the same kind of value."""
    kinds = ({folded(name) for name in entry.names} for entry in config.entry.field)
    return any(folded(column) in names and folded(field) in names for names in kinds)


def builder(
    places: Mapping[str, tuple[str, ...]],
    kind: Kind,
    event: str | None,
    backfill: bool = False,
    zone: ZoneInfo = _UTC,
    read: Callable[[str, Any], Any] = lambda _column, value: value,
) -> Callable[[Mapping[str, Any], str], dict[str, Any]]:
    """Return (row, messageId) -> message. Empty cells are left out. `backfill`: they say that they are
    history. `zone`: of times that have none. `read`: what a cell of a column means."""
    columns = list(places.items())

    def build(row: Mapping[str, Any], message_id: str) -> dict[str, Any]:
        message: dict[str, Any] = {"type": kind, "messageId": message_id}
        if event is not None:
            message["event"] = event
        for column, path in columns:
            value = cell(read(column, row.get(column)))
            if value is None or value == "":
                continue
            inside = message
            for step in path[:-1]:
                inside = inside.setdefault(step, {})
            inside[path[-1]] = zoned(value, zone) if path == ("timestamp",) else value
        if backfill:
            message.setdefault("context", {})["backfill"] = True
        return message

    return build


def zoned(value: Any, zone: ZoneInfo) -> Any:
    """Return a time that says no zone with that one; what is no such time stays for validation to judge.

    >>> zoned("2026-01-31 08:00", ZoneInfo("Asia/Shanghai"))
    '2026-01-31T08:00:00+08:00'
    """
    if zone is _UTC or not isinstance(value, str):
        return value
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        return value
    return value if moment.tzinfo is not None else moment.replace(tzinfo=zone).isoformat()


def cell(value: Any) -> Any:
    """Return a cell as JSON has it: text without blanks around it, dates in ISO 8601, whole numbers whole."""
    match value:
        case str():
            return value.strip()
        case bool() | int() | None:
            return value
        case float():
            if not math.isfinite(value):
                return None
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case dict():
            return {str(name): cell(inner) for name, inner in value.items()}
        case list() | tuple():
            return [cell(inner) for inner in value]
        case bytes():
            return value.decode(errors="replace")
        case UUID():
            return str(value)
        case _:
            return str(value)
