"""Rebuild: the same events through this configuration, beside what runs."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.cli import rebuild_screen
from flows.logic.fields.identifiers import Identifiers
from flows.logic.shard.state import decode_profile
from flows.runtime.deployment import Deployment
from flows.runtime.windows import Judged, Window
from schemas.config import Config
from schemas.config.toml import load
from schemas.errors import Foreign
from schemas.records.customer_profile import Fragment
from schemas.records.outbox_lanes import Lane
from schemas.wire import cloudevents
from schemas.wire.events import RawEvent
from schemas.wire.triggers import Trigger
from state.history.archive_files import files
from tests.site import START_S, Site


def configured(site: Site, more: str = "") -> Config:
    file = site.folder / "now.toml"
    file.write_text(site.file.read_text() + more)
    return load(file)


def built(config: Config, capsys: pytest.CaptureFixture[str], deliver: bool = False) -> tuple[Config, str]:
    """The configuration after the switch, and what was said."""
    assert rebuild_screen.run(config, deliver) == 0
    said = capsys.readouterr().out
    there = tomllib.loads(said[said.index("    [redis]") :])  # what it says that is to be set
    tables = {
        table: msgspec.structs.replace(getattr(config, table), **options) for table, options in there.items()
    }
    return msgspec.structs.replace(config, **tables), said


def behaviour(site: Site, config: Config) -> dict[bytes, list[Any]]:
    """What each customer did, as its identifiers' customers: sums over fragments, without what depends on
    other rules."""
    found: dict[bytes, list[Any]] = {}
    prefix = config.redis.prefix.encode()
    for key in set(site.client.scan_iter(prefix + b":{s0?}:p:*")):
        fragments: list[Fragment] = list(decode_profile(site.client.get(key)).fragments.values())  # type: ignore[arg-type]  # not asynchronous
        found[key.rpartition(b"p:")[2]] = [
            sum(f.events for f in fragments),
            sum(f.orders for f in fragments),
            sum(f.spent for f in fragments),
            {name: value for f in fragments for name, (_, value) in sorted(f.traits.items())},
        ]
    return found


def lane(config: Config) -> list[Trigger]:
    found = Deployment(config).outbox.read(
        Lane.TRIGGERS, dict.fromkeys(range(config.shards.count), 0), 10_000, 0
    )
    return [msgspec.msgpack.decode(entry.body, type=Trigger) for entry in found]


def test_with_the_same_configuration_the_same_customers_come_out(
    archived: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    config, said = built(configured(archived), capsys)
    ours, theirs = archived.directory, Deployment(config).directory
    assert ours.offsets() == theirs.offsets()
    assert {n: v for n, v in ours.stats().items() if v} == {n: v for n, v in theirs.stats().items() if v}
    assert behaviour(archived, archived.config) == behaviour(archived, config) != {}
    assert "none of them will be delivered" in said
    assert lane(config) == []
    assert len(lane(archived.config)) > 3


def test_a_new_aggregate_is_computed_over_the_past(
    archived: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    viewed = '[[aggregate]]\nname = "viewed"\nof = "count"\non = ["Product Viewed"]\n'
    config, _ = built(configured(archived, viewed), capsys)
    read = Deployment(config).profile_reader
    profiles = [profile for number in range(12) if (profile := read("user_id", f"user-{number}")) is not None]
    assert profiles
    assert sum(profile["aggregates"]["viewed"] for profile in profiles) > 10


def test_triggers_of_a_rebuild_are_delivered_only_if_asked_for_and_say_so(
    archived: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    config, said = built(configured(archived), capsys, deliver=True)
    triggers = lane(config)
    run = said.split()[1].rstrip(":")
    assert len(triggers) > 3
    assert {trigger.run for trigger in triggers} == {run}
    assert {cloudevents.attributes(trigger, "/m")["run"] for trigger in triggers} == {run}
    before = lane(archived.config)
    assert {trigger.run for trigger in before} == {""}
    assert "run" not in cloudevents.attributes(before[0], "/m")
    orders = {trigger.id for trigger in before if trigger.rule == "thank_you"}
    assert orders & {trigger.id for trigger in triggers}  # the same happening has the same id


def test_it_can_be_rebuilt_and_archived_again(archived: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """What was rebuilt has a complete archive of its own."""
    config, _ = built(configured(archived), capsys)
    assert all(file.closed for file in files(Path(config.archive.folder)))
    archive = Deployment(config).archive
    assert archive.last() == Deployment(config).journal.head() == Deployment(config).journal.archived()
    assert len(list(archive.entries(0))) == archive.last()


def test_an_alias_is_refused_or_taken_as_it_was_then(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether a user was known is a question of the moment: here one comes between the look and the
    commit."""
    site = Site(tmp_path, redis_url).start()

    def judged(partition: str, *bodies: dict[str, Any]) -> Judged:
        events = [
            RawEvent(msgspec.json.encode(body | {"messageId": f"{partition}-{n}"}), START_S * 1000, "web")
            for n, body in enumerate(bodies)
        ]
        return site.resolver.judge(
            Window(partition, -1, len(events) - 1, events, list(range(len(events))), 0.0)
        )

    early = judged("events/0", {"type": "alias", "userId": "bob", "previousId": "ana"})
    site.resolver.commit(
        judged("events/1", {"type": "page", "userId": "ana"}, {"type": "page", "userId": "zoe"})
    )
    site.resolver.commit(early)
    late = judged(
        "events/2",
        {"type": "sing"},
        {"type": "alias", "userId": "eve", "previousId": "zoe"},
        {"type": "page", "userId": "eve"},
    )
    site.resolver.commit(late)
    archiver = site.archiver()
    with Deployment(site.config).following_keys() as archiver._follow_keys:
        archiver.round(block_ms=0)
    archiver.close()
    stats = Deployment(built(configured(site), capsys)[0]).directory.stats()
    assert stats == site.directory.stats()
    assert (stats["events"], stats["rejected:alias_of_users"], stats["rejected:type_unknown"]) == (4, 1, 1)


