"""The configuration as frozen structs: one TOML file, decoded strictly by `schemas.toml`.

`Rules` is the part that decides what a customer's profile looks like and what is sent. It enters each shard's log
as a record, so that a replay sees the rules that were in force; everything else is about this process only.
"""

from typing import Any, Literal

import msgspec

from schemas.units import Duration, Size


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every table refuses keys that it does not know."""


class Secret(str):
    """A value that may be `${NAME}`, taken from the environment when the file is loaded. Never printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)"


# --- what the profile looks like ------------------------------------------------------------------------------------


class Aggregate(_Table):
    """One figure kept for each customer, updated by each event it is `on`."""

    name: str
    of: Literal["count", "sum", "min", "max", "last", "distinct", "top_k"]
    on: list[str] = ["*"]  # event names; `*` is any track, `page`, `screen`, `identify` are those types
    value: str = ""  # which property (dotted); needed for all but `count`
    over: Duration | None = None  # a sliding window; none is all time (count and sum only)
    half_life: Duration | None = None  # exponential decay (count and sum only)
    k: int = 3  # how many `top_k` gives


class Value(_Table):
    """Recency, frequency, monetary: what counts as a purchase."""

    events: list[str] = ["Order Completed"]
    amount: str = "total"


class Lifecycle(_Table):
    """Stages by inactivity: new (young), active, slipping, lost, won_back (active again after lost)."""

    new: Duration = Duration.parse("7d")
    slipping: Duration = Duration.parse("30d")
    lost: Duration = Duration.parse("90d")
    won_back: Duration = Duration.parse("30d")


class Segment(_Table):
    """The first segment whose `when` holds is the customer's; the last one should be `True`."""

    name: str
    when: str


class Tag(_Table):
    """A tag is on while `when` holds, and for `ttl` after it last held."""

    name: str
    when: str
    weight: float = 1.0
    ttl: Duration | None = None


class Churn(_Table):
    """Will there be no activity within `horizon`? Asked at most every `every` for each customer, answered when it has passed."""

    enabled: bool = True
    horizon: Duration = Duration.parse("30d")
    every: Duration = Duration.parse("1d")
    learning_rate: float = 0.05


class On(_Table):
    """What fires a trigger: exactly one of these."""

    event: str | None = None  # an event name, or a type such as `page`
    tag_entered: str | None = None
    tag_left: str | None = None
    segment_entered: str | None = None
    segment_left: str | None = None
    score_above: dict[str, float] | None = None  # {churn = 0.8}: crossed upwards
    score_below: dict[str, float] | None = None
    after: str | None = None  # "A, then no B within ..."
    without: str | None = None
    within: Duration | None = None


class TriggerRule(_Table):
    name: str
    on: On
    when: str = "True"
    cooldown: Duration | None = None  # for each customer
    action: str = ""  # what the receiver should do; the rule's name where empty
    channel: str = ""
    purpose: str = "marketing"
    to: list[str] = []  # names of connectors


class Rules(_Table):
    """All that `flows.logic.profile` needs; announced to the shards as a record of their logs."""

    aggregate: list[Aggregate] = []
    value: Value = Value()
    lifecycle: Lifecycle = Lifecycle()
    segment: list[Segment] = []
    tag: list[Tag] = []
    churn: Churn = Churn()
    trigger: list[TriggerRule] = []


# --- the machinery --------------------------------------------------------------------------------------------------


class Data(_Table):
    folder: str = "./data"  # relative to the configuration file


class Redis(_Table):
    url: Secret = Secret("embedded")  # or redis://, rediss://, unix://
    prefix: str = "mr"
    fsync: Literal["always", "everysec"] = "always"  # embedded only
    max_memory: Size = Size.parse("4GB")  # embedded only; noeviction
    replicas: int = 0  # WAIT for so many after each commit


class Raw(_Table):
    log: Literal["redis", "kafka"] = "redis"
    partitions: int = 8  # redis only
    max_events: int = 200_000  # waiting in a redis log; beyond it the gateway answers 429
    seal: bool = True  # what the gateway writes is encrypted


class Kafka(_Table):
    bootstrap: str = "127.0.0.1:9092"
    topics: list[str] = ["millrace.events"]  # all are read; the gateway writes to the first
    registry: str = ""  # URL of a schema registry for incoming Avro; empty: only schemas/avro in the data folder
    options: dict[str, Secret] = {}  # handed to librdkafka: security.protocol, sasl.*, ssl.*


class WriteKey(_Table):
    key: Secret
    source: str  # names the channel: web, app, store ...
    events_per_second: int = 5_000
    enabled: bool = True


class Gateway(_Table):
    listen: str = "127.0.0.1:8080"
    write_keys: list[WriteKey] = [WriteKey(key=Secret("demo"), source="web")]
    read_tokens: list[Secret] = [Secret("demo-read")]
    event_bytes: Size = Size.parse("32KB")
    batch_bytes: Size = Size.parse("500KB")
    batch_events: int = 2_500
    cors_origins: list[str] = ["*"]


