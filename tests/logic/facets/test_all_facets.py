"""A facet is called for what it does, in the order of the list, and for nothing else."""

from typing import Any

import pytest

from flows.logic.facets import all_facets
from flows.logic.facets.facet import Facet
from flows.logic.rules.ruleset import CompiledRules, EvaluationContext

VERBS = [name for name in vars(Facet) if not name.startswith("_") and name != "figures"]


class Shown(Facet):
    """Does one thing."""

    def show(self, rules: CompiledRules, view: EvaluationContext) -> dict[str, Any]:
        return {"shown": 1}


@pytest.mark.breaking
@pytest.mark.parametrize("verb", VERBS)
def test_a_facet_is_not_called_for_what_it_does_not_do(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Shown()
    monkeypatch.setattr(all_facets, "FACETS", (toy,))
    assert all_facets.having(verb) == ((toy.show,) if verb == "show" else ())


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_is_asked_of_those_that_have_it_in_their_order(verb: str) -> None:
    found = getattr(all_facets, verb.upper())
    assert found == all_facets.having(verb)
    assert [each.__self__ for each in found] == [
        facet for facet in all_facets.FACETS if verb in vars(type(facet))
    ]


def test_every_facet_does_something() -> None:
    assert all(any(verb in vars(type(facet)) for verb in (*VERBS, "figures")) for facet in all_facets.FACETS)
