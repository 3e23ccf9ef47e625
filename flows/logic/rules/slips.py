"""Rules that can be read and cannot be meant: values that nobody ever has, segments that nobody comes into.

Rules that are in force already are not looked at so: a log may hold such ones, and they decide what they
always did.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from flows.logic.expressions.expression import ExpressionError, compile_expression, names_used
from flows.logic.expressions.literals import literals
from flows.logic.fields.attributes import AGE_BAND, BIRTH_DAY, BIRTHDAY_TODAY, GENDERS, labels
from flows.logic.profile.aggregates import Figure
from flows.logic.profile.facet_figures import FacetFigure
from flows.logic.rules.evaluation_context import scope_of
from flows.logic.rules.ruleset import expressions
from schemas.config import ATTRIBUTES, Config, On, Rules
from schemas.config.decode import suggest

Found = Iterator[tuple[str, ExpressionError | str]]

STAGES = ("new", "active", "slipping", "lost", "won_back")
TIERS = ("low", "middle", "high")
TYPES = ("track", "identify", "page", "screen", "group", "alias")


def slips(rules: Rules, of_facets: Iterable[FacetFigure] = ()) -> Found:
    """Yield what is wrong, each with the dotted path of its place."""
    yield from _unknown_values(rules)
    yield from _beyond_purpose(rules, of_facets)
    yield from _segments(rules, of_facets)
    for i, trigger in enumerate(rules.trigger):
        if trigger.on.after is not None and trigger.on.after == trigger.on.without:
            yield (
                f"trigger[{i}].on.without",
                f"expected another event than `after` ({trigger.on.after!r}), which would end its own wait",
            )


def _unknown_values(rules: Rules) -> Found:
    values: dict[str, tuple[str, Collection[str]]] = {
        "tags": ("tag", [tag.name for tag in rules.tag]),
        "segment": ("segment", ["", *(segment.name for segment in rules.segment)]),
        "cluster": ("group", ["", *(f"c{n}" for n in range(1, rules.clusters.k + 1))]),
        "stage": ("stage", ["", *STAGES]),
        "value_tier": ("tier of value", TIERS),
        "type": ("type of event", ["", *TYPES]),
    }
    attributes = {AGE_BAND: ("band of ages", labels(rules.age.bands)), "gender": ("gender", GENDERS)}
    figures = {aggregate.name for aggregate in rules.aggregate}  # what is called the same is that
    values |= {name: known for name, known in attributes.items() if name not in figures}
    for path, text in expressions(rules):
        for literal in literals(text):
            what, known = values.get(literal.name, ("", (literal.value,)))
            if literal.value not in known:
                there = ", ".join(filter(None, known)) or "none"
                # of numbers the most alike in writing are not those that were meant
                near = "" if literal.name == AGE_BAND else suggest(literal.value, known)
                hint = near or f"; there is {there}"
                yield path, literal.wrong(f"there is no {what} `{literal.value}`{hint}")


def _beyond_purpose(rules: Rules, of_facets: Iterable[FacetFigure]) -> Found:
    """What may be used for some purposes only, and is used for another."""
    allowed: dict[str, frozenset[str]] = {
        aggregate.name: frozenset(aggregate.purposes) for aggregate in rules.aggregate if aggregate.purposes
    }
    allowed |= {f"tag {tag.name}": frozenset(tag.purposes) for tag in rules.tag if tag.purposes}
    allowed |= {f"segment {one.name}": frozenset(one.purposes) for one in rules.segment if one.purposes}
    if not allowed:
        return
    figures = {aggregate.name: Figure(aggregate) for aggregate in rules.aggregate}
    scope = scope_of(figures, rules.value, of_facets)

    def read(text: str) -> Iterator[str]:
        yield from names_used(text, scope)
        for literal in literals(text):
            yield f"{'tag' if literal.name == 'tags' else literal.name} {literal.value}"

    uses: list[tuple[str, str, Iterable[str]]] = []  # place, expression, purposes that it serves
    uses += [(f"tag[{i}].when", tag.when, tag.purposes) for i, tag in enumerate(rules.tag)]
    uses += [(f"segment[{i}].when", one.when, one.purposes) for i, one in enumerate(rules.segment)]
    uses += [(f"trigger[{i}].when", one.when, (one.purpose,)) for i, one in enumerate(rules.trigger)]
    for path, text, serves in uses:
        for name in sorted(set(read(text)) & allowed.keys()):
            may = ", ".join(sorted(allowed[name]))
            if not serves:
                yield path, f"`{name}` may be used for {may} only: say `purposes` here as well"
            elif beyond := sorted(set(serves) - allowed[name]):
                yield path, f"`{name}` may be used for {may} only, and this serves {', '.join(beyond)}"
    for i, trigger in enumerate(rules.trigger):
        for key, name in _fired_by(trigger.on):
            if trigger.purpose not in allowed.get(name, {trigger.purpose}):
                may = ", ".join(sorted(allowed[name]))
                yield (
                    f"trigger[{i}].on.{key}",
                    f"`{name}` may be used for {may} only, and this serves {trigger.purpose}",
                )


def _fired_by(on: On) -> Iterator[tuple[str, str]]:
    for key in ("tag_entered", "tag_left", "segment_entered", "segment_left"):
        if (name := getattr(on, key)) is not None:
            yield key, f"{key.partition('_')[0]} {name}"


def underived(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the attributes that rules look at and that nothing derives."""
    figures = {entry.name for entry in config.aggregate}
    needed = {name: name for name in ATTRIBUTES} | {BIRTHDAY_TODAY: BIRTH_DAY}
    scope = scope_of({}, age=config.age)
    for path, text in expressions(config):
        for name in sorted(needed.keys() & names_used(text, scope) - figures):
            if needed[name] not in config.privacy.attributes:
                yield path, f"`{name}` is not known: add `{needed[name]}` to `privacy.attributes`"