class Window(_Table):
    wait: Duration = Duration.parse("200ms")  # 30s or more is refused
    events: int = 500


class PlanEvent(_Table):
    """A tracking plan's entry. `schema` is a JSON Schema (.json) or an Avro record (.avsc) for `properties`, relative to the file."""

    event: str
    schema: str


class Validate(_Table):
    depth: int = 16
    properties: int = 1_000
    past: Duration = Duration.parse("3650d")
    future: Duration = Duration.parse("1d")
    unknown_events: Literal["accept", "flag", "reject"] = "accept"
    reject_percent: float = 50.0
    reject_sample: int = 1_000
    plan: list[PlanEvent] = []


class Namespace(_Table):
    """A kind of identifier; the order in the file is the order of strength."""

    name: str
    paths: list[str]  # where it stands in a Segment message: `userId`, `traits.email`, `context.device.id`
    limit: int
    normalize: Literal["exact", "lower", "digits"] = "exact"


class Identity(_Table):
    blocked: list[str] = ["null", "none", "undefined", "guest", "anonymous", "unknown", "nan", "test"]
    capacity: int = 1_000_000  # identifiers planned for; sets the number of buckets, fixed at creation
    namespace: list[Namespace] = [
        Namespace(name="user_id", paths=["userId"], limit=1),
        Namespace(name="phone", paths=["traits.phone", "context.traits.phone"], limit=3, normalize="digits"),
        Namespace(name="email", paths=["traits.email", "context.traits.email"], limit=5, normalize="lower"),
        Namespace(name="device", paths=["context.device.id"], limit=20),
        Namespace(name="anonymous", paths=["anonymousId"], limit=100),
    ]


class Privacy(_Table):
    """Names of traits and properties that are personal data: sealed before they enter any log of ours."""

    sensitive: list[str] = [
        "email", "phone", "mobile", "name", "firstName", "lastName", "first_name", "last_name", "address", "street",
        "birthday", "dateOfBirth", "idNumber", "id_number", "nationalId", "passport", "bankCard", "card", "iban", "ip", "avatar", "username",
    ]  # fmt: skip


class Keys(_Table):
    provider: Literal["file"] = "file"
    path: str = "keys.json"  # relative to the data folder; created with mode 0600


class Shards(_Table):
    count: int = 64  # fixed at creation
    log_max: int = 100_000  # entries in one shard's log; beyond it resolve waits
    outbox_max: int = 100_000  # entries in one lane of a shard's outbox; beyond it the shard waits
    cache: int = 200_000  # hot profiles in one worker
    dedupe: int = 64  # message ids remembered for each customer


class Connector(_Table):
    """Where triggers go. Which fields are needed depends on `type`; `millrace check` says so."""

    name: str
    type: Literal["webhook", "kafka", "redis", "file"]
    url: str = ""  # webhook
    secrets: list[Secret] = []  # webhook: whsec_...; two during rotation, the first signs first
    allow_private: bool = False  # webhook: addresses of private networks
    timeout: Duration = Duration.parse("15s")
    topic: str = ""  # kafka
    bootstrap: str = ""  # kafka; empty: the one of [kafka]
    format: Literal["json", "avro"] = "json"  # kafka
    stream: str = ""  # redis
    max_length: int = 1_000_000  # redis
    path: str = ""  # file, relative to the data folder
    identify: list[str] = ["user_id"]  # sealed fields that this receiver gets to know the customer by
    concurrency: int = 16  # requests at a time (webhook)
    enabled: bool = True


class Deliver(_Table):
    attempts: int = 12
    backoff: Duration = Duration.parse("500ms")  # doubles, with jitter
    backoff_max: Duration = Duration.parse("5m")
    breaker_failures: int = 10  # in a row, then the connector rests ...
    breaker_rest: Duration = Duration.parse("15s")  # ... so long


class Metrics(_Table):
    listen: str = "127.0.0.1:9464"  # of a flow that runs alone; `run all` serves them at the gateway


class Log(_Table):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Config(Rules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    name: str = "millrace"  # of the deployment; its data carries it
    data: Data = Data()
    redis: Redis = Redis()
    raw: Raw = Raw()
    kafka: Kafka = Kafka()
    gateway: Gateway = Gateway()
    window: Window = Window()
    validate: Validate = Validate()
    identity: Identity = Identity()
    privacy: Privacy = Privacy()
    keys: Keys = Keys()
    shards: Shards = Shards()
    connector: list[Connector] = []
    deliver: Deliver = Deliver()
    metrics: Metrics = Metrics()
    log: Log = Log()


def rules_of(document: dict[str, Any]) -> dict[str, Any]:
    """The part of a decoded TOML document that is `Rules`, as plain data fit for a log record."""
    return {name: document[name] for name in Rules.__struct_fields__ if name in document}
