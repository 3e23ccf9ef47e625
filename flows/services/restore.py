"""A full backup, then the archive from there on, into an empty Redis; the shards apply their logs as it goes.

Until all of it is there the deployment carries another name, so that no flow takes it for whole; a restore
that died begins again from nothing. Whoever was erased since is erased again before that.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count

import msgspec
import structlog

from connectors.raw.redis_log import reserve
from flows.logic.shard.machine import ShardMachine
from flows.profile import Worker
from flows.runtime import rules_in_force
from flows.runtime import snapshots as model_travel
from flows.runtime.archived_windows import unpacked
from flows.runtime.deployment import Deployment
from flows.services.subjects import returning
from schemas.config import Config
from schemas.errors import Fenced, Foreign, LogFull, Stale
from schemas.records.journal import JournalKind, WindowContent
from schemas.records.shard_log import LogEntry, Tick
from state.directory.policy import Policy
from state.directory.redis_directory import RedisDirectory
from state.history.archive_files import Archive, Found
from state.history.backup_folders import Backups, Manifest, usable
from state.history.key_snapshot import begin_anew, load
from state.redis import embedded
from state.redis.client import check_server
from state.shards.redis_shards import RedisShards

log = structlog.get_logger()

DRAIN_EVERY = 500  # entries of the journal, then the shards apply their logs
READ_ENTRIES = 64  # of one shard's log at a time
ROOM = 2**53
_policy = msgspec.msgpack.Decoder(Policy).decode
_tick = msgspec.msgpack.Decoder(Tick).decode


@contextmanager
def server(config: Config) -> Iterator[None]:
    """Have the Redis of this deployment run: it is started for the time being if it is embedded and does
    not."""
    if config.redis.url != "embedded" or embedded.embedded(config).ready():
        yield
    else:
        with embedded.embedded(config).running():
            yield


def plan(deployment: Deployment, upto_ms: int | None, source: str | None) -> tuple[Manifest | None, Archive]:
    """Return what to begin with (None: the archive's beginning). All that will be read is read once here,
    before anything is written. Raises `Foreign`."""
    backups, archive = deployment.backups, deployment.archive
    manifest = _chosen(backups, archive, upto_ms, source)
    if manifest is None and not archive.newest():
        raise Foreign(
            f"nothing to restore from: no backup in {backups.folder}, and no archive in {archive.folder}"
        )
    if manifest is not None:
        backups.verify(manifest)
    for found in until(archive.entries(manifest.journal if manifest else 0), upto_ms):
        if found.entry.bare:
            raise Foreign(
                f"{found.place}: entry {found.entry.seq} was written without its "
                "content: a backup made after it is needed"
            )
    return manifest, archive


def _chosen(backups: Backups, archive: Archive, upto_ms: int | None, source: str | None) -> Manifest | None:
    manifests = usable(
        (backups.manifest(name) for name in ([source] if source else backups.names())), upto_ms
    )
    for manifest in manifests:
        branch = archive.branched(manifest.archive, manifest.journal)
        if branch is None:
            return manifest
        if source:
            raise Foreign(
                f"{source} stands for entry {manifest.journal}, and in {branch.path} "
                f"history took another way at {branch.first}"
            )
        log.warning("backup_passed_over", backup=manifest.name, branch=str(branch.path))
    if source:
        raise Foreign(f"{source} stands for a later time than --to")
    return None


def until(entries: Iterator[Found], upto_ms: int | None) -> Iterator[Found]:
    """Yield the entries up to the last tick at or before `upto_ms`."""
    for found in entries:
        if (
            upto_ms is not None
            and found.entry.kind == JournalKind.TICK
            and _tick(found.entry.body).now_ms > upto_ms
        ):
            return
        yield found


def restore(
    deployment: Deployment,
    manifest: Manifest | None,
    archive: Archive,
    upto_ms: int | None,
    step: Callable[[], None] = lambda: None,
) -> tuple[int, int]:
    """Restore, and return how many entries of the archive were replayed, and the last tick. `step` is called
    with each. Raises `Foreign`."""
    config, client, names = deployment.config, deployment.client, deployment.names
    layout = deployment.layout
    check_server(client)
    begin_anew(client, names, layout)
    keys = deployment.key_copy()
    try:
        keys.load(client, names)
    finally:
        keys.close()
    if manifest is not None:
        load(client, names, deployment.backups.records(manifest))
    replay = Replay(deployment)
    entries = 0
    for found in until(archive.entries(manifest.journal if manifest else 0), upto_ms):
        replay.apply(found)
        entries += 1
        step()
    replay.drain()
    journal, tick = client.hmget(names.meta, "journal", "tick")
    client.delete(names.journal)
    if archive.newest():
        client.set(names.archived, int(journal or 0))
    if config.raw.log == "redis":
        reserve(client, config.redis.prefix, replay.directory.offsets())
    # behind what the archive has: these commits are new, and go there as all others
    journal_max = config.archive.journal_max if config.archive.enabled else 0
    directory = RedisDirectory(client, names, layout, log_max=config.shards.log_max, journal_max=journal_max)
    returning.erase_again(deployment, directory, replay.drain)
    client.hset(names.meta, "name", layout.name)  # from here on it is one
    return entries, int(tick or 0) * 1000


class Quiet(RedisDirectory):
    """For shards that catch up: time comes from the log alone, and nothing is waited for."""

    def tick(self) -> bool:
        return False

    # the signature of its base
    def read(self, after: Mapping[int, int], count: int, block_ms: int) -> list[LogEntry]:  # noqa: ARG002
        return super().read(after, READ_ENTRIES, 0)


class Replay:
    """Commits what the journal says, and lets the shards follow."""

    def __init__(self, deployment: Deployment) -> None:
        config = deployment.config
        self._client, self._names = deployment.client, deployment.names
        self._layout = layout = deployment.layout
        self._by_limits: dict[tuple[tuple[int, ...], bytes], RedisDirectory] = {}
        self.directory = Quiet(self._client, self._names, layout, log_max=config.shards.log_max)
        rules = rules_in_force.rules_loader(self.directory, config.shards)
        scorers = model_travel.scorers(self.directory, deployment.signer)
        self._log_max = config.shards.log_max
        self._worker = Worker(
            range(layout.shards),
            self.directory,
            RedisShards(self._client, self._names, layout.shards, layout.shard_buckets),
            ShardMachine(rules, scorers),
            cache=config.shards.cache,
            outbox_max=ROOM,
            clock_ms=lambda: 0,
            # Each look at it is later enough for an idle shard to be committed.
            clock=count(step=10).__next__,
        )
        self._applied = 0

    def apply(self, found: Found) -> None:
        """Apply an entry. Raises `Foreign` where it does not follow from what is there."""
        entry, place = found
        try:
            if entry.kind == JournalKind.WINDOW:
                content = unpacked(entry.content)
                fits = self._window(content) == entry.seq
            else:
                fits = self.directory.replay(entry)
        except (Fenced, Stale, msgspec.MsgspecError) as error:
            raise Foreign(
                f"{place}: entry {entry.seq} does not follow from what was restored before it: {error}"
            ) from error
        if not fits:
            raise Foreign(f"{place}: entry {entry.seq} does not follow from what was restored before it")
        self._applied += 1
        if self._applied % DRAIN_EVERY == 0:
            self.drain()

    def _window(self, content: WindowContent) -> int:
        directory = self._limited(tuple(content.limits), content.policy)
        try:
            return directory.commit(content.commit).journal
        except LogFull:
            self.drain()
            return directory.commit(content.commit).journal

    def _limited(self, limits: tuple[int, ...], policy: bytes) -> RedisDirectory:
        """With the limits and the policy of that time."""
        if (limits, policy) not in self._by_limits:
            layout = msgspec.structs.replace(
                self._layout, limits=limits, policy=_policy(policy) if policy else Policy()
            )
            self._by_limits[limits, policy] = RedisDirectory(
                self._client, self._names, layout, log_max=self._log_max
            )
        return self._by_limits[limits, policy]

    def drain(self) -> None:
        """Have the shards apply all that is in their logs."""
        drained(self._worker)


def drained(worker: Worker, between: Callable[[], None] = lambda: None) -> None:
    """Apply entries until nothing is left in the logs. `between` is called after each read."""
    while entries := worker.read():
        worker.commit(worker.apply(entries))
        between()
