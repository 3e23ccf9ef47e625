"""What matching raises on is put aside with its place; who else is one with whom, and what is learnt, is as
if it had never come."""

import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import redis
from bytewax.testing import run_main

from flows import match
from flows.cli import dead_letter_screen
from flows.logic.matching import stage
from flows.logic.matching.estimation import Learner
from flows.logic.matching.record import Record
from flows.match import Kept, dataflow
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop
from flows.runtime.release import BUILD
from schemas.errors import Fatal, LogFull
from schemas.metrics import PUT_ASIDE
from schemas.records.identity_graph import Order
from state.dead_letter_logs import DeadEvent
from tests.flows.test_match import ANNA, DOUBTFUL, ELSE, World
from tests.waiting import eventually

BAD = "Poisonfield"
FIRST = ["Clementine", "Ottokar", "Ludmila", "Ignatius", "Wilhelmina", "Bartholomew"]
LAST = ["Featherstonehaugh", "Zwingenberger", "Oyelaran", "Quartermaine", "Vandersloot"]
TOWNS = ["Bramblewick", "Northaven", "Eastmere"]


@pytest.fixture
def world(tmp_path: Path, redis_url: str) -> World:
    return World(tmp_path, redis_url)


def of_poison(value: Any) -> bool:
    """Whether a record, or something made of records, is about the one that the defect hits."""
    if isinstance(value, Record):
        return BAD.lower() in str(value.values).lower()
    if isinstance(value, dict | list | tuple):
        return any(of_poison(each) for each in value) or BAD.lower() in str(value).lower()
    return BAD.lower() in str(value).lower()


