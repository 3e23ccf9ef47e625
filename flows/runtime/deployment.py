"""The composition root: every part, made from the configuration. The only place that knows which adapters
there are.

What only some processes need is imported where it is made: until a worker that died works again, most of the
time goes into imports.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from connectors.raw.log import RawReader, RawWriter
from flows.logic.fields.identifiers import Identifiers
from flows.logic.models.recommendation_index import NAME as SHELF
from flows.logic.models.recommendation_index import Shelf
from flows.logic.resolution.validation import Validator
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.machine import ShardMachine
from flows.logic.shard.state import Live, decode_profile, decode_sensitive
from flows.logic.shard.view import newest, present
from flows.runtime import snapshots as model_travel
from flows.runtime.poison_brake import PoisonBrake
from flows.runtime.reject_brake import Brake
from flows.runtime.rules_in_force import RULES, announce
from schemas.config import Config, Rules
from schemas.config import Shards as ShardsTable
from schemas.config.toml import rules_from
from schemas.errors import ConfigError, Damaged
from schemas.records.identity_graph import shard_of
from schemas.records.shard_log import LogKind
from state import dead_letter_logs
from state.damage import CHANGED, GONE, RESTORE, UNREADABLE, of_customer, shown
from state.dead_letter_logs import DeadDelivery, DeadEvent, DeadExample, DeadFacts, DeadLetters
from state.directory.directory_protocol import Directory
from state.directory.layout import Layout
from state.directory.ledger import RedisLedger
from state.directory.policy import Policy
from state.directory.redis_directory import RedisDirectory
from state.given_up import RedisGivenUp
from state.history.journal_tail import RedisJournal
from state.history.key_snapshot import keys_of
from state.keys import DataKeys, KeyRing, LogSeal, load_keys
from state.model_store import ModelStore, RedisModels, Signer
from state.redis import embedded
from state.redis.client import Connect, check_server, connect, reported, stay_with_server, wait_until_loaded
from state.redis.names import Names
from state.shards.deliveries import Deliveries
from state.shards.redis_shards import RedisOutbox, RedisShards
from state.shards.shard_protocols import Outbox, Shards
from state.suspended import RedisSources

if TYPE_CHECKING:
    from connectors.wire.avro import AvroReader
    from state.history.archive_files import Archive
    from state.history.backup_folders import Backups
    from state.history.data_key_copy import KeyCopy


def redis_url(config: Config) -> str:
    """Where this deployment's Redis is."""
    return embedded.url(config)


def names(config: Config) -> Names:
    return Names(config.redis.prefix)


def layout(config: Config) -> Layout:
    """What is fixed at creation."""
    limits = [namespace.limit for namespace in config.identity.namespace]
    return Layout.of(
        config.name,
        config.shards.count,
        config.identity.capacity,
        limits,
        keys(config).fingerprint,
        Policy.of(config.identity, config.matching),
    )


def keys(config: Config) -> KeyRing:
    return load_keys(Path(config.keys.path), create=False)


def prepare(config: Config, *, agreed: bool = False) -> int:
    """Before any flow starts: keys, the directory's mark, and the rules, which are announced if they changed
    (`flows.runtime.rules_in_force.announce`).

    Also what `millrace reload` does. Raises `Foreign`, `ConfigError`, `Unreachable`; `Losing` when all but
    the rules is done.
    """
    with reported():
        wait_until_loaded(connect(redis_url(config)))
        check_server(connect(redis_url(config)))
        _have_keys(config)
        return announce(directory(config), config, agreed=agreed)


def announced(config: Config, version: int) -> Rules | None:
    """The rules of a version; None where there was none, or it is kept no more."""
    with reported():
        document = directory(config).body(LogKind.CONFIG, RULES, version) if version > 0 else None
    return rules_from(document) if document is not None else None


