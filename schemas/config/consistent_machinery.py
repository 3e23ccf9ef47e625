"""What the machinery demands: queues with room, ports, folders apart, zones that agree, connectors that can
work."""

import base64
import binascii
from collections.abc import Iterator
from datetime import date
from os.path import normpath
from pathlib import PurePath
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from schemas.config import Config, Connector, OpenDsrConnector, WebhookConnector
from schemas.config.decode import suggest
from schemas.config.locate import Path
from schemas.units import Duration

Found = Iterator[tuple[Path, str]]

_WINDOW_WAIT_MAX = Duration.parse("30s")
# Entries: a tick comes each second, and a shard with nothing else to do commits, and so trims, every two.
_LOG_MIN = 10
_SESSION_MIN, _SESSION_MAX = Duration.parse("1m"), Duration.parse("12h")  # of a browser in the centre
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")
_KEPT_AT_LEAST = {
    "customers": Duration.parse("1d"),
    "decisions": Duration.parse("1h"),
    "dead_letters": Duration.parse("1h"),
    "reviews": Duration.parse("1d"),
    "requests": Duration.parse("30d"),  # somebody may ask what became of one
}
_SECRET_BYTES = range(24, 65)  # as the Standard Webhooks specification has it


def machinery_problems(config: Config) -> Found:
    """Yield (path, message) of what is wrong between one part of the deployment and another."""
    yield from _edges(config)
    yield from _gateway(config)
    yield from _centre(config)
    yield from _room(config)
    yield from _plan(config)
    yield from _zones(config)
    yield from _folders(config)
    yield from _retention(config)
    if config.keys.provider == "vault":
        yield from _vault(config)
    if config.opendsr.url:
        yield from _opendsr(config)
    for index, connector in enumerate(config.connector):
        yield from _connector(config, connector, ("connector", index))
    yield from _domains(config)


def _edges(config: Config) -> Found:
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


def _plan(config: Config) -> Found:
    for index, entry in enumerate(config.validate.plan):
        if not entry.schema.endswith((".json", ".avsc")):
            at: Path = ("validate", "plan", index, "schema")
            yield at, f"expected a file ending in .json or .avsc, got {entry.schema!r}"
    if config.validate.traits and config.validate.collect == "all":
        yield ("validate", "traits"), 'is read with `collect = "listed"` only: now all traits are collected'


def _gateway(config: Config) -> Found:
    gateway = config.gateway
    if gateway.event_bytes > gateway.batch_bytes:
        yield ("gateway", "event_bytes"), f"must not be larger than `batch_bytes` ({gateway.batch_bytes})"
    if gateway.gpc_updated and not _is_day(gateway.gpc_updated):
        yield ("gateway", "gpc_updated"), f"there is no such day, got {gateway.gpc_updated!r}"
    seen: set[str] = set()
    for index, entry in enumerate(gateway.write_keys):  # keys are secrets: no message shows one
        at: Path = ("gateway", "write_keys", index, "key")
        if not entry.key:
            yield at, "the key is empty"
        elif entry.key in seen:
            yield at, "another source has the same key"
        seen.add(entry.key)
    sorts = ("read_tokens", "steward_tokens", "privacy_tokens")
    tokens = [
        (("gateway", sort, index), token)
        for sort in sorts
        for index, token in enumerate(getattr(gateway, sort))
    ]
    for at, token in tokens:
        if not token:
            yield at, "the token is empty"
        elif token in seen:  # a write key stands in web pages for all to see
            yield at, "a write key or another token is the same"
        seen.add(token)


def _retention(config: Config) -> Found:
    """A time to live that was mistyped must not empty a deployment."""
    for name, least in _KEPT_AT_LEAST.items():
        kept: Duration | None = getattr(config.retention, name)
        if kept is not None and kept < least:
            yield ("retention", name), f"expected at least {least}, got {kept}; leave it out to keep them"


def _centre(config: Config) -> Found:
    public = config.gateway.public_url
    if public:
        url = urlsplit(public)
        if url.scheme not in ("http", "https") or not url.hostname or url.path not in ("", "/"):
            yield ("gateway", "public_url"), f"expected https://HOST without a path, got {public!r}"
        elif url.scheme == "http" and url.hostname not in _THIS_MACHINE:
            yield (
                ("gateway", "public_url"),
                f"expected https://, got {public!r}: what is held of customers would cross the network in"
                " plain text",
            )
    session = config.centre.session
    if not _SESSION_MIN <= session <= _SESSION_MAX:
        yield ("centre", "session"), f"expected {_SESSION_MIN} to {_SESSION_MAX}, got {session}"
    seen: set[str] = set()
    for index, entry in enumerate(config.centre.called):
        if entry.name in seen:
            yield ("centre", "called", index, "name"), f"`{entry.name}` is called twice"
        seen.add(entry.name)


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


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
            f"expected at least `window.events` ({config.window.events}), which may all lead to one shard at"
            f" once, got {shards.outbox_max}",
        )
    if raw.log == "redis" and raw.max_events // raw.partitions < config.gateway.batch_events:
        yield (
            ("raw", "max_events"),
            f"expected room for a request (`gateway.batch_events`, {config.gateway.batch_events}) in each of"
            f" the {raw.partitions} partitions, so at least {config.gateway.batch_events * raw.partitions},"
            f" got {raw.max_events}",
        )


