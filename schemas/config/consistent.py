"""What one value of the configuration demands of another. No logic of the flows is needed for any of it.

Expressions are not looked at here: they belong to `flows.logic`, and `millrace check` adds what is wrong with
them.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

from schemas import patterns
from schemas.config import Config
from schemas.config.consistent_machinery import machinery_problems
from schemas.config.consistent_rules import rules_problems
from schemas.config.locate import Path

Found = Iterator[tuple[Path, str]]

_PATTERNS_MAX = 64


def inconsistencies(config: Config, broken: Collection[Path]) -> Found:
    """Yield (path, message) of each. Places in `broken` hold no real value, and are not looked at."""
    for check in (_names, rules_problems, _identity, machinery_problems):
        for path, message in check(config):
            if not _rests_on(path, broken):
                yield path, message


def _rests_on(path: Path, broken: Collection[Path]) -> bool:
    """Return whether what is found at this place comes of a broken one: around it, in it, or what its kind
    is."""
    kinds = (*path[:2], "of"), (*path[:2], "type")  # what else an entry must have depends on these
    return any(
        path[: len(place)] == place or place[: len(path)] == path or place in kinds for place in broken
    )


def _names(config: Config) -> Found:
    """Whatever is called by a name has that name for itself."""
    named: dict[str, list[str]] = {
        "aggregate": [entry.name for entry in config.aggregate],
        "segment": [entry.name for entry in config.segment],
        "model": [entry.name for entry in config.model],
        "tag": [entry.name for entry in config.tag],
        "action": [entry.name for entry in config.action],
        "trigger": [entry.name for entry in config.trigger],
        "connector": [entry.name for entry in config.connector],
    }
    for table, names in named.items():
        yield from _twice(names, partial(_name_of, table), table)
    yield from _twice(
        [entry.event for entry in config.validate.plan],
        lambda index: ("validate", "plan", index, "event"),
        "plan for",
    )
    yield from _twice(
        [entry.name for entry in config.identity.namespace],
        lambda index: ("identity", "namespace", index, "name"),
        "namespace",
    )


def _name_of(table: str, index: int) -> Path:
    return (table, index, "name")


def _twice(names: Sequence[str], path: Callable[[int], Path], what: str) -> Found:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield path(index), f"there is another {what} `{name}`"


def _identity(config: Config) -> Found:
    if not config.identity.namespace:
        yield ("identity", "namespace"), "without a namespace nobody can be known"
    if len(config.identity.blocked_patterns) > _PATTERNS_MAX:
        yield ("identity", "blocked_patterns", _PATTERNS_MAX), f"more than {_PATTERNS_MAX} patterns"
    for index, pattern in enumerate(config.identity.blocked_patterns):
        try:
            patterns.whole(pattern)
        except ValueError as error:
            yield ("identity", "blocked_patterns", index), str(error)
