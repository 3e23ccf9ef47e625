"""What `resolve` raises on behind validation: orders, groups, seals, what the archive keeps. It alone is a
dead letter."""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
import redis
from bytewax.testing import run_main

from connectors.raw.log import START
from flows import resolve
from flows.logic.resolution.identity_orders import OrderReader
from flows.resolve import Resolver, dataflow
from flows.runtime.drafting import Drafting
from flows.runtime.engine import Stop
from flows.runtime.windows import Windows
from schemas.config import Archive, Config
from schemas.config import Window as WindowConfig
from schemas.errors import Fatal
from schemas.units import Duration
from schemas.wire.events import DeadLetter, RawEvent
from state.directory.redis_directory import RedisDirectory
from state.keys import DataKey
from state.redis.names import Names
from tests.resolving import LAYOUT, NOW_MS, PARTITION, SEAL, Reader, Site, raw

BAD = "poison-for-us"
ARCHIVED = Config(archive=Archive(enabled=True))


def fresh(url: str) -> Site:
    client = redis.Redis.from_url(url)
    client.flushall()
    directory = RedisDirectory(client, Names("t"), LAYOUT, journal_max=10_000)
    directory.create()
    return Site(url, directory)


def batches(seed: int, *, poison: bool) -> tuple[list[list[RawEvent]], list[str]]:
    """Batches of tracks and identifies; between them, or not, those that the defect hits, and what they are
    called."""
    luck, found, bad = Random(seed), [], []
    for n in range(8):
        batch = []
        for m in range(luck.randint(1, 9)):
            traits = {"email": f"p{luck.randrange(4)}@example.org", "plan": "a"}
            message = raw(
                type="identify", messageId=f"m{n}-{m}", anonymousId=f"v{luck.randrange(6)}", traits=traits
            )
            if luck.random() < 0.2:
                bad += [f"bad{n}-{m}"] * poison
                odd = raw(
                    type="identify",
                    messageId=f"bad{n}-{m}",
                    anonymousId="odd",
                    traits={"email": f"{BAD}@example.org"},
                )
                batch += [odd] * poison
            else:
                batch.append(message)
        found.append(batch)
    return found, bad


def plant(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, hit: Callable[..., bool]) -> None:
    real = getattr(owner, name)

    def broken(*args: Any, **named: Any) -> Any:
        made = real(*args, **named)
        if hit(*args):
            raise KeyError("ann@example.org")
        return made

    monkeypatch.setattr(owner, name, broken)


