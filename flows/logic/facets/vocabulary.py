"""Rules with all that expressions may name: what is the rules' own, and what the facets bring."""

from typing import Final

from flows.logic.expressions.expression import ExpressionError
from flows.logic.facets.all_facets import FACETS
from flows.logic.profile.facet_figures import FacetFigure
from flows.logic.rules import ruleset
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.rules.slips import slips
from schemas.config import Rules

FIGURES: Final[tuple[FacetFigure, ...]] = tuple(figure for facet in FACETS for figure in facet.figures())


def compile_rules(rules: Rules, version: int, dedupe: int, shards: int = 1) -> CompiledRules:
    """Return one version of the rules, compiled. Raises `ConfigError` for rules that `problems` would name.

    `shards`: that budgets and capacities are divided among.
    """
    return CompiledRules(rules, version, dedupe, shards, FIGURES)


def problems(rules: Rules) -> list[tuple[str, ExpressionError | str]]:
    """Return what is wrong with expressions, and what cannot be meant, each with the dotted path of its
    place."""
    return [*ruleset.problems(rules, FIGURES), *slips(rules, FIGURES)]
