"""The configuration as frozen structs: one TOML file, decoded strictly by `schemas.toml`.

`Rules` is the part that decides what a customer's profile looks like and what is sent. It enters each shard's log
as a record, so that a replay sees the rules that were in force; everything else is about this process only.
"""

from typing import Annotated, Any, Literal

import msgspec

from schemas.units import Duration, Size

# Values with limits; the description is what an error and the reference say is expected.
Count = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Text = Annotated[str, msgspec.Meta(min_length=1, description="text that is not empty")]
Texts = Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
Word = Annotated[str, msgspec.Meta(pattern=r"^\w[\w.-]{0,63}\Z", description="a name (letters, digits, `_`, `-`, `.`; at most 64)")]
Figure = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z", description="a plain name (small letters, digits, `_`; at most 64)")
]
Address = Annotated[
    str, msgspec.Meta(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}\Z", description="host:port, such as 127.0.0.1:8080")
]
Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="a regular expression of at most 200 characters")]
Daytime = Annotated[str, msgspec.Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?\Z", description="a time of day, such as 03:00")]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every table refuses keys that it does not know."""


class Secret(str):
    """A value that may be `${NAME}`, taken from the environment when the file is loaded. Never printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)"


# --- what the profile looks like ------------------------------------------------------------------------------------


class Aggregate(_Table, frozen=True):
    """One figure kept for each customer, updated by each event it is `on`."""

    name: Figure  # what expressions call it
    of: Literal["count", "sum", "min", "max", "last", "distinct", "top_k"]  # what is kept
    on: Texts = ("*",)  # event names; `*` is any track, `page`, `screen`, `identify` are those types
    value: str = ""  # which property (dotted), such as `total`; needed for all but `count`
    over: Duration | None = None  # a sliding window; none is all time (count and sum only)
    half_life: Duration | None = None  # exponential decay (count and sum only)
    k: Annotated[int, msgspec.Meta(ge=1, le=16)] = 3  # how many `top_k` gives


class Value(_Table, frozen=True):
    """Recency, frequency, monetary: what counts as a purchase; and the tiers of what is expected (model `purchase`)."""

    events: Texts = ("Order Completed",)  # event names that are purchases
    amount: Text = "total"  # the property that holds what was paid
    middle: Annotated[float, msgspec.Meta(ge=0, le=1e12)] = 20.0  # `value_tier` is middle from this `expected_value` on ...
    high: Annotated[float, msgspec.Meta(ge=0, le=1e12)] = 100.0  # ... and high from this


class Lifecycle(_Table, frozen=True):
    """Stages by inactivity: new (young), active, slipping, lost, won_back (active again after lost)."""

    new: Duration = Duration.parse("7d")  # this long after the first event a customer is `new`
    slipping: Duration = Duration.parse("30d")  # this long without an event: `slipping`
    lost: Duration = Duration.parse("90d")  # this long without an event: `lost`
    won_back: Duration = Duration.parse("30d")  # this long after coming back from `lost`: `won_back`


class Segment(_Table, frozen=True):
    """The first segment whose `when` holds is the customer's; the last one should be `True`."""

    name: Word  # what expressions compare `segment` with
    when: Text  # an expression


class Tag(_Table, frozen=True):
    """A tag is on while `when` holds, and for `ttl` after it last held."""

    name: Word  # what expressions find in `tags`
    when: Text  # an expression
    weight: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 1.0  # how much it says; highest first where tags are shown
    ttl: Duration | None = None  # how long it stays on; none: no longer than `when` holds


class Churn(_Table, frozen=True):
    """Will there be no activity within `horizon`? Asked at most every `every` for each customer, answered when it has passed."""

    enabled: bool = True  # false: nothing is asked, learned or scored
    horizon: Duration = Duration.parse("30d")  # how far ahead it looks; also how late the answer comes
    every: Duration = Duration.parse("1d")  # at most one question in this time
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05  # of the challenger; the champion has none


class Model(_Table, frozen=True):
    """Another probability about a customer, asked at most every `every`: yes if one of `yes` happens within `horizon`, else no."""

    name: Literal["purchase", "deal", "complaint", "fraud"]  # what is asked; each at most once
    yes: Texts  # event names that answer yes, such as `Order Completed`
    when: Text = "True"  # an expression: which of these events count, such as `properties.rating <= 2`
    no: tuple[Text, ...] = ()  # event names that answer no before the horizon; with them answers are learnt at once
    on: Texts = ("*",)  # events at which it is asked and scored: names, or types such as `page`; `*` is any, and in quiet times too
    enabled: bool = True  # false: nothing is asked or scored
    horizon: Duration = Duration.parse("30d")  # how far ahead it looks; also how late the answer comes
    every: Duration = Duration.parse("1d")  # at most one question in this time
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05  # of the challenger
    positive_weight: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 1.0  # how much more a yes counts in learning
    on_drift: Literal["alarm", "forget"] = "alarm"  # when the error drifts: say so, or also forget most of the past


BEST = "best"  # the action of a trigger that chooses one


class Action(_Table, frozen=True):
    """One thing that may be done where a trigger says `action = "best"`. Which one is best is learnt: docs/next-best-action.md."""

    name: Word  # what the receiver should do
    when: Text = "True"  # an expression: who may be offered it
    value: Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000)] = 1.0  # what a reward of 1 is worth, in money
    cost: Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000)] = 0.0  # of doing it once, in money
    budget: Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000_000)] | None = None  # money for each `best_action.period`
    capacity: Count | None = None  # how often in each `best_action.period`
    cooldown: Duration | None = None  # for each customer: not offered again so long
    silent: bool = False  # true: do nothing; chosen and learnt like the others, and nothing is sent
    channel: str = ""  # by which channel; empty: the trigger's
    purpose: str = ""  # what consent is asked for; empty: the trigger's
    to: tuple[str, ...] = ()  # names of connectors; empty: the trigger's
    features: tuple[float, ...] = ()  # at most 16, of the action itself, for `best_action.shared`


