"""Rules come into force on a real Redis: what is refused, what is asked, and that the archive has every
change."""

import threading
import time
from pathlib import Path

import msgspec
import pytest

from flows.archive import Archiver
from flows.runtime import rules_in_force
from flows.runtime.deployment import Deployment
from flows.runtime.rules_in_force import RULES
from flows.services import configuration_changes, reloading
from flows.services.reloading import settled
from schemas.config import Config
from schemas.config.toml import load
from schemas.errors import ConfigError, Losing
from schemas.records.journal import JournalKind
from schemas.records.shard_log import LogKind
from tests.lives import lived, millrace, restored
from tests.site import Site

HOOK = """
[[connector]]
name = "crm"
type = "webhook"
url = "https://crm.example/${CRM_SECRET}"
secrets = ["${CRM_SECRET}"]
"""
ANOTHER = '\n[[tag]]\nname = "regular"\nwhen = "orders > 2"\n'


def in_force(site: Site) -> tuple[int, bytes | None]:
    directory = Deployment(site.config).directory
    return directory.sent(RULES), directory.body(LogKind.CONFIG, RULES, directory.sent(RULES))


def said(site: Site, *argv: str) -> tuple[int, str]:
    process = millrace(site, *argv)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out.decode()


@pytest.mark.parametrize("text", ["", "\n\n", "# the rules of the shop\n"])
def test_a_reload_of_an_empty_file_changes_nothing(site: Site, text: str) -> None:
    before = in_force(site)
    site.file.write_text(text)
    code, out = said(site, "reload", "--yes")
    assert code == 1
    assert f"{site.file}:1: the file is empty" in out
    assert in_force(site) == before


def test_a_reload_that_takes_away_says_what_and_wants_a_yes(site: Site) -> None:
    before, whole = in_force(site), site.file.read_text()
    site.file.write_text(whole[: whole.index("[[aggregate]]")])
    code, out = said(site, "reload")
    assert code == 1
    for part in (
        "the only aggregate goes",
        "`orders`",
        "the only tag goes: `buyer`",
        "2 of 2 triggers go",
        "--yes",
    ):
        assert part in out
    assert in_force(site) == before
    code, out = said(site, "reload", "--yes")
    gone = ["aggregate orders", "segment all", "tag buyer", "trigger come_back", "trigger thank_you"]
    first, *configuration_changes = out.splitlines()
    assert (code, first, sorted(configuration_changes)) == (
        0,
        "the rules are in force as version 2",
        [f"  {name}: gone" for name in gone],
    )
    assert in_force(site)[0] == 2
    site.file.write_text(whole)  # nothing goes: nobody is asked
    code, out = said(site, "reload")
    assert (code, out.count(": new\n")) == (0, 5)
    assert said(site, "reload") == (0, "these rules are in force already\n")


def test_a_reload_says_what_changed_and_what_waits_for_a_restart(site: Site) -> None:
    configuration_changes.remember(site.config, site.file)
    text = site.file.read_text().replace("orders > 0", "orders > 1") + ANOTHER + HOOK
    site.file.write_text(text + '[gateway]\nlisten = "127.0.0.1:1"\n')
    code, out = said(site, "reload")  # whose environment has no CRM_SECRET
    assert (code, out.splitlines()) == (
        0,
        [
            "the rules are in force as version 2",
            "  tag regular: new",
            "  trigger thank_you: changed",
            "waits until `millrace run` is started again: connector crm, gateway.listen",
        ],
    )
    assert (Path(site.config.data.folder) / configuration_changes.STARTED).stat().st_mode & 0o777 == 0o600
    configuration_changes.remember(site.config, site.file)
    assert said(site, "reload") == (0, "these rules are in force already\n")


def test_a_reload_refuses_as_check_does_with_file_line_and_rule(site: Site) -> None:
    before, line = in_force(site), site.file.read_text().count("\n") + 4
    site.file.write_text(site.file.read_text() + ANOTHER.replace("orders > 2", "stage == 'activ'"))
    code, out = said(site, "reload")
    assert code == 1
    assert f"{site.file}:{line}: tag[1].when: there is no stage `activ`; did you mean `active`?" in out
    assert in_force(site) == before