def plant_packer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the archive keeps of a window."""
    real = resolve.WindowPacker

    def packer(*args: Any) -> Any:
        pack = real(*args)

        def broken(judged: Any, commit: Any) -> bytes:
            if any(BAD in str(event.sensitive) for event in judged.checked):
                raise KeyError("ann@example.org")
            return pack(judged, commit)

        return broken

    monkeypatch.setattr(resolve, "WindowPacker", packer)


def seal_hits(_key: DataKey, _name: str, plain: bytes) -> bool:
    return BAD.encode() in plain


PLACES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "orders": lambda patch: plant(patch, OrderReader, "read", lambda *args: BAD in str(args)),
    "grouping": lambda patch: plant(
        patch, Resolver, "_grouped", lambda _, checked: any(BAD in str(e.sensitive) for e in checked)
    ),
    "sealing": lambda patch: plant(patch, DataKey, "seal", seal_hits),
    "archiving": plant_packer,
}


def letters(site: Site) -> list[DeadLetter]:
    return [
        msgspec.msgpack.decode(fields[b"b"], type=DeadLetter)
        for _, fields in site.client.xrange(Names("t").dead)
    ]


def ran(site: Site, given: list[list[RawEvent]]) -> None:
    """The real dataflow."""
    stop = Stop()
    reader = Reader(given, stop)
    at = site.directory.offsets().get(PARTITION, START)
    reader.assign({PARTITION: at})
    site.stop = stop
    windows = Windows(reader, WindowConfig(wait=Duration(0), events=1), {PARTITION: at})
    run_main(dataflow(windows, reader, site.resolver(ARCHIVED), stop))
    if stop.fault is not None:
        raise stop.fault


def said(site: Site) -> list[Any]:
    """All that the shards were told, but for when it came and under which nonce it was sealed."""
    opened = site.opened()
    return [
        (root, origin, fact.message, fact.time_ms - fact.received_ms, fact.traits, opened.get(fact.message))
        for root, origin, fact in site.facts()
    ]


@pytest.mark.breaking
@pytest.mark.parametrize("place", [place for place in PLACES if place != "orders"])
@pytest.mark.parametrize("seed", range(2))
def test_the_rest_is_as_if_it_had_never_come(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, place: str, seed: int
) -> None:
    without = fresh(redis_url)
    ran(without, batches(seed, poison=False)[0])
    expected, stats = said(without), without.directory.stats()
    world = fresh(redis_url)
    PLACES[place](monkeypatch)
    given, bad = batches(seed, poison=True)
    ran(world, given[:5])
    ran(world, given)  # another process, from the stored position on
    assert said(world) == expected
    assert {
        name: n for name, n in world.directory.stats().items() if not name.startswith("rejected:")
    } == stats
    dead = letters(world)
    assert (
        sorted(msgspec.json.decode(SEAL.open(letter.sealed))["messageId"] for letter in dead)
        == sorted(bad)
        != []
    )
    assert {letter.reason for letter in dead} == {"poison"}
    assert all(
        letter.detail.startswith("KeyError at tests.flows.test_resolve_quarantine:") for letter in dead
    )
    assert not any("ann@" in letter.detail or BAD in letter.detail for letter in dead)
    assert world.directory.offsets()[PARTITION] == len(given) - 1


@pytest.mark.breaking
def test_an_order_that_cannot_be_read_is_a_dead_letter(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = fresh(redis_url)
    PLACES["orders"](monkeypatch)
    site.take(
        raw(userId="ana", messageId="m1"),
        RawEvent(f"an order of {BAD}".encode(), NOW_MS, "web"),
        raw(userId="bob", messageId="m2"),
    )
    assert [fact.message for _, _, fact in site.facts()] == ["m1", "m2"]
    assert [letter.reason for letter in letters(site)] == ["poison"]


@pytest.mark.breaking
def test_sent_again_it_passes_when_it_is_mended(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    site, event = (
        fresh(redis_url),
        raw(userId="ana", messageId="m1", type="identify", traits={"email": f"{BAD}@example.org"}),
    )
    with monkeypatch.context() as broken:
        PLACES["sealing"](broken)
        site.take(event)
    [letter] = letters(site)
    assert site.facts() == []
    site.take(RawEvent(SEAL.open(letter.sealed), letter.received_ms, letter.source))
    assert site.opened()["m1"]["email"] == f"{BAD}@example.org"


@pytest.mark.breaking
@pytest.mark.parametrize(
    "error", [redis.ConnectionError("away"), MemoryError(), OSError(28, "no space")], ids=repr
)
def test_infrastructure_is_nobodys_poison(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def trouble(*_: object) -> None:
        raise error

    site = fresh(redis_url)
    monkeypatch.setattr(DataKey, "seal", trouble)
    with pytest.raises(type(error)):
        site.take(raw(userId="ana", messageId="m1", traits={"email": "a@example.org"}))
    assert site.directory.offsets() == {}
    assert letters(site) == []


@pytest.mark.breaking
def test_what_is_no_event_ends_the_flow_with_its_place(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = fresh(redis_url)
    monkeypatch.setattr(Drafting, "groups", lambda *_, **__: 1 / 0)
    with pytest.raises(
        Fatal,
        match=r"a window of events/0 cannot be committed: ZeroDivisionError at .*"
        "This is a defect of millrace",
    ):
        site.take(raw(userId="ana", messageId="m1"))
    assert site.directory.offsets() == {}