class Reward(_Table, frozen=True):
    """An event that says that an action was right."""

    event: Text  # an event name, or a type such as `page`
    amount: Annotated[float, msgspec.Meta(ge=-1_000_000_000, le=1_000_000_000)] = 1.0  # the reward; 0 to 1 for the logistic policies
    property: str = ""  # which property holds the amount instead, such as `total`; for the linear policies
    decision: str = ""  # which property holds the trigger's id; empty: it counts for all that waits for a reward of this customer


class BestAction(_Table, frozen=True):
    """How the best `[[action]]` is chosen and learnt (a contextual bandit)."""

    policy: Literal["logistic_ucb", "logistic_thompson", "linucb", "linear_thompson", "epsilon_greedy"] = "logistic_ucb"  # which one
    shared: bool = False  # one model over the actions' `features`, instead of one for each action
    exploration: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None  # in deviations; none: what suits the policy
    floor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.005  # share of choices made uniformly, so that the log can judge other policies
    half_life: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0  # examples after which one counts half; 0: nothing is forgotten
    within: Duration = Duration.parse("1d")  # attribution window: how long after the choice a reward still counts
    repeat: Literal["first", "max", "sum"] = "max"  # how several rewards of one choice become one; sum for the linear policies
    period: Duration = Duration.parse("1d")  # of budgets and capacities; begins at midnight UTC for 1d
    reward: tuple[Reward, ...] = ()  # what counts as success


class Touch(_Table, frozen=True):
    """An event that says that a customer cares for an item."""

    event: Text  # an event name
    item: Text = "product_id"  # which property holds the item's id; `products.product_id` looks into each entry of a list
    weight: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 1.0  # how much it says


class Recommendation(_Table, frozen=True):
    """What goes with what a customer touched; else what the segment likes, then what everyone likes. Without a touch it is off."""

    touch: tuple[Touch, ...] = ()  # which events are about items
    k: Annotated[int, msgspec.Meta(ge=1, le=16)] = 5  # how many `recommended` gives
    half_life: Duration = Duration.parse("30d")  # a touch so long ago counts half


class Clusters(_Table, frozen=True):
    """Customers in a few groups that behave alike, formed by themselves. Their names stay: c1, c2 ..."""

    enabled: bool = False  # false: nothing is asked, learned or assigned
    k: Annotated[int, msgspec.Meta(ge=2, le=32)] = 5  # how many
    every: Duration = Duration.parse("1h")  # a customer is looked at at most once in this time


class On(_Table, frozen=True):
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


