"""`Rules` compiled once: tags, segments, triggers and models as closures over an `EvaluationContext`."""

from collections.abc import Iterable
from operator import itemgetter
from typing import Final

from flows.logic.expressions.expression import (
    ExpressionError,
    compared_with_numbers,
    compile_expression,
    names_used,
)
from flows.logic.expressions.source import Scope
from flows.logic.fields.attributes import AGE_BAND, BIRTHDAY_TODAY
from flows.logic.models.binary import BINARY
from flows.logic.models.recommendation_index import RecommendationIndex
from flows.logic.profile.aggregates import Figure, read_as_numbers
from flows.logic.profile.facet_figures import FacetFigure
from flows.logic.profile.fragments import FragmentRules
from flows.logic.rules.action_catalogue import Choices
from flows.logic.rules.evaluation_context import EXPECTED, MODELS, EvaluationContext, Predicate, scope_of
from schemas.config import BEST, Churn, Model, Rules, Touch, TriggerRule
from schemas.errors import ConfigError
from schemas.records.customer_profile import Fragment, Profile

_OF_VALUE: Final = (EXPECTED, "value_tier")


def still(
    rules: "CompiledRules",
    profile: Profile,
    total: Fragment,
    now: int,
    recommendations: RecommendationIndex | None = None,
) -> EvaluationContext:
    """Return a view without an event: a timer looks."""
    view = EvaluationContext(rules.reads, recommendations, rules.rules.recommendation.k)
    view.p, view.f, view.now = profile, total, now
    view.event = view.type = view.channel = view.key = ""
    view.properties = {}
    return view


class CompiledTrigger:
    """One `[[trigger]]`."""

    __slots__ = ("action", "best", "cooldown", "models", "reasons", "rule", "when")

    def __init__(self, rule: TriggerRule, when: Predicate, reasons: dict[str, Predicate]) -> None:
        self.rule = rule
        self.when = when
        self.reasons = reasons
        looked_at = {
            **(rule.on.score_above or {}),
            **(rule.on.score_below or {}),
            **dict.fromkeys(_scores_in(reasons)),
        }
        self.models = tuple(model for model in MODELS if model in looked_at)  # whose scores it looks at
        self.action = rule.action or rule.name
        self.best = rule.action == BEST  # one of the actions, to be chosen
        self.cooldown = int(rule.cooldown) if rule.cooldown is not None else 0


Threshold = tuple[
    str, float, bool, CompiledTrigger
]  # model, score, whether it is crossed upwards, what fires then


class CompiledModel:
    """The question of one model that is enabled."""

    __slots__ = (
        *("at_once", "every", "features", "horizon", "name", "on", "purpose", "reach", "unsupervised"),
        "when",
    )

    def __init__(self, block: Churn | Model, scope: Scope) -> None:
        known = BINARY["churn" if isinstance(block, Churn) else block.name]
        self.name: str = known.name
        self.purpose: str = known.purpose
        self.features = itemgetter(*known.places)  # its own among all
        self.reach = 1 + max(known.places)
        self.unsupervised = bool(known.unsupervised)
        self.horizon, self.every = int(block.horizon), int(block.every)
        self.on = ("*",) if isinstance(block, Churn) else block.on
        # Where only time says no, a yes is learnt with the noes of its day: else a young model would have
        # heard of nothing but yes.
        self.at_once = isinstance(block, Model) and bool(block.no)
        self.when = _compiled(block.when if isinstance(block, Model) else "True", scope)


def read_as_number(rules: Rules) -> dict[str, list[tuple[str, ...]]]:
    """Return, by event name or type, the ways to the properties that should be numbers, for figures,
    purchases or a trigger that compares them."""
    found = read_as_numbers(rules.aggregate, rules.value)
    for trigger in rules.trigger:
        if trigger.on.event is not None:
            ways = found.setdefault(trigger.on.event, [])
            ways += (way for way in compared_with_numbers(trigger.when) if way not in ways)
    return found


