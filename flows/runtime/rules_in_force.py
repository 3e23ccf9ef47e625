"""The rules of a configuration come into force: as one announcement, which every shard's log and the archive
have.

Whoever announces them (`millrace reload`, a SIGHUP, the start of `run`) comes here, and nobody takes away by
mistake what cannot be had back.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from flows.logic.rules.losses import losses
from flows.logic.rules.ruleset import CompiledRules
from schemas.config import Config, Shards
from schemas.config.toml import load, rules_document, rules_from
from schemas.errors import ConfigError, Damaged, Losing
from schemas.records.shard_log import LogKind
from state.damage import CHANGED, GONE, RESTORE, UNREADABLE
from state.directory.redis_directory import Directory

RULES = "rules"  # the sender of rule versions
SETTLE_S = 0.3  # a file that stays as it is for so long is not being written
SETTLE_TRIES = 10


def announce(directory: Directory, config: Config, *, agreed: bool = False) -> int:
    """Announce the rules if they are not in force. Return their version, 0 where they were in force already.

    `agreed`: somebody has said yes to what goes with them. Raises `ConfigError` for rules that do not
    compile, and `Losing`.
    """
    CompiledRules(config, 0, config.shards.dedupe)
    document, version = rules_document(config), directory.sent(RULES)
    in_force = directory.body(LogKind.CONFIG, RULES, version) if version else None
    if in_force == document:
        return 0
    if in_force is not None and not agreed and (lost := losses(rules_from(in_force), config)):
        raise Losing("these rules would take away what cannot be had back: " + "; ".join(lost))
    if (
        not directory.announce(LogKind.CONFIG, RULES, version + 1, version + 1, document)
        and directory.body(LogKind.CONFIG, RULES, version + 1) != document
    ):
        raise ConfigError(
            "other rules were announced at the same moment, and ours were not: look which are meant, and "
            "announce those"
        )
    return version + 1


def rules_loader(source: Directory, shards: Shards) -> Callable[[int], CompiledRules]:
    """Return what compiles announced rules by their version, each once. It raises `Damaged`."""

    @lru_cache(maxsize=8)
    def rules_of(version: int) -> CompiledRules:
        document = source.body(LogKind.CONFIG, RULES, version)
        what = f"the directory: {{dir}}:body:c:{RULES}:{version}, the rules in force,"
        if document is None:
            raise Damaged(f"{what} {GONE}: {RESTORE}")
        try:
            rules = rules_from(document)
        except (*UNREADABLE, ConfigError) as error:
            raise Damaged(f"{what} {CHANGED} ({error}): {RESTORE}") from error
        return CompiledRules(rules, version, shards.dedupe, shards.count)

    return rules_of


def settled(path: Path | None) -> Config:
    """The configuration in a file that nobody is writing. Raises `ConfigError`, as `millrace check` would say
    it."""
    from flows.services.configuration_check import sound

    if path is None:
        return load(None)
    for _ in range(SETTLE_TRIES):
        before = _written(path)
        time.sleep(SETTLE_S)
        try:
            config = sound(path)
        except ConfigError:
            if _written(path) == before:
                raise
        else:
            if _written(path) == before:
                return config
    raise ConfigError(f"{path}: is being written: the rules in force stay; try again when it is complete")


def _written(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0  # put in place by its writer in a moment; else loading it says so
    return found.st_ino, found.st_size, found.st_mtime_ns
