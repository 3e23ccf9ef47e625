"""What checked fields and repetitions do in a shard: counted once, dropped once, the same in every replay."""

from random import Random

from flows.logic.fields.quality import report
from flows.logic.fields.repeats import Repeats
from schemas.config import Repeat
from schemas.units import Duration
from tests.logic.shard.test_profile_replay import replayed
from tests.world import MINUTE, SECOND, World, contents, person, visitor

ANA, PHONE = person("ana"), visitor("phone")
EACH = '[[trigger]]\nname = "each"\non = {event = "Paid"}\n'
TEN = Repeats((Repeat(within=Duration.parse("10s")),))


def marks(world: World, total: int, ago: int = 0) -> bytes:
    return TEN.marks("web", "Paid", world.now_ms - ago, (ANA.hash, {"total": total}))


def pay(world: World, message: str, total: int = 1, ago: int = 0) -> None:
    world.send([ANA, PHONE], "Paid", message=message, ago=ago, content=marks(world, total, ago), total=total)


def test_the_same_content_within_the_bound_counts_once() -> None:
    world = World(EACH)
    pay(world, "m1")
    pay(world, "m2")
    pay(world, "m3", ago=9 * SECOND)
    pay(world, "m4", total=2)
    pay(world, "m5", ago=MINUTE)
    assert world.rules_fired() == ["each"] * 3
    assert (world.counters()["applied"], world.counters()["repeats"]) == (3, 2)


def test_a_message_that_comes_again_is_a_duplicate_not_a_repeat() -> None:
    world = World(EACH)
    pay(world, "m1")
    pay(world, "m1")
    assert world.counters()["duplicates"] == 1
    assert "repeats" not in world.counters()


def test_content_is_remembered_when_customers_unite() -> None:
    world = World(EACH)
    world.send(PHONE, "Paid", message="m1", content=marks(world, 1), total=1)
    world.send(ANA, "Viewed")
    world.send([ANA, PHONE], "Viewed")
    pay(world, "m2")
    assert world.rules_fired() == ["each"]


def test_without_marks_nothing_is_dropped() -> None:
    world = World(EACH)
    for message in ("m1", "m2"):
        world.send(ANA, "Paid", message=message, total=1)
    assert world.rules_fired() == ["each", "each"]


def test_quality_is_counted_once_and_the_same_in_a_replay() -> None:
    world = World(EACH)
    for message, said, channel in (
        ("m1", "ok 11111111", "web"),
        ("m1", "ok 11111111", "web"),
        ("m2", "ok 22222222", "store"),
        ("m3", "too_short", "web"),
        ("m4", "ok 22222222", "store"),
    ):
        world.send(
            ANA, type="identify", name="", message=message, channel=channel, traits={"$quality.phone": said}
        )
    store, web = report(world.counters())
    assert (store.records, store.valid, store.conflicts) == (
        2,
        2,
        1,
    )  # the last one came after a bad value, which was none
    assert (web.records, web.stated, web.valid, web.bad) == (2, 2, 1, {"too_short": 1})
    assert contents(replayed(world, Random(1))) == contents(world.store)