class TriggerRule(_Table, frozen=True):
    """What is sent, when, and where to. `on` says what makes it look, `when` whether it fires."""

    name: Word  # the rule's name in triggers, metrics and decisions
    on: On  # what fires it, such as `{event = "Order Completed"}`
    when: Text = "True"  # an expression
    cooldown: Duration | None = None  # for each customer: silent so long after it fired
    action: str = ""  # what the receiver should do; the rule's name where empty; `best`: the best `[[action]]`
    channel: str = ""  # by which channel it should be done, such as `push`
    purpose: Text = "marketing"  # what consent is asked for
    to: tuple[str, ...] = ()  # names of connectors


class Rules(_Table, frozen=True):
    """All that `flows.logic.profile` needs; announced to the shards as a record of their logs."""

    aggregate: tuple[Aggregate, ...] = ()  # figures kept for each customer
    value: Value = Value()  # what a purchase is
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


# --- the machinery --------------------------------------------------------------------------------------------------


class Data(_Table, frozen=True):
    """Where everything that must last is kept."""

    folder: Text = "./data"  # relative to the configuration file


class Redis(_Table, frozen=True):
    """The state store."""

    url: Secret = Secret("embedded")  # `embedded`: millrace starts one itself; or redis://, rediss://, unix://
    prefix: Word = "mr"  # of every key
    fsync: Literal["always", "everysec"] = "always"  # embedded only; `everysec` may lose a second at a power cut
    max_memory: Size = Size.parse("4GB")  # embedded only; nothing is ever evicted
    replicas: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0  # so many have each commit, and each event that is acknowledged


class Raw(_Table, frozen=True):
    """The log between the gateway and the flows."""

    log: Literal["redis", "kafka"] = "redis"  # which kind
    partitions: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 8  # redis only
    max_events: Count = 200_000  # waiting in a redis log; beyond it the gateway answers 429
    seal: bool = True  # what the gateway writes is encrypted


class Kafka(_Table, frozen=True):
    """The brokers; read only where `raw.log` is `kafka`, or by connectors of that type."""

    bootstrap: Text = "127.0.0.1:9092"  # host:port, several with commas
    topics: Texts = ("millrace.events",)  # all are read; the gateway writes to the first
    trimmed: Literal["fail", "skip"] = "fail"  # retention was faster than we: stop, or go on and count what is missing
    registry: str = ""  # URL of a schema registry for incoming Avro; empty: only schemas/avro in the data folder
    options: dict[str, Secret] = {}  # handed to librdkafka: security.protocol, sasl.*, ssl.*


class WriteKey(_Table, frozen=True):
    """Who may send events. Without an entry: key `demo`, source `web`."""

    key: Secret  # what the client sends
    source: Word  # names the channel: web, app, store ...
    events_per_second: Count = 5_000  # beyond it the gateway answers 429
    merges: bool = False  # true: may unite customers and part them (`merge`, `unmerge`); never for a key that a browser knows
    enabled: bool = True  # false: refused


class Gateway(_Table, frozen=True):
    """The HTTP side: events come in, profiles are read."""

    listen: Address = "127.0.0.1:8080"  # host:port
    write_keys: tuple[WriteKey, ...] = (WriteKey(key=Secret("demo"), source="web"),)  # without one nobody can send
    read_tokens: tuple[Secret, ...] = (Secret("demo-read"),)  # who may read profiles
    steward_tokens: tuple[Secret, ...] = ()  # who may read identities in the clear, unite and part customers; none: nobody over HTTP
    event_bytes: Size = Size.parse("32KB")  # of one event
    batch_bytes: Size = Size.parse("500KB")  # of one request, unpacked
    batch_events: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 2_500  # in one request
    cors_origins: tuple[Text, ...] = ("*",)  # web pages that may send; `*` is any


class Window(_Table, frozen=True):
    """Events of one partition that are resolved together: what came while the ones before were handled, at most `events`."""

    wait: Duration = Duration.parse("200ms")  # at most so long, however long that takes; 30s or more is refused
    events: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500  # at most so many


class PlanEvent(_Table, frozen=True):
    """A tracking plan's entry. `schema` is a JSON Schema (.json) or an Avro record (.avsc) for `properties`, relative to the file."""

    event: Text  # the event name
    schema: Text  # a file ending in .json or .avsc


