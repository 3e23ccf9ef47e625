"""Two people, their browsers, and rules in short, for tests of what a shard does with its log."""

from typing import Any

from schemas.wire.triggers import Trigger
from tests.world import MINUTE, SECOND, World, person, visitor

ANA, BOB = person("ana"), person("bob")
V, W = visitor("v"), visitor("w")

ORDERS = """
[value]
events = ["Bought"]
[[aggregate]]
name = "orders"
of = "count"
on = ["Bought"]
[[aggregate]]
name = "week"
of = "count"
on = ["Bought"]
over = "7d"
"""


def tag(name: str, when: str, **options: str) -> str:
    return f'[[tag]]\nname = "{name}"\nwhen = "{when}"\n' + "".join(
        f'{key} = "{value}"\n' for key, value in options.items()
    )


def segment(name: str, when: str) -> str:
    return f'[[segment]]\nname = "{name}"\nwhen = "{when}"\n'


def trigger(name: str, on: str, **options: str) -> str:
    return f'[[trigger]]\nname = "{name}"\non = {{{on}}}\n' + "".join(
        f'{key} = "{value}"\n' for key, value in options.items()
    )


def events(world: World, who: Any = ANA) -> int:
    return sum(fragment.events for fragment in world.profile(who).fragments.values())


class Constant:
    """A model that says what it was told to say."""

    def __init__(self, score: float) -> None:
        self._score = score

    def score(self, values: list[float]) -> float:
        return self._score

    def explain(self, values: list[float]) -> list[tuple[str, float]]:
        return [("recency", 1.23456), ("age", -0.5), ("events", 0.25), ("gap", 0.1)]


SCORES = {1: Constant(0.2), 2: Constant(0.9)}
RISK = (
    '[churn]\nenabled = true\nhorizon = "2d"\nevery = "1d"\n'
    + trigger("risky", "score_above = {churn = 0.8}")
    + trigger("safe", "score_below = {churn = 0.5}")
)
LEFT = trigger("left", 'after = "Added", without = "Bought", within = "30m"')


def waited(world: World) -> list[Trigger]:
    """Let half an hour and a bit pass."""
    world.later(30 * MINUTE)
    world.later(SECOND)
    return world.triggers()
