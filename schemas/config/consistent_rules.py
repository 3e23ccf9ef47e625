"""What the rules demand of one another: names that are there, amounts that fit, one thing that fires a
trigger."""

import keyword
from collections.abc import Iterator, Sequence
from itertools import pairwise

from schemas.config import BEST, EXPRESSION_NAMES, Aggregate, BestAction, Config, On
from schemas.config.decode import suggest
from schemas.config.locate import Path

Found = Iterator[tuple[Path, str]]

_TAGS_MAX = 200
_ACTIONS_MAX, _ACTION_FEATURES_MAX = 256, 16
_RESERVED = {name.split(".")[0] for name in EXPRESSION_NAMES}
_ABSENCE = ("after", "without", "within")  # the one kind of `on` that has three keys
_ALONE = tuple(name for name in On.__struct_fields__ if name not in _ABSENCE)


def rules_problems(config: Config) -> Found:
    """Yield (path, message) of what is wrong between one rule and another."""
    connectors = [connector.name for connector in config.connector]
    for index, aggregate in enumerate(config.aggregate):
        for key, message in _aggregate(aggregate):
            yield ("aggregate", index, key), message
    if config.lifecycle.slipping >= config.lifecycle.lost:
        yield ("lifecycle", "lost"), f"must be longer than `slipping` ({config.lifecycle.slipping})"
    if config.value.middle > config.value.high:
        yield ("value", "high"), f"must not be less than `middle` ({config.value.middle})"
    for index, (before, age) in enumerate(pairwise(config.age.bands), 1):
        if before >= age:
            yield ("age", "bands", index), f"expected an age above {before}, got {age}"
    if len(config.tag) > _TAGS_MAX:
        yield ("tag", _TAGS_MAX), f"more than {_TAGS_MAX} tags"
    yield from _models(config)
    yield from _triggers(config, connectors)
    yield from _actions(config, connectors)
    yield from _rewards(config.best_action)
    yield from _purposes(config)


def _models(config: Config) -> Found:
    for index, model in enumerate(config.model):
        for place, name in enumerate(model.no):
            if name in model.yes:
                yield ("model", index, "no", place), f"`{name}` already answers yes"


def _triggers(config: Config, connectors: Sequence[str]) -> Found:
    for index, trigger in enumerate(config.trigger):
        for key, message in _on(config, trigger.on):
            on: Path = ("trigger", index, "on")
            yield ((*on, key) if key else on), message
        yield from _receivers(("trigger", index, "to"), trigger.to, connectors)
        if trigger.action == BEST and not config.action:
            yield ("trigger", index, "action"), "there is no [[action]] to choose from"


def _purposes(config: Config) -> Found:
    """Consent can only be checked for a purpose that there is, and confirmed where a code can go."""
    connectors = [connector.name for connector in config.connector]
    yield from _receivers(("consent", "confirm_to"), config.consent.confirm_to, connectors)
    purposes = [purpose.name for purpose in config.consent.purpose]
    for place, purpose in _declared(config):
        if purpose not in purposes:
            yield place, f"no [[consent.purpose]] is called `{purpose}`{suggest(purpose, purposes)}"


def _declared(config: Config) -> Iterator[tuple[Path, str]]:
    """Yield every purpose that a rule names, with its place."""
    for table in ("aggregate", "tag", "segment"):
        for index, rule in enumerate(getattr(config, table)):
            for place, purpose in enumerate(rule.purposes):
                yield (table, index, "purposes", place), purpose
    for index, trigger in enumerate(config.trigger):
        yield ("trigger", index, "purpose"), trigger.purpose
    for index, action in enumerate(config.action):
        if action.purpose:
            yield ("action", index, "purpose"), action.purpose


def _receivers(at: Path, named: Sequence[str], connectors: Sequence[str]) -> Found:
    for place, name in enumerate(named):
        if name not in connectors:
            yield (*at, place), f"there is no connector `{name}`{suggest(name, connectors)}"


