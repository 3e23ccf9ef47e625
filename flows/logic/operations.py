"""What expressions do with values whose type is not known beforehand: whatever comes, nothing here raises.

A value of the wrong type, a missing one (None), a division by zero and an overflow all make a calculation None and a
comparison False. Truth values are not numbers here.
"""

from collections.abc import Callable
from typing import Any, Final

_FAULTS: Final = (ArithmeticError, ValueError)  # overflow, division by zero; rounding of infinity or not-a-number
_COLLECTIONS: Final = (set, frozenset, list, tuple, dict)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and value.__class__ is not bool


def _ordered(a: Any, b: Any) -> bool:
    return (is_number(a) and is_number(b)) or (isinstance(a, str) and isinstance(b, str))


def less(a: Any, b: Any) -> bool:
    return bool(_ordered(a, b) and a < b)


def less_or_equal(a: Any, b: Any) -> bool:
    return bool(_ordered(a, b) and a <= b)


def among(value: Any, collection: Any) -> bool:
    """`value in collection`; text is not a collection of its letters."""
    try:
        return value is not None and isinstance(collection, _COLLECTIONS) and value in collection
    except TypeError:  # a list looked for in a set
        return False


def not_among(value: Any, collection: Any) -> bool:
    """False as well where either is missing: then nothing is known."""
    return value is not None and isinstance(collection, _COLLECTIONS) and not among(value, collection)


def _numeric(calculate: Callable[..., Any]) -> Callable[..., Any]:
    """`calculate` for numbers; None for all else."""

    def calculated(*values: Any) -> Any:
        try:
            return calculate(*values) if all(map(is_number, values)) else None
        except _FAULTS:
            return None

    return calculated


def number(value: Any) -> Any:
    return value if is_number(value) else None


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
    "_number": number,
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
