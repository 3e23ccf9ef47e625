"""What was rebuilt beside becomes what runs, under the names that the configuration has; and back again.

The keys move in Redis (`state.history.prefix_switch`); the folders of archive and backups are renamed,
because what lies in them is of the history that is put aside. Each step can be done again, so a switch that
was killed is finished by the same command.
"""

import os
import re
import shutil
from pathlib import Path

import msgspec
from msgspec.structs import replace

from flows.logic.shard.state import decode_tick
from flows.runtime.deployment import Deployment
from flows.services import status
from flows.services.restore import server
from flows.services.subjects import returning
from schemas.config import Config
from schemas.errors import Fenced, Foreign, Unreachable
from schemas.records.shard_log import LogKind
from state.directory.directory_protocol import Directory
from state.durable import sync_folder
from state.history.prefix_switch import LOADED, Switch, aside, beside, keys_held, pending, unlink_all
from state.redis.client import present, reported
from state.shards.shard_protocols import Shards

GATEWAY = "gateway"  # it only writes to the raw log, which stays where it is

TICKS_MAX = 10  # of one shard; a worker that was killed leaves no more

_ID = re.compile(r"(before-)*\d{14}")


class Removed(msgspec.Struct, frozen=True):
    """What lay beside."""

    keys: int
    folders: list[Path]


def at(config: Config, run_id: str) -> Config:
    """Return the same deployment where it lies under this id."""
    return replace(
        config,
        redis=replace(config.redis, prefix=beside(Deployment(config).names, run_id).prefix.decode()),
        archive=replace(config.archive, folder=str(_sibling(Path(config.archive.folder), run_id))),
        backup=replace(config.backup, folder=str(_sibling(Path(config.backup.folder), run_id))),
    )


def switch(deployment: Deployment, run_id: str) -> None:
    """Switch to what was rebuilt under this id, or finish doing so. Raises `Foreign`, `Fenced`,
    `Unreachable`."""
    config = deployment.config
    with server(config), reported():
        client, names = deployment.client, deployment.names
        unfinished = pending(client, names)
        if unfinished not in (None, run_id):
            raise Foreign(
                f"a switch to {unfinished} is under way: finish it with `millrace switch {unfinished}`"
            )
        stopped(deployment)
        moving = Switch(client, names, run_id)
        if unfinished is None:
            _check(deployment, run_id)
            there = Deployment(at(config, run_id))
            returning.erase_again(there, there.directory, live=deployment)
            moving.begin()
        for folder in (config.archive.folder, config.backup.folder):
            _rename(Path(folder), run_id)
        moving.carry_on(config.name)


def stopped(deployment: Deployment) -> None:
    """Check that it is. Raises `Fenced` while a flow of it has a connection, or a backup is being
    made."""
    client, names = deployment.client, deployment.names
    if running := [
        flow for flow in present(client, names.prefix.decode()) if flow.partition("-")[0] != GATEWAY
    ]:
        raise Fenced(
            f"{', '.join(running)} of {deployment.config.name} still run: stop them first (the gateway may "
            "stay: what it takes waits)"
        )
    if client.exists(names.hold):
        raise Fenced("a backup is being made: wait for it")


def remove(deployment: Deployment, run_id: str) -> Removed:
    """Remove what lies beside under this id, keys and folders, and return what it was. Raises `Foreign`,
    `Fenced`."""
    if not _ID.fullmatch(run_id):
        raise Foreign(
            f"{run_id!r} is no id of a run: expected one such as 20260131120000, or before-20260131120000"
        )
    config = deployment.config
    there = Deployment(at(config, run_id))
    with server(config), reported():
        client = deployment.client
        if (unfinished := pending(client, deployment.names)) is not None:
            raise Foreign(
                f"a switch to {unfinished} is under way: finish it with `millrace switch {unfinished}`"
            )
        stopped(there)
        keys = unlink_all(client, there.names)
    beside_it = map(Path, (there.config.archive.folder, there.config.backup.folder))
    folders = [folder for folder in beside_it if folder.exists()]
    for folder in folders:
        shutil.rmtree(folder)
    if not keys and not folders:
        raise Foreign(f"there is nothing beside under {run_id!r}")
    return Removed(keys, folders)


def _check(deployment: Deployment, run_id: str) -> None:
    """Check that nothing would be lost or come twice. Raises `Foreign`, `Unreachable`."""
    config = deployment.config
    client, names = deployment.client, deployment.names
    fresh = beside(names, run_id)
    if client.hget(fresh.meta, "name") != config.name.encode():
        raise Foreign(
            f"there is nothing whole under the prefix {fresh.prefix.decode()!r}: "
            "`millrace rebuild` makes it and prints its id"
        )
    if not client.exists(names.meta):
        raise Foreign(
            f"there is nothing under the prefix {config.redis.prefix!r} whose "
            "place it could take: set redis.prefix instead"
        )
    ours = deployment.directory
    theirs = Deployment(at(config, run_id)).directory
    if ours.offsets() != theirs.offsets():
        raise Foreign(
            f"{run_id} ends elsewhere than what runs, at {theirs.offsets()} "
            f"and not {ours.offsets()}: stop the flows and rebuild"
        )
    shards = deployment.shards
    found = status.collect(config, ours, shards, deployment.outbox, 0)
    for one in found.behind:
        if one.reader == "profile" and _only_the_clock(ours, shards, one.entries):
            continue
        if one.entries and not one.reader.startswith("learn "):
            raise Foreign(
                f"{one.reader} is {one.entries} entries behind: start the flows "
                "until nothing is (`millrace status`), then rebuild"
            )
    loaded, held = client.hget(fresh.meta, LOADED), keys_held(client, names)
    if loaded is not None and int(loaded) != held:
        raise Foreign(
            f"{run_id} was built with the data keys of {int(loaded)} customers, now {held} have one: rebuild"
        )
    for folder in map(Path, (config.archive.folder, config.backup.folder)):
        if folder.exists() and (folder.is_mount() or not os.access(folder.parent, os.W_OK)):
            raise Unreachable(
                f"{folder} cannot be renamed: it must be a folder inside of one that we may write to"
            )
        if (taken := _sibling(folder, aside(run_id))).exists():
            raise Foreign(f"{taken} is in the way of what would be put aside: remove it")


def _only_the_clock(ours: Directory, shards: Shards, entries: int) -> bool:
    """Whether what profile has not committed are ticks that wake nobody: while nothing else comes, it leaves
    those for later."""
    left = ours.read({shard: head.offset for shard, head in shards.heads().items()}, TICKS_MAX, 0)
    if len(left) < entries or any(entry.kind != LogKind.TICK for entry in left):
        return False
    woken = shards.due({entry.shard: (decode_tick(entry.body).now_ms, 1) for entry in left})
    return not any(woken.values())


def _rename(folder: Path, run_id: str) -> None:
    put_aside, fresh = _sibling(folder, aside(run_id)), _sibling(folder, run_id)
    if folder.exists() and not put_aside.exists():
        folder.rename(put_aside)
        sync_folder(folder.parent)
    if fresh.exists() and not folder.exists():
        fresh.rename(folder)
        sync_folder(folder.parent)


def _sibling(folder: Path, run_id: str) -> Path:
    return folder.with_name(f"{folder.name}-{run_id}")
