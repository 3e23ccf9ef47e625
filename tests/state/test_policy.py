"""What forbids a union at a limit, as the directory and those who ask beforehand both see it."""

import pytest

from state.directory.policy import AtLimit, Policy

FOUNDER, MADE_UP, MORE, OTHERS = (1, b"founder"), (1, b"made up"), (1, b"more"), (0, b"user")
HELD = [OTHERS, FOUNDER, MADE_UP, MORE]
SPARED = [b"user", b"founder"]


@pytest.mark.parametrize(
    ("at_limit", "leaving", "forbidden"),
    [
        ("refuse", [], [True, True, True]),
        ("oldest", [FOUNDER, MADE_UP, MORE], [False, False, False]),
        ("newcomer", [MADE_UP, MORE], [False, False, True]),
        ("review", [], [True, True, True]),
    ],
)
def test_who_leaves_and_how_many_too_many_forbid_a_union(
    at_limit: AtLimit, leaving: list[tuple[int, bytes]], forbidden: list[bool]
) -> None:
    policy = Policy(at_limit=("refuse", at_limit))
    assert list(policy.leaving(1, HELD, SPARED)) == leaving
    assert [policy.forbids(1, excess, "event", HELD, SPARED) for excess in (1, 2, 3)] == forbidden


def test_what_a_steward_was_asked_and_said_is_not_forbidden() -> None:
    policy = Policy(at_limit=("review", "review"))
    assert not policy.forbids(1, 3, "review", HELD, SPARED)
    assert policy.forbids(0, 1, "review", HELD, SPARED)
