"""What was rebuilt takes the place of what ran: nothing is lost, nothing looks whole before it is, and there
is a way back."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from flows.cli import rebuild_screen, switching_screen
from flows.runtime.deployment import Deployment
from flows.services import backups as backup
from flows.services import restore, switching
from schemas.errors import Fenced, Foreign
from schemas.records.outbox_lanes import Lane
from state.digest_entries import Digest
from state.history.prefix_switch import Switch, keys_held, pending
from state.redis.client import connect, introduce, present
from tests.flows.services.test_rebuild import behaviour, configured
from tests.lives import lived, millrace
from tests.site import Site

VIEWED = '[[aggregate]]\nname = "viewed"\nof = "count"\non = ["Product Viewed"]\n'


@pytest.fixture
def rebuilt(archived: Site, capsys: pytest.CaptureFixture[str]) -> tuple[Site, str]:
    """With the flows at rest, a backup, an event that waits in the raw log; and the id of what was
    rebuilt."""
    backup.make(Deployment(archived.config))
    archived.client.xadd("mr:raw:00", {"b": b"waits"})
    archived.config, archived.file = configured(archived, VIEWED), archived.folder / "now.toml"
    assert rebuild_screen.run(archived.config, False) == 0
    return archived, run_id(capsys.readouterr().out)


def run_id(said: str) -> str:
    found = re.search(r"^run (\d{14}):", said, re.MULTILINE)
    assert found, said
    return found[1]


def beside(site: Site, run: str) -> Digest:
    return digest(site, switching.at(site.config, run).redis.prefix)


def digest(site: Site, prefix: str = "mr") -> Digest:
    before, there = site.config, msgspec.structs.replace(site.config.redis, prefix=prefix)
    site.config = msgspec.structs.replace(site.config, redis=there)
    try:
        return site.digest()
    finally:
        site.config = before


def test_what_was_rebuilt_is_what_runs_then(rebuilt: tuple[Site, str]) -> None:
    site, run = rebuilt
    was, customers = beside(site, run), behaviour(site, site.config)
    assert digest(site) != was
    assert switching_screen.run(site.config, run) == 0
    assert digest(site) == was
    assert behaviour(site, site.config) == customers
    assert not list(site.client.scan_iter(f"mr-{run}:*"))
    assert site.client.xlen("mr:raw:00") == 1
    read = Deployment(site.config).profile_reader
    profiles = [profile for number in range(12) if (profile := read("user_id", f"user-{number}")) is not None]
    assert sum(profile["aggregates"]["viewed"] for profile in profiles) > 10
    assert any(
        "@" in identifiers.get("email", "")
        for profile in profiles
        for identifiers in [profile["identifiers"]]
    )


def test_it_goes_on_and_is_restored_from_its_own_history(rebuilt: tuple[Site, str]) -> None:
    """Backups of the history that was put aside are not taken for its own."""
    site, run = rebuilt
    switching_screen.run(site.config, run)
    assert Deployment(site.config).backups.names() == []
    site.start()
    site._forwarded = site.outbox.cursors(Lane.ABSORBS, "internal")
    archiver = site.archiver()
    was = lived(site, archiver, 5, (2,))
    archiver.close()
    other = Site(site.folder, site.url, "b")
    deployment = Deployment(other.config)
    restore.restore(deployment, *restore.plan(deployment, None, None), None)
    assert other.digest() == was[site.now_s]


def test_there_is_a_way_back(rebuilt: tuple[Site, str]) -> None:
    site, run = rebuilt
    was, fresh, held = digest(site), beside(site, run), keys_held(site.client, Deployment(site.config).names)
    backups = Deployment(site.config).backups.names()
    switching_screen.run(site.config, run)
    assert (
        keys_held(site.client, Deployment(switching.at(site.config, f"before-{run}")).names) == 0
    )  # an erasure must find all of them
    switching_screen.run(site.config, f"before-{run}")
    assert digest(site) == was
    assert Deployment(site.config).backups.names() == backups != []
    assert keys_held(site.client, Deployment(site.config).names) == held
    assert beside(site, f"before-before-{run}") == fresh
    assert Deployment(site.config).archive.last() == Deployment(site.config).journal.archived()


def test_rebuild_and_switch_in_one(archived: Site, capsys: pytest.CaptureFixture[str]) -> None:
    was = digest(archived)
    config = configured(archived, VIEWED)
    assert rebuild_screen.run(config, False, then_switch=True) == 0
    run = run_id(capsys.readouterr().out)
    assert digest(archived) != was == beside(archived, f"before-{run}")


def test_what_was_put_aside_can_be_removed(
    rebuilt: tuple[Site, str], capsys: pytest.CaptureFixture[str]
) -> None:
    site, run = rebuilt
    switching_screen.run(site.config, run)
    was = digest(site)
    assert list(site.client.scan_iter(f"mr-before-{run}:*"))
    assert switching_screen.remove(site.config, f"before-{run}") == 0
    assert f"backup-before-{run}" in capsys.readouterr().out
    assert not list(site.client.scan_iter(f"mr-before-{run}:*"))
    assert not list(site.folder.rglob("*-before-*"))
    assert digest(site) == was
    with pytest.raises(Foreign, match="there is nothing beside under"):
        switching_screen.remove(site.config, f"before-{run}")


def test_only_what_lies_beside_and_rests_is_removed(rebuilt: tuple[Site, str]) -> None:
    site, run = rebuilt
    with pytest.raises(Foreign, match="is no id of a run"):
        switching_screen.remove(site.config, "x*")
    connect.cache_clear()
    elsewhere = connect(site.url)
    introduce(elsewhere, f"mr-{run}", "profile-0")
    elsewhere.ping()
    connect.cache_clear()
    with pytest.raises(Fenced, match="profile-0"):
        switching_screen.remove(site.config, run)
    elsewhere.connection_pool.disconnect()
    names = Deployment(site.config).names
    Switch(site.client, names, run).begin()
    with pytest.raises(Foreign, match="is under way: finish it"):
        switching_screen.remove(site.config, run)


# --- what is refused ------------------------------------------------------------------------------


def refused(site: Site, run: str, error: type[Exception], says: str) -> None:
    was = digest(site), sorted(path.name for path in site.folder.rglob("*"))
    with pytest.raises(error, match=says):
        switching_screen.run(site.config, run)
    assert (digest(site), sorted(path.name for path in site.folder.rglob("*"))) == was
    assert pending(site.client, Deployment(site.config).names) is None


def test_while_a_flow_runs_on_whatever_machine_it_is_refused_but_the_gateway_may_stay(
    rebuilt: tuple[Site, str],
) -> None:
    site, run = rebuilt
    connect.cache_clear()
    elsewhere = connect(site.url)
    introduce(elsewhere, "mr", "profile-1")
    elsewhere.ping()
    connect.cache_clear()
    refused(site, run, Fenced, "profile-1 of millrace still run")
    with pytest.raises(Fenced, match="profile-1"):
        rebuild_screen.run(site.config, False, then_switch=True)
    elsewhere.connection_pool.disconnect()
    connect.cache_clear()
    gateway = connect(site.url)
    introduce(gateway, "mr", "gateway-0")
    gateway.ping()
    connect.cache_clear()
    switching_screen.run(site.config, run)
    gateway.connection_pool.disconnect()


def test_a_flow_says_that_it_runs(rebuilt: tuple[Site, str]) -> None:
    site, run = rebuilt
    process = millrace(site, "run", "archive", "--worker", "0/1")
    try:
        eventually(process, lambda: present(site.client, "mr") == ["archive-0"])
        with pytest.raises(Fenced, match="archive-0 of millrace still run"):
            switching_screen.run(site.config, run)
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 60
    while present(site.client, "mr"):  # its connection may live a moment longer
        assert time.monotonic() < deadline
        time.sleep(0.01)
    switching_screen.run(site.config, run)


def test_what_went_on_since_the_rebuild_would_be_lost(rebuilt: tuple[Site, str]) -> None:
    site, run = rebuilt
    site.window()
    site.apply()
    refused(site, run, Foreign, "ends elsewhere than what runs")


def test_a_tick_since_the_rebuild_is_nothing_unless_it_wakes_somebody(rebuilt: tuple[Site, str]) -> None:
    """Profile may end with the last ticks uncommitted."""
    site, run = rebuilt
    site.tick()
    site.now_s += 100
    site.tick()
    refused(site, run, Foreign, "profile is 8 entries behind")  # tags and timers of the first minutes are due
    site.apply()
    site.tick()
    switching_screen.run(site.config, run)


def test_who_was_erased_since_the_rebuild_does_not_come_back(rebuilt: tuple[Site, str]) -> None:
    site, run = rebuilt
    bucket = next(site.client.scan_iter("mr:{keys}:*"))
    site.client.hdel(bucket, site.client.hkeys(bucket)[0])  # type: ignore[index]  # not asynchronous
    refused(site, run, Foreign, "was built with the data keys of")


def test_triggers_that_nobody_has_delivered_would_be_lost(rebuilt: tuple[Site, str]) -> None:
    site, run = rebuilt
    site.config = configured(site, '[[connector]]\nname = "log"\ntype = "file"\npath = "out.jsonl"\n')
    refused(site, run, Foreign, r"deliver log is \d+ entries behind")


def test_what_is_not_there_or_not_whole_is_refused(rebuilt: tuple[Site, str]) -> None:
    site, run = rebuilt
    refused(site, "20200101000000", Foreign, "there is nothing whole under the prefix 'mr-20200101000000'")
    site.client.hset(f"mr-{run}:{{dir}}:meta", "name", "(unfinished restore)")
    refused(site, run, Foreign, "there is nothing whole under")


def test_a_backup_under_way_and_what_is_in_the_way_are_refused(rebuilt: tuple[Site, str]) -> None:
    site, run = rebuilt
    site.client.set("mr:{dir}:hold", "x", px=20_000)
    refused(site, run, Fenced, "a backup is being made")
    site.client.delete("mr:{dir}:hold")
    site.client.set(f"mr-before-{run}:{{s00}}:head", "x")
    refused(site, run, Foreign, "is in the way of what would be put aside")
    site.client.delete(f"mr-before-{run}:{{s00}}:head")
    Path(f"{site.config.archive.folder}-before-{run}").mkdir()
    refused(site, run, Foreign, "is in the way of what would be put aside")


# --- killed in the middle -------------------------------------------------------------------------


def eventually(process: subprocess.Popen[bytes], holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def padded(rebuilt: tuple[Site, str]) -> Iterator[tuple[Site, str]]:
    """With so many customers on both sides that a switch takes a moment."""
    site, run = rebuilt
    some = next(site.client.scan_iter("mr:{s0?}:p:*"))
    packed = site.client.get(some)
    for prefix in ("mr", f"mr-{run}"):
        for first in range(0, 40_000, 10_000):
            site.client.mset(
                {b"%s:{s00}:p:%016d" % (prefix.encode(), n): packed for n in range(first, first + 10_000)}
            )  # type: ignore[misc]
    yield site, run
    site.client.flushall()


def test_kill_9_in_the_middle_leaves_nothing_that_looks_whole_and_the_next_one_finishes(
    padded: tuple[Site, str],
) -> None:
    site, run = padded
    fresh, old = beside(site, run), digest(site)
    moved: dict[str, Callable[[], bool]] = {
        "begun": lambda: pending(site.client, Deployment(site.config).names) == run,
        "aside": lambda: bool(site.client.exists(f"mr-before-{run}:{{s00}}:p:".encode() + b"%016d" % 7)),
        "in": lambda: site.client.hget("mr:{dir}:meta", "switch_step") == b"in",
    }
    for reached in moved.values():
        process = millrace(site, "switch", run)
        eventually(process, reached)
        process.kill()
        process.wait()
        assert pending(site.client, Deployment(site.config).names) == run
        with pytest.raises(Foreign, match=f"unfinished: run `millrace switch {run}`"):
            Deployment(site.config).prepare()
        with pytest.raises(Foreign, match="is under way: finish it"):
            rebuild_screen.run(site.config, False)
        with pytest.raises(Foreign, match="is under way: finish it"):
            switching_screen.run(site.config, "another")
    finished = millrace(site, "rebuild", "--switch")
    said = finished.communicate(timeout=60)[0].decode()
    assert (finished.returncode, f"run {run} is what runs" in said) == (0, True), said
    assert digest(site) == fresh
    assert beside(site, f"before-{run}") == old
    assert not list(site.client.scan_iter(f"mr-{run}:*"))


class Died(BaseException):
    """As if the process had been killed."""


@pytest.mark.parametrize("answered", [False, True], ids=["before it was done", "when it was done"])
def test_whichever_step_is_the_last_one_it_can_be_finished(
    rebuilt: tuple[Site, str], answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt comes a step or two further than the one before."""
    site, run = rebuilt
    fresh, old, names = beside(site, run), digest(site), Deployment(site.config).names
    left = attempts = 0

    def mortal(kind: type, name: str) -> None:
        original = getattr(kind, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and not answered:
                raise Died
            answer = original(*args, **kwargs)
            if left == 0:
                raise Died
            return answer

        monkeypatch.setattr(kind, name, step)

    monkeypatch.setattr("state.history.prefix_switch.PAGE", 20)
    mortal(redis.Redis, "hset")
    mortal(redis.Redis, "unlink")
    mortal(redis.client.Pipeline, "execute")
    mortal(Path, "rename")
    begun = False
    while not begun or pending(site.client, names):
        attempts += 1
        left = 2 + attempts // 10
        with suppress(Died):
            switching_screen.run(site.config, run)
        left = 0
        begun = begun or pending(site.client, names) is not None
        assert attempts < 200
    assert attempts > 10
    left = -1
    assert digest(site) == fresh
    assert beside(site, f"before-{run}") == old
    assert not list(site.client.scan_iter(f"mr-{run}:*"))
    assert Deployment(site.config).archive.last() == Deployment(site.config).journal.archived()
    assert Deployment(site.config).backups.names() == []
