"""What a facet keeps in fragments: under rules that name it, and under no others."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.logic.facets import vocabulary
from flows.logic.profile.facet_figures import FacetFigure
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules, problems
from flows.logic.rules.slips import slips
from schemas.config import Rules
from schemas.config.toml import rules_from
from schemas.records.customer_profile import Fragment, Profile
from tests.world import DAY, START_MS, document, fact


def _count(state: Any, time_ms: int, properties: dict[str, Any]) -> Any:
    return (state or 0) + 1


SEEN = FacetFigure(
    "seen",
    "number",
    update=_count,
    merge=lambda a, b: a + b,
    read=lambda state, now_ms: state or 0,
    doc="events of any type",
)
NAMES_IT = '[[tag]]\nname = "t"\nwhen = "seen > 1"\n'
AGGREGATE = '[[aggregate]]\nname = "seen"\nof = "count"\non = ["Bought"]\n'


def rules(text: str) -> Rules:
    return rules_from(document(text))


def compiled(text: str) -> CompiledRules:
    return CompiledRules(rules(text), 1, 64, 1, (SEEN,))


def added(made: CompiledRules, *types: Any) -> Fragment:
    fragment = Fragment()
    for n, kind in enumerate(types):
        made.fragments.add(fragment, fact(at=START_MS + n * DAY, type=kind), b"%06d" % n)
    return fragment


def test_rules_that_name_it_keep_it_for_events_of_every_type_and_read_it() -> None:
    made = compiled(NAMES_IT)
    fragment = added(made, "track", "identify", "page", "screen", "group", "alias")
    assert fragment.aggregates == {SEEN.slot: 6}
    view = EvaluationContext(made.reads)
    view.p, view.f, view.now = Profile(), fragment, START_MS
    [(_, when, *_)] = made.tags
    assert when(view) is True
    both = made.fragments.merge(added(made, "track"), fragment)
    assert both.aggregates == {SEEN.slot: 7}


def test_rules_that_do_not_name_it_write_what_they_wrote_before() -> None:
    plain = NAMES_IT.replace("seen", "events")
    without = CompiledRules(rules(plain), 1, 64)
    records = {msgspec.msgpack.encode(added(made, "track", "page")) for made in (compiled(plain), without)}
    assert len(records) == 1
    assert compiled(plain).reads == without.reads == {}


def test_an_aggregate_of_the_same_name_goes_before() -> None:
    made = compiled(AGGREGATE + NAMES_IT)
    assert added(made, "track").aggregates == {}
    assert made.of_facets == {}


@pytest.mark.parametrize("figures", [(), (SEEN,)])
def test_the_check_knows_it(figures: tuple[FacetFigure, ...]) -> None:
    found = rules(NAMES_IT + '[[segment]]\nname = "all"\nwhen = "True"\n')
    assert bool(problems(found, figures)) == (not figures)
    assert list(slips(found, figures)) == []


def test_facets_bring_names_that_nobody_else_has() -> None:
    from flows.logic.rules.evaluation_context import NAMES
    from schemas.config import EXPRESSION_NAMES

    names = [figure.name for figure in vocabulary.FIGURES]
    assert len(names) == len(set(names))
    assert not set(names) & (NAMES.keys() | EXPRESSION_NAMES.keys())


def test_the_reference_says_what_facets_add() -> None:
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    for figure in vocabulary.FIGURES:
        assert f"| `{figure.name}` | {figure.kind} | {figure.doc} |" in page, (
            "add it to schemas.config.reference"
        )
