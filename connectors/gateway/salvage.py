"""Taking JSON apart where no decoder does: by its strings, commas and brackets alone, in short turns.

A batch with one item that is no JSON is no JSON as a whole. Its items are found all the same, byte for byte,
and each is then judged by itself. Raises `ValueError` where not even the brackets hold.
"""

import re
from collections.abc import AsyncIterator
from random import randrange
from typing import Final

from connectors.gateway.turns import Turns

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_string: Final = re.compile(_STRING, re.DOTALL).match
_scalar: Final = re.compile(rb"[^\s,:\[\]{}\"]++").match
# the next, outside of strings
_brackets: Final = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+([\[{]++|[\]}])", re.DOTALL).match
_space: Final = re.compile(rb"[ \t\r\n]*+").match
_CROWD = 50_000  # commas, more than a batch of 500 KB has that holds events
_SAMPLE = 61  # one byte of this many
_LOOK_EVERY = 64  # brackets between two looks at the clock


async def members_of(body: bytes) -> dict[bytes, bytes]:
    """Return the members of an object, names and values as they stand."""
    found: dict[bytes, bytes] = {}
    name = b""
    async for sort, part in _parts(body, b"{", b"}"):
        if sort == b":":
            name = part[1:-1]
        else:
            found[name] = part
    return found


async def items_of(body: bytes, most: int) -> list[bytes]:
    """Return the items of a list, as they stand; where there are more than `most`, one more than that."""
    found: list[bytes] = []
    async for _, part in _parts(body, b"[", b"]"):
        found.append(part)
        if len(found) > most:
            break
    return found


def crowded(body: bytes) -> bool:
    """Return whether it may hold so many values that a decoder, which makes all of them at once, would
    keep the others waiting."""
    if len(body) < _CROWD:
        return False
    # counting them all would take a tenth of the time that decoding does
    sample = body[randrange(_SAMPLE) :: _SAMPLE]
    return sample.count(b",") * _SAMPLE > _CROWD


async def _parts(body: bytes, opening: bytes, closing: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
    """Each value with the sign behind it: a colon where it is a name, else a comma or the end."""
    turns = Turns()
    at = _behind_space(body, 0)
    if body[at : at + 1] != opening:
        raise ValueError(f"expected {opening!r}")
    at = _behind_space(body, at + 1)
    empty = body[at : at + 1] == closing
    named = opening == b"["  # a value may come
    while not empty:
        end = await _end(body, at, turns)
        after = _behind_space(body, end)
        sign = body[after : after + 1]
        if sign not in ((b",", closing) if named else (b":",)):
            raise ValueError(f"expected a comma or {closing!r}")
        yield sign, body[at:end]
        await turns.pause()
        named = opening == b"[" or not named
        at = after if sign == closing else _behind_space(body, after + 1)
        empty = sign == closing
    if _behind_space(body, at + 1) != len(body):
        raise ValueError("expected the end")


async def _end(body: bytes, at: int, turns: Turns) -> int:
    """Where the value that begins at `at` ends."""
    if body[at : at + 1] not in (b"[", b"{"):
        found = _string(body, at) or _scalar(body, at)
        if found is None:
            raise ValueError("expected a value")
        return found.end()
    depth = looked = 0
    while True:
        bracket = _brackets(body, at)
        if bracket is None:
            raise ValueError("a bracket or a string has no end")
        at = bracket.end()
        depth += -1 if body[at - 1] in b"]}" else at - bracket.start(1)
        if depth == 0:
            return at
        looked += 1
        if looked % _LOOK_EVERY == 0:
            await turns.pause()


def _behind_space(body: bytes, at: int) -> int:
    found = _space(body, at)
    assert found is not None  # it may be empty
    return found.end()
