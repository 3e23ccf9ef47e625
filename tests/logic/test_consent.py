"""Consent joins by the most restrictive, whatever the order and the grouping of fragments."""

import random
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.consent import STAMPS_MAX, TCF_MAX, join, stamped, tcf_string
from flows.logic.profile.fragments import TRAITS_MAX, add_traits, join_traits
from schemas.records.customer_profile import Fragment
from tests.logic.profile.test_fragments import RULES
from tests.world import fact

words = st.sampled_from([True, False, "granted", "denied", "Opted-Out", "perhaps", None, 0, 1])


def in_order(value: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(value.items()))


stated = st.tuples(
    st.integers(0, 5),
    words
    | st.dictionaries(st.sampled_from(["email", "sms"]), words | st.just({"deep": False}), max_size=2).map(
        in_order
    ),
)


@pytest.mark.parametrize("denial", [False, "denied", " Withdrawn ", "0", 0, "拒绝"])
def test_a_denial_in_any_fragment_wins_however_old(denial: Any) -> None:
    traits = {"consent.email": (1, denial), "plan": (1, "free")}
    join_traits(traits, {"consent.email": (9, "granted"), "plan": (9, "gold")})
    assert traits == {"consent.email": (1, denial), "plan": (9, "gold")}


def test_within_one_fragment_the_last_word_counts() -> None:
    traits = {"consent.email": (1, "denied")}
    add_traits(traits, {"consent.email": (9, "granted")})
    assert traits == {"consent.email": (9, "granted")}


def test_objects_are_joined_key_by_key() -> None:
    traits = {"consent": (1, {"email": {"news": "denied", "orders": True}, "sms": True})}
    join_traits(traits, {"consent": (2, {"email": {"news": "granted"}, "sms": "no", "push": True})})
    assert traits == {
        "consent": (2, {"email": {"news": "denied", "orders": True}, "push": True, "sms": "no"})
    }


def test_a_sum_of_fragments_asks_for_the_most_restrictive() -> None:
    a, b = (
        stating(when, word)
        for when, word in ((1, {"consent.sms": "denied"}), (2, {"consent.sms": "granted"}))
    )
    for one, other in ((a, b), (b, a)):
        assert RULES.merge(deepcopy(one), other).traits["consent.sms"][1] == "denied"


def stating(when: int, traits: dict[str, Any]) -> Any:
    fragment = Fragment()
    RULES.add(fragment, fact("page", at=when, type="identify", traits=traits), b"%06d" % when)
    return fragment


def test_a_flood_of_traits_does_not_push_a_denial_out() -> None:
    traits: dict[str, tuple[int, Any]] = {"consent.sms": (1, "denied")}
    add_traits(traits, {f"a{n:03}": (2, n) for n in range(2 * TRAITS_MAX)})
    assert traits["consent.sms"] == (1, "denied")
    assert len(traits) == TRAITS_MAX


@given(entries=st.lists(stated, min_size=2, max_size=6), seed=st.integers(0, 999))
def test_any_order_and_grouping_gives_the_same(entries: list[tuple[int, Any]], seed: int) -> None:
    def summed(found: list[tuple[int, Any]]) -> tuple[int, Any]:
        if len(found) == 1:
            return found[0]
        at = luck.randrange(1, len(found))
        return join(summed(found[:at]), summed(found[at:]))

    luck = random.Random(seed)
    expected = summed(entries)
    luck.shuffle(entries)
    assert repr(summed(entries)) == repr(expected)
    assert repr(join(expected, expected)) == repr(expected)


@pytest.mark.parametrize(
    ("context", "traits"),
    [
        (
            {"consent": {"categoryPreferences": {"Advertising": True, "Analytics": False}}},
            {"Advertising": True, "Analytics": False},
        ),
        (
            {"consentManagement": {"allowedConsentIds": ["C1", "C2"], "deniedConsentIds": ["C3"]}},
            {"C1": True, "C2": True, "C3": False},
        ),
        ({"consentManagement": {"allowedConsentIds": ["C1"], "deniedConsentIds": ["C1"]}}, {"C1": False}),
        (
            {"consent": {"categoryPreferences": {"": True, "x" * 65: True, "Odd": "yes", "Good": True}}},
            {"Good": True},
        ),
        ({"consent": None}, {}),
        ({"consent": []}, {}),
        ({"consent": {"categoryPreferences": [True]}}, {}),
        (
            {"consentManagement": {"allowedConsentIds": {"C1": "x"}, "deniedConsentIds": [3, None, ["C2"]]}},
            {},
        ),
    ],
)
def test_what_a_banner_stamps_on_an_event_is_a_statement(
    context: dict[str, Any], traits: dict[str, bool]
) -> None:
    assert stamped(context) == {f"consent.{name}": said for name, said in traits.items()}


CHOSEN = {"consent": {"categoryPreferences": {"Advertising": False}}}


@pytest.mark.parametrize(
    ("event", "context", "properties", "traits"),
    [
        ("Segment Consent Preference Updated", CHOSEN, {}, {"Advertising": False}),
        ("Segment Consent Preference Updated", {}, CHOSEN, {"Advertising": False}),
        ("Segment Consent Preference", {}, CHOSEN, {"Advertising": False}),
        ("Segment Consent Preference Updated", {"consent": {}}, {"consent": []}, {}),
        ("Segment Consent Preference Updated", {}, None, {}),
        ("Order Completed", {}, CHOSEN, {}),  # a property of any other event is one
    ],
)
def test_the_event_of_a_new_choice_is_one(
    event: str, context: dict[str, Any], properties: Any, traits: dict[str, bool]
) -> None:
    assert stamped(context, event, properties) == {f"consent.{name}": said for name, said in traits.items()}


TCF_STRING = "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA.YAAAAAAAAAA"


@pytest.mark.parametrize(
    ("consent", "kept"),
    [
        ({"tcString": TCF_STRING}, TCF_STRING),
        ({"tcf": TCF_STRING}, TCF_STRING),
        ({"tcf": {"tcString": TCF_STRING, "gdprApplies": True}}, TCF_STRING),
        ({"tcString": "BOEFEAyOEFEAyAHABDENAI4AAAB9vABAASA"}, ""),  # of version 1, which is no more
        ({"tcString": "C" * (TCF_MAX + 1)}, ""),
        ({"tcString": "C" + "x" * 20 + "@example.com"}, ""),
        *(({"tcString": wrong}, "") for wrong in (None, 1, True, [TCF_STRING], "", {"tcString": None})),
    ],
)
def test_a_tcf_string_is_kept_and_says_nothing(consent: dict[str, Any], kept: str) -> None:
    assert tcf_string({"consent": consent}) == kept
    assert stamped({"consent": consent}) == {}


def test_a_signal_of_the_browser_is_never_crowded_out() -> None:
    many = {f"C{number:03}": True for number in range(1_000)} | {"sale_or_sharing": True}
    found = stamped({"consent": {"categoryPreferences": many}, "gpc": True})
    assert found["consent.sale_or_sharing"] is False
    assert len(found) == STAMPS_MAX + 1


def test_stamps_are_bounded() -> None:
    many = {f"C{number:03}": True for number in range(1_000)}
    assert list(stamped({"consent": {"categoryPreferences": many}})) == [
        f"consent.C{number:03}" for number in range(STAMPS_MAX)
    ]