def test_an_erased_customer_is_not_brought_back(archived: Site, capsys: pytest.CaptureFixture[str]) -> None:
    names, ours = Deployment(archived.config).names, archived.directory
    users = {n: identifiers(archived).hash("user_id", f"user-{n}") for n in range(12)}
    found = {n: ours.lookup([hashed])[0] for n, hashed in users.items() if hashed is not None}
    erased = next(n for n, root in found.items() if root is not None)
    members = [found[erased], *(origin for origin in origins(archived) if ours.root(origin) == found[erased])]
    for bucket in set(archived.client.scan_iter(names.data_keys + b"*")):
        archived.client.hdel(bucket, *members)
    copy = Deployment(archived.config).key_copy()
    copy.sync(archived.client, names)
    copy.close()
    config, said = built(configured(archived), capsys)
    assert "events of erased customers were left out" in said
    theirs = Deployment(config).directory
    assert theirs.lookup([users[erased]]) == [None]
    assert sum(theirs.lookup([hashed])[0] is not None for hashed in users.values()) > 5


def identifiers(site: Site) -> Identifiers:
    return Identifiers(site.config.identity, Deployment(site.config).keys.hash)


def origins(site: Site) -> set[bytes]:
    """Of everybody who has a data key."""
    buckets = set(site.client.scan_iter(Deployment(site.config).names.data_keys + b"*"))
    return {origin for bucket in buckets for origin in site.client.hkeys(bucket)}


def test_an_archive_without_its_beginning_is_refused(
    archived: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    files(Path(archived.config.archive.folder))[0].path.unlink()
    with pytest.raises(Foreign, match="expected 1: there is a gap before it"):
        rebuild_screen.run(configured(archived), False)


def test_without_an_archive_there_is_nothing_to_rebuild_from(site: Site) -> None:
    with pytest.raises(Foreign, match="there is no archive in"):
        rebuild_screen.run(configured(site), False)
