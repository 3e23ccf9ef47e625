"""Identifiers of a message: where they stand, how spellings become one, which values identify nobody."""

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.fields.identifiers import Identifiers
from flows.logic.message import Message
from schemas.config import Identity, Namespace
from schemas.records.identity_graph import ID_BYTES, Identifier
from schemas.wire.events import Reject
from tests.logic.fields.made import resident_id

KEY = b"k" * 32
NOW_MS = 1_790_000_000_000  # in 2026
DEFAULT = Identity()
NAMES = [namespace.name for namespace in DEFAULT.namespace]


def found(of: Identifiers | None = None, **fields: Any) -> list[Identifier]:
    identifiers = (of or Identifiers(DEFAULT, KEY)).of(
        msgspec.convert({"type": "track", **fields}, Message), NOW_MS
    )
    assert isinstance(identifiers, list), identifiers
    return identifiers


def refused(**fields: Any) -> str:
    answer = Identifiers(DEFAULT, KEY).of(msgspec.convert({"type": "track", **fields}, Message), NOW_MS)
    assert isinstance(answer, Reject), answer
    return answer.reason


def one(namespace: str, value: str) -> Identifier:
    hashed = Identifiers(DEFAULT, KEY).hash(namespace, value)
    assert hashed is not None
    return Identifier(NAMES.index(namespace), hashed)


def test_all_places_the_strongest_first() -> None:
    context = {"device": {"id": "d1"}, "traits": {"email": "other@x.de"}}
    traits = {"email": "ana@x.de", "phone": "+49 171 2345678"}
    assert found(userId="ana", anonymousId="v1", traits=traits, context=context) == [
        one("user_id", "ana"),
        one("phone", "+491712345678"),
        one("email", "ana@x.de"),
        one("email", "other@x.de"),
        one("device", "d1"),
        one("anonymous", "v1"),
    ]


@pytest.mark.parametrize(
    ("namespace", "a", "b"),
    [
        ("email", " Ana@X.de ", "ana@x.de"),
        ("phone", "+49 (171) 234-5678", "+491712345678"),
        ("phone", "138 0013 8000", "+8613800138000"),
        ("email", "ana@例子.中国", "ANA@xn--fsqu00a.xn--fiqs8s"),
        ("user_id", " ana ", "ana"),
        ("user_id", "42", "42"),
    ],
)
def test_spellings_become_one(namespace: str, a: str, b: str) -> None:
    assert one(namespace, a) == one(namespace, b)


def test_colleagues_behind_one_switchboard_are_not_one() -> None:
    written = ("0755-26012345", "0755-26012345 ext. 801", "0755-26012345转802", "0755-26012345-803")
    assert len({one("phone", number) for number in written}) == 4
    assert one("phone", "0755-26012345;ext=801") == one("phone", written[1])


def test_a_number_is_the_same_as_its_text() -> None:
    assert found(userId=42) == found(userId="42")
    assert found(userId="a", traits={"phone": 13800138000}) == found(
        userId="a", traits={"phone": "13800138000"}
    )


def test_the_same_value_in_two_namespaces_is_two_identifiers_and_another_key_gives_another_hash() -> None:
    assert one("user_id", "x").hash != one("anonymous", "x").hash
    assert Identifiers(DEFAULT, b"other" * 6).hash("user_id", "x") != one("user_id", "x").hash
    assert len(one("user_id", "x").hash) == ID_BYTES
    assert Identifiers(DEFAULT, KEY).hash("no_such", "x") is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  ",
        "null",
        "NULL",
        " Guest ",
        "undefined",
        "0",
        "0000",
        "00000000-0000-0000-0000-000000000000",
        "-",
        ":",
        ".",
    ],
)
def test_values_that_identify_nobody(value: str) -> None:
    assert refused(userId=value) == "id_blocked"
    assert refused(anonymousId=value) == "id_blocked"
    assert found(userId=value, anonymousId="v1") == [one("anonymous", "v1")]


@pytest.mark.parametrize(
    ("value", "blocked"),
    [("qa-17", True), ("QA-17", True), ("qa-17x", False), ("load.test@x.de", True), ("ana", False)],
)
def test_patterns_of_values_that_identify_nobody(value: str, blocked: bool) -> None:
    made = Identifiers(Identity(blocked_patterns=(r"qa-\d+", r"load\.test@.*")), KEY)
    assert (made.hash("user_id", value) is None) is blocked


@pytest.mark.parametrize("value", ["+", "++", "+00 00", "call me", "()"])
def test_a_phone_number_without_digits_unites_nobody(value: str) -> None:
    assert found(userId="ana", traits={"phone": value}) == [one("user_id", "ana")]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"userId": None},
        {"traits": {"email": None}},
        {"context": {"device": "text"}},
        {"context": {"device": [1]}},
    ],
)
def test_nothing_to_go_by(fields: dict[str, Any]) -> None:
    assert refused(**fields) == "id_missing"