def _segments(rules: Rules, of_facets: Iterable[FacetFigure]) -> Found:
    figures = {aggregate.name: Figure(aggregate) for aggregate in rules.aggregate}
    scope = scope_of(figures, rules.value, of_facets, rules.age)
    seen: dict[str, str] = {}
    for i, segment in enumerate(rules.segment):
        path, last = f"segment[{i}].when", i == len(rules.segment) - 1
        compiled = compile_expression(segment.when, scope)
        if isinstance(compiled, ExpressionError):
            continue
        fixed = None if names_used(segment.when, scope) else compiled(None)
        if segment.when in seen:
            yield (
                path,
                f"`{seen[segment.when]}` above has the same `when`, so nobody comes into `{segment.name}`",
            )
        elif fixed is False:
            yield path, f"never holds, so nobody comes into `{segment.name}`"
        elif fixed and not last:
            below = rules.segment[i + 1].name
            said = (
                f"always holds, so nobody comes into `{below}` or what is below it: put `{segment.name}` last"
            )
            yield path, said
        elif last and not fixed:
            yield path, f"the last segment takes whom no other does: expected `True`, got `{segment.when}`"
        if fixed is None:
            seen.setdefault(segment.when, segment.name)


def named_once(config: Config) -> dict[str, tuple[str, str]]:
    """Return events that are named in one place of the configuration only: where, and `; did you mean ...?`
    or nothing.

    One may be meant so. One that resembles another is likely to be a slip of the pen.
    """
    named = list(_events(config))
    counts = Counter(name for name, _ in named)
    lone = {name: path for name, path in named if counts[name] == 1}
    return {
        name: (path, suggest(name, [other for other in counts if other != name]))
        for name, path in lone.items()
    }


def _events(config: Config) -> Iterator[tuple[str, str]]:
    """(name, path) wherever one is named, but for types of events and `*`."""
    lists = [(f"aggregate[{i}].on", entry.on) for i, entry in enumerate(config.aggregate)]
    lists += [("value.events", config.value.events)]
    for i, model in enumerate(config.model):
        lists += [(f"model[{i}].yes", model.yes), (f"model[{i}].no", model.no), (f"model[{i}].on", model.on)]
    lists += [(f"entry.repeat[{i}].events", entry.events) for i, entry in enumerate(config.entry.repeat)]
    lists += [
        (f"best_action.reward[{i}].event", (entry.event,))
        for i, entry in enumerate(config.best_action.reward)
    ]
    lists += [
        (f"recommendation.touch[{i}].event", (entry.event,))
        for i, entry in enumerate(config.recommendation.touch)
    ]
    lists += [(f"validate.plan[{i}].event", (entry.event,)) for i, entry in enumerate(config.validate.plan)]
    for i, trigger in enumerate(config.trigger):
        lists += [
            (f"trigger[{i}].on.{key}", (getattr(trigger.on, key) or "*",))
            for key in ("event", "after", "without")
        ]
    for path, text in expressions(config):
        lists.append(
            (
                path,
                tuple(
                    literal.value for literal in literals(text) if literal.name == "event" and literal.value
                ),
            )
        )
    for path, names in lists:
        yield from ((name, path) for name in dict.fromkeys(names) if name != "*" and name not in TYPES)