def plant(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """A defect that shows after the work is half done, with words that hold what they should not."""
    real = getattr(owner, name)

    def broken(*args: Any, **named: Any) -> Any:
        made = real(*args, **named)
        if any(of_poison(each) for each in args):
            raise KeyError(f"{BAD} ann@example.org")
        return made

    monkeypatch.setattr(
        owner, name, staticmethod(broken) if isinstance(owner, type) and name == "of" else broken
    )


PLACES: dict[str, tuple[Any, str]] = {
    "reading": (Record, "of"),
    "blocking": (stage, "blocking_keys"),
    "deciding": (stage, "decide"),
    "counting": (stage, "count_values"),
    "learning": (Learner, "observe"),
    "packing": (Kept, "packed"),
}


def lively(world: World, seed: int, *, poison: bool) -> int:
    """Windows of people, some of whom come again; between them, or not, those that the defect hits."""
    luck, sent = Random(seed), 0
    for n in range(12):
        said: list[tuple[str, dict[str, Any]]] = []
        for m in range(luck.randint(1, 7)):
            first, last, born = (
                luck.choice(FIRST),
                luck.choice(LAST),
                f"19{luck.randint(50, 59)}-0{luck.randint(1, 3)}-11",
            )
            street, town = f"{luck.randint(1, 3)} Harbour Steps", luck.choice(TOWNS)
            address = {"street": street, "city": town, "postalCode": "90377"}
            if luck.random() < 0.2:
                sent += poison
                bad = {"firstName": first, "lastName": BAD, "birthday": born, "address": address}
                said += [(f"bad{n}-{m}", bad)] * poison
            else:
                said.append(
                    (
                        f"good{n}-{m}",
                        {"firstName": first, "lastName": last, "birthday": born, "address": address},
                    )
                )
        if said:
            world.resolve(*said, time_ms=1_000_000 + n)
        if luck.random() < 0.4:
            world.match()
    world.match()
    return sent


def state_of(world: World) -> dict[str, Any]:
    """What matching knows, whoever else there is."""
    learner = world.matcher.stage.learner
    return {
        "index": world.kept(),
        "frequencies": world.matcher.stage.frequencies.pack(),
        "learner": msgspec.msgpack.encode(learner),
        "remembered": {root: cluster.values for root, (_, cluster) in world.matcher.stage._clusters.items()},
        "compared": world.matcher.comparisons,
    }


def letters(world: World) -> list[DeadEvent]:
    return [
        letter
        for letter in Deployment(world.config).dead_events.oldest()
        if letter.letter.partition == "match"
    ]


def counted() -> float:
    """What `match` has put aside, by the metric."""
    samples = [
        sample
        for family in PUT_ASIDE.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    ]
    return sum(sample.value for sample in samples if sample.labels["flow"] == "match")


@pytest.mark.breaking
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("seed", range(2))
def test_the_rest_is_as_if_it_had_never_come(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, place: str, seed: int
) -> None:
    without = World(tmp_path, redis_url)
    lively(without, seed, poison=False)
    expected, roots = state_of(without), without.roots(*(f"good{n}-{m}" for n in range(12) for m in range(7)))
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    world = World(tmp_path, redis_url)
    plant(monkeypatch, *PLACES[place])
    sent = lively(world, seed, poison=True)
    assert len(letters(world)) == sent > 0
    assert state_of(world) == expected
    assert world.roots(*(f"good{n}-{m}" for n in range(12) for m in range(7))) == roots
    assert world.matches.position() == world.directory.said_last()


@pytest.mark.breaking
def test_it_is_a_dead_letter_with_its_place_and_not_its_words(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(monkeypatch, stage, "decide")
    before = counted()
    world.say(("laptop", ANNA), ("bad", {**ELSE, "lastName": BAD}), ("phone", ANNA))
    assert world.united("laptop", "phone")
    [letter] = letters(world)
    assert (letter.letter.reason, letter.letter.source, letter.letter.position, letter.letter.index) == (
        "poison",
        "match",
        1,
        1,
    )
    assert letter.letter.build == BUILD
    here, *way = letter.letter.detail.split(" < ")
    assert here.startswith("KeyError at tests.flows.test_match_quarantine:")
    assert any(place.startswith("flows.logic.matching.stage:") and place.endswith(" _match") for place in way)
    said = capsys.readouterr()
    assert "put_aside" in said.out + said.err
    assert not any(word in letter.letter.detail + said.out + said.err for word in (BAD, "ann@example.org"))
    assert counted() - before == 1
    assert dead_letter_screen.show(world.config, letter.name) == 0
    assert BAD.lower() in capsys.readouterr().out.lower(), "only `show` opens it"


@pytest.mark.breaking
def test_the_flow_goes_on_behind_it_through_a_restart_and_takes_it_when_it_is_mended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> tuple[Stop, threading.Thread]:
        stop = Stop()
        world.matcher = world.new_matcher()
        thread = threading.Thread(target=run_main, args=(dataflow(world.matcher, stop),))
        thread.start()
        return stop, thread

    def over(running: tuple[Stop, threading.Thread]) -> None:
        running[0].asked.set()
        running[1].join(60)
        assert running[0].fault is None

    poisoned = {**ANNA, "lastName": BAD}
    with monkeypatch.context() as broken:
        plant(broken, stage, "decide")
        first = run()
        world.resolve(("laptop", ANNA), ("bad", poisoned))
        world.resolve(("bad again", poisoned))
        eventually(lambda: world.matches.position() == 2)
        over(first)
        second = run()
        world.resolve(("phone", ANNA))
        eventually(lambda: world.united("laptop", "phone"))
        over(second)
    names = [letter.name for letter in letters(world)]
    assert len(names) == 2
    assert not world.united("bad", "bad again")
    assert dead_letter_screen.replay(world.config, [], "poison") == 1, "this build raised on them"
    assert len(letters(world)) == 2
    assert dead_letter_screen.replay(world.config, names, None) == 0
    third = run()
    eventually(lambda: world.united("bad", "bad again"))
    over(third)
    assert letters(world) == []


@pytest.mark.breaking
def test_a_decision_that_it_raises_on_is_put_aside_and_let_in_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.say(("laptop", ANNA))
    world.say(("tablet", DOUBTFUL))
    with monkeypatch.context() as broken:
        broken.setattr(Learner, "label", lambda *_: 1 / 0)
        world.order(Order("link", world.hash("laptop"), world.hash("tablet"), "review"))
        world.match()
    [letter] = letters(world)
    assert letter.letter.detail.startswith("ZeroDivisionError at ")
    assert world.matcher.stage.learner.labels == []
    assert dead_letter_screen.show(world.config, letter.name) == 0
    assert dead_letter_screen.replay(world.config, [letter.name], None) == 0
    world.match()
    assert [same for _, same in world.matcher.stage.learner.labels] == [True]


@pytest.mark.breaking
@pytest.mark.parametrize(
    "error",
    [redis.ConnectionError("away"), LogFull("full"), MemoryError(), OSError(28, "no space")],
    ids=repr,
)
def test_infrastructure_is_nobodys_poison(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def trouble(*_: object) -> None:
        raise error

    world.resolve(("laptop", ANNA))
    with monkeypatch.context() as broken:
        broken.setattr(Kept, "customers", trouble)
        with pytest.raises(type(error)):
            world.match()
    assert world.matches.position() == 0
    assert letters(world) == []
    world.matcher = world.new_matcher()
    world.match()
    assert world.matches.position() == 1


@pytest.mark.breaking
def test_what_is_no_record_ends_the_flow_with_its_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(match.Stage, "step", lambda *_: {}["none"])
    world.resolve(("laptop", ANNA))
    with pytest.raises(
        Fatal,
        match=r"entry 1 of the log of matching cannot be matched: KeyError at .*This is a defect of millrace",
    ):
        world.match()
    assert world.matches.position() == 0


@pytest.mark.breaking
def test_a_bucket_that_cannot_be_read_holds_nothing_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = Kept.aged

    def broken(self: Kept, *args: Any) -> Any:
        yield from real(self, *args)
        raise ZeroDivisionError

    monkeypatch.setattr(Kept, "aged", broken)
    world.say(("laptop", ANNA), ("phone", ANNA))
    assert world.united("laptop", "phone")
    assert letters(world) == []
