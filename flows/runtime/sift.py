"""Finding what our own logic raises on among much that is good: it is put aside, and the rest goes on as if
it had never come."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from flows.logic.shard.quarantine import places
from schemas import metrics
from schemas.errors import Fatal
from state.redis.client import INFRASTRUCTURE

log = structlog.get_logger()

Item = TypeVar("Item")
Made = TypeVar("Made")
Poison = tuple[Item, Exception]


def sift(
    items: Sequence[Item], attempt: Callable[[Sequence[Item]], Made], what: str
) -> tuple[Made, list[Poison[Item]]]:
    """Return what `attempt` makes of all items but those that it raises on, and these with what was raised.

    Each attempt begins from the same state, and leaves it if it raises. It takes them in order, so what
    raises is the last of the shortest part from the beginning that does. Raises `Fatal`, naming `what`, if it
    raises on no items at all; what `INFRASTRUCTURE` names is raised as it is.
    """
    good: list[Item] = []
    poison: list[Poison[Item]] = []
    rest = list(items)
    while True:
        made, raised = _tried(attempt, [*good, *rest])
        if raised is None:
            assert made is not None
            return made[0], poison
        if not good:
            _check_empty(attempt, what)
        count, raised = _first(attempt, good, rest, raised)
        good += rest[: count - 1]
        poison.append((rest[count - 1], raised))
        rest = rest[count:]


def _tried(
    attempt: Callable[[Sequence[Item]], Made], items: Sequence[Item]
) -> tuple[tuple[Made] | None, Exception | None]:
    try:
        return (attempt(items),), None
    except INFRASTRUCTURE:
        raise
    except Exception as error:  # noqa: BLE001  # a defect of ours on one of them
        return None, error


def _check_empty(attempt: Callable[[Sequence[Item]], Made], what: str) -> None:
    _, raised = _tried(attempt, [])
    if raised is not None:
        raise Fatal(
            f"{what}: {where(raised)}. This is a defect of millrace, nothing is lost: install a build "
            "without it"
        ) from raised


def _first(
    attempt: Callable[[Sequence[Item]], Made], good: Sequence[Item], rest: Sequence[Item], raised: Exception
) -> tuple[int, Exception]:
    """Return how many of `rest` it takes until an attempt raises, and what it raises. The first steps double,
    for where one is bad others often are."""
    fine, bad, step = 0, len(rest), 1
    while fine + 1 < bad:
        middle = min(fine + step, (fine + bad) // 2)
        step *= 2
        _, found = _tried(attempt, [*good, *rest[:middle]])
        if found is None:
            fine = middle
        else:
            bad, raised = middle, found
    return bad, raised


def where(error: BaseException) -> str:
    """Return what tells one defect from another. (Never the exception's own words, which may hold personal
    data.)"""
    return f"{type(error).__name__} at {places(error)[-1]}"


def story(error: BaseException) -> str:
    """Return the same, with the way that led there."""
    way = [place for place in places(error) if not place.startswith(__name__)]
    return f"{type(error).__name__} at {' < '.join(reversed(way))}"


def note(flow: str, error: BaseException, **place: object) -> None:
    """Log and count something that was put aside."""
    metrics.PUT_ASIDE.labels(flow, where(error)).inc()
    log.error("put_aside", flow=flow, where=where(error), **place, see="millrace dead list --reason poison")