class Validate(_Table, frozen=True):
    """What is refused; a refused event goes to the dead-letter log with its reason."""

    depth: Annotated[int, msgspec.Meta(ge=2, le=100)] = 16  # of nesting
    properties: Count = 1_000  # in one event, nested ones counted
    past: Duration = Duration.parse("3650d")  # older events are refused
    future: Duration = Duration.parse("1d")  # events further ahead are refused
    unknown_events: Literal["accept", "flag", "reject"] = "accept"  # events that no plan names
    reject_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 50.0  # more rejects than this stop the flow ...
    reject_sample: Count = 1_000  # ... counted over so many events
    poison_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 5.0  # of so many events: more on which our logic fails alike stop it
    plan: tuple[PlanEvent, ...] = ()  # the tracking plan


Normalize = Literal["exact", "lower", "digits", "phone", "email", "id_number", "credit_code", "passport", "bank_card"]


class Namespace(_Table, frozen=True):
    """A kind of identifier; the order in the file is the order of strength. Without an entry: those of the packaged file."""

    name: Figure  # such as `user_id`
    paths: Texts  # where it stands in a Segment message: `userId`, `traits.email`, `context.device.id`
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)]  # how many of them one customer may have
    normalize: Normalize = "exact"  # how spellings become one; from `phone` on, a bad value identifies nobody
    at_limit: Literal["refuse", "oldest", "review"] = "refuse"  # one too many is refused, or the oldest leaves, or a steward is asked
    verified: bool = False  # two customers who both have one are never united, but by a steward
    shared: bool = False  # may be used by many people, such as a device: see [identity.guard]


class Guard(_Table, frozen=True):
    """When an identifier stops being evidence: events that carry it are resolved by their others, until a steward releases it."""

    customers: Annotated[int, msgspec.Meta(ge=2, le=64)] = 8  # so many users had it in turn ...
    moves: Annotated[int, msgspec.Meta(ge=2, le=100_000)] = 20  # ... or it went so often from one to another ...
    within: Duration = Duration.parse("1h")  # ... in this time (namespaces with `shared = true`)
    unions: Annotated[int, msgspec.Meta(ge=2, le=100_000)] = 50  # it brought one customer so many others, or new identifiers ...
    unions_within: Duration = Duration.parse("1m")  # ... in this time, as a constant user id does
    window_unions: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500  # unions in one window; what is beyond comes with a later one


class Identity(_Table, frozen=True):
    """Which identifiers there are, and which values identify nobody."""

    blocked: tuple[str, ...] = ("null", "none", "undefined", "guest", "anonymous", "unknown", "nan", "test")  # compared in lower case
    blocked_patterns: tuple[Pattern, ...] = ()  # regular expressions; a value that one fits wholly
    capacity: Count = 1_000_000  # identifiers planned for, rather too many than too few; fixed at creation, see docs/identity.md
    ledger: Count = 1_000_000  # unions that can still be undone
    reviews: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000  # pairs that wait for a steward; more are not noted
    guard: Guard = Guard()  # against what only looks like evidence
    namespace: tuple[Namespace, ...] = (  # strongest first
        Namespace(name="user_id", paths=("userId",), limit=1),
        Namespace(name="phone", paths=("traits.phone", "context.traits.phone"), limit=3, normalize="phone"),
        Namespace(name="email", paths=("traits.email", "context.traits.email"), limit=5, normalize="email"),
        Namespace(name="device", paths=("context.device.id",), limit=20, shared=True),
        Namespace(name="anonymous", paths=("anonymousId",), limit=100, shared=True),
    )


class MatchField(_Table, frozen=True):
    """Where a field that matching compares stands among the traits. Names that matching knows are compared by their own rules."""

    name: Figure  # given_name, family_name, full_name, date_of_birth, phone, email, street, city, postcode, national_id, organisation ...
    paths: Texts  # the first that is there: `traits.firstName`, `traits.address.city`


