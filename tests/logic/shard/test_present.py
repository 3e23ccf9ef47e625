"""How a customer is shown: what is their own, and which of several stated values counts."""

from itertools import permutations

import pytest

from flows.logic.fields import group_traits
from flows.logic.fields.check import NOTES
from flows.logic.profile.fragments import TRAITS_MAX, add_traits
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.view import newest, own, present
from schemas.records.customer_profile import Fragment, Profile
from tests.world import START_MS, compiled

RULES: CompiledRules = compiled('[[tag]]\nname = "a"\nwhen = "True"\n')


@pytest.mark.parametrize("note", NOTES)
def test_what_entry_noted_is_none_of_the_customers_own_fields(note: str) -> None:
    total = Fragment(traits={"plan": (1, "gold"), f"{note}city": (1, "ok 00")})
    contact = {"email": "ana@example.com", "$email": "ana@example.com", f"{note}birthday": "31.02.1990"}
    shown = present(b"\xab" * 12, Profile(), total, RULES, START_MS, contact)
    assert shown["identifiers"] == {"email": "a***@example.com", "$email": "a***@example.com"}
    assert shown["traits"] == {"plan": "gold"}
    assert own(contact) == {"email": "ana@example.com", "$email": "ana@example.com"}


def test_groups_are_shown_each_with_what_was_last_stated_of_it() -> None:
    fragment = Fragment(traits={"plan": (1, "mine")})
    calls = [
        ("acme", {"plan": "gold", "industry": "tea"}),
        ("acme", {}),
        ("acme", {"plan": "free"}),
        ("beta", {}),
    ]
    for at, (group, traits) in enumerate(calls):
        add_traits(
            fragment.traits, {name: (at, value) for name, value in group_traits.stated(group, traits).items()}
        )
    answer = present(b"\xab" * 12, Profile(), fragment, RULES, START_MS, {})
    assert answer["groups"] == {"acme": {"industry": "tea", "plan": "free"}, "beta": {}}
    assert answer["traits"] == {"plan": "mine"}


def test_many_groups_push_out_none_of_the_customers_own_traits() -> None:
    own_traits = {f"z{n:02}": (1, n) for n in range(TRAITS_MAX - 5)}
    traits = dict(own_traits)
    for n in range(100):
        add_traits(
            traits, {name: (2, value) for name, value in group_traits.stated(f"g{n}", {"plan": "x"}).items()}
        )
    assert len(traits) == TRAITS_MAX
    assert traits.items() >= own_traits.items()


def test_of_values_stated_at_the_same_time_the_larger_counts_in_whatever_order_they_are_found() -> None:
    stated = [("email", 5, "b@x.de"), ("email", 5, "c@x.de"), ("email", 4, "z@x.de"), ("user_id", 0, "u-1")]
    for order in permutations(stated):
        assert newest(order) == {"email": "c@x.de", "user_id": "u-1"}
