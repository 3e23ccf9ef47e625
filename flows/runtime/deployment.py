"""The composition root: every part of a deployment, made once from its configuration and handed on. The only
place that knows which adapters there are.

A part is made when it is first asked for: until a worker that died works again, most of the time goes into
imports, so what only some processes need is imported where it is made, and a command touches nothing that it
does not use. Keys are read once; `flows.runtime.key_watch` notices when it changes.

A property is the same object for as long as the `Deployment` lives. A method makes a new one at each call: it
holds something that its owner closes, or counts for one worker alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from connectors.raw.log import RawReader, RawWriter
from flows.logic.fields.identifiers import Identifiers
from flows.logic.fields.personal_tally import PersonalTally
from flows.logic.resolution.validation import Validator
from flows.logic.shard.machine import ShardMachine
from flows.runtime import rules_in_force, snapshots
from flows.runtime.customer_reader import ContactReader, ProfileReader
from flows.runtime.limits import PoisonBrake, RejectBrake
from schemas.config import Config, Connector, Rules
from schemas.config.toml import rules_from
from schemas.errors import ConfigError
from schemas.records.shard_log import LogKind
from state import dead_letter_logs
from state.confirmations import Confirmations
from state.damage import shown
from state.dead_letter_logs import DeadDelivery, DeadEvent, DeadExample, DeadFacts, DeadLetters
from state.directory.layout import Layout
from state.directory.ledger import RedisLedger
from state.directory.policy import Policy
from state.directory.redis_directory import RedisDirectory
from state.directory.tables import Tables
from state.given_up import RedisGivenUp
from state.history.journal_tail import RedisJournal
from state.history.key_snapshot import keys_of
from state.key_providers import KeyProvider, provider_of
from state.key_ring import KeyRing
from state.key_wrapping import Wrapping
from state.keys import DataKeys, LogSeal
from state.model_store import ModelStore, RedisModels, Signer
from state.personal_findings import RedisPersonalFindings
from state.privacy_requests import Mandates, PrivacyRequests
from state.redis import embedded
from state.redis.client import (
    Client,
    Connect,
    check_server,
    connect,
    connect_apart,
    reported,
    stay_with_server,
    wait_until_loaded,
)
from state.redis.names import Names
from state.shards.deliveries import Deliveries
from state.shards.redis_shards import RedisOutbox, RedisShards
from state.shards.shard_protocols import Outbox, Shards
from state.suspended import RedisSources
from state.sweep_records import SweepRecords

if TYPE_CHECKING:
    from connectors.sinks.sink import Sink
    from connectors.wire.avro import AvroReader
    from state.centre_links import LinkSigner
    from state.centre_sessions import CentreSessions
    from state.directory.matches import RedisMatches
    from state.dsr_signing import DsrSigner
    from state.history.archive_files import Archive
    from state.history.backup_folders import Backups
    from state.history.data_key_copy import KeyCopy
    from state.receipts import ReceiptSigner


class Deployment:
    """All parts of one deployment."""

    def __init__(self, config: Config, connect: Connect = connect) -> None:
        """`connect` makes the client; nothing is connected to, or read, before it is asked for."""
        self.config = config
        self._connect = connect

    # --- before any flow starts

    def prepare(self, *, agreed: bool = False) -> int:
        """Make the keys, mark the directory, and announce the rules if they changed
        (`flows.runtime.rules_in_force.announce`). `millrace reload` does the same.

        Return the version of the rules, 0 where they were in force already. Raises `Foreign`, `ConfigError`,
        `Unreachable`; `Losing` when all but the rules is done.
        """
        with reported():
            wait_until_loaded(self.client)
            check_server(self.client)
            self._have_keys()
            return rules_in_force.announce(self.directory, self.config, agreed=agreed)

    def prepare_if_new(self) -> None:
        """`prepare` a deployment that has no rules yet. (At another time a worker must not: its file may be
        older than the rules in force.)"""
        if not self.key_provider.exists():
            self.prepare()
        with reported():
            if self.directory.sent(rules_in_force.RULES) == 0:
                self.prepare()

    def announced(self, version: int) -> Rules | None:
        """Return the rules of a version, or None where there was none, or it is not kept any more."""
        if version <= 0:
            return None
        with reported():
            document = self.directory.body(LogKind.CONFIG, rules_in_force.RULES, version)
        return None if document is None else rules_from(document)

    def check_data(self) -> None:
        """Check that what lies under our prefix is ours. Raises `Foreign`, `Unreachable`."""
        _ = self.directory

    def check_raw_log(self) -> None:
        """Check that Kafka is reachable and has our topics. Raises `Unreachable`, `Refused`,
        `ConfigError`."""
        if self.config.raw.log == "kafka":
            self.raw_reader().close()

    def _have_keys(self) -> None:
        """Make the keys of a deployment that has nothing yet; one that has something can only have lost
        them. Raises `ConfigError`, `KeysAway`."""
        provider = self.key_provider
        if (
            not provider.exists()
            and provider.file is not None
            and (found := next(self._what_is_there(), None)) is not None
        ):
            raise ConfigError(
                f"no key file at {provider.file}, and {found} was written with one: restore it from its"
                " backup, with mode 0600."
                " None is made: another one opens nothing of that, and finds nobody"
            )
        provider.create()
        _ = self.data_keys

    def _what_is_there(self) -> Iterator[str]:
        """Yield what this deployment has written so far."""
        for key in keys_of(self.client, self.names):
            yield f"what lies under prefix {self.config.redis.prefix!r} in Redis ({shown(key)})"
        for what, folder in (
            ("archive", self.config.archive.folder),
            ("backup", self.config.backup.folder),
        ):
            if any(Path(folder).glob("*")):
                yield f"the {what} in {folder}"

    # --- where it is, and its keys

    @cached_property
    def redis_url(self) -> str:
        """Where this deployment's Redis is."""
        return embedded.url(self.config)

    @cached_property
    def client(self) -> Client:
        """The connection to Redis that all parts share."""
        return self._connect(self.redis_url)

    def apart(self) -> "Deployment":
        """Return the same deployment on a client that may meet another server than the one that answered
        first (`state.redis.client.stay_with_server`)."""
        return Deployment(self.config, connect_apart)

    @cached_property
    def names(self) -> Names:
        """What the keys in Redis are called."""
        return Names(self.config.redis.prefix)

    @cached_property
    def key_provider(self) -> KeyProvider:
        """Where keys come from."""
        return provider_of(self.config.keys)

    @cached_property
    def keys(self) -> KeyRing:
        """The keys of the deployment, as they were when they were first needed. Raises `ConfigError`,
        `KeysAway`."""
        return self.key_provider.ring()

    @cached_property
    def wrapping(self) -> Wrapping:
        """What wraps the customers' data keys."""
        return self.key_provider.wrapping(self.keys.fingerprint)

    @cached_property
    def layout(self) -> Layout:
        """What is fixed at creation."""
        config = self.config
        return Layout.of(
            name=config.name,
            shards=config.shards.count,
            capacity=config.identity.capacity,
            limits=[namespace.limit for namespace in config.identity.namespace],
            keys=self.keys.fingerprint,
            policy=Policy.of(config.identity, config.matching),
        )

    @cached_property
    def signer(self) -> Signer:
        """Signs and verifies models."""
        return Signer(self.keys.sign)

    @cached_property
    def log_seal(self) -> LogSeal:
        """Seals what lies in logs and in the archive."""
        return LogSeal(self.keys.log, self.keys.fingerprint)

    @cached_property
    def data_keys(self) -> DataKeys:
        """The keys of the customers' personal data. Raises `ConfigError` where a key-encryption key is
        missing."""
        buckets, fingerprint = self.layout.buckets, self.keys.fingerprint
        keys = DataKeys(self.client, self.names, self.wrapping, buckets, fingerprint)
        with reported():
            keys.check()
        return keys

    # --- the state

    @cached_property
    def directory(self) -> RedisDirectory:
        """The directory, marked as ours. Raises `Foreign`, `Unreachable`."""
        config = self.config
        directory = RedisDirectory(
            self.client,
            self.names,
            self.layout,
            log_max=config.shards.log_max,
            journal_max=config.archive.journal_max if config.archive.enabled else 0,
            replicas=config.redis.replicas,
        )
        with reported():
            wait_until_loaded(self.client)
            directory.create()
        return directory

    @cached_property
    def ledger(self) -> RedisLedger:
        """What was ever done to identities."""
        return RedisLedger(self.client, self.names, self.layout)

    @cached_property
    def matches(self) -> "RedisMatches":
        """What the flow `match` keeps, and its log."""
        from state.directory.matches import RedisMatches

        return RedisMatches(self.client, self.names, self.layout)

    @cached_property
    def shards(self) -> Shards:
        """The customers, by shard."""
        layout = self.layout
        return RedisShards(
            self.client,
            self.names,
            layout.shards,
            layout.shard_buckets,
            replicas=self.config.redis.replicas,
        )

    @cached_property
    def outbox(self) -> Outbox:
        """What the shards send."""
        return RedisOutbox(self.client, self.names, self.config.shards.count)

    @cached_property
    def deliveries(self) -> Deliveries:
        """What became of deliveries."""
        return Deliveries(self.client, self.names)

    @cached_property
    def models(self) -> ModelStore:
        """The checkpoints of the trainers."""
        return RedisModels(self.client, self.names, self.signer, replicas=self.config.redis.replicas)

    @cached_property
    def sources(self) -> RedisSources:
        """The sources that are suspended."""
        return RedisSources(self.client, self.names)

    @cached_property
    def privacy_requests(self) -> PrivacyRequests:
        """What customers ask of their own data."""
        return PrivacyRequests(self.client, self.names)

    @cached_property
    def confirmations(self) -> Confirmations:
        """Codes that customers were sent."""
        return Confirmations(self.client, self.names)

    @cached_property
    def sweep_records(self) -> SweepRecords:
        """How far the sweep of retention is, and who is on hold."""
        return SweepRecords(self.client, self.names)

    @cached_property
    def tables(self) -> Tables:
        """The tables of the directory, from one end to the other."""
        return Tables(self.client, self.names, self.layout)

    @cached_property
    def mandates(self) -> Mandates:
        """What other systems ask about customers."""
        return Mandates(self.client, self.names)

    @cached_property
    def receipt_signer(self) -> "ReceiptSigner":
        """Signs what outsiders verify."""
        from state.receipts import ReceiptSigner

        return ReceiptSigner(self.keys.sign)

    @cached_property
    def dsr_signer(self) -> "DsrSigner":
        """Signs what controllers are told. Raises `ConfigError` where its files cannot be used."""
        from state.dsr_signing import DsrSigner

        opendsr = self.config.opendsr
        domain = urlsplit(opendsr.url).hostname or ""
        return DsrSigner(Path(opendsr.key), Path(opendsr.certificate), domain)

    @cached_property
    def centre_links(self) -> "LinkSigner":
        """Makes and reads links into the privacy centre."""
        from state.centre_links import LinkSigner

        return LinkSigner(self.keys.sign)

    @cached_property
    def centre_sessions(self) -> "CentreSessions":
        """The browsers that are in the privacy centre."""
        from state.centre_sessions import CentreSessions

        return CentreSessions(self.client, self.names)

    @cached_property
    def given_up(self) -> RedisGivenUp:
        """The processes that end at every start."""
        return RedisGivenUp(self.client, self.names)

    @cached_property
    def personal_findings(self) -> RedisPersonalFindings:
        """What looked like personal data in fields that nobody listed."""
        return RedisPersonalFindings(self.client, self.names)

    # --- dead letters

    @cached_property
    def dead_events(self) -> DeadLetters[DeadEvent]:
        """Events that were rejected."""
        return dead_letter_logs.events(self.client, self.names)

    @cached_property
    def dead_facts(self) -> DeadFacts:
        """Facts that our own logic raised on."""
        return dead_letter_logs.facts(self.client, self.names, self.config.shards.count)

    @cached_property
    def dead_examples(self) -> DeadLetters[DeadExample]:
        """Examples that our own logic raised on."""
        return dead_letter_logs.examples(self.client, self.names)

    @cached_property
    def dead_deliveries(self) -> DeadLetters[DeadDelivery]:
        """Triggers that no receiver took."""
        return dead_letter_logs.deliveries(self.client, self.names)

    # --- history

    @cached_property
    def journal(self) -> RedisJournal:
        """The order in which all was committed, as far as the archive does not have it yet."""
        return RedisJournal(self.client, self.names)

    @cached_property
    def archive(self) -> "Archive":
        """The journal's past, in files."""
        from state.history.archive_files import Archive

        return Archive(Path(self.config.archive.folder), self.log_seal, self.keys.fingerprint)

    @cached_property
    def backups(self) -> "Backups":
        """The full copies."""
        from state.history.backup_folders import Backups

        return Backups(Path(self.config.backup.folder), self.keys, self.layout)

    def key_copy(self) -> "KeyCopy":
        """Open the copy of the customers' data keys."""
        from state.history.data_key_copy import KeyCopy

        return KeyCopy(Path(self.config.backup.keys), self.keys.fingerprint)

    @contextmanager
    def following_keys(self) -> Iterator[Callable[[], None]]:
        """Yield what brings the copy of the customers' data keys up to now, each time it is called."""
        from state.history.changed_keys import Changes

        client, ours, copy = self.client, self.names, self.key_copy()
        try:
            with Changes(client, ours, b"{keys}:") as changes:
                copy.sync(client, ours)
                yield lambda: copy.follow(client, ours, changes.take())
        finally:
            copy.close()

    # --- the edges

    def raw_writer(self) -> RawWriter:
        """Open the raw log for writing."""
        config = self.config
        seal = self.log_seal.seal if config.raw.seal else None
        if config.raw.log == "kafka":
            from connectors.raw.kafka_log import KafkaRawWriter

            return KafkaRawWriter(config.kafka, seal)
        from connectors.raw.redis_writer import RedisRawWriter

        per_partition = max(1, config.raw.max_events // config.raw.partitions)
        return RedisRawWriter(
            self.redis_url,
            config.redis.prefix,
            config.raw.partitions,
            max_events=per_partition,
            seal=seal,
            replicas=config.redis.replicas,
        )

    def raw_reader(self) -> RawReader:
        """Open the raw log for reading."""
        config = self.config
        unseal = self.log_seal.open
        if config.raw.log == "kafka":
            from connectors.raw.kafka_log import KafkaRawReader

            return KafkaRawReader(config.kafka, unseal, self.avro_reader(), config.gateway.event_bytes)
        from connectors.raw.redis_log import RedisRawReader

        return RedisRawReader(
            self.redis_url,
            config.redis.prefix,
            config.raw.partitions,
            open=unseal if config.raw.seal else None,
            hold=stay_with_server,
        )

    def sink(self, connector: Connector) -> "Sink":
        """Make the receiver that a connector's options describe. Raises `ConfigError` for what can never
        work."""
        from connectors.sinks.table import Surroundings, make_sink

        surroundings = Surroundings(
            source=f"/millrace/{self.config.name}",
            folder=Path(self.config.data.folder),
            redis_url=self.redis_url,
            kafka=self.config.kafka,
            check=_check_signature,
        )
        return make_sink(connector, surroundings)

    def avro_reader(self) -> "AvroReader":
        """Make what reads Avro by the schemas of the data folder and the registry."""
        from connectors.wire.avro import AvroReader, SchemaRegistry

        folder = Path(self.config.data.folder) / "schemas" / "avro"
        return AvroReader(SchemaRegistry(folder, self.config.kafka.registry))

    # --- the thinking, on this state

    @cached_property
    def identifiers(self) -> Identifiers:
        """Hashes identifiers with our key."""
        return Identifiers(self.config.identity, self.keys.hash, self.config.entry)

    def validator(
        self, key: bytes | None = None, *, planned: bool = True, noted: PersonalTally | None = None
    ) -> Validator:
        """Make what judges events. `key`: hash identifiers with it, instead of ours; `planned`: by the
        tracking plan too; `noted`: counts what looks like personal data. Raises `ConfigError` where the plan
        cannot be used.
        """
        key = self.keys.hash if key is None else key
        config = self.config
        if not planned:
            return Validator(config, key, {}, noted)
        from flows.runtime import tracking_plan

        plan = {entry.event: tracking_plan.load(entry) for entry in config.validate.plan}
        listing, told = tracking_plan.listing(config), tracking_plan.categories(config)
        return Validator(config, key, plan, noted, listing, told)

    def machine(self) -> ShardMachine:
        """Make the shards' logic, which loads from the directory what was announced."""
        return ShardMachine(
            rules_in_force.rules_loader(self.directory, self.config.shards),
            snapshots.scorers(self.directory, self.signer),
        )

    def reject_brake(self) -> RejectBrake:
        """Make what suspends sources whose events are rejected."""
        return RejectBrake(self.config, self.sources)

    def poison_brake(self) -> PoisonBrake:
        """Make what suspends sources on whose events our own logic raises."""
        return PoisonBrake(self.config, self.sources)

    @cached_property
    def contacts(self) -> ContactReader:
        """Opens what is sealed of customers."""
        return ContactReader(lambda: self.directory, self.shards, self.data_keys, self.config.shards.count)

    @cached_property
    def profile_reader(self) -> ProfileReader:
        """Reads one customer."""
        return ProfileReader(
            self.directory,
            self.shards,
            self.contacts,
            hashes=self.identifiers,
            rules_of=rules_in_force.rules_loader(self.directory, self.config.shards),
            scorer_of=snapshots.scorers(self.directory, self.signer),
            count=self.config.shards.count,
        )


def _check_signature(certificate: Path, domain: str, body: bytes, signature: str) -> None:
    from state.dsr_signing import check_signature  # only processors sign like this

    check_signature(certificate, domain, body, signature, datetime.now(UTC))