def _actions(config: Config, connectors: Sequence[str]) -> Found:
    for index, action in enumerate(config.action):
        if action.name == BEST:
            yield ("action", index, "name"), f"`{BEST}` is what a trigger says to choose one"
        yield from _receivers(("action", index, "to"), action.to, connectors)
        if len(action.features) > _ACTION_FEATURES_MAX:
            yield ("action", index, "features"), f"more than {_ACTION_FEATURES_MAX} features"
    if len(config.action) > _ACTIONS_MAX:
        yield ("action", _ACTIONS_MAX), f"more than {_ACTIONS_MAX} actions"
    if config.action and not config.best_action.reward:
        yield ("best_action", "reward"), "without a reward nothing can be learnt about the actions"


def _rewards(best: BestAction) -> Found:
    """What the logistic policies learn from lies between 0 and 1."""
    if not best.policy.startswith("logistic"):
        return
    if best.repeat == "sum":
        yield (
            ("best_action", "repeat"),
            f"rewards of {best.policy} are 0 to 1 and cannot be summed up; linucb and linear_thompson can",
        )
    for index, reward in enumerate(best.reward):
        at: Path = ("best_action", "reward", index)
        if reward.property:
            yield (*at, "property"), f"rewards of {best.policy} are 0 to 1: take linucb or linear_thompson"
        elif not 0.0 <= reward.amount <= 1.0:
            yield (*at, "amount"), f"rewards of {best.policy} are 0 to 1, got {reward.amount}"


def _aggregate(aggregate: Aggregate) -> Iterator[tuple[str, str]]:
    if aggregate.name in _RESERVED or keyword.iskeyword(aggregate.name):
        yield "name", f"`{aggregate.name}` already means something in expressions"
    if aggregate.of == "count" and aggregate.value:
        yield "value", "`count` counts events and takes no value"
    if aggregate.of != "count" and not aggregate.value:
        yield "value", f"`{aggregate.of}` needs the name of a property"
    if aggregate.of not in ("count", "sum"):
        for key in ("over", "half_life"):
            if getattr(aggregate, key) is not None:
                yield key, f"`{key}` is for count and sum only"
    elif aggregate.over is not None and aggregate.half_life is not None:
        yield "half_life", "either `over` or `half_life`, not both"


def _on(config: Config, on: On) -> Iterator[tuple[str, str]]:
    given = [name for name in On.__struct_fields__ if getattr(on, name) is not None]
    kinds = {"after/without/within" if name in _ABSENCE else name for name in given}
    if len(kinds) != 1:
        yield "", f"exactly one of {', '.join(_ALONE)} or after/without/within"
    elif given[0] in _ABSENCE and len(given) != len(_ABSENCE):
        missing = " and ".join(name for name in _ABSENCE if name not in given)
        yield "", f"after, without and within go together; {missing} is missing"
    for name in ("event", "after", "without"):
        if getattr(on, name) == "":
            yield name, "expected the name of an event"
    yield from _entered(on, "tag", [tag.name for tag in config.tag])
    yield from _entered(on, "segment", [segment.name for segment in config.segment])
    for name in ("score_above", "score_below"):
        scores: dict[str, float] | None = getattr(on, name)
        if scores is not None:
            yield from ((name, message) for message in _crossing(config, scores))


def _entered(on: On, kind: str, known: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in (f"{kind}_entered", f"{kind}_left"):
        wanted = getattr(on, name)
        if wanted is not None and wanted not in known:
            yield name, f"there is no {kind} `{wanted}`{suggest(wanted, known)}"


def _crossing(config: Config, scores: dict[str, float]) -> Iterator[str]:
    if len(scores) != 1:
        yield "expected one model and its threshold, such as {churn = 0.8}"
    enabled = {"churn": config.churn.enabled} | {model.name: model.enabled for model in config.model}
    for model, threshold in scores.items():
        if model not in enabled:
            yield f"there is no model `{model}`{suggest(model, enabled)}"
        elif not enabled[model]:
            yield f"the {model} model is not enabled"
        if not 0 < threshold < 1:
            yield f"a threshold lies between 0 and 1, got {threshold}"
