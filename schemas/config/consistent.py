"""What one value of the configuration demands of another. No logic of the flows is needed for any of it.

Expressions are not looked at here: they belong to `flows.logic`, and `millrace check` adds what is wrong with
them.
"""

import base64
import binascii
import keyword
from collections.abc import Callable, Collection, Iterator, Sequence
from os.path import normpath
from pathlib import PurePath
from typing import Any
from zoneinfo import available_timezones

from schemas import patterns
from schemas.config import BEST, EXPRESSION_NAMES, Aggregate, Config, Connector, On
from schemas.config.decode import suggest
from schemas.config.locate import Path
from schemas.units import Duration

Document = dict[str, Any]
Found = Iterator[tuple[Path, str]]

_WINDOW_WAIT_MAX = Duration.parse("30s")
_LOG_MIN = 10  # entries: a tick comes each second, and a shard with nothing else to do commits, and so trims, every two
_TAGS_MAX = 200
_PATTERNS_MAX = 64
_ACTIONS_MAX, _ACTION_FEATURES_MAX = 256, 16
_RESERVED = {name.split(".")[0] for name in EXPRESSION_NAMES}
_ABSENCE = ("after", "without", "within")  # the one kind of `on` that has three keys
_OF_TYPE = {  # which keys belong to which type of connector; those needed first
    "webhook": ("url", "secrets", "allow_private", "concurrency"),
    "kafka": ("topic", "bootstrap", "format"),
    "redis": ("stream", "max_length"),
    "file": ("path",),
}
_NEEDED = {"webhook": ("url", "secrets"), "kafka": ("topic",), "redis": ("stream",), "file": ("path",)}


def inconsistencies(config: Config, document: Document, broken: Collection[Path]) -> Found:
    """(path, message) of each. `document` shows what the file really says; places in `broken` hold no real
    value."""
    for check in (_names, _rules, _identity, _edges, _zones, _folders, _connectors):
        for path, message in check(config, document):
            kind = (*path[:2], "of"), (*path[:2], "type")  # what else an entry must have depends on these
            if not any(
                path[: len(place)] == place or place[: len(path)] == path or place in kind for place in broken
            ):
                yield path, message


def _names(config: Config, _: Document) -> Found:
    """Whatever is called by a name has that name for itself."""
    yield from _twice(
        [entry.name for entry in config.aggregate], lambda index: ("aggregate", index, "name"), "aggregate"
    )
    yield from _twice(
        [entry.name for entry in config.segment], lambda index: ("segment", index, "name"), "segment"
    )
    yield from _twice([entry.name for entry in config.model], lambda index: ("model", index, "name"), "model")
    yield from _twice([entry.name for entry in config.tag], lambda index: ("tag", index, "name"), "tag")
    yield from _twice(
        [entry.name for entry in config.action], lambda index: ("action", index, "name"), "action"
    )
    yield from _twice(
        [entry.name for entry in config.trigger], lambda index: ("trigger", index, "name"), "trigger"
    )
    yield from _twice(
        [entry.name for entry in config.connector], lambda index: ("connector", index, "name"), "connector"
    )
    yield from _twice(
        [entry.event for entry in config.validate.plan],
        lambda index: ("validate", "plan", index, "event"),
        "plan for",
    )
    yield from _twice(
        [entry.name for entry in config.identity.namespace],
        lambda index: ("identity", "namespace", index, "name"),
        "namespace",
    )


def _twice(names: Sequence[str], path: Callable[[int], Path], what: str) -> Found:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield path(index), f"there is another {what} `{name}`"


def _rules(config: Config, _: Document) -> Found:
    for index, aggregate in enumerate(config.aggregate):
        for key, message in _aggregate(aggregate):
            yield ("aggregate", index, key), message
    if config.lifecycle.slipping >= config.lifecycle.lost:
        yield ("lifecycle", "lost"), f"must be longer than `slipping` ({config.lifecycle.slipping})"
    if config.value.middle > config.value.high:
        yield ("value", "high"), f"must not be less than `middle` ({config.value.middle})"
    for index, model in enumerate(config.model):
        for place, name in enumerate(model.no):
            if name in model.yes:
                yield ("model", index, "no", place), f"`{name}` already answers yes"
    if len(config.tag) > _TAGS_MAX:
        yield ("tag", _TAGS_MAX), f"more than {_TAGS_MAX} tags"
    connectors = [connector.name for connector in config.connector]
    for index, trigger in enumerate(config.trigger):
        for key, message in _on(config, trigger.on):
            yield (("trigger", index, "on", key) if key else ("trigger", index, "on")), message
        for place, name in enumerate(trigger.to):
            if name not in connectors:
                yield (
                    ("trigger", index, "to", place),
                    f"there is no connector `{name}`{suggest(name, connectors)}",
                )
        if trigger.action == BEST and not config.action:
            yield ("trigger", index, "action"), "there is no [[action]] to choose from"
    yield from _best_action(config, connectors)


