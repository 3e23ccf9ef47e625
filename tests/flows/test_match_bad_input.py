"""What people and adversaries send to identity and matching: bounded in size and time, nothing crashes,
counts are right."""

from itertools import pairwise
from pathlib import Path

import pytest

from flows.logic.matching import Record, blocking_keys
from flows.logic.matching.blocking import KEYS_MAX
from flows.logic.matching.index import COMMON, FOR_A_KEY
from flows.logic.matching.normalise import VALUE_MAX
from flows.logic.matching.stage import CANDIDATES_MAX
from flows.runtime.windows import Window
from schemas.config import Config
from schemas.records.identity_graph import ID_BYTES
from schemas.wire.events import RawEvent
from tests.flows.test_match import ANNA, World

LIMIT_OF = {namespace.name: namespace.limit for namespace in Config().identity.namespace}


@pytest.fixture
def world(tmp_path: Path, redis_url: str) -> World:
    return World(tmp_path, redis_url)


def test_a_key_that_all_share_is_bounded_and_costs_no_comparisons(world: World) -> None:
    everybody = COMMON + 300
    for at in range(0, everybody, 100):
        world.say(
            *[
                (f"v{n}", {"birthday": "1990-05-17", "lastName": f"{chr(97 + n % 26)}{n}xq"})
                for n in range(at, min(at + 100, everybody))
            ]
        )
    assert world.matcher.comparisons <= CANDIDATES_MAX * everybody
    before = world.matcher.comparisons
    world.say(("late", {"birthday": "1990-05-17"}))
    assert world.matcher.comparisons == before
    index = world.kept()[b"mk"]
    assert max(len(packed) for packed in index.values()) <= 4 + FOR_A_KEY * ID_BYTES
    assert world.directory.stats()["created"] == everybody + 1


def test_ten_thousand_addresses_on_one_phone(world: World) -> None:
    """The phone knows so many of them as a customer may have; then it is evidence no longer, and the others
    are customers of their own."""
    for at in range(0, 10_000, 500):
        world.resolve(
            *[
                (f"a{n}", {"phone": "+49 30 901820", "email": f"x{n}@example.com"})
                for n in range(at, at + 500)
            ]
        )
    world.match()
    phone = world.validator.identifiers.hash("phone", "+49 30 901820") or b""
    [root] = world.directory.lookup([phone])
    assert root is not None
    assert phone in world.directory.suspended()
    _, held = world.ledger.members(root)
    assert len(held) <= LIMIT_OF["phone"] + LIMIT_OF["email"] + LIMIT_OF["anonymous"]
    stats = world.directory.stats()
    assert stats["events"] == 10_000
    assert stats.get("united", 0) < 10  # by matching, which takes some time to learn how common the phone is
    late = [
        world.validator.identifiers.hash("email", f"x{n}@example.com") or b"" for n in range(9_000, 10_000)
    ]
    assert len({root, *world.directory.lookup(late)}) == 1_001
    assert max(len(packed) for packed in world.kept()[b"mk"].values()) <= 4 + FOR_A_KEY * ID_BYTES


def test_aliases_in_a_circle_make_one_customer(world: World) -> None:
    ring = [f"visitor-{n}" for n in range(20)]
    world.resolve(*[(visitor, {}) for visitor in ring])
    before = world.directory.offsets()["events/0"]
    for at, (one, other) in enumerate([*pairwise(ring), (ring[-1], ring[0]), (ring[0], ring[0])]):
        body = b'{"type":"alias","messageId":"c%d","previousId":"%s","anonymousId":"%s"}' % (
            at,
            one.encode(),
            other.encode(),
        )
        window = Window(
            "events/0", before + at, before + at + 1, [RawEvent(body, 1_000, "web")], [before + at + 1], 0.0
        )
        assert world.resolver.commit(world.resolver.judge(window)) is window
    assert world.united(*ring)
    assert world.directory.stats()["united"] == len(ring) - 1


def test_an_identifier_that_changes_sides_twice_in_one_window(world: World) -> None:
    before = world.directory.offsets().get("events/0", -1)
    bodies = [
        b'{"type":"identify","messageId":"t%d","userId":"%s","traits":{"email":"shared@example.com"}}'
        % (at, user)
        for at, user in enumerate([b"one", b"two", b"one"])
    ]
    window = Window(
        "events/0",
        before,
        before + 1,
        [RawEvent(body, 1_000, "web") for body in bodies],
        [before + 1] * 3,
        0.0,
    )
    assert world.resolver.commit(world.resolver.judge(window)) is window
    hashed = [
        world.validator.identifiers.hash(*of) or b""
        for of in (("user_id", "one"), ("user_id", "two"), ("email", "shared@example.com"))
    ]
    one, two, shared = world.directory.lookup(hashed)
    assert one != two
    assert shared in (one, two)
    assert world.directory.stats()["events"] == 3
    holders = [
        root
        for root in (one, two)
        if root and any(i.hash == hashed[2] for i in world.ledger.members(root)[1])
    ]
    assert holders == [shared]


@pytest.mark.parametrize(
    "name",
    [
        "x" * 10_240,
        "ab " * 3_400,
        "🙂" * 2_500,
        "👩‍👩‍👧 Zoë 🏳️‍🌈",
        "محمد بن عبد الله",
        "‮אברהם\u200f כהן‬",
        "欧阳" * 1_700,
        "Z" + "̸͎̈́" * 1_200,
        "\x00\x01\x7f",
        "ﬁ" * 400,
        "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    ],
    ids=range(11),
)
def test_strange_names_are_bounded_and_still_found(world: World, name: str) -> None:
    record = Record.of(
        {
            "given_name": name,
            "family_name": name,
            "full_name": name,
            "street": name,
            "organisation": name,
            "any": name,
        }
    )
    assert all(0 < len(value) <= VALUE_MAX for value in record.values.values())
    assert len(blocking_keys(record)) <= KEYS_MAX
    traits = {**ANNA, "lastName": name}
    world.say(("laptop", traits), ("phone", {"firstName": name, "lastName": name}))
    world.say(("tablet", traits))
    assert world.united("laptop", "tablet")
    assert world.directory.stats()["events"] == 3


NAMELESS = {"phone": "+86 138 1234 5678", "email": "lihua@example.com"}


@pytest.mark.parametrize("name", ["李华", "Li Hua", "李", "未知", "\ue000\ue001", "🙂"])
@pytest.mark.parametrize("first", ["nameless", "named"])
def test_who_gave_no_name_is_compared_with_who_gave_one(world: World, name: str, first: str) -> None:
    """By mail address, as the phone has brought them together already."""
    nameless, named = ("laptop", NAMELESS), ("tablet", {"mobile": NAMELESS["phone"], "name": name})
    said = (nameless, named) if first == "nameless" else (named, nameless)
    for one in (
        *said,
        ("third", {"mobile": NAMELESS["phone"], "firstName": "Hua", "email": "lihua@example.net"}),
    ):
        world.say(one)
    assert world.directory.stats()["events"] == 3
    assert world.directory.said_last() == world.matches.position()
    assert world.matcher.comparisons >= 1