@pytest.mark.parametrize(
    "fields",
    [
        {"userId": "x" * 257},
        {"traits": {"email": ["a"]}},
        {"traits": {"phone": True}},
        {"context": {"device": {"id": {"x": 1}}}},
    ],
)
def test_what_cannot_be_an_identifier(fields: dict[str, Any]) -> None:
    assert refused(**fields) == "id_invalid"


def test_of_a_kind_that_a_customer_has_one_of_the_first_place_counts() -> None:
    config = Identity(
        namespace=(
            Namespace("member", ("traits.member", "userId"), 1),
            Namespace("anonymous", ("anonymousId",), 5),
        )
    )
    made = Identifiers(config, KEY)
    assert [
        identifier.strength for identifier in found(made, userId="a", anonymousId="v", traits={"member": "m"})
    ] == [0, 1]
    assert found(made, userId="a", traits={"member": "m"})[0].hash == made.hash("member", "m")
    assert found(made, userId="a", traits={"member": "null"})[0].hash == made.hash("member", "a")


def test_an_alias_names_the_anonymous_id_before() -> None:
    assert found(userId="ana", previousId="v1") == [one("user_id", "ana"), one("anonymous", "v1")]
    assert found(userId="ana", previousId="null") == [one("user_id", "ana")]
    assert found(anonymousId="v1", previousId="v1") == [one("anonymous", "v1")]


def test_an_alias_keeps_the_order_of_strength_in_any_configuration() -> None:
    config = Identity(
        namespace=(Namespace("anonymous", ("anonymousId",), 5), Namespace("email", ("traits.email",), 5))
    )
    assert [
        identifier.strength
        for identifier in found(Identifiers(config, KEY), previousId="v1", traits={"email": "a@x"})
    ] == [0, 1]


values = (
    st.text(max_size=8)
    | st.integers(-(2**70), 2**70)
    | st.none()
    | st.booleans()
    | st.lists(st.integers(), max_size=1)
)


@given(
    fields=st.fixed_dictionaries({"traits": st.dictionaries(st.sampled_from(["email", "phone"]), values)}),
    user=st.text(max_size=8) | st.none(),
)
def test_whatever_comes_identifiers_are_distinct_and_ordered(
    fields: dict[str, Any], user: str | None
) -> None:
    answer = Identifiers(DEFAULT, KEY).of(
        msgspec.convert({"type": "track", "userId": user, **fields}, Message), NOW_MS
    )
    if isinstance(answer, list):
        assert len(set(answer)) == len(answer) > 0
        assert [identifier.strength for identifier in answer] == sorted(
            identifier.strength for identifier in answer
        )


@pytest.mark.parametrize(
    "value", ["8.80012345678901E+15", " 8.80012E+15 ", "8,80012E+15", "8.8e+21", "4E+17"]
)
def test_a_number_that_a_spreadsheet_has_rounded_is_nobodys(value: str) -> None:
    answer = Identifiers(DEFAULT, KEY).of(
        msgspec.convert({"type": "track", "userId": value}, Message), NOW_MS
    )
    assert isinstance(answer, Reject)
    assert answer.reason == "id_invalid"
    assert "spreadsheet" in answer.detail
    traits = {"phone": value, "email": "ana@x.de"}
    assert found(userId=value, anonymousId="v1", traits=traits) == [
        one("email", "ana@x.de"),
        one("anonymous", "v1"),
    ]


@pytest.mark.parametrize("value", ["880012345678901", "1E15", "e+12", "ann+1E+15", "5.e+3"])
def test_what_only_looks_a_little_like_it_is_somebodys(value: str) -> None:
    assert found(userId=value) == [one("user_id", value)]


def test_a_document_of_somebody_who_is_not_born_yet_identifies_nobody_until_then() -> None:
    """The moment is that of the receipt, so that the same event is judged alike whenever it is read, and no
    cache remembers it."""
    card = resident_id("110101", date(2027, 3, 7), 13)
    config = Identity(
        namespace=(
            Namespace("user_id", ("userId",), 1),
            Namespace("card", ("traits.card",), 3, normalize="id_number"),
        )
    )
    made = Identifiers(config, KEY)
    of = {"type": "identify", "traits": {"card": card}}
    alone = msgspec.convert(of, Message)
    with_user = msgspec.convert(of | {"userId": "ana"}, Message)
    for now, known in (
        (date(2027, 3, 5), False),
        (date(2027, 3, 6), True),
        (date(2027, 3, 5), False),
        (date(2030, 1, 1), True),
    ):
        now_ms = int(datetime(now.year, now.month, now.day, 12, tzinfo=UTC).timestamp() * 1000)
        answer = made.of(alone, now_ms)
        assert (
            isinstance(answer, list)
            if known
            else isinstance(answer, Reject) and answer.reason == "id_invalid"
        )
        identifiers = made.of(with_user, now_ms)
        assert [identifier.strength for identifier in identifiers if isinstance(identifier, Identifier)] == [
            0,
            1,
        ][: 1 + known]