class Matching(_Table, frozen=True):
    """Customers who share no identifier, found by names, dates, addresses. A stage of its own: it never delays what is exact."""

    enabled: bool = True  # false: nothing is kept for it, and nothing matched
    merge: Annotated[float, msgspec.Meta(ge=0, le=60)] = 2.0  # bits of posterior odds from which two are united; 2 is 4 to 1
    review: Annotated[float, msgspec.Meta(ge=-60, le=60)] = -1.0  # bits from which a steward is asked
    keep: Duration = Duration.parse("730d")  # what is compared lies sealed under the customer's key, so long after it was last said
    log_max: Count = 100_000  # windows that may wait for it; beyond it the oldest are passed over
    field: tuple[MatchField, ...] = (  # what is compared
        MatchField(name="full_name", paths=("traits.name", "traits.fullName")),
        MatchField(name="given_name", paths=("traits.firstName", "traits.givenName")),
        MatchField(name="family_name", paths=("traits.lastName", "traits.familyName")),
        MatchField(name="date_of_birth", paths=("traits.birthday", "traits.dateOfBirth")),
        MatchField(name="gender", paths=("traits.gender",)),
        MatchField(name="phone", paths=("traits.phone", "traits.mobile")),
        MatchField(name="email", paths=("traits.email",)),
        MatchField(name="street", paths=("traits.address.street", "traits.street")),
        MatchField(name="city", paths=("traits.address.city", "traits.city")),
        MatchField(name="postcode", paths=("traits.address.postalCode", "traits.postalCode")),
        MatchField(name="state", paths=("traits.address.state", "traits.state")),
        MatchField(name="country", paths=("traits.address.country", "traits.country")),
        MatchField(name="national_id", paths=("traits.idNumber", "traits.nationalId")),
        MatchField(name="organisation", paths=("traits.company.name", "traits.organisation")),
    )


FieldKind = Literal[
    "phone",
    "email",
    "name",
    "birthday",
    "date",
    "gender",
    "address",
    "city",
    "province",
    "country",
    "postal_code",
    "locale",
    "time_zone",
    "id_number",
    "credit_code",
    "passport",
    "bank_card",
]
Country = Annotated[str, msgspec.Meta(pattern=r"^([A-Z]{2})?\Z", description="two capital letters (ISO 3166), or nothing")]
Label = Annotated[str, msgspec.Meta(pattern=r"^[^:]+\Z", description="text that is not empty and has no colon")]


class Field(_Table, frozen=True):
    """Traits of one kind, however they are spelled (firstName, first_name). Without an entry: those of the packaged file."""

    kind: FieldKind  # what they are checked as; those of a personal kind are sealed, even if `privacy.sensitive` does not name them
    names: Annotated[tuple[Label, ...], msgspec.Meta(min_length=1)]  # of the traits; of the parts of an address as well


class Repeat(_Table, frozen=True):
    """The same content again (customer, source, event, properties, traits) under another messageId is dropped."""

    within: Duration  # what is less than this apart is dropped, what is twice as far or more never
    sources: Texts = ("*",)  # names of write keys (or topics); `*` is any
    events: Texts = ("*",)  # event names, or types such as `identify`; `*` is any


class Entry(_Table, frozen=True):
    """Traits are checked, normalised and completed on entry. See docs/entry.md."""

    country: Country = "CN"  # of numbers and codes without one; empty: only what the event itself says of it
    day_first: bool = True  # 03/04/2020 is in April; false: in March
    ignore_plus_tags: bool = False  # ana+shop@example.org is ana@example.org for identity
    ignore_gmail_dots: bool = False  # a.na@gmail.com is ana@gmail.com for identity
    disposable: tuple[Text, ...] = (  # mail domains (and those below them) whose addresses are bad
        *("mailinator.com", "guerrillamail.com", "10minutemail.com", "yopmail.com", "tempmail.com", "temp-mail.org"),
        *("trashmail.com", "sharklasers.com", "getnada.com", "maildrop.cc", "dispostable.com", "throwawaymail.com"),
    )
    complete: bool = True  # derive what is missing; the tables of regions take each worker of resolve about 100 MB
    field: tuple[Field, ...] = (  # what is checked
        Field(kind="phone", names=("phone", "mobile", "telephone", "phoneNumber", "mobilePhone", "手机", "手机号", "手机号码", "电话")),
        Field(kind="email", names=("email", "emailAddress", "邮箱", "电子邮箱", "电子邮件")),
        Field(kind="name", names=("name", "firstName", "lastName", "middleName", "fullName", "姓名")),
        Field(kind="birthday", names=("birthday", "birthDate", "dateOfBirth", "生日", "出生日期")),
        Field(kind="gender", names=("gender", "sex", "性别")),
        Field(kind="address", names=("address", "street", "地址", "住址")),
        Field(kind="city", names=("city", "城市")),
        Field(kind="province", names=("province", "省份")),
        Field(kind="country", names=("country", "国家")),
        Field(kind="postal_code", names=("postalCode", "postcode", "zip", "zipCode", "邮编", "邮政编码")),
        Field(kind="locale", names=("locale",)),
        Field(kind="time_zone", names=("timezone",)),
        Field(kind="id_number", names=("idNumber", "idCard", "身份证", "身份证号", "身份证号码")),
        Field(kind="credit_code", names=("creditCode", "统一社会信用代码")),
        Field(kind="passport", names=("passport", "passportNumber", "护照", "护照号")),
        Field(kind="bank_card", names=("bankCard", "银行卡", "银行卡号")),
    )
    repeat: tuple[Repeat, ...] = ()  # repetitions that are dropped; without an entry none is