def _best_action(config: Config, connectors: list[str]) -> Found:
    best = config.best_action
    for index, action in enumerate(config.action):
        if action.name == BEST:
            yield ("action", index, "name"), f"`{BEST}` is what a trigger says to choose one"
        for place, name in enumerate(action.to):
            if name not in connectors:
                yield (
                    ("action", index, "to", place),
                    f"there is no connector `{name}`{suggest(name, connectors)}",
                )
        if len(action.features) > _ACTION_FEATURES_MAX:
            yield ("action", index, "features"), f"more than {_ACTION_FEATURES_MAX} features"
    if len(config.action) > _ACTIONS_MAX:
        yield ("action", _ACTIONS_MAX), f"more than {_ACTIONS_MAX} actions"
    if config.action and not best.reward:
        yield ("best_action", "reward"), "without a reward nothing can be learnt about the actions"
    if not best.policy.startswith("logistic"):
        return
    if best.repeat == "sum":
        yield (
            ("best_action", "repeat"),
            f"rewards of {best.policy} are 0 to 1 and cannot be summed up; linucb and linear_thompson can",
        )
    for index, reward in enumerate(best.reward):
        if reward.property:
            yield (
                ("best_action", "reward", index, "property"),
                f"rewards of {best.policy} are 0 to 1: take linucb or linear_thompson",
            )
        elif not 0.0 <= reward.amount <= 1.0:
            yield (
                ("best_action", "reward", index, "amount"),
                f"rewards of {best.policy} are 0 to 1, got {reward.amount}",
            )


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
        yield (
            "",
            f"exactly one of {', '.join(name for name in On.__struct_fields__ if name not in _ABSENCE)} or after/without/within",
        )
    elif given[0] in _ABSENCE and len(given) != len(_ABSENCE):
        yield (
            "",
            f"after, without and within go together; {' and '.join(name for name in _ABSENCE if name not in given)} is missing",
        )
    for name in ("event", "after", "without"):
        if getattr(on, name) == "":
            yield name, "expected the name of an event"
    for kind, known in (
        ("tag", [tag.name for tag in config.tag]),
        ("segment", [segment.name for segment in config.segment]),
    ):
        for name in (f"{kind}_entered", f"{kind}_left"):
            wanted = getattr(on, name)
            if wanted is not None and wanted not in known:
                yield name, f"there is no {kind} `{wanted}`{suggest(wanted, known)}"
    for name in ("score_above", "score_below"):
        scores: dict[str, float] | None = getattr(on, name)
        if scores is not None:
            yield from ((name, message) for message in _crossing(config, scores))


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


def _identity(config: Config, _: Document) -> Found:
    if not config.identity.namespace:
        yield ("identity", "namespace"), "without a namespace nobody can be known"
    if len(config.identity.blocked_patterns) > _PATTERNS_MAX:
        yield ("identity", "blocked_patterns", _PATTERNS_MAX), f"more than {_PATTERNS_MAX} patterns"
    for index, pattern in enumerate(config.identity.blocked_patterns):
        try:
            patterns.whole(pattern)
        except ValueError as error:
            yield ("identity", "blocked_patterns", index), str(error)


def _edges(config: Config, _: Document) -> Found:
    if config.window.wait >= _WINDOW_WAIT_MAX:
        yield ("window", "wait"), f"must be shorter than {_WINDOW_WAIT_MAX}, got {config.window.wait}"
    if config.deliver.backoff > config.deliver.backoff_max:
        yield ("deliver", "backoff_max"), f"must not be shorter than `backoff` ({config.deliver.backoff})"
    if config.redis.url != "embedded" and not config.redis.url.startswith(
        ("redis://", "rediss://", "unix://")
    ):
        yield ("redis", "url"), "expected `embedded`, redis://, rediss:// or unix://"
    if config.kafka.registry and not config.kafka.registry.startswith(("http://", "https://")):
        yield ("kafka", "registry"), "expected http:// or https://"
    for path, address in (
        (("gateway", "listen"), config.gateway.listen),
        (("metrics", "listen"), config.metrics.listen),
    ):
        if int(address.rpartition(":")[2] or 0) > 65_535:
            yield path, f"a port is at most 65535, got {address}"
    yield from _gateway(config)
    yield from _room(config)
    for index, entry in enumerate(config.validate.plan):
        if not entry.schema.endswith((".json", ".avsc")):
            yield (
                ("validate", "plan", index, "schema"),
                f"expected a file ending in .json or .avsc, got {entry.schema!r}",
            )


def _zones(config: Config, _: Document) -> Found:
    """An event says its source, not its write key: so all keys of a source have one zone."""
    zones: dict[str, str] = {}
    for index, entry in enumerate(config.gateway.write_keys):
        at: Path = ("gateway", "write_keys", index, "zone")
        yield from _zone(at, entry.zone)
        if zones.setdefault(entry.source, entry.zone) != entry.zone:
            yield at, f"another key of the source `{entry.source}` says {zones[entry.source]}"
    for topic, zone in config.kafka.zones.items():
        yield from _zone(("kafka", "zones", topic), zone)
        if topic not in config.kafka.topics:
            yield (
                ("kafka", "zones", topic),
                f"it is none of `kafka.topics`{suggest(topic, config.kafka.topics)}",
            )
        elif zones.setdefault(topic, zone) != zone:
            yield ("kafka", "zones", topic), f"the write key of this name says {zones[topic]}"


