"""The rules of a configuration file brought into force while the deployment runs."""

import time
from pathlib import Path

import msgspec

from flows.runtime.deployment import Deployment
from flows.services.configuration_changes import of_rules, waiting
from flows.services.configuration_check import sound
from schemas.config import Config
from schemas.config.toml import load
from schemas.errors import ConfigError

SETTLE_S = 0.3  # a file that stays as it is for so long is not being written
SETTLE_TRIES = 10


class Reloaded(msgspec.Struct, frozen=True):
    """What came into force, and what waits for a restart."""

    version: int  # of the rules; 0: they were in force already
    changes: list[str]  # such as `tag vip: changed`
    waiting: list[str]  # options, such as `gateway.listen`


def reload(path: Path | None, *, agreed: bool = False) -> Reloaded:
    """Announce the rules of the file to every shard. `agreed`: also if figures, tags or most triggers go with
    it. Raises `ConfigError`, `Foreign`, `Unreachable`; `Losing` where it is not agreed."""
    config = settled(path)
    deployment = Deployment(config)
    version = deployment.prepare(agreed=agreed)
    before = deployment.announced(version - 1)
    changes = of_rules(before, config) if before else []
    return Reloaded(version, changes, waiting(config, path))


def settled(path: Path | None) -> Config:
    """Return the configuration in a file that nobody is writing. Raises `ConfigError`, as `millrace check`
    would say it."""
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
