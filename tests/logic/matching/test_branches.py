"""Branches of one organisation are customers of their own where a register has them, and one customer who
moved where it has none."""

from random import Random

import msgspec
import pytest

from bench.registers import rows
from flows.lab.evaluate.matching_trial import Report, evaluate
from flows.logic.matching import (
    Cluster,
    Frequencies,
    Learner,
    Record,
    Scorer,
    Thresholds,
    Verdict,
    Weights,
    decide,
)
from flows.logic.matching.branches import Branches, one_place_bits, together

SHOP = {
    "organisation": "Featherston Optics Ltd",
    "street": "12 Maltby Street",
    "city": "Leeds",
    "phone": "0113 496 0000",
    "website": "featherston.com",
}
BRANCH = {**SHOP, "street": "80 Quarry Hill"}
MANY, SOME, FEW = (Weights(branches_each=each) for each in (1.0, 0.1, 0.002))


def verdict(row: dict[str, str], *shops: dict[str, str], weights: Weights) -> Verdict:
    clusters = [Cluster.of(str(number), [Record.of(shop)]) for number, shop in enumerate(shops)]
    return decide(Record.of(row), clusters, Scorer(weights, Frequencies()), Thresholds())


def test_another_street_is_another_branch_where_there_are_many() -> None:
    assert verdict(BRANCH, SHOP, weights=MANY).kind != "merge"
    assert verdict(BRANCH, SHOP, weights=FEW).kind == "merge", "it has moved"
    assert verdict({**SHOP, "phone": ""}, SHOP, weights=MANY).kind == "merge"
    assert verdict({**SHOP, "street": "12 Maltby Stret"}, SHOP, weights=MANY).kind == "merge"


def test_a_person_who_has_moved_is_no_branch_of_the_employer() -> None:
    person = {**SHOP, "given_name": "Clementine", "family_name": "Featherston", "date_of_birth": "1980-05-17"}
    assert verdict({**person, "street": "80 Quarry Hill"}, person, weights=MANY).kind == "merge"


def test_a_record_joins_the_branch_of_its_street_and_does_not_unite_the_two() -> None:
    joined = verdict(SHOP, BRANCH, SHOP, weights=SOME)
    assert (joined.kind, joined.cluster, joined.also) == ("merge", "1", ())
    anywhere = {field: value for field, value in SHOP.items() if field != "street"}
    assert verdict(anywhere, SHOP, weights=FEW).kind == "merge"
    assert verdict(anywhere, SHOP, weights=MANY).kind != "merge", "it may be of any"


def test_a_phone_that_branches_share_does_not_tell_them_apart() -> None:
    found = [("street", 0, -2.7), ("phone", 2, 14.0), ("city", 3, 6.0)]
    assert one_place_bits(found, Weights(branches_phone=0.1)) > one_place_bits(
        found, Weights(branches_phone=0.9)
    )
    assert one_place_bits([("phone", 0, -2.0)], Weights(branches_phone=0.9)) > one_place_bits(
        [("phone", 0, -2.0)], Weights(branches_phone=0.1)
    )
    assert together([-2.0, 5.0]) == 3.0


def test_how_many_branches_there_are_is_learnt_and_kept() -> None:
    one_name = ("organisation", 4, 12.0)
    learner = Learner()
    for number in range(200):
        here, there = (
            [one_name, ("street", 3, 9.0)],
            [one_name, ("street", 0, -2.7), ("phone", 2, 14.0), ("city", 0, -2.5)],
        )
        learner.branches.observe(
            [there, here] if number % 4 else [there], -7.0 if number else -100.0, streets=True
        )
    assert (learner.branches.in_place, learner.branches.elsewhere) == (150, 49)
    assert learner.branches.each(0.5) < Weights().branches_each, "so often one customer's place differs"
    for _ in range(100):
        learner.branches.observe([there], -1.0, streets=True)
    assert learner.branches.each(0.5) > 0.15
    assert learner.branches.phone() > 0.6 > 0.4 > learner.branches.city()
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(learner), type=Learner)
    assert again == learner
    assert learner.copy().branches is not learner.branches
    before = msgspec.msgpack.encode(msgspec.to_builtins(learner)[:-1])
    assert msgspec.msgpack.decode(before, type=Learner).branches == Branches(), (
        "a checkpoint of a release that knew no branches"
    )


def test_a_table_of_cities_tells_places_by_them() -> None:
    said = [[("organisation", 4, 12.0), ("city", 0, -2.5)]]
    by_street, by_city = Branches(), Branches()
    by_street.observe(said, 0.0, streets=True)
    by_city.observe(said, 0.0, streets=False)
    assert (by_street.elsewhere, by_city.elsewhere) == (0, 1)


def replay(register: str, customers: int, seed: int) -> Report:
    table = rows(register, customers, seed)
    Random(seed).shuffle(table)
    return evaluate(list(table[0]), table, "entity", ("row",), seeds=1, show=lambda _: None)


@pytest.mark.parametrize("seed", [5, 7])
def test_a_register_with_branches_and_one_without(seed: int) -> None:
    without, with_many = replay("organisations", 800, seed), replay("branches", 800, seed)
    assert without.pairwise.precision > 0.94
    assert without.pairwise.f1 > 0.93
    assert with_many.pairwise.precision > 0.88
    assert with_many.pairwise.f1 > 0.84
