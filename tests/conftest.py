"""What all tests share: a real redis-server on a unix socket, and (in `tests/kafka_broker.py`) a real Kafka
broker.
"""

import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from hypothesis import HealthCheck, settings

from flows.logic.facets import decisions
from state.redis.embedded import Embedded
from tests.parts import header, looks_for_parts

if TYPE_CHECKING:
    from tests.vault_server import VaultServer

pytest_plugins = ["tests.kafka_broker"] if find_spec("tests.kafka_broker") else []

# The machines that tests run on are shared: how fast examples are made says nothing about the code.
settings.register_profile("millrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("millrace"), max_examples=10)  # of `make quick`
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "millrace"))


COMPILED = not decisions.__file__.endswith(".py")


def pytest_report_header() -> list[str]:
    return [*header(), f"hot path: {'compiled' if COMPILED else 'Python'}"]


@pytest.hookimpl(tryfirst=True)  # before `-m` is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if looks_for_parts(item):
            item.add_marker("parts")
    if COMPILED:
        for item in items:
            if item.get_closest_marker("breaking"):
                item.add_marker(
                    pytest.mark.skip(reason="the hot path is compiled: no part of it can be replaced")
                )


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """Give the URL of a redis-server of this test session alone."""
    with (
        tempfile.TemporaryDirectory(prefix="mr-") as folder,
        Embedded(Path(folder), fsync="no").running() as url,
    ):
        yield url


@pytest.fixture(scope="session")
def vault() -> Iterator["VaultServer"]:
    """Give a server of Vault's API of this test session alone."""
    from tests.vault_server import vault_server  # not all tests need what it needs

    with vault_server() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """Give the URL of an empty Redis, `unix:///...`."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server
