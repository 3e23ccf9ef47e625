"""What expressions do with values whose type is not known beforehand: whatever comes, nothing here raises.

A value of the wrong type, a missing one (None), a division by zero and an overflow all make a calculation
None and a comparison False. Truth values are not numbers here. A text that is a number
(`flows.logic.expressions.numbers`) is one to every calculation, and beside a number to every comparison:
cells of tables are all text.
"""

from collections.abc import Callable
from typing import Any, Final

from flows.logic.expressions.numbers import number_of

_FAULTS: Final = (
    ArithmeticError,
    ValueError,
)  # overflow, division by zero; rounding of infinity or not-a-number
_NUMBERS: Final[frozenset[type]] = frozenset((int, float))
_COLLECTIONS: Final = (set, frozenset, list, tuple, dict)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and value.__class__ is not bool


def less(a: Any, b: Any) -> bool:
    if type(a) in _NUMBERS and type(b) in _NUMBERS:  # at once: it is asked for each event
        return bool(a < b)
    pair = _ordered(a, b)
    return bool(pair is not None and pair[0] < pair[1])


def less_or_equal(a: Any, b: Any) -> bool:
    if type(a) in _NUMBERS and type(b) in _NUMBERS:
        return bool(a <= b)
    pair = _ordered(a, b)
    return bool(pair is not None and pair[0] <= pair[1])


def _ordered(a: Any, b: Any) -> tuple[Any, Any] | None:
    """Both as numbers, else both as texts; None where neither will do."""
    if a is None or b is None:
        return None
    x, y = number_of(a), number_of(b)
    if x is not None and y is not None:
        return x, y
    return (a, b) if isinstance(a, str) and isinstance(b, str) else None


def equal(a: Any, b: Any) -> bool:
    """Return whether both are equal: where one is a number, a text is the number that it says; two texts are
    as they are written."""
    if a.__class__ is str:
        if is_number(b):
            a = number_of(a)
    elif b.__class__ is str and is_number(a):
        b = number_of(b)
    return bool(a == b)


def listed(value: Any, values: tuple[Any, ...]) -> bool:
    """Return `value in values`; a text also as the number that it says."""
    return value in values or (
        value.__class__ is str and (number := number_of(value)) is not None and number in values
    )


def among(value: Any, collection: Any) -> bool:
    """Return `value in collection`; text is not a collection of its letters."""
    try:
        return value is not None and isinstance(collection, _COLLECTIONS) and value in collection
    except TypeError:  # a list looked for in a set
        return False


def not_among(value: Any, collection: Any) -> bool:
    """Return whether it is not among them: False as well where either is missing, for then nothing is
    known."""
    return value is not None and isinstance(collection, _COLLECTIONS) and not among(value, collection)


def _numeric(calculate: Callable[..., Any]) -> Callable[..., Any]:
    """`calculate` for numbers; None for all else."""

    def calculated(*values: Any) -> Any:
        numbers = tuple(map(number_of, values))
        try:
            return None if None in numbers else calculate(*numbers)
        except _FAULTS:
            return None

    return calculated


def length(value: Any) -> int | None:
    return len(value) if isinstance(value, (str, *_COLLECTIONS)) else None


def lower(value: Any) -> str | None:
    return value.lower() if isinstance(value, str) else None


def upper(value: Any) -> str | None:
    return value.upper() if isinstance(value, str) else None


def startswith(value: Any, prefix: Any) -> bool:
    return isinstance(value, str) and isinstance(prefix, str) and value.startswith(prefix)


def contains(value: Any, part: Any) -> bool:
    return isinstance(value, str) and isinstance(part, str) and part in value


# What generated source may call. The plain built-ins are for values whose type is known.
OPERATIONS: Final[dict[str, Callable[..., Any]]] = {
    "_less": less,
    "_less_or_equal": less_or_equal,
    "_equal": equal,
    "_listed": listed,
    "_among": among,
    "_not_among": not_among,
    "_add": _numeric(lambda a, b: a + b),
    "_subtract": _numeric(lambda a, b: a - b),
    "_multiply": _numeric(lambda a, b: a * b),
    "_divide": _numeric(lambda a, b: a / b),
    "_modulo": _numeric(lambda a, b: a % b),
    "_negative": _numeric(lambda a: -a),
    "_min": _numeric(min),
    "_max": _numeric(max),
    "_abs": _numeric(abs),
    "_round": _numeric(round),
    "_number": number_of,
    "_len": length,
    "_lower": lower,
    "_upper": upper,
    "_startswith": startswith,
    "_contains": contains,
    "abs": abs,
    "len": len,
    "max": max,
    "min": min,
}
