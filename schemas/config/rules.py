"""What the profile looks like: the tables of the rules. `Rules` enters each shard's log as a record."""

from typing import Annotated, Literal

import msgspec

from schemas.config.limited_values import Count, Figure, Table, Text, Texts, Word
from schemas.units import Duration


class Aggregate(Table, frozen=True):
    """One figure kept for each customer, updated by each event it is `on`."""

    name: Figure  # what expressions call it
    of: Literal["count", "sum", "min", "max", "last", "distinct", "top_k"]  # what is kept
    on: Texts = ("*",)  # event names; `*` is any track, `page`, `screen`, `identify` are those types
    value: str = ""  # which property (dotted), such as `total`; needed for all but `count`
    over: Duration | None = None  # a sliding window; none is all time (count and sum only)
    half_life: Duration | None = None  # exponential decay (count and sum only)
    k: Annotated[int, msgspec.Meta(ge=1, le=16)] = 3  # how many `top_k` gives
    purposes: tuple[Word, ...] = ()  # what it may be used for; empty: everything


class Value(Table, frozen=True):
    """Recency, frequency, monetary: what counts as a purchase; and the tiers of what is expected (model
    `purchase`)."""

    events: Texts = ("Order Completed",)  # event names that are purchases
    amount: Text = "total"  # the property that holds what was paid
    # `value_tier` is middle from this `expected_value` on ...
    middle: Annotated[float, msgspec.Meta(ge=0, le=1e12)] = 20.0
    high: Annotated[float, msgspec.Meta(ge=0, le=1e12)] = 100.0  # ... and high from this


class Age(Table, frozen=True):
    """The bands of `age_band` (see `privacy.attributes`)."""

    # ages at which a band begins, rising: `[18, 35]` are `0-17`, `18-34` and `35+`
    bands: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=120)], ...], msgspec.Meta(min_length=1)] = (
        *(14, 18, 25, 30, 35, 40),
        *(45, 50, 55, 60, 65),
    )


class Lifecycle(Table, frozen=True):
    """Stages by inactivity: new (young), active, slipping, lost, won_back (active again after lost)."""

    new: Duration = Duration.parse("7d")  # this long after the first event a customer is `new`
    slipping: Duration = Duration.parse("30d")  # this long without an event: `slipping`
    lost: Duration = Duration.parse("90d")  # this long without an event: `lost`
    won_back: Duration = Duration.parse("30d")  # this long after coming back from `lost`: `won_back`


class Segment(Table, frozen=True):
    """The first segment whose `when` holds is the customer's; the last one is `True`, so that everybody has
    one."""

    name: Word  # what expressions compare `segment` with
    when: Text  # an expression
    purposes: tuple[Word, ...] = ()  # as of a tag


class Tag(Table, frozen=True):
    """A tag is on while `when` holds, and for `ttl` after it last held."""

    name: Word  # what expressions find in `tags`
    when: Text  # an expression
    # how much it says; highest first where tags are shown
    weight: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 1.0
    ttl: Duration | None = None  # how long it stays on; none: no longer than `when` holds
    # what it may be used for; empty: everything. Of a customer who allows none of them it is taken off
    purposes: tuple[Word, ...] = ()


class Churn(Table, frozen=True):
    """Will there be no activity within `horizon`? Asked at most every `every` for each customer, answered
    when it has passed."""

    enabled: bool = True  # false: nothing is asked, learned or scored
    horizon: Duration = Duration.parse("30d")  # how far ahead it looks; also how late the answer comes
    every: Duration = Duration.parse("1d")  # at most one question in this time
    # of the challenger; the champion has none
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05


class Model(Table, frozen=True):
    """Another probability about a customer, asked at most every `every`: yes if one of `yes` happens within
    `horizon`, else no."""

    name: Literal["purchase", "deal", "complaint", "fraud"]  # what is asked; each at most once
    yes: Texts  # event names that answer yes, such as `Order Completed`
    when: Text = "True"  # an expression: which of these events count, such as `properties.rating <= 2`
    # event names that answer no before the horizon; with them answers are learnt at once
    no: tuple[Text, ...] = ()
    # events at which it is asked and scored: names, or types such as `page`; `*` is any, and in quiet times
    # too
    on: Texts = ("*",)
    enabled: bool = True  # false: nothing is asked or scored
    horizon: Duration = Duration.parse("30d")  # how far ahead it looks; also how late the answer comes
    every: Duration = Duration.parse("1d")  # at most one question in this time
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05  # of the challenger
    # how much more a yes counts in learning
    positive_weight: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 1.0
    # when the error drifts: say so, or also forget most of the past
    on_drift: Literal["alarm", "forget"] = "alarm"


BEST = "best"  # the action of a trigger that chooses one


