"""What a customer does not allow is taken away, and comes back when it is allowed again."""

import pytest

from flows.logic.facets.vocabulary import problems
from schemas.config.toml import read, rules_document, rules_from
from tests.world import HOUR, START_MS, World, person, visitor

RULES = """
[[aggregate]]
name = "views"
of = "count"
on = ["Viewed"]
[[tag]]
name = "browser"
when = "views >= 1"
ttl = "30d"
purposes = ["marketing", "personalisation"]
[[tag]]
name = "plain"
when = "views >= 1"
[[segment]]
name = "fans"
when = "views >= 1"
purposes = ["marketing"]
[[segment]]
name = "rest"
when = "True"
[[trigger]]
name = "gone"
on = {tag_left = "browser"}
"""


class Half:
    """A model that cannot tell."""

    def score(self, values: list[float]) -> float:
        return 0.5

    def explain(self, values: list[float]) -> list[tuple[str, float]]:
        return [("everything", sum(values))]


ANA, WEB = person("ana"), visitor("web")


def test_tags_and_segments_go_and_come_back() -> None:
    world = World(RULES)
    world.send(ANA)
    assert (sorted(world.profile(ANA).tags), world.profile(ANA).segment) == (["browser", "plain"], "fans")
    world.send(ANA, refused=["marketing"])
    assert (sorted(world.profile(ANA).tags), world.profile(ANA).segment) == (["browser", "plain"], "rest")
    world.send(ANA, refused=["marketing", "personalisation"])
    assert sorted(world.profile(ANA).tags) == ["plain"]
    assert world.counters().get("tag:browser", 0) == 0
    assert world.triggers() == []
    world.at(START_MS + HOUR)
    assert sorted(world.profile(ANA).tags) == ["plain"]
    world.send(ANA)
    assert sorted(world.profile(ANA).tags) == ["browser", "plain"]


def test_of_two_who_become_one_the_more_restrictive_counts_until_the_next_fact() -> None:
    world = World(RULES)
    world.send(ANA)
    world.send(WEB, refused=["marketing", "personalisation"])
    world.send([ANA, WEB], refused=["marketing", "personalisation"])
    world.forward()
    assert world.profile(ANA).refused == ["marketing", "personalisation"]
    assert sorted(world.profile(ANA).tags) == ["plain"]


def test_scores_of_a_purpose_that_is_refused_are_forgotten() -> None:
    world = World(RULES + "[churn]\nenabled = true\n", scorers={1: Half()})
    world.announce_model(1)
    world.send(ANA)
    assert "churn" in world.profile(ANA).scores
    world.send(ANA, refused=["marketing"])
    assert "churn" not in world.profile(ANA).scores


TRIGGER = '[[trigger]]\nname = "x"\non = {event = "A"}\npurpose = '
TAG = '[[tag]]\nname = "x"\nwhen = "visits > 1"\n'


@pytest.mark.parametrize(
    ("more", "place"),
    [
        (TRIGGER + '"marketing"\nwhen = "visits > 1"', "trigger[0].when"),
        (TRIGGER + '"marketing"\nwhen = "\'care\' in tags"', "trigger[0].when"),
        (
            TRIGGER.replace("event", "tag_entered").replace("A", "care") + '"sales"',
            "trigger[0].on.tag_entered",
        ),
        (TAG, "tag[1].when"),
        (TAG + 'purposes = ["service", "sales"]', "tag[1].when"),
        (TRIGGER + '"service"\nwhen = "visits > 1"', None),
        (TAG + 'purposes = ["service"]', None),
    ],
)
def test_what_may_serve_one_purpose_is_refused_to_another(more: str, place: str | None) -> None:
    rules = f"""
[[aggregate]]
name = "visits"
of = "count"
purposes = ["service"]
[[tag]]
name = "care"
when = "events > 1"
purposes = ["service"]
{more}
"""
    reading = read(rules)
    assert not reading.problems
    found = problems(rules_from(rules_document(reading.config)))
    assert [where for where, _ in found] == ([] if place is None else [place])
