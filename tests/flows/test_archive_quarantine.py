"""An archive leaves nothing out: what our logic raises on lies in it as it lay in the journal, and is
restored like everything else."""

from typing import Any

import pytest
import redis

from flows import archive
from flows.archive import ARCHIVE, Archiver
from flows.cli import dead_letter_screen
from flows.runtime.deployment import Deployment
from schemas.errors import LogFull
from schemas.records.journal import Journalled
from state.dead_letter_logs import DeadDelivery
from state.history.archive_files import Archive
from tests.lives import lived, restored
from tests.site import Site


def plant(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """A defect on every third entry, or on ticks; its words hold what they should not."""
    owner: Any = {"opening": Archiver, "packing": Archive, "ticks": archive}[place]
    name = {"opening": "_opened", "packing": "packed", "ticks": "_tick"}[place]
    real = getattr(owner, name)

    def broken(*args: Any) -> Any:
        made = real(*args)
        if not isinstance(args[-1], Journalled) or args[-1].seq % 3 == 0:
            raise KeyError("ann@example.org")
        return made

    monkeypatch.setattr(owner, name, broken)


def archiver(site: Site) -> Archiver:
    def put_aside(entry: int, detail: str) -> None:
        Deployment(site.config).deliveries.keep_dead(ARCHIVE, b"%d" % entry, f"poison: {detail}")

    parts = Deployment(site.config).journal, Deployment(site.config).archive, Deployment(site.config).log_seal
    return Archiver(site.config, *parts, lambda: None, put_aside)


def notes(site: Site) -> list[DeadDelivery]:
    return list(Deployment(site.config).dead_deliveries.oldest())


@pytest.mark.breaking
@pytest.mark.parametrize("place", ["opening", "packing", "ticks"])
def test_what_it_raises_on_is_restored_like_everything_else(
    site: Site, monkeypatch: pytest.MonkeyPatch, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as broken:
        plant(broken, place)
        first = archiver(site)
        lived(site, first, 3)
        first.close()
        second = archiver(site)
        was = lived(site, second, 3)
        second.close()
    journal = Deployment(site.config).journal
    assert journal.archived() == journal.head(), "it went on behind them"
    kept = [found.entry.seq for found in Deployment(site.config).archive.entries(0)]
    assert kept == [*range(1, journal.head() + 1)]
    assert restored(site, "b").digest() == was[site.now_s]
    found = notes(site)
    assert len(found) >= 6
    assert all(
        note.reason.startswith("poison: KeyError at tests.flows.test_archive_quarantine:") for note in found
    )
    assert dead_letter_screen.listing(site.config, "poison", 100) == 0
    assert dead_letter_screen.show(site.config, found[0].name) == 0
    said = capsys.readouterr()
    assert found[0].name in said.out
    assert "ann@" not in said.out + said.err
    assert dead_letter_screen.replay(site.config, [], "poison") == 0
    assert notes(site) == []
    assert "is whole in the archive" in capsys.readouterr().out


@pytest.mark.breaking
def test_the_note_stays_while_the_build_is_not_mended(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "packing")
    lived(site, archiver(site), 2)
    before = notes(site)
    assert dead_letter_screen.replay(site.config, [], "poison") == 1
    assert notes(site) == before != []


@pytest.mark.breaking
def test_killed_before_it_said_so_it_writes_them_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "packing")
    killed = archiver(site)
    for _ in range(5):
        site.window()
    with monkeypatch.context() as dying:
        dying.setattr(killed._journal, "advance", lambda _upto: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            killed.round(block_ms=0)
    killed._writer.abandon()
    was = lived(site, archiver(site), 3)
    seqs = [found.entry.seq for found in Deployment(site.config).archive.entries(0)]
    assert seqs == [*range(1, Deployment(site.config).journal.head() + 1)]
    assert restored(site, "b").digest() == was[site.now_s]


@pytest.mark.breaking
@pytest.mark.parametrize(
    "error",
    [redis.ConnectionError("away"), LogFull("full"), MemoryError(), OSError(28, "no space")],
    ids=repr,
)
def test_infrastructure_is_nobodys_poison(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def trouble(*_: object) -> None:
        raise error

    made = archiver(site)
    site.window()
    monkeypatch.setattr(Archive, "packed", trouble)
    with pytest.raises(type(error)):
        made.round(block_ms=0)
    assert notes(site) == []