def _zones(config: Config) -> Found:
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


def _folders(config: Config) -> Found:
    """The copy of the customers' keys, and the key file, lie apart from what they open: who copies one folder
    away must not have both."""
    holders = {"backup": config.backup.folder, "archive": config.archive.folder}
    for place, file in ((("backup", "keys"), config.backup.keys), (("keys", "path"), config.keys.path)):
        for kind, folder in holders.items():
            if _inside(config, file, folder):
                yield place, f"must not lie in {kind}.folder ({folder}): who has the data would have its keys"


def _opendsr(config: Config) -> Found:
    opendsr = config.opendsr
    url = urlsplit(opendsr.url)
    if url.scheme != "https" and url.hostname not in _THIS_MACHINE:
        yield ("opendsr", "url"), f"expected https://, got {opendsr.url!r}: requests name people"
    if opendsr.url.endswith("/"):
        yield ("opendsr", "url"), f"expected no slash at the end, got {opendsr.url!r}"
    for name in ("key", "certificate"):
        if not getattr(opendsr, name):
            yield ("opendsr", name), "expected a PEM file: each answer to a controller has to be signed"
    if not config.gateway.privacy_tokens:
        yield (
            ("opendsr", "url"),
            "gateway.privacy_tokens is empty, so nobody could send a request: give each controller a token",
        )
    names = [namespace.name for namespace in config.identity.namespace]
    for kind, namespace in opendsr.identities.items():
        if namespace not in names:
            yield (
                ("opendsr", "identities", kind),
                f"there is no namespace {namespace!r}: expected one of {', '.join(names)}",
            )


def _vault(config: Config) -> Found:
    vault = config.keys.vault
    url = urlsplit(vault.url)
    if url.scheme not in ("http", "https") or not url.hostname:
        yield ("keys", "vault", "url"), f"expected https://host:port, got {vault.url!r}"
    elif url.scheme == "http" and url.hostname not in _THIS_MACHINE:
        yield (
            ("keys", "vault", "url"),
            f"expected https://, got {vault.url!r}: keys would cross the network in plain text",
        )
    if bool(vault.token) == bool(vault.token_file):
        yield ("keys", "vault", "token"), "expected either `token` or `token_file`"


def _inside(config: Config, file: str, folder: str) -> bool:
    """Relative ones are relative to the data folder, and that to the file's, which is not known here."""
    data = PurePath("/<the file's folder>", config.data.folder)
    inner, outer = (PurePath(normpath(data / path)) for path in (file, folder))
    return inner.is_relative_to(outer)


def _connector(config: Config, connector: Connector, at: Path) -> Found:
    if isinstance(connector, WebhookConnector):
        yield from _webhook(connector, at)
    if isinstance(connector, OpenDsrConnector):
        yield from _processor(config, connector, at)
    fields = [*(namespace.name for namespace in config.identity.namespace), *config.privacy.sensitive]
    for index, name in enumerate(connector.identify):
        if name not in fields:
            yield (
                (*at, "identify", index),
                f"neither a namespace nor a sensitive field: `{name}`{suggest(name, fields)}",
            )


def _processor(config: Config, connector: OpenDsrConnector, at: Path) -> Found:
    for name in ("url", "callback"):
        url = getattr(connector, name)
        if url and not url.startswith("https://") and not (connector.allow_private and "http://" in url[:7]):
            yield (*at, name), "expected https://: requests name people"
    if not connector.identify:
        yield (*at, "identify"), "expected at least one field: the processor has to know who is meant"
    for index, rule in enumerate(config.trigger):
        if connector.name in rule.to:
            yield (
                ("trigger", index, "to"),
                f"{connector.name!r} is a processor: it is told of erasures, and takes no triggers",
            )


def _domains(config: Config) -> Found:
    """A callback names the domain of a processor, by which its connector is found."""
    seen: dict[str, str] = {}
    for index, connector in enumerate(config.connector):
        if not isinstance(connector, OpenDsrConnector):
            continue
        first = seen.setdefault(connector.domain.lower(), connector.name)
        if first != connector.name:
            yield ("connector", index, "domain"), f"the processor {first!r} has the same"


def _webhook(connector: WebhookConnector, at: Path) -> Found:
    if not connector.url.startswith(("http://", "https://")):
        yield (*at, "url"), "expected http:// or https://"
    for index, secret in enumerate(connector.secrets):
        if not _is_webhook_secret(secret):
            yield (*at, "secrets", index), "expected `whsec_` and the base64 of 24 to 64 random bytes"


def _is_webhook_secret(secret: str) -> bool:
    if not secret.startswith("whsec_"):
        return False
    try:
        return len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) in _SECRET_BYTES
    except binascii.Error:
        return False
