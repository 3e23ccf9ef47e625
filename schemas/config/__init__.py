"""The configuration as frozen structs: one TOML file, decoded strictly by `schemas.config.toml`.

`Rules` is the part that decides what a customer's profile looks like and what is sent. It enters each shard's
log as a record, so that a replay sees the rules that were in force; everything else is about this process
only.

limited_values    what an option may be
field_options     what an event must be
consent_options   what customers are asked, and what follows
centre_options    the pages where customers rule over their own data
dsr_options       requests of other systems
identity_options  who is one customer
rules             what the profile looks like
machinery         processes, folders, servers
connectors        where triggers go
"""

from typing import Any

from schemas.config.centre_options import Called, Centre
from schemas.config.connectors import (
    AnyConnector,
    Connector,
    FileConnector,
    KafkaConnector,
    OpenDsrConnector,
    RedisConnector,
    WebhookConnector,
)
from schemas.config.consent_options import Category, Consent, Purpose
from schemas.config.dsr_options import IDENTITIES, OpenDsr
from schemas.config.field_options import (
    ATTRIBUTES,
    AttributeName,
    Country,
    Entry,
    Field,
    FieldKind,
    Label,
    PlanEvent,
    Privacy,
    Repeat,
    Validate,
)
from schemas.config.identity_options import Guard, Identity, MatchField, Matching, Namespace
from schemas.config.limited_values import (
    Address,
    Count,
    Day,
    Daytime,
    Figure,
    Pattern,
    Secret,
    Text,
    Texts,
    Word,
    Zone,
)
from schemas.config.machinery import (
    Archive,
    Backup,
    Data,
    Deliver,
    Gateway,
    Kafka,
    Keys,
    Log,
    Metrics,
    Raw,
    Redis,
    Retention,
    Rights,
    Shards,
    Vault,
    Window,
    WriteKey,
)
from schemas.config.rules import (
    BEST,
    Action,
    Age,
    Aggregate,
    BestAction,
    Churn,
    Clusters,
    Lifecycle,
    Model,
    On,
    Recommendation,
    Reward,
    Rules,
    Segment,
    Tag,
    Touch,
    TriggerRule,
    Value,
)

__all__ = [
    "ATTRIBUTES",
    "ATTRIBUTE_NAMES",
    "BEST",
    "EXPRESSION_NAMES",
    "IDENTITIES",
    "Action",
    "Address",
    "Age",
    "Aggregate",
    "AnyConnector",
    "Archive",
    "AttributeName",
    "Backup",
    "BestAction",
    "Called",
    "Category",
    "Centre",
    "Churn",
    "Clusters",
    "Config",
    "Connector",
    "Consent",
    "Count",
    "Country",
    "Data",
    "Day",
    "Daytime",
    "Deliver",
    "Entry",
    "Field",
    "FieldKind",
    "Figure",
    "FileConnector",
    "Gateway",
    "Guard",
    "Identity",
    "Kafka",
    "KafkaConnector",
    "Keys",
    "Label",
    "Lifecycle",
    "Log",
    "MatchField",
    "Matching",
    "Metrics",
    "Model",
    "Namespace",
    "On",
    "OpenDsr",
    "OpenDsrConnector",
    "Pattern",
    "PlanEvent",
    "Privacy",
    "Purpose",
    "Raw",
    "Recommendation",
    "Redis",
    "RedisConnector",
    "Repeat",
    "Retention",
    "Reward",
    "Rights",
    "Rules",
    "Secret",
    "Segment",
    "Shards",
    "Tag",
    "Text",
    "Texts",
    "Touch",
    "TriggerRule",
    "Validate",
    "Value",
    "Vault",
    "WebhookConnector",
    "Window",
    "Word",
    "WriteKey",
    "Zone",
    "rules_of",
]


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
    consent: Consent = Consent()
    centre: Centre = Centre()
    rights: Rights = Rights()
    retention: Retention = Retention()
    opendsr: OpenDsr = OpenDsr()
    keys: Keys = Keys()
    shards: Shards = Shards()
    archive: Archive = Archive()
    backup: Backup = Backup()
    connector: tuple[AnyConnector, ...] = ()
    deliver: Deliver = Deliver()
    metrics: Metrics = Metrics()
    log: Log = Log()


def rules_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a decoded TOML document that is `Rules`, as plain data fit for a log record."""
    return {name: document[name] for name in Rules.__struct_fields__ if name in document}


# What they may name of customers, where `privacy.attributes` says so: type and meaning.
ATTRIBUTE_NAMES: dict[str, tuple[str, str]] = {
    **{name: ("text", meaning) for name, meaning in ATTRIBUTES.items()},
    "birthday_today": (
        "true or false",
        "whether it is the birthday, UTC (of 29 February in other years the 28th), by `birth_month_day`",
    ),
}

# What `when` expressions may name besides the aggregates: type and meaning. No aggregate may be called so.
EXPRESSION_NAMES: dict[str, tuple[str, str]] = {
    "event": ("text", "name of the event that is looked at; empty when a timer looks"),
    "type": ("text", "its type: track, identify, page, screen, group, alias; empty when a timer looks"),
    "channel": ("text", "its channel: the `source` of its write key"),
    "properties.NAME": (
        "any",
        'one of its properties; `properties["Order Total"]` where the name is no plain word',
    ),
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
    "score.purchase": (
        "number",
        "0 to 1: how likely a purchase is; missing until there is a model, as those below",
    ),
    "score.deal": ("number", "0 to 1: how likely it is that the opportunity is won"),
    "score.complaint": ("number", "0 to 1: how likely a complaint is"),
    "score.fraud": (
        "number",
        "0 to 1: how likely fraud is; until enough is confirmed how odd the last purchase is (0.5: 1 of 100)",
    ),
    "expected_value": (
        "number",
        "of the next purchase within the horizon, times its probability; missing until there is a model",
    ),
    "value_tier": (
        "text",
        "low, middle or high: `expected_value` against `[value]`; missing until there is a model",
    ),
}