class CompiledRules:
    """All rules of one version. Raises `ConfigError` for rules that `problems` would have named."""

    def __init__(
        self,
        rules: Rules,
        version: int,
        dedupe: int,
        shards: int = 1,
        of_facets: Iterable[FacetFigure] = (),
    ) -> None:
        """`shards`: that budgets and capacities are divided among. `of_facets`: the figures that expressions
        may name besides the aggregates."""
        self.rules = rules
        self.version = version
        self.figures = {aggregate.name: Figure(aggregate) for aggregate in rules.aggregate}
        of_facets = [figure for figure in of_facets if figure.name not in self.figures]
        scope = scope_of(self.figures, rules.value, of_facets, rules.age)
        used = {name for _, text in expressions(rules) for name in names_used(text, scope)}
        self.ages = AGE_BAND in used  # whether time may change what holds: by the age,
        self.birthdays = BIRTHDAY_TODAY in used  # by the day
        self.of_facets = {figure.name: figure for figure in of_facets if figure.name in used}
        kept = self.figures | self.of_facets
        self.fragments = FragmentRules(kept, rules.value, dedupe, read_as_number(rules))
        self.reads = {figure.slot: figure.read for figure in kept.values()}
        self._index_models(scope)
        self.tags = [
            (tag.name, _compiled(tag.when, scope), int(tag.ttl or 0), tag.purposes) for tag in rules.tag
        ]
        self.weights = {tag.name: tag.weight for tag in rules.tag}
        self.segments = [
            (segment.name, _compiled(segment.when, scope), segment.purposes) for segment in rules.segment
        ]
        self.choices = Choices(rules, shards, lambda text: _compiled(text, scope))
        self.touches: dict[str, list[Touch]] = {}
        for touch in rules.recommendation.touch:
            self.touches.setdefault(touch.event, []).append(touch)
        windows = [aggregate.over or 0 for aggregate in rules.aggregate]
        self.settled_ms = max([rules.lifecycle.lost, *windows])  # after so much quiet all windows are empty
        self.on_event: dict[str, list[CompiledTrigger]] = {}
        self.on_tag: dict[tuple[str, bool], tuple[CompiledTrigger, ...]] = {}
        self.on_segment: dict[tuple[str, bool], tuple[CompiledTrigger, ...]] = {}
        self.on_score: list[Threshold] = []
        self._watched: dict[tuple[str, ...], list[Threshold]] = {}
        self.waits: dict[str, CompiledTrigger] = {}
        self.starts: dict[str, list[CompiledTrigger]] = {}
        self.ends: dict[str, list[str]] = {}
        self.triggers = [_compile_trigger(rule, scope) for rule in rules.trigger]
        for trigger in self.triggers:
            self._index(trigger)

    def _index_models(self, scope: Scope) -> None:
        """Which models an event is about: those asked at it, and those that it answers (1 yes, 0 no)."""
        blocks: list[Churn | Model] = [self.rules.churn, *self.rules.model]
        models: dict[str, CompiledModel] = {}
        for block in blocks:
            if block.enabled:
                model = CompiledModel(block, scope)
                models[model.name] = model
        self.models = tuple(models.values())
        self.scored = frozenset([*models, EXPECTED]) if "purchase" in models else frozenset(models)
        self._anywhere = tuple(model for model in self.models if "*" in model.on)
        keys = dict.fromkeys(key for model in self.models for key in model.on)
        self._models_at = {
            key: tuple(model for model in self.models if key in model.on or "*" in model.on) for key in keys
        }
        self.outcomes: dict[str, list[tuple[CompiledModel, float]]] = {}
        for asked in self.rules.model:
            for label, events in ((1.0, asked.yes), (0.0, asked.no)):
                for event in events if asked.enabled else ():
                    self.outcomes.setdefault(event, []).append((models[asked.name], label))

    def models_at(self, key: str) -> tuple[CompiledModel, ...]:
        """Return the models that are asked and scored at an event (a name, or a type such as `page`; empty
        when a timer looks)."""
        return self._models_at.get(key, self._anywhere)

    def watching(self, models: tuple[str, ...]) -> list[Threshold]:
        """Return the thresholds on what these models say."""
        found = self._watched.get(models)
        if found is None:
            found = self._watched[models] = [one for one in self.on_score if one[0] in models]
        return found

    def _index(self, trigger: CompiledTrigger) -> None:
        on, name = trigger.rule.on, trigger.rule.name
        if on.event is not None:
            self.on_event.setdefault(on.event, []).append(trigger)
        for table, field, entered in (
            (self.on_tag, on.tag_entered, True),
            (self.on_tag, on.tag_left, False),
            (self.on_segment, on.segment_entered, True),
            (self.on_segment, on.segment_left, False),
        ):
            if field is not None:
                table[field, entered] = (*table.get((field, entered), ()), trigger)
        for scores, above in ((on.score_above, True), (on.score_below, False)):
            self.on_score += [
                (model, threshold, above, trigger) for model, threshold in (scores or {}).items()
            ]
        if on.after is not None and on.without is not None:
            self.waits[name] = trigger
            self.starts.setdefault(on.after, []).append(trigger)
            self.ends.setdefault(on.without, []).append(name)


def expressions(rules: Rules) -> list[tuple[str, str]]:
    """Return every expression, each with the dotted path of its place, such as `tag[2].when`."""
    found = [(f"tag[{i}].when", tag.when) for i, tag in enumerate(rules.tag)]
    found += [(f"segment[{i}].when", segment.when) for i, segment in enumerate(rules.segment)]
    found += [(f"action[{i}].when", action.when) for i, action in enumerate(rules.action)]
    found += [(f"trigger[{i}].when", rule.when) for i, rule in enumerate(rules.trigger)]
    return found + [(f"model[{i}].when", model.when) for i, model in enumerate(rules.model)]


def problems(rules: Rules, of_facets: Iterable[FacetFigure] = ()) -> list[tuple[str, ExpressionError]]:
    """Return the texts that are not expressions, each with its place. (What else is wrong with rules says
    `schemas.config.consistent`.)"""
    figures = {aggregate.name: Figure(aggregate) for aggregate in rules.aggregate}
    scope = scope_of(figures, rules.value, of_facets, rules.age)
    found = []
    for path, text in expressions(rules):
        compiled = compile_expression(text, scope)
        if isinstance(compiled, ExpressionError):
            found.append((path, compiled))
    return found


def _compiled(text: str, scope: Scope) -> Predicate:
    compiled = compile_expression(text, scope)
    if isinstance(compiled, ExpressionError):
        raise ConfigError(str(compiled))
    return compiled


def _scores_in(names: Iterable[str]) -> list[str]:
    """The models that names such as `score.churn` and `expected_value` speak of."""
    return [name.removeprefix("score.") for name in names if name.startswith("score.")] + [
        "purchase" for name in names if name in _OF_VALUE
    ]


def _compile_trigger(rule: TriggerRule, scope: Scope) -> CompiledTrigger:
    reasons = {}
    for name in sorted(names_used(rule.when, scope)):
        read = compile_expression(name, scope, expect="any")
        if not isinstance(read, ExpressionError):
            reasons[name] = read
    return CompiledTrigger(rule, _compiled(rule.when, scope), reasons)
