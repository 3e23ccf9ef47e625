"""What an expression sees: one customer at one moment (the profile, the sum of its fragments, and the event,
if there is one), and the names by which it may look at that."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from flows.logic.expressions.expression import Name
from flows.logic.expressions.source import Scope
from flows.logic.fields import attributes
from flows.logic.fields.completion import CONFIDENCE, derived
from flows.logic.models.binary import BINARY
from flows.logic.models.features import FEATURES, latest, shared
from flows.logic.models.recommendation_index import RecommendationIndex
from flows.logic.profile.aggregates import Figure, Read
from flows.logic.profile.facet_figures import FacetFigure
from schemas.config import ATTRIBUTES, Age, Value
from schemas.records.customer_profile import MICRO, Fragment, Profile

DAY_MS: Final = 86_400_000
MODELS: Final = tuple(BINARY)
EXPECTED: Final = "expected_value"  # stands among the scores of the purchase model
Predicate = Callable[["EvaluationContext"], Any]


class EvaluationContext:
    """What an expression sees: one for each event."""

    __slots__ = (
        "_features",
        "channel",
        "event",
        "f",
        "k",
        "key",
        "now",
        "p",
        "properties",
        "reads",
        "recommendations",
        "type",
    )

    p: Profile
    f: Fragment
    now: int
    event: str
    type: str
    channel: str
    # by what rules find the event: its name, or its type if it is not a track; empty when a timer looks
    key: str
    properties: dict[str, Any]

    def __init__(
        self, reads: Mapping[int, Read], recommendations: RecommendationIndex | None = None, k: int = 0
    ) -> None:
        """`recommendations`: what to recommend `k` items with."""
        self.reads = reads
        self.recommendations = recommendations
        self.k = k
        self._features: list[float] | None = None

    def property(self, name: str) -> Any:
        """Return a property. `a.b` looks into the object `a`, unless a property has the dotted name
        itself."""
        value: Any = self.properties.get(name)
        if value is None and "." in name:
            value = self.properties
            for step in name.split("."):
                value = value.get(step) if type(value) is dict else None
        return value

    def trait(self, name: str) -> Any:
        """Return a trait as stated; where it never was, as it was derived."""
        held = self.f.traits.get(name)
        if held is not None:
            return held[1]
        found = derived(self.f.traits, name) if name in CONFIDENCE else None
        return None if found is None else found[0]

    def attribute(self, name: str) -> str | None:
        """Return what was derived of the customer under this name."""
        return attributes.held(self.f.traits, name)

    def age_band(self, bands: tuple[int, ...]) -> str | None:
        """Return the band of ages that the customer is in now."""
        return attributes.age_band(self.f.traits, bands, self.now)

    def is_birthday(self) -> bool:
        """Return whether it is the customer's birthday now."""
        return attributes.is_birthday(self.f.traits, self.now)

    def features(self, reach: int = len(FEATURES)) -> list[float]:
        """Return what models look at, computed once: the first `reach` of them, or more."""
        found = self._features
        if found is None:
            found = self._features = shared(self.f, self.now)
        if len(found) < reach:
            found += latest(self.f)
        return found

    def score(self, model: str) -> float | None:
        held = self.p.scores.get(model)
        return None if held is None else held[0]

    def value_tier(self, middle: float, high: float) -> str | None:
        held = self.p.scores.get(EXPECTED)
        if held is None:
            return None
        if held[0] >= high:
            return "high"
        return "middle" if held[0] >= middle else "low"

    def recommended(self) -> list[str]:
        """Return items for this customer, the best first."""
        index = self.recommendations
        return index.recommend(self.p.recent, self.p.segment, self.k) if index else []

    def purchase_recency(self) -> float | None:
        return (self.now - self.f.ordered_ms) / DAY_MS if self.f.ordered_ms else None

    def favourite(self, counts: dict[Any, int]) -> Any:
        if len(counts) == 1:
            return next(iter(counts))
        return max(counts, key=lambda name: (counts[name], name)) if counts else None