def _have_keys(config: Config) -> None:
    """Make the key file of a deployment that has nothing yet; one that has something can only have lost it.
    Raises `ConfigError`."""
    file = Path(config.keys.path)
    if not file.exists() and (found := next(_what_is_there(config), None)) is not None:
        raise ConfigError(
            f"no key file at {file}, and {found} was written with one: restore it from its backup, with mode 0600."
            " None is made: another one opens nothing of that, and finds nobody"
        )
    load_keys(file, create=True)


def _what_is_there(config: Config) -> Iterator[str]:
    """What this deployment has written so far."""
    for key in keys_of(connect(redis_url(config)), names(config)):
        yield f"what lies under prefix {config.redis.prefix!r} in Redis ({shown(key)})"
    for what, folder in (("archive", config.archive.folder), ("backup", config.backup.folder)):
        if any(Path(folder).glob("*")):
            yield f"the {what} in {folder}"


def prepare_if_new(config: Config) -> None:
    """`prepare` a deployment that has no rules yet. (Another time a worker must not: its file may be older
    than the rules in force.)"""
    if not Path(config.keys.path).exists():
        prepare(config)
    with reported():
        if directory(config).sent(RULES) == 0:
            prepare(config)


def directory(config: Config) -> RedisDirectory:
    made = RedisDirectory(
        connect(redis_url(config)),
        names(config),
        layout(config),
        log_max=config.shards.log_max,
        journal_max=config.archive.journal_max if config.archive.enabled else 0,
        replicas=config.redis.replicas,
    )
    with reported():
        wait_until_loaded(connect(redis_url(config)))
        made.create()
    return made


def shards(config: Config) -> Shards:
    found = layout(config)
    return RedisShards(
        connect(redis_url(config)),
        names(config),
        found.shards,
        found.shard_buckets,
        replicas=config.redis.replicas,
    )


def outbox(config: Config) -> Outbox:
    return RedisOutbox(connect(redis_url(config)), names(config), config.shards.count)


def journal(config: Config) -> RedisJournal:
    return RedisJournal(connect(redis_url(config)), names(config))


def archive(config: Config) -> "Archive":
    from state.history.archive_files import Archive

    return Archive(Path(config.archive.folder), log_seal(config), keys(config).fingerprint)


def backups(config: Config) -> "Backups":
    from state.history.backup_folders import Backups

    return Backups(Path(config.backup.folder), keys(config), layout(config))


def key_copy(config: Config) -> "KeyCopy":
    from state.history.data_key_copy import KeyCopy

    return KeyCopy(Path(config.backup.keys), keys(config).fingerprint)


@contextmanager
def following_keys(config: Config) -> Iterator[Callable[[], None]]:
    """Brings the copy of the customers' data keys up to now, each time it is called."""
    from state.history.changed_keys import Changes

    client, ours, copy = connect(redis_url(config)), names(config), key_copy(config)
    try:
        with Changes(client, ours, b"{keys}:") as changes:
            copy.sync(client, ours)
            yield lambda: copy.follow(client, ours, changes.take())
    finally:
        copy.close()


def models(config: Config) -> ModelStore:
    return RedisModels(
        connect(redis_url(config)), names(config), signer(config), replicas=config.redis.replicas
    )


def signer(config: Config) -> Signer:
    return Signer(keys(config).sign)


def log_seal(config: Config) -> LogSeal:
    return LogSeal(keys(config).log)


def ledger(config: Config) -> RedisLedger:
    return RedisLedger(connect(redis_url(config)), names(config), layout(config))


def data_keys(config: Config) -> DataKeys:
    return DataKeys(connect(redis_url(config)), names(config), keys(config).kek, layout(config).buckets)


def validator(config: Config, key: bytes | None = None) -> Validator:
    """`key`: that identifiers are hashed with, instead of the deployment's."""
    key = keys(config).hash if key is None else key
    if not config.validate.plan:
        return Validator(config, key, {})
    from flows.runtime import tracking_plan

    return Validator(config, key, {entry.event: tracking_plan.load(entry) for entry in config.validate.plan})


def machine(config: Config) -> ShardMachine:
    """The shards' logic, with what was announced loaded from the directory."""
    return ShardMachine(
        rules_loader(directory(config), config.shards),
        model_travel.scorers(directory(config), signer(config)),
    )


