"""Two people of one name in one city are asked about, and not united."""

from random import Random

import pytest

from bench.registers import rows
from flows.lab.evaluate.matching_trial import evaluate
from flows.logic.matching import Cluster, Frequencies, Record, Scorer, Thresholds, Weights, decide
from flows.logic.matching.verdict import are_one

ONE = {
    "full_name": "王伟",
    "city": "上海",
    "date_of_birth": "1990-05-03",
    "phone": "13812345678",
    "email": "wangwei88@qq.com",
}
OTHER = {**ONE, "date_of_birth": "1990-05-31", "phone": "15900001111", "email": "kj2046@163.com"}
SMITH = {"full_name": "John Smith", "city": "London"}


def kind(row: dict[str, str], *said: dict[str, str]) -> str:
    """The verdict on a record, of a customer who has said this."""
    return decide(Record.of(row), [cluster(*said)], Scorer(Weights(), Frequencies()), Thresholds()).kind


def cluster(*said: dict[str, str]) -> Cluster:
    return Cluster.of("them", map(Record.of, said))


def without(row: dict[str, str], *fields: str) -> dict[str, str]:
    return {field: value for field, value in row.items() if field not in fields}


@pytest.mark.parametrize(
    "born",
    [
        "1990-05-31",
        "1990-05-29",
        "1990-06-14",
        "1991-05-30",
        "1990-04-30",
        "1984-11-12",
        "1990-05-02",
        "1990",
        "",
    ],
)
@pytest.mark.parametrize("given", [("phone", "email"), ("phone",), ("email",)])
@pytest.mark.parametrize("name", ["王伟", "李秀英", "John Smith", "欧阳娜娜"])
def test_name_and_city_are_not_enough_where_phone_or_address_are_others(
    born: str, given: tuple[str, ...], name: str
) -> None:
    one = {"full_name": name, "city": "上海", "date_of_birth": ONE["date_of_birth"]}
    mine = {**one, **{field: ONE[field] for field in given}}
    theirs = {**one, "date_of_birth": born, **{field: OTHER[field] for field in given}}
    assert kind(theirs, mine) != "merge"
    assert kind(mine, theirs) != "merge"


@pytest.mark.parametrize("born", ["1990-05-31", "1984-11-12", "1990-05-04", "1990", ""])
def test_a_chinese_name_and_a_city_alone_are_nobody(born: str) -> None:
    one, other = without(ONE, "phone", "email"), without({**OTHER, "date_of_birth": born}, "phone", "email")
    assert kind(one, other) != "merge"
    assert kind(other, one) != "merge"


def test_the_name_of_one_record_and_the_city_of_another_are_not_one_customer() -> None:
    fragments = (
        {"full_name": "王伟", "phone": ONE["phone"], "date_of_birth": ONE["date_of_birth"]},
        {"city": "上海", "email": ONE["email"]},
        {"phone": ONE["phone"], "email": ONE["email"]},
    )
    assert kind(OTHER, *fragments) != "merge"


def test_what_several_records_say_is_not_put_together() -> None:
    """Each of them alone is far from it."""
    smith = {"given_name": "John", "gender": "m"}, {"family_name": "Smith"}, {"city": "London"}
    mixed = {key: value for row in smith for key, value in row.items()}
    assert kind(mixed, mixed) == "merge"
    assert kind(mixed, *smith) == "review"


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [("john.smith4", "john.smith7"), ("john.smith", "john.smith1"), ("jsmith1985", "jsmith1987")],
)
def test_numbers_behind_a_name_in_the_mail_address_tell_namesakes_apart(mine: str, theirs: str) -> None:
    one = {"full_name": "John Smith", "phone": "+44 7400 000315", "email": f"{mine}@example.com"}
    other = {**one, "phone": "+44 7400 000465", "email": f"{theirs}@example.com"}
    assert kind(one, other) != "merge"
    assert kind(other, one) != "merge"
    slip = {**other, "email": f"{mine}@exmaple.com"}
    assert kind(slip, one) == "merge"


def test_customers_who_both_have_records_are_not_united_by_their_name_either() -> None:
    scorer, between = Scorer(Weights(), Frequencies()), Record.of({"full_name": "王伟", "city": "上海"})
    assert not are_one(
        between, cluster(ONE, ONE), cluster(OTHER, OTHER), scorer, Thresholds(), scorer.prior_bits()
    )


@pytest.mark.parametrize(
    "agrees",
    [
        {"phone": ONE["phone"]},
        {"email": ONE["email"]},
        {"date_of_birth": ONE["date_of_birth"]},
    ],
    ids=lambda agrees: next(iter(agrees)),
)
def test_one_thing_of_ones_own_tells_a_person_from_a_namesake(agrees: dict[str, str]) -> None:
    assert kind({**OTHER, **agrees}, ONE) == "merge"


def test_a_fault_in_a_date_parts_nobody_who_gives_nothing_that_speaks_against() -> None:
    one = {**SMITH, "date_of_birth": "1970-03-04"}
    assert kind({**one, "date_of_birth": "1970-03-14"}, one) == "merge"
    home = {**SMITH, "street": "12 Maltby Street", "postcode": "SW1A 2AA"}
    assert kind({**home, "date_of_birth": "1970-03-04"}, {**home, "date_of_birth": "1991-12-09"}) != "none"


@pytest.mark.parametrize("seed", [21, 22])
def test_a_register_of_namesakes_is_told_apart(seed: int) -> None:
    """And who gives a phone or an address again is found again."""
    table = rows("namesakes", 400, seed)
    Random(seed).shuffle(table)
    fields = {
        "name": "full_name",
        "birthday": "date_of_birth",
        "city": "city",
        "phone": "phone",
        "email": "email",
    }
    report = evaluate(list(table[0]), table, "entity", ("row",), fields, seeds=2)
    assert report.pairwise.precision > 0.985
    assert report.pairwise.recall > 0.88