class Action(Table, frozen=True):
    """One thing that may be done where a trigger says `action = "best"`. Which one is best is learnt:
    docs/next-best-action.md."""

    name: Word  # what the receiver should do
    when: Text = "True"  # an expression: who may be offered it
    # what a reward of 1 is worth, in money
    value: Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000)] = 1.0
    cost: Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000)] = 0.0  # of doing it once, in money
    # money for each `best_action.period`
    budget: Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000_000)] | None = None
    capacity: Count | None = None  # how often in each `best_action.period`
    cooldown: Duration | None = None  # for each customer: not offered again for this long
    silent: bool = False  # true: do nothing; chosen and learnt like the others, and nothing is sent
    channel: str = ""  # by which channel; empty: the trigger's
    purpose: str = ""  # what consent is asked for; empty: the trigger's
    to: tuple[str, ...] = ()  # names of connectors; empty: the trigger's
    features: tuple[float, ...] = ()  # at most 16, of the action itself, for `best_action.shared`


class Reward(Table, frozen=True):
    """An event that says that an action was right."""

    event: Text  # an event name, or a type such as `page`
    # the reward; 0 to 1 for the logistic policies
    amount: Annotated[float, msgspec.Meta(ge=-1_000_000_000, le=1_000_000_000)] = 1.0
    property: str = ""  # which property holds the amount instead, such as `total`; for the linear policies
    # which property holds the trigger's id; empty: it counts for all that waits for a reward of this customer
    decision: str = ""


class BestAction(Table, frozen=True):
    """How the best `[[action]]` is chosen and learnt (a contextual bandit)."""

    # which one
    policy: Literal["logistic_ucb", "logistic_thompson", "linucb", "linear_thompson", "epsilon_greedy"] = (
        "logistic_ucb"
    )
    shared: bool = False  # one model over the actions' `features`, instead of one for each action
    # in deviations; none: what suits the policy
    exploration: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    # share of choices made uniformly, so that the log can judge other policies
    floor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.005
    # examples after which one counts half; 0: nothing is forgotten
    half_life: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    # attribution window: how long after the choice a reward still counts
    within: Duration = Duration.parse("1d")
    # how several rewards of one choice become one; sum for the linear policies
    repeat: Literal["first", "max", "sum"] = "max"
    period: Duration = Duration.parse("1d")  # of budgets and capacities; begins at midnight UTC for 1d
    reward: tuple[Reward, ...] = ()  # what counts as success


class Touch(Table, frozen=True):
    """An event that says that a customer cares for an item."""

    event: Text  # an event name
    # which property holds the item's id; `products.product_id` looks into each entry of a list
    item: Text = "product_id"
    weight: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 1.0  # how much it says


class Recommendation(Table, frozen=True):
    """What goes with what a customer touched; else what the segment likes, then what everyone likes. Without
    a touch it is off."""

    touch: tuple[Touch, ...] = ()  # which events are about items
    k: Annotated[int, msgspec.Meta(ge=1, le=16)] = 5  # how many `recommended` gives
    half_life: Duration = Duration.parse("30d")  # a touch this long ago counts half


class Clusters(Table, frozen=True):
    """Customers in a few groups that behave alike, formed by themselves. Their names stay: c1, c2 ..."""

    enabled: bool = False  # false: nothing is asked, learned or assigned
    k: Annotated[int, msgspec.Meta(ge=2, le=32)] = 5  # how many
    every: Duration = Duration.parse("1h")  # a customer is looked at at most once in this time


class On(Table, frozen=True):
    """What fires a trigger: exactly one of these."""

    event: str | None = None  # an event name, or a type such as `page`
    tag_entered: str | None = None  # a tag came on
    tag_left: str | None = None  # a tag went off
    segment_entered: str | None = None  # the customer came into this segment
    segment_left: str | None = None  # the customer went out of this segment
    score_above: dict[str, float] | None = None  # {churn = 0.8}: crossed upwards
    score_below: dict[str, float] | None = None  # crossed downwards
    after: str | None = None  # A of "A, then no B within ...": an event name
    without: str | None = None  # B of it
    within: Duration | None = None  # how long B may take


class TriggerRule(Table, frozen=True):
    """What is sent, when, and where to. `on` says what makes it look, `when` whether it fires."""

    name: Word  # the rule's name in triggers, metrics and decisions
    on: On  # what fires it, such as `{event = "Order Completed"}`
    when: Text = "True"  # an expression
    cooldown: Duration | None = None  # for each customer: silent for this long after it fired
    # what the receiver should do; the rule's name where empty; `best`: the best `[[action]]`
    action: str = ""
    channel: str = ""  # by which channel it should be done, such as `push`
    purpose: Text = "marketing"  # what consent is asked for
    to: tuple[str, ...] = ()  # names of connectors


class Rules(Table, frozen=True):
    """All that `flows.logic.shard.machine` needs; announced to the shards as a record of their logs."""

    aggregate: tuple[Aggregate, ...] = ()  # figures kept for each customer
    value: Value = Value()  # what a purchase is
    age: Age = Age()  # bands of ages
    lifecycle: Lifecycle = Lifecycle()  # stages
    segment: tuple[Segment, ...] = ()  # segments, first match wins
    tag: tuple[Tag, ...] = ()  # tags
    churn: Churn = Churn()  # the churn model
    model: tuple[Model, ...] = ()  # other binary models
    best_action: BestAction = BestAction()  # how actions are chosen
    action: tuple[Action, ...] = ()  # what may be done
    recommendation: Recommendation = Recommendation()  # what goes with what
    clusters: Clusters = Clusters()  # groups
    trigger: tuple[TriggerRule, ...] = ()  # what is sent