def rules_loader(source: Directory, shards: ShardsTable) -> Callable[[int], CompiledRules]:
    """Compiles announced rules, each version once."""

    @lru_cache(maxsize=8)
    def rules_of(version: int) -> CompiledRules:
        document, what = (
            source.body(LogKind.CONFIG, RULES, version),
            f"the directory: {{dir}}:body:c:{RULES}:{version}, the rules in force,",
        )
        if document is None:
            raise Damaged(f"{what} {GONE}: {RESTORE}")
        try:
            rules = rules_from(document)
        except (*UNREADABLE, ConfigError) as error:
            raise Damaged(f"{what} {CHANGED} ({error}): {RESTORE}") from error
        return CompiledRules(rules, version, shards.dedupe, shards.count)

    return rules_of


def sources(config: Config, connect: Connect = connect) -> RedisSources:
    return RedisSources(connect(redis_url(config)), names(config))


def given_up(config: Config, connect: Connect = connect) -> RedisGivenUp:
    return RedisGivenUp(connect(redis_url(config)), names(config))


def brake(config: Config) -> Brake:
    return Brake(config, sources(config))


def poison_brake(config: Config) -> PoisonBrake:
    return PoisonBrake(config, sources(config))


def raw_writer(config: Config) -> RawWriter:
    seal = log_seal(config).seal if config.raw.seal else None
    if config.raw.log == "kafka":
        from connectors.raw.kafka_log import KafkaRawWriter

        return KafkaRawWriter(config.kafka, seal)
    from connectors.raw.redis_writer import RedisRawWriter

    per_partition = max(1, config.raw.max_events // config.raw.partitions)
    return RedisRawWriter(
        redis_url(config),
        config.redis.prefix,
        config.raw.partitions,
        per_partition,
        seal,
        config.redis.replicas,
    )


def raw_reader(config: Config) -> RawReader:
    unseal = log_seal(config).open
    if config.raw.log == "kafka":
        from connectors.raw.kafka_log import KafkaRawReader

        return KafkaRawReader(config.kafka, unseal, avro_reader(config), config.gateway.event_bytes)
    from connectors.raw.redis_log import RedisRawReader

    return RedisRawReader(
        redis_url(config),
        config.redis.prefix,
        config.raw.partitions,
        unseal if config.raw.seal else None,
        stay_with_server,
    )


def check_raw_log(config: Config) -> None:
    """That Kafka is there, and has our topics. Raises `Unreachable`, `Refused`, `ConfigError`."""
    if config.raw.log == "kafka":
        raw_reader(config).close()


def avro_reader(config: Config) -> "AvroReader":
    from connectors.wire.avro import AvroReader, SchemaRegistry

    return AvroReader(SchemaRegistry(Path(config.data.folder) / "schemas" / "avro", config.kafka.registry))


def identify(config: Config) -> Callable[[list[str], tuple[str, ...]], list[dict[str, str]]]:
    """Opens sealed fields of customers (hex ids): the plain values that a receiver may know them by."""
    ours, store, data = directory(config), shards(config), data_keys(config)

    def identified(customers: list[str], fields: tuple[str, ...]) -> list[dict[str, str]]:
        if not fields:
            return [{} for _ in customers]
        roots = [bytes.fromhex(customer) for customer in customers]
        found = _contacts(store, data, config.shards.count, [*dict.fromkeys(roots)], fields)
        missing = [root for root in roots if not found.get(root)]
        if missing:  # united with another customer since
            moved = {root: ours.root(root) for root in dict.fromkeys(missing)}
            later = _contacts(store, data, config.shards.count, [*dict.fromkeys(moved.values())], fields)
            found |= {root: later.get(now, {}) for root, now in moved.items()}
        return [found.get(root, {}) for root in roots]

    return identified


def _contacts(
    store: Shards, data: DataKeys, count: int, roots: Sequence[bytes], fields: Sequence[str]
) -> dict[bytes, dict[str, str]]:
    return {root: newest(stated) for root, stated in opened(store, data, count, roots, fields).items()}


def opened(
    store: Shards, data: DataKeys, count: int, roots: Sequence[bytes], fields: Sequence[str]
) -> dict[bytes, list[tuple[str, int, str]]]:
    """Of each customer what was ever sealed and can be opened: (field, when, value). No `fields`: all."""
    by_shard: dict[int, list[bytes]] = {}
    for root in roots:
        by_shard.setdefault(shard_of(root, count), []).append(root)
    ordered = [root for found in by_shard.values() for root in found]
    records = {}
    for root, packed in zip(ordered, store.load_many({}, by_shard)[1], strict=True):
        try:
            if packed:
                records[root] = decode_sensitive(packed)
        except UNREADABLE as error:
            shard = shard_of(root, count)
            raise of_customer(store.key("xs", shard, root), shard, root, f"{CHANGED} ({error})") from error
    opened = data.of(origin for record in records.values() for origin in record.origins)
    stated: dict[bytes, list[tuple[str, int, str]]] = {root: [] for root in records}
    for root, record in records.items():
        for origin, sealed in record.origins.items():
            key = opened.get(origin)
            for field, entry in sealed.items() if key else ():
                plain = key.open(field, entry.value) if key and (not fields or field in fields) else None
                if plain is not None:
                    stated[root].append((field, entry.moment, _text(msgspec.json.decode(plain))))
    return stated


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def deliveries(config: Config) -> Deliveries:
    return Deliveries(connect(redis_url(config)), names(config))


def dead_events(config: Config) -> DeadLetters[DeadEvent]:
    return dead_letter_logs.events(connect(redis_url(config)), names(config))


def dead_facts(config: Config) -> DeadFacts:
    return dead_letter_logs.facts(connect(redis_url(config)), names(config), config.shards.count)


def dead_examples(config: Config) -> DeadLetters[DeadExample]:
    return dead_letter_logs.examples(connect(redis_url(config)), names(config))


def dead_deliveries(config: Config) -> DeadLetters[DeadDelivery]:
    return dead_letter_logs.deliveries(connect(redis_url(config)), names(config))


def profile_reader(config: Config) -> Callable[[str, str], dict[str, Any] | None]:
    """Reads one customer by (namespace, plain value); None if unknown. Namespace `customer` takes the hex
    id."""
    ours, store, data = directory(config), shards(config), data_keys(config)
    hashes = Identifiers(config.identity, keys(config).hash, config.entry)
    rules_of = rules_loader(ours, config.shards)
    shelf_sender, scorer_of = model_travel.sender(SHELF), model_travel.scorers(ours, signer(config))

    def shelf_of(version: int) -> Shelf | None:
        found = scorer_of(shelf_sender, version) if version else None
        return found if isinstance(found, Shelf) else None

    def read(namespace: str, value: str) -> dict[str, Any] | None:
        with reported():
            root = _root(ours, hashes, namespace, value)
            if root is None:
                return None
            shard = shard_of(root, config.shards.count)
            packed = store.load(shard, [root])[root]
            if packed is None:
                if store.traces({shard: [root]}):
                    raise of_customer(store.key("p", shard, root), shard, root, GONE)
                return None
            rules = rules_of(ours.sent(RULES))
            try:
                live = Live(decode_profile(packed), rules)
            except UNREADABLE as error:
                raise of_customer(store.key("p", shard, root), shard, root, f"{CHANGED} ({error})") from error
            contact = _contacts(store, data, config.shards.count, [root], ()).get(root, {})
            shelf = shelf_of(ours.sent(shelf_sender))
            return present(root, live.profile, live.total, rules, int(time.time() * 1000), contact, shelf)

    return read


def _root(ours: Directory, hashes: Identifiers, namespace: str, value: str) -> bytes | None:
    if namespace == "customer":
        try:
            return ours.root(bytes.fromhex(value))
        except ValueError:
            return None
    hashed = hashes.hash(namespace, value)
    return ours.lookup([hashed])[0] if hashed is not None else None