class Privacy(_Table, frozen=True):
    """Names of fields that are personal data, however they are spelled (firstName, first_name).

    As a trait such a field is sealed under a key of the customer's own before it enters any log; as a property of an event
    it is not kept. `traits.name` is one only among the traits: a product's name is no secret.
    """

    sensitive: tuple[Text, ...] = (  # their names
        *("email", "phone", "mobile", "traits.name", "firstName", "lastName", "username", "traits.avatar"),
        *("address", "street", "birthday", "dateOfBirth", "idNumber", "nationalId", "passport"),
        *("bankCard", "card", "iban", "ip"),
    )


class Keys(_Table, frozen=True):
    """Where the key-encryption key is kept."""

    provider: Literal["file"] = "file"  # which kind
    path: Text = "keys.json"  # relative to the data folder; created with mode 0600


class Shards(_Table, frozen=True):
    """The parts that the customers are split into, and how much of each may wait."""

    count: Annotated[int, msgspec.Meta(ge=1, le=4_096)] = 64  # fixed at creation
    log_max: Count = 100_000  # entries in one shard's log; beyond it resolve waits
    outbox_max: Count = 100_000  # entries in one lane of a shard's outbox; beyond it the shard waits
    cache: Count = 200_000  # hot profiles in one worker
    dedupe: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 64  # message ids remembered for each customer


class Archive(_Table, frozen=True):
    """Everything that happens, in its order, as files: the incremental backup. See docs/backup.md."""

    enabled: bool = False  # true: `millrace run` also runs the process that writes it
    folder: Text = "archive"  # relative to the data folder; better on another disk
    rotate_bytes: Size = Size.parse("64MB")  # a file is closed when it is so large ...
    rotate_every: Duration = Duration.parse("1h")  # ... or so old
    journal_max: Count = 2_000  # windows that may wait for it; beyond it resolve waits
    keep: Duration | None = None  # `millrace backup prune` removes older files that no backup needs; none: keeps all, for `rebuild`


class Backup(_Table, frozen=True):
    """Full copies while the flows run. See docs/backup.md."""

    daily: Daytime = ""  # when one is made and old ones are removed, UTC, such as `03:00`; empty: only by `millrace backup create`
    folder: Text = "backup"  # relative to the data folder; better on another disk
    keep: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 7  # the newest so many
    keys: Text = "keycopy.db"  # the copy of the customers' data keys, relative to the data folder; apart from the backups


class Connector(_Table, frozen=True):
    """Where triggers go. Which fields are needed depends on `type`; `millrace check` says so."""

    name: Word  # what `trigger.to` calls it
    type: Literal["webhook", "kafka", "redis", "file"]  # which kind
    url: str = ""  # webhook
    secrets: tuple[Secret, ...] = ()  # webhook: whsec_...; two during rotation, the first signs first
    allow_private: bool = False  # webhook: addresses of private networks
    timeout: Duration = Duration.parse("15s")  # of one attempt
    topic: str = ""  # kafka
    bootstrap: str = ""  # kafka; empty: the one of [kafka]
    format: Literal["json", "avro"] = "json"  # kafka: how the CloudEvent is written
    stream: str = ""  # redis
    max_length: Count = 1_000_000  # redis: entries that are kept
    path: str = ""  # file, relative to the data folder
    identify: tuple[str, ...] = ("user_id",)  # sealed fields that this receiver gets to know the customer by
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 16  # webhook: requests at a time
    enabled: bool = True  # false: nothing is sent to it