NAMES: Final[dict[str, Name]] = {
    "event": Name("text", "v.event", doc="the event's name; empty when a timer looks"),
    "type": Name("text", "v.type", doc="track, identify, page ...; empty when a timer looks"),
    "channel": Name("text", "v.channel", doc="source of the event"),
    "tags": Name("set", "v.p.tags", doc="tags that are on"),
    "segment": Name("text", "v.p.segment"),
    "stage": Name("text", "v.p.stage", doc="new, active, slipping, lost or won_back"),
    "recency_days": Name("number", "v.purchase_recency()", nullable=True, doc="days since the last purchase"),
    "frequency": Name("number", "v.f.orders", doc="purchases ever"),
    "monetary": Name("number", f"(v.f.spent / {MICRO})", doc="spent ever"),
    "inactive_days": Name("number", f"((v.now - v.f.last_ms) / {DAY_MS})", doc="days since the last event"),
    "age_days": Name("number", f"((v.now - v.f.first_ms) / {DAY_MS})", doc="days since the first event"),
    "events": Name("number", "v.f.events", doc="events ever"),
    "sessions": Name("number", "(len(v.f.sessions) // 2)", doc="sessions in the last 30 days"),
    "hour": Name("number", "(v.now // 3600000 % 24)", doc="hour of day now, UTC"),
    EXPECTED: Name(
        "number", f"v.score({EXPECTED!r})", nullable=True, doc="of the next purchase, times its probability"
    ),
    "value_tier": Name(
        "text",
        f"v.value_tier({Value().middle!r}, {Value().high!r})",
        nullable=True,
        doc="low, middle or high",
    ),
    "cluster": Name(
        "text", "v.p.cluster", doc="group of customers that behave alike; empty until groups are formed"
    ),
    "recommended": Name("set", "v.recommended()", doc="items to recommend; empty until there is a model"),
    "top_channel": Name(
        "text", "v.favourite(v.f.channels)", nullable=True, doc="channel with the most events"
    ),
    "top_hour": Name(
        "number", "v.favourite(v.f.hours)", nullable=True, doc="hour of day with the most events, UTC"
    ),
}


def scope_of(
    figures: Mapping[str, Figure],
    value: Value = Value(),  # noqa: B008  # frozen
    of_facets: Iterable[FacetFigure] = (),
    age: Age | None = None,
) -> Scope:
    """Return all names that expressions may use under these aggregates, tiers of value and facets; with bands
    of `age` also the attributes of customers. An aggregate goes before a facet's figure or an attribute of
    the same name: it was there first."""
    names = NAMES | {figure.name: figure.named() for figure in of_facets}
    if age is not None:
        names |= {name: Name("text", f"v.attribute({name!r})", nullable=True) for name in ATTRIBUTES}
        names[attributes.BIRTHDAY_TODAY] = Name("bool", "v.is_birthday()")
        names[attributes.AGE_BAND] = Name("text", f"v.age_band({age.bands!r})", nullable=True)
    for name, figure in figures.items():
        names[name] = _figure_name(figure)
    names |= {f"score.{model}": Name("number", f"v.score({model!r})", nullable=True) for model in MODELS}
    names["value_tier"] = Name("text", f"v.value_tier({value.middle!r}, {value.high!r})", nullable=True)
    return Scope(names, {"properties": "v.property({key!r})", "traits": "v.trait({key!r})"})


def _figure_name(figure: Figure) -> Name:
    slot, aggregate = figure.slot, figure.aggregate
    if aggregate.over is None and aggregate.half_life is None:  # the common kinds are read in place
        if aggregate.of == "count":
            return Name("number", f"v.f.aggregates.get({slot}, 0)")
        if aggregate.of == "sum":
            return Name("number", f"(v.f.aggregates.get({slot}, 0) / {MICRO})")
    read = f"v.reads[{slot}](v.f.aggregates.get({slot}), v.now)"
    match aggregate.of:
        case "count" | "sum" | "distinct":
            return Name("number", read)
        case "min" | "max":
            return Name("number", read, nullable=True)
        case "last":
            return Name("any", read, nullable=True)
        case "top_k":
            return Name("set", read)
