"""The letters on the wire: each means one thing where it stands, and never changes."""

from typing import get_args

import pytest

from schemas.records.journal import JournalKind
from schemas.records.match_log import AnyMatchKind, MatchKind
from schemas.records.outbox_lanes import LANES, QUEUES, Lane
from schemas.records.shard_log import Kind, LogKind


def letters(kinds: type) -> dict[str, str]:
    return {name: letter for name, letter in vars(kinds).items() if name.isupper()}


@pytest.mark.parametrize("kinds", [LogKind, JournalKind, MatchKind, Lane])
def test_no_letter_means_two_things(kinds: type) -> None:
    found = letters(kinds)
    assert len(set(found.values())) == len(found)
    assert all(len(letter) == 1 for letter in found.values())


def test_the_types_name_every_letter() -> None:
    assert set(letters(LogKind).values()) == set(get_args(Kind))
    assert set(letters(MatchKind).values()) == set(get_args(AnyMatchKind))
    assert {*LANES, Lane.QUARANTINE} == set(letters(Lane).values())
    assert {*QUEUES, Lane.DECISIONS} == set(LANES)


def test_they_are_those_of_what_is_stored() -> None:
    """Logs, journals, outboxes and archives of every release hold these."""
    assert letters(LogKind) == {
        "EXPECT": "x", "EVENTS": "e", "LEND": "l", "RETIRE": "r", "SPLIT": "s",
        "ERASE": "z", "ABSORB": "a", "TICK": "t", "CONFIG": "c", "MODEL": "m", "NOT_SENT": "n",
    }  # fmt: skip
    assert letters(JournalKind) == {
        "WINDOW": "w", "ABSORB": "a", "TICK": "t", "CONFIG": "c", "MODEL": "m", "READMITTED": "e",
        "HEARD": "h", "NOT_SENT": "n",
    }  # fmt: skip
    assert letters(Lane) == {
        "TRIGGERS": "t", "ABSORBS": "i", "EXAMPLES": "x", "DECISIONS": "d", "QUARANTINE": "q",
    }  # fmt: skip
    assert letters(MatchKind) == {"RECORDS": "r", "DECISIONS": "d", "ERASED": "x"}