@pytest.mark.parametrize("argv", [["status"], ["dead", "list"], ["source", "list"]])
def test_who_only_looks_needs_no_secret_of_a_receiver(site: Site, argv: list[str]) -> None:
    site.file.write_text(site.file.read_text() + HOOK)
    assert said(site, *argv)[0] == 0
    code, out = said(site, "run", "deliver", "--worker", "0/1")
    assert (code, "the environment has no CRM_SECRET" in out) == (1, True), "who sends does"


def test_rules_that_two_announce_at_the_same_moment_are_not_lost_without_a_word(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Deployment(site.config).directory
    site.file.write_text(site.file.read_text() + ANOTHER)
    ours = load(site.file)
    monkeypatch.setattr(directory, "sent", lambda _sender: 0)  # as it was before the other one
    with pytest.raises(ConfigError, match="at the same moment"):
        rules_in_force.announce(directory, ours)


# --- files that are being written


def test_a_file_is_read_when_nobody_writes_it_any_more(site: Site) -> None:
    whole = site.file.read_text() + ANOTHER
    parts = [
        whole[: whole.index("[[tag]]")],
        whole[: whole.index("[[trigger]]")],
        whole[: len(whole) - 3],
        whole,
    ]
    site.file.write_text("")

    def write() -> None:
        for part in parts:
            time.sleep(reloading.SETTLE_S / 2)
            site.file.write_text(part)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = settled(site.file)
    finally:
        writer.join()
    assert [tag.name for tag in found.tag] == ["buyer", "regular"]


def test_a_file_that_is_written_for_ever_or_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "SETTLE_S", 0.0)
    file = tmp_path / "millrace.toml"
    with pytest.raises(ConfigError, match="cannot be read"):
        settled(file)

    def loaded(path: Path) -> Config:
        path.write_text(path.read_text() + "#")
        return Config()

    file.write_text('name = "shop"')
    monkeypatch.setattr("flows.services.reloading.sound", loaded)
    with pytest.raises(ConfigError, match="is being written"):
        settled(file)


# --- the archive


def unarchived(site: Site) -> None:
    """The file as another one has it: with one more rule, and nothing about an archive."""
    text = site.file.read_text()
    site.file.write_text(text.replace("enabled = true", "enabled = false") + ANOTHER)


def announced(site: Site, archiver: Archiver, how: str) -> None:
    unarchived(site)
    if how == "command":
        assert said(site, "reload")[0] == 0
    else:
        assert Deployment(load(site.file)).prepare() == 2  # as a SIGHUP and the start of `run`
    archiver.round(block_ms=0)


@pytest.mark.parametrize("how", ["command", "start"])
def test_a_change_of_rules_is_restored_whoever_made_it(site: Site, how: str) -> None:
    archiver = site.archiver()
    for _ in range(3):
        site.window()
    site.tick()
    announced(site, archiver, how)
    entries = [
        found.entry
        for found in Deployment(site.config).archive.entries(0)
        if found.entry.kind == JournalKind.CONFIG
    ]
    assert [int(entry.extra) for entry in entries] == [1, 2]
    assert not any(entry.bare for entry in entries)
    for _ in range(3):
        site.window()
    site.tick()
    site.apply()
    archiver.round(block_ms=0)
    other = restored(site, "b")
    assert other.digest() == site.digest()
    assert in_force(other) == in_force(site)
    assert b'"regular"' in (in_force(other)[1] or b"")


def test_the_flows_go_on_while_such_a_change_comes(site: Site) -> None:
    archiver = site.archiver()
    lived(site, archiver, 3)
    before = in_force(site)[0]
    loose = msgspec.structs.replace(
        load(site.file), archive=msgspec.structs.replace(site.config.archive, enabled=False), tag=()
    )
    with pytest.raises(Losing):
        Deployment(loose).prepare()
    assert Deployment(loose).prepare(agreed=True) == before + 1
    was = lived(site, archiver, 3)
    assert restored(site, "b").digest() == was[site.now_s]
