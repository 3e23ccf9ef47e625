"""Deployments on a real Redis."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.archive import Archiver
from flows.cli.main import main
from flows.runtime.deployment import Deployment
from tests.evaluating import Run
from tests.lives import lived
from tests.site import Site


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Site:
    return Site(tmp_path, redis_url).start()


@pytest.fixture
def big(site: Site) -> Iterator[tuple[Site, Archiver]]:
    """With enough in it that copying takes a moment."""
    archiver = site.archiver()
    lived(site, archiver, 3)
    pipeline = site.client.pipeline(transaction=False)
    for number in range(60_000):
        pipeline.set(b"mr:{s00}:p:padding%d" % number, os.urandom(200))
        if number % 5_000 == 0:
            pipeline.execute()
    pipeline.execute()
    yield site, archiver
    site.client.flushall()


@pytest.fixture
def archived(tmp_path: Path, redis_url: str) -> Site:
    """Everything that it did is in the archive, and nothing is on its way any more."""
    site = Site(tmp_path, redis_url, seed=4).start()
    archiver = site.archiver()
    with Deployment(site.config).following_keys() as follow_keys:
        archiver._follow_keys = follow_keys
        lived(site, archiver, 30)
        for _ in range(3):
            site.forward()
            site.apply()
        archiver.round(block_ms=0)
    archiver.close()
    return site


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`millrace eval` with these arguments."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["millrace", "eval", *map(str, arguments)])
        code = main()
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