class Deliver(_Table, frozen=True):
    """How hard deliveries are tried; what fails for good goes to the dead letters."""

    attempts: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 12  # of one delivery
    backoff: Duration = Duration.parse("500ms")  # before the second attempt; doubles, with jitter
    backoff_max: Duration = Duration.parse("5m")  # at most so long between two
    breaker_failures: Count = 10  # in a row, then the connector rests ...
    breaker_rest: Duration = Duration.parse("15s")  # ... so long


class Metrics(_Table, frozen=True):
    """Where Prometheus finds the figures."""

    listen: Address = "127.0.0.1:9464"  # of a flow that runs alone; `run all` serves them at the gateway


class Log(_Table, frozen=True):
    """What millrace says about itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"  # the least that is written
    format: Literal["auto", "json", "console"] = "auto"  # `auto`: pretty on a terminal, JSON elsewhere


class Config(Rules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    name: Word = "millrace"  # of the deployment; its data carries it
    data: Data = Data()
    redis: Redis = Redis()
    raw: Raw = Raw()
    kafka: Kafka = Kafka()
    gateway: Gateway = Gateway()
    window: Window = Window()
    validate: Validate = Validate()
    identity: Identity = Identity()
    matching: Matching = Matching()
    entry: Entry = Entry()
    privacy: Privacy = Privacy()
    keys: Keys = Keys()
    shards: Shards = Shards()
    archive: Archive = Archive()
    backup: Backup = Backup()
    connector: tuple[Connector, ...] = ()
    deliver: Deliver = Deliver()
    metrics: Metrics = Metrics()
    log: Log = Log()


def rules_of(document: dict[str, Any]) -> dict[str, Any]:
    """The part of a decoded TOML document that is `Rules`, as plain data fit for a log record."""
    return {name: document[name] for name in Rules.__struct_fields__ if name in document}


# What `when` expressions may name besides the aggregates: type and meaning. An aggregate may not take one of these names.
EXPRESSION_NAMES: dict[str, tuple[str, str]] = {
    "event": ("text", "name of the event that is looked at; empty when a timer looks"),
    "type": ("text", "its type: track, identify, page, screen, group, alias; empty when a timer looks"),
    "channel": ("text", "its channel: the `source` of its write key"),
    "properties.NAME": ("any", 'one of its properties; `properties["Order Total"]` where the name is no plain word'),
    "traits.NAME": ("any", "a trait of the customer, unless it is personal data"),
    "tags": ("set", 'the tags that are on: `"vip" in tags`'),
    "segment": ("text", "the customer's segment"),
    "stage": ("text", "lifecycle stage: new, active, slipping, lost, won_back"),
    "recency_days": ("number", "days since the last purchase; missing before the first"),
    "frequency": ("number", "purchases ever"),
    "monetary": ("number", "spent ever"),
    "inactive_days": ("number", "days since the last event"),
    "age_days": ("number", "days since the first event"),
    "events": ("number", "events ever"),
    "sessions": ("number", "sessions in the last 30 days"),
    "hour": ("number", "hour of the day now, UTC"),
    "top_channel": ("text", "the channel with most events; missing before the first"),
    "top_hour": ("number", "the hour of the day with most events, UTC; missing before the first"),
    "cluster": ("text", "the customer's group, such as `c1`; empty until groups are formed"),
    "recommended": (
        "set",
        'items to recommend: `"SKU-1" in recommended`, `len(recommended) > 0`; empty until there is a model',
    ),
    "score.churn": ("number", "0 to 1: how likely no activity is; missing until there is a model"),
    "score.purchase": ("number", "0 to 1: how likely a purchase is; missing until there is a model, as those below"),
    "score.deal": ("number", "0 to 1: how likely it is that the opportunity is won"),
    "score.complaint": ("number", "0 to 1: how likely a complaint is"),
    "score.fraud": ("number", "0 to 1: how likely fraud is; before enough is confirmed: how unusual (0.5: more than 99 of 100)"),
    "expected_value": ("number", "of the next purchase within the horizon, times its probability; missing until there is a model"),
    "value_tier": ("text", "low, middle or high: `expected_value` against `[value]`; missing until there is a model"),
}