def _zone(at: Path, zone: str) -> Found:
    known = available_timezones()
    if zone not in known:
        yield at, f"there is no time zone `{zone}`{suggest(zone, sorted(known))}"


def _room(config: Config) -> Found:
    """A queue that has no room for what comes in one piece would stand still for ever."""
    shards, raw = config.shards, config.raw
    if shards.log_max < _LOG_MIN:
        yield (
            ("shards", "log_max"),
            f"expected at least {_LOG_MIN}: a shard's clock alone fills it, got {shards.log_max}",
        )
    if shards.outbox_max < config.window.events:
        yield (
            ("shards", "outbox_max"),
            f"expected at least `window.events` ({config.window.events}), which may all lead to one shard at once, got {shards.outbox_max}",
        )
    if raw.log == "redis" and raw.max_events // raw.partitions < config.gateway.batch_events:
        yield (
            ("raw", "max_events"),
            f"expected room for a request (`gateway.batch_events`, {config.gateway.batch_events}) in each of the {raw.partitions}"
            f" partitions, so at least {config.gateway.batch_events * raw.partitions}, got {raw.max_events}",
        )


def _gateway(config: Config) -> Found:
    gateway = config.gateway
    if gateway.event_bytes > gateway.batch_bytes:
        yield ("gateway", "event_bytes"), f"must not be larger than `batch_bytes` ({gateway.batch_bytes})"
    seen: set[str] = set()
    for index, entry in enumerate(gateway.write_keys):  # keys are secrets: no message shows one
        at: Path = ("gateway", "write_keys", index, "key")
        if not entry.key:
            yield at, "the key is empty"
        elif entry.key in seen:
            yield at, "another source has the same key"
        seen.add(entry.key)
    tokens = [(("gateway", "read_tokens", index), token) for index, token in enumerate(gateway.read_tokens)]
    tokens += [
        (("gateway", "steward_tokens", index), token) for index, token in enumerate(gateway.steward_tokens)
    ]
    for at, token in tokens:
        if not token:
            yield at, "the token is empty"
        elif token in seen:  # a write key stands in web pages for all to see
            yield at, "a write key or another token is the same"
        seen.add(token)


def _folders(config: Config, _: Document) -> Found:
    """The copy of the customers' keys, and the key file, lie apart from what they open: who copies one folder
    away must not have both."""
    holders = {"backup": config.backup.folder, "archive": config.archive.folder}
    for place, file in ((("backup", "keys"), config.backup.keys), (("keys", "path"), config.keys.path)):
        for kind, folder in holders.items():
            if _inside(config, file, folder):
                yield place, f"must not lie in {kind}.folder ({folder}): who has the data would have its keys"


def _inside(config: Config, file: str, folder: str) -> bool:
    """Relative ones are relative to the data folder, and that to the file's, which is not known here."""
    data = PurePath("/<the file's folder>", config.data.folder)
    inner, outer = (PurePath(normpath(data / path)) for path in (file, folder))
    return inner.is_relative_to(outer)


def _connectors(config: Config, document: Document) -> Found:
    for index, connector in enumerate(config.connector):
        given = document["connector"][index]
        yield from _connector(
            config, connector, given if isinstance(given, dict) else {}, ("connector", index)
        )


def _connector(config: Config, connector: Connector, given: Document, at: Path) -> Found:
    for kind, keys in _OF_TYPE.items():
        for key in keys:
            if kind != connector.type and key in given:
                yield (*at, key), f"`{key}` is for connectors of type {kind}, this one is {connector.type}"
    for key in _NEEDED[connector.type]:
        if not getattr(connector, key):
            yield (*at, key), f"a connector of type {connector.type} needs `{key}`"
    if connector.url and not connector.url.startswith(("http://", "https://")):
        yield (*at, "url"), "expected http:// or https://"
    for index, secret in enumerate(connector.secrets):
        if not _is_webhook_secret(secret):
            yield (*at, "secrets", index), "expected `whsec_` and the base64 of 24 to 64 random bytes"
    fields = [*(namespace.name for namespace in config.identity.namespace), *config.privacy.sensitive]
    for index, name in enumerate(connector.identify):
        if name not in fields:
            yield (
                (*at, "identify", index),
                f"neither a namespace nor a sensitive field: `{name}`{suggest(name, fields)}",
            )


def _is_webhook_secret(secret: str) -> bool:
    """As in the Standard Webhooks specification."""
    try:
        return (
            secret.startswith("whsec_")
            and 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64
        )
    except binascii.Error:
        return False
