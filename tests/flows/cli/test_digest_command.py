"""`millrace digest` on a real deployment: a line for each unit, the same hash again, another one after a
change."""

import re
import time
from pathlib import Path

import msgspec
import pytest
import redis

from flows.cli.digest_screen import run
from flows.runtime.deployment import Deployment
from schemas.config.toml import load
from state.digest_entries import Digest


def config_file(folder: Path, redis_url: str) -> Path:
    file = folder / "millrace.toml"
    file.write_text(
        f'name = "shop"\n[data]\nfolder = "{folder}"\n[redis]\nurl = "{redis_url}"\n'
        "[shards]\ncount = 2\n[identity]\ncapacity = 1000\n"
    )
    return file


def test_the_digest_of_a_deployment(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load(config_file(tmp_path, redis_url))
    Deployment(config).prepare()
    assert run(config, as_json=True) == 0
    first = msgspec.json.decode(capsys.readouterr().out, type=Digest)
    assert len(first.shards) == 2
    assert first.directory.position == 1  # the rules

    assert run(config, as_json=False) == 0
    table = capsys.readouterr().out
    assert f"shop {first.whole}" in table
    assert "as of entry 1 of the journal: only a digest of the same moment can be equal" in table
    for unit in (first.directory, *first.shards):
        assert unit.digest[:16] in table

    assert Deployment(config).directory.tick()
    assert run(config, as_json=False) == 0
    assert re.search(r"as of tick 20\d\d-\d\d-\d\d.*, entry 2 of the journal", capsys.readouterr().out)
    assert run(config, as_json=True) == 0
    ticked = msgspec.json.decode(capsys.readouterr().out)
    assert abs(ticked["tick_ms"] - time.time() * 1000) < 60_000
    first = msgspec.convert(ticked, Digest)
    redis.Redis.from_url(redis_url).hset(Deployment(config).names.stats, "united", 1)
    assert run(config, as_json=True) == 0
    second = msgspec.json.decode(capsys.readouterr().out, type=Digest)
    assert second.whole != first.whole
    assert second.directory != first.directory
    assert second.shards == first.shards
