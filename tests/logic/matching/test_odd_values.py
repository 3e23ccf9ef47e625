"""Whatever stands in a field, against whatever stands in another: nothing is raised, and the order of the two
says nothing."""

from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.lab.evaluate.matching_trial import evaluate
from flows.logic.matching import Cluster, Frequencies, MemoryIndex, Record, Scorer, Weights
from flows.logic.matching.columns import KIND_OF, KINDS
from flows.logic.matching.levels import LEVEL
from flows.logic.matching.normalise import NORMALISE
from flows.logic.matching.stream import Matching

FIELDS = [*KIND_OF, "favourite"]
NAMES = ("full_name", "given_name", "family_name")
EMPTY = [
    "",
    " ",
    "\t\n",
    "\x00",
    "-",
    "--",
    ".",
    "_",
    "@",
    "😀",
    "👩‍👩‍👧",
    "\u200b",
    "\u202e",
    "null",
    "未知",
    "N/A",
    "无",
]
SHORT = [
    "a",
    "É",
    "张",
    "0",
    "7",
    "\ue000",
    "\ue000\ue001",
    "\U000f0000",
    "𠮷",
    "ﬁ",
    "ㄅ",
    "ｱ",
    "م",
    "a b",
    "a b c",
]
WORDS = [
    "Anna", "Anna Meier", "Meier, Anna", "Bob", "Robert", "张伟", "張 偉", "欧阳", "欧阳娜娜", "Zhang Wei",
    "zhangwei", "محمد بن عبد الله", "Anna 张", "x" * 10_240, "ab " * 3_400, "有限公司", "省",
    "北京市海淀区上地十街10号", "Acme Technologies, Ltd.", "ltd", "A.B.C.",
]  # fmt: skip
NUMBERS = [
    "1990-05-17", "1990", "0001-01-01", "9999-12-31", "May 5 0050", "19610031", "1990年1月2日",
    "１９９０-01-02", "soon", "+86 138 0013 8000", "13800138000", "000000", "110101198001171236",
    "-1", "1e308", "NaN",
]  # fmt: skip
SIGNS = [
    "a@b",
    "@@@",
    " @ ",
    "anna@example.com",
    "https://",
    "https://www.example.com/?a=1",
    "..",
    "a.",
    ".com",
    "?x=1",
]
ODD = EMPTY + SHORT + WORDS + NUMBERS + SIGNS


def scorer() -> Scorer:
    return Scorer(Weights(), Frequencies())


def compared(one: Record, other: Record, by: Scorer) -> set[tuple[str, int]]:
    """The comparisons of a record with a customer of whom there is but one record."""
    return {(field, level) for field, level, _ in by.score(one, Cluster.of("other", [other]))[1]}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_level_for_any_two_values_in_either_order(kind: str) -> None:
    normal = dict.fromkeys(found for value in ODD if (found := NORMALISE[kind](value)))
    assert len(normal) > 1
    for a, b in combinations(normal, 2):
        level = LEVEL[kind](a, b)
        assert 0 <= level <= KINDS[kind].top, (a, b)
        assert LEVEL[kind](b, a) == level, (a, b)


def test_any_part_of_a_name_meets_any_other_in_both_orders() -> None:
    values = ["", "a", "Anna", "Meier", "Anna Meier", "张伟", "\ue000", "😀"]
    said = [dict(zip(NAMES, name, strict=True)) for name in product(values, repeat=len(NAMES))]
    records = list({tuple(record.values.items()): record for record in map(Record.of, said)}.values())
    by = scorer()
    for one, other in combinations(records, 2):
        forth = compared(one, other, by)
        assert forth == compared(other, one, by), (one, other)


@pytest.mark.parametrize("field", FIELDS)
def test_any_value_of_any_field_meets_any_value_of_a_name(field: str) -> None:
    """And nobody's record: of the field alone, as the name may be missing."""
    by = scorer()
    alone = [Record.of({field: value}) for value in ODD]
    named = [Record.of({name: value}) for name in NAMES for value in ("", "a", "Anna Meier", "张伟", "张")]
    for one, other in product(alone, named):
        assert compared(one, other, by) == compared(other, one, by), (one, other)


def test_a_given_name_alone_is_compared_with_a_whole_name() -> None:
    anna, whole = Record.of({"given_name": "Anna"}), Record.of({"full_name": "Anna Meier"})
    assert compared(anna, whole, scorer()) == compared(whole, anna, scorer()) == {("full_name", 1)}


def test_no_name_is_no_evidence_about_a_name() -> None:
    nameless = Record.of({"phone": "13800138000", "email": "anna@example.com"})
    named = Record.of({"phone": "13800138000", "full_name": "张伟"})
    assert compared(nameless, named, scorer()) == compared(named, nameless, scorer()) == {("phone", 2)}


texts = st.text(max_size=40) | st.sampled_from(ODD)
rows = st.dictionaries(st.sampled_from(FIELDS), texts, max_size=len(FIELDS))
TIES = [
    {"phone": "+49 30 901820"},
    {"email": "anna@example.com"},
    {"phone": "+49 30 901820", "email": "anna@example.com"},
    {},
]


@settings(print_blob=True)
@given(st.lists(st.tuples(rows, st.sampled_from(TIES)), min_size=2, max_size=8))
def test_records_of_anything_are_matched(said: list[tuple[dict[str, str], dict[str, str]]]) -> None:
    """They share a phone or an address, so that they are compared."""
    matching = Matching(index=MemoryIndex())
    for number, (row, tie) in enumerate(said):
        matching.add(str(number), Record.of(row | tie))
    assert all(matching.cluster_of(str(number)) for number in range(len(said)))


@settings(print_blob=True, max_examples=40)
@given(st.lists(st.tuples(rows, st.sampled_from(TIES)), min_size=2, max_size=8))
def test_events_of_anything_pass_the_stage(said: list[tuple[dict[str, str], dict[str, str]]]) -> None:
    """The whole way: checked, resolved, committed, matched."""
    table = [{"row": str(number), **row, **tie} for number, (row, tie) in enumerate(said)]
    assert evaluate(
        ["row", *FIELDS], table, "row", fields={field: field for field in FIELDS}, seeds=2
    ).rows == len(said)


def test_every_odd_value_of_every_field_passes_the_stage() -> None:
    """Each in turn said by somebody with a phone and an address that others have too, who say nothing else,
    or a name."""
    table = [{field: value, **tie} for field in FIELDS for value in ODD for tie in (TIES[0], TIES[1])]
    table += [{**tie, name: value} for tie in TIES for name in NAMES for value in ODD]
    ties = len(table) // 50
    table = [
        {**row, "phone": f"+49 30 90{at % ties:05}", "email": f"x{at % ties}@example.com"}
        for at, row in enumerate(table)
    ]
    rows = [{"row": str(number), **row} for number, row in enumerate(table)]
    report = evaluate(["row", *FIELDS], rows, "row", fields={field: field for field in FIELDS}, seeds=1)
    assert report.comparisons > len(rows) / 2
