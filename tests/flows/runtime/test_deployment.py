"""A deployment is built once: the key file is read once, one client connects, and nothing is made before it
is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from flows.match import matcher_of
from flows.runtime import deployment as module
from flows.runtime.deployment import Deployment
from flows.runtime.rules_in_force import rules_loader
from flows.services.steward.access import order_desk, steward
from schemas.config import Config
from schemas.config.toml import load
from schemas.errors import ConfigError
from state.key_providers import FileProvider
from state.key_ring import KeyRing
from state.redis.client import connect
from tests.key_files import load_keys
from tests.site import Site


class Counted:
    """How often a deployment reads its key file and makes a client."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = self.connected = self.marked = 0
        sound, ring = module.RedisDirectory.create, FileProvider.ring

        def read(provider: FileProvider) -> KeyRing:
            self.read += 1
            return ring(provider)

        def create(directory: module.RedisDirectory) -> None:
            self.marked += 1
            sound(directory)

        monkeypatch.setattr(FileProvider, "ring", read)
        monkeypatch.setattr(module.RedisDirectory, "create", create)

    def connect(self, url: str) -> redis.Redis:
        self.connected += 1
        return connect(url)


@pytest.mark.parametrize("make", [steward, order_desk, matcher_of, lambda made: made.machine()])
def test_what_a_process_needs_is_made_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, make: Callable[[Deployment], Any]
) -> None:
    counted = Counted(monkeypatch)
    deployment = Deployment(site.config, counted.connect)
    make(deployment)
    make(deployment)
    assert (counted.read, counted.connected, counted.marked) == (1, 1, 1)


def test_parts_are_the_same_ones_each_time_and_what_somebody_closes_is_not(site: Site) -> None:
    deployment = Deployment(site.config)
    assert deployment.directory is deployment.directory
    assert deployment.profile_reader is deployment.profile_reader
    assert deployment.raw_writer() is not deployment.raw_writer()
    assert deployment.machine() is not deployment.machine()


def test_nothing_is_read_or_connected_to_before_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    deployment = Deployment(Config(), counted.connect)
    assert deployment.names.prefix == b"mr"
    deployment.validator(b"k" * 32)
    assert (counted.read, counted.connected) == (0, 0)


def test_a_key_file_is_read_again_by_another_deployment_only(site: Site) -> None:
    file = Path(site.config.keys.path)
    deployment = Deployment(site.config)
    before = deployment.keys
    file.unlink()
    assert deployment.keys is before
    with pytest.raises(ConfigError, match="no key file"):
        _ = Deployment(site.config).keys
    other = load_keys(file, create=True)
    assert Deployment(site.config).keys.fingerprint == other.fingerprint != before.fingerprint


def test_announced_rules_may_name_what_a_facet_keeps(site: Site) -> None:
    """They are compiled with the vocabulary of all facets wherever they are loaded."""
    site.file.write_text(site.file.read_text() + '[[tag]]\nname = "faithful"\nwhen = "streak > 2"\n')
    deployment = Deployment(load(site.file))
    version = deployment.prepare()
    rules = rules_loader(deployment.directory, deployment.config.shards)(version)
    assert len(rules.tags) == 2
