"""A deployment that has data never makes a key file: its absence, and another one in its place, are said at
once."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from flows.runtime.deployment import Deployment
from flows.runtime.key_watch import LOOK_EVERY_S, SAY_AGAIN_S, KeyWatch
from schemas.errors import ConfigError, Foreign
from tests.key_files import load_keys
from tests.running import running
from tests.site import Site


def test_a_new_deployment_makes_its_key_file(redis_url: str, tmp_path: Path) -> None:
    site = Site(tmp_path, redis_url)
    Deployment(site.config).prepare()
    assert Path(site.config.keys.path).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("prepare", [Deployment.prepare, Deployment.prepare_if_new])
def test_beside_data_none_is_made(redis_url: str, tmp_path: Path, prepare: Any) -> None:
    site = Site(tmp_path, redis_url, archive=False).start()
    site.window()
    file = Path(site.config.keys.path)
    file.unlink()
    with pytest.raises(
        ConfigError,
        match=r"no key file at \S+, and what lies under prefix 'mr' in Redis \(mr:\S+\) was .*"
        " restore it from its backup",
    ):
        prepare(Deployment(site.config))
    assert not file.exists()


@pytest.mark.parametrize("what", ["archive", "backup"])
def test_beside_an_archive_or_a_backup_none_is_made_either(redis_url: str, tmp_path: Path, what: str) -> None:
    """Redis is empty, as it is before a restore."""
    site = Site(tmp_path, redis_url)
    folder = Path(getattr(site.config, what).folder)
    folder.mkdir(parents=True)
    (folder / "00000001-000000000001.avro").touch()
    with pytest.raises(
        ConfigError, match=rf"no key file at \S+, and the {what} in {folder} was written with one"
    ):
        Deployment(site.config).prepare()
    assert not Path(site.config.keys.path).exists()


def test_other_keys_than_the_data_was_written_with_are_refused_with_what_to_do(
    redis_url: str, tmp_path: Path
) -> None:
    site = Site(tmp_path, redis_url, archive=False).start()
    file = Path(site.config.keys.path)
    file.unlink()
    load_keys(file, create=True)
    with pytest.raises(
        Foreign, match=r"has keys '\w+', we have '\w+': .*restore the key file that it was written with"
    ):
        Deployment(site.config).prepare()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_that_goes_is_said_at_once_and_again_until_it_is_back(tmp_path: Path) -> None:
    file, other, clock = tmp_path / "keys.json", tmp_path / "other.json", Clock()
    load_keys(file, create=True)
    load_keys(other, create=True)
    ours = file.read_bytes()
    look = KeyWatch(file, clock)

    def said(after_s: float) -> list[tuple[str, str]]:
        clock.now += after_s
        with capture_logs() as lines:
            look()
        assert not any("start `millrace" in str(line) for line in lines), (
            "it runs, and has data: another file would open nothing"
        )
        return [(line["event"], line.get("reason", "").partition(":")[0]) for line in lines]

    assert said(LOOK_EVERY_S) == []
    file.unlink()
    assert said(LOOK_EVERY_S / 2) == []
    assert said(LOOK_EVERY_S / 2) == [("key_file_wrong", f"no key file at {file}")]
    assert said(LOOK_EVERY_S) == []
    assert said(SAY_AGAIN_S) == [("key_file_wrong", f"no key file at {file}")]
    file.write_bytes(other.read_bytes())
    file.chmod(0o600)
    assert said(LOOK_EVERY_S) == [
        ("key_file_wrong", f"{file} holds other keys than this deployment runs with")
    ]
    file.chmod(0o644)
    assert said(LOOK_EVERY_S) == [("key_file_wrong", f"{file} can be read by others")]
    file.chmod(0o600)
    file.write_text("{}")
    assert said(LOOK_EVERY_S) == [("key_file_wrong", f"{file} is no key file of millrace")]
    file.write_bytes(ours)
    assert said(LOOK_EVERY_S) == [("key_file_right_again", "")]
    assert said(SAY_AGAIN_S) == []


def test_a_running_deployment_says_that_its_key_file_is_gone_and_makes_no_other(tmp_path: Path) -> None:
    with running(tmp_path, "[shards]\ncount = 2") as millrace:
        assert (
            millrace.post(
                "/v1/identify", {"userId": "u1", "traits": {"email": "ana@example.com"}}
            ).status_code
            == 200
        )
        millrace.eventually(lambda: millrace.profile("u1").get("traits") is not None)
        file = next(tmp_path.rglob("keys.json"))
        kept = file.rename(tmp_path / "kept")
        millrace.eventually(lambda: "key_file_wrong" in millrace.log.read_text())
        (victim,) = millrace.pids("learn")
        os.kill(victim, signal.SIGKILL)
        millrace.eventually(
            lambda: re.search(
                r"millrace learn 0/1: no key file at .* restore it from its backup", millrace.log.read_text()
            )
        )
        assert not file.exists()
        kept.rename(file)
        millrace.eventually(lambda: "key_file_right_again" in millrace.log.read_text())
        millrace.eventually(lambda: any(pid != victim for pid in millrace.pids("learn")))
