"""When something was stated, as traits and sealed fields keep it: the last writer wins, and of two at the
same time always the same one.

A mark of the event's messageId stands behind the milliseconds. So all that one event states wins or loses
together, a value with what entry noted about it, in the open record and in the sealed one, whichever event
comes first and however often it is sealed again.
"""

from typing import Final

_TIE_BITS: Final = (
    20  # two events of a millisecond have one mark once in a million times; then the larger text wins
)
_BASE: Final = 1 << 62  # records of before hold milliseconds alone, which are smaller


def stated_at(time_ms: int, message: bytes) -> int:
    """Return the moment of an event; `message` begins with the hash of its messageId."""
    return _BASE + (time_ms << _TIE_BITS | int.from_bytes(message[:3]) >> 4)


def stated_ms(moment: int) -> int:
    """Return the time of an event, in Unix milliseconds.

    >>> stated_ms(stated_at(1_700_000_000_000, b"any"))
    1700000000000
    """
    return in_order(moment) - _BASE >> _TIE_BITS


def in_order(moment: int) -> int:
    """Return what moments of both forms are compared by.

    >>> in_order(5) < stated_at(5, b"any") < in_order(6)
    True
    """
    return moment if moment >= _BASE >> 1 else _BASE + (moment << _TIE_BITS)
