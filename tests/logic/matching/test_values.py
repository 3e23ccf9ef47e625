"""Normal forms and levels: what people write, and how alike two of them are."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.matching.blocking import KEYS_MAX, blocking_keys, skeleton
from flows.logic.matching.columns import KIND_OF, KINDS, kind_of
from flows.logic.matching.levels import LEVEL
from flows.logic.matching.normalise import NORMALISE, VALUE_MAX
from flows.logic.matching.record import Record


@pytest.mark.parametrize(
    ("kind", "written", "normal"),
    [
        ("given", "  José ", "jose"),
        ("family", "O’Brien", "obrien"),
        ("full", "張 偉", "张伟"),
        ("full", "ＡＮＮＡ　Ｍüller", "anna muller"),
        ("given", "😀", ""),
        ("place", "海淀区", "海淀"),
        ("date", "1990年1月2日", "19900102"),
        ("date", "19900102", "19900102"),
        ("date", "2/1/1990", "19900102"),
        ("date", "12/25/1990", "19901225"),
        ("date", "2 January 1990", "19900102"),
        ("date", "circa 1630", "16300000"),
        ("date", "１９９０-01-02", "19900102"),
        ("date", "soon", ""),
        ("date", "May", ""),
        ("phone", "+86 138-0013-8000", "8613800138000"),
        ("phone", "0000000000", ""),
        ("email", " Anna@Example.COM ", "anna@example.com"),
        ("email", "none", ""),
        ("street", "12 Maltby Street", "12 maltby st"),
        ("street", "北京市海淀区上地十街10号", "北京市 海淀区 上地十街 10号"),
        ("organisation", "Acme Technologies, Ltd.", "acme tech"),
        ("organisation", "A.B.C. & Sons plc", "abc sons"),
        ("web", "https://www.Example.com/about?x=1", "example.com"),
        ("postcode", "TQ13 8DF", "tq138df"),
        ("category", "F", "female"),
        ("category", "男", "male"),
    ],
)
def test_normal_form(kind: str, written: str, normal: str) -> None:
    assert NORMALISE[kind](written) == normal


@pytest.mark.parametrize(
    ("field", "a", "b", "level"),
    [
        ("given_name", "robert", "bob", "short form"),
        ("given_name", "r", "robert", "short form"),
        ("given_name", "张伟", "zhangwei", "close"),
        ("given_name", "hathaway", "hatheway", "close"),
        ("given_name", "anna", "victor", "differs"),
        ("family_name", "mccarthy", "macarthy", "close"),
        ("full_name", "wei zhang", "张伟", "close"),
        ("full_name", "zhang wei", "张伟", "close"),
        ("full_name", "smith john", "john smith", "close"),
        ("full_name", "john smith", "john adam smith", "similar"),
        ("full_name", "john smith", "mary smith", "one word shared"),
        ("date_of_birth", "19560409", "19560904", "one digit apart"),
        ("date_of_birth", "19560409", "19560408", "one digit apart"),
        ("date_of_birth", "19560409", "19560422", "two of three parts equal"),
        ("date_of_birth", "19560409", "19560000", "same year"),
        ("date_of_birth", "19560409", "19570101", "a year apart"),
        ("date_of_birth", "19560409", "19820711", "differs"),
        ("phone", "8613800138000", "13800138000", "equal"),
        ("phone", "13800138000", "13800138001", "one digit apart"),
        ("email", "anna.k@example.com", "ana.k@example.com", "close"),
        ("email", "annakarla@example.com", "annakarla@other.net", "same name part"),
        ("national_id", "6988048", "6988408", "one digit apart"),
        ("street", "12 maltby st", "12 maltbey st", "close"),
        ("city", "cooleroo", "coolaroo", "close"),
        ("postcode", "tq138df", "tq138hu", "same district"),
        ("organisation", "acme tech", "acme tech intl", "similar"),
        ("organisation", "acme tech", "zenith tech", "one word shared"),
        ("website", "example.com", "example.cn", "close"),
        ("gender", "male", "female", "differs"),
        ("favourite", "green tea", "tea green", "similar"),
    ],
)
def test_level(field: str, a: str, b: str, level: str) -> None:
    kind = kind_of(field)
    assert kind.levels[LEVEL[kind.name](*sorted((a, b)))] == level


def test_every_kind_is_whole() -> None:
    assert set(KINDS) == set(LEVEL) == set(NORMALISE)
    assert set(KIND_OF.values()) <= set(KINDS)
    for kind in KINDS.values():
        assert kind.levels[0] == "differs"
        assert kind.levels[-1] == "equal"
        assert sum(kind.same) == pytest.approx(1.0) == sum(kind.other)


def test_a_chinese_name_is_whole_and_in_parts_however_it_came() -> None:
    whole, parts = (
        Record.of({"full_name": "歐陽娜娜"}),
        Record.of({"family_name": "欧阳", "given_name": "娜娜"}),
    )
    assert whole.values == {"full_name": "欧阳娜娜", "family_name": "欧阳", "given_name": "娜娜"}
    assert set(blocking_keys(whole)) >= set(blocking_keys(parts)) != set()


@pytest.mark.parametrize(
    ("a", "b"), [("smith", "smyth"), ("meyer", "maier"), ("张伟", "zhangwei"), ("robert", "rupert")]
)
def test_names_that_sound_alike_have_one_skeleton(a: str, b: str) -> None:
    assert skeleton(a) == skeleton(b)


texts = st.text(max_size=300) | st.sampled_from(
    [
        "",
        "nan",
        "😀😀",
        "مرحبا",
        "x" * 10_000,
        "\x00",
        "１９９０",
        "张",
        "-",
        "@",
        "a@",
        "\ud800",
        "١٩٩٠-01-02",
    ]
)


@given(st.dictionaries(st.sampled_from([*KIND_OF, "favourite"]), texts, max_size=30))
def test_whatever_is_written_makes_a_small_record(fields: dict[str, str]) -> None:
    record = Record.of(fields)
    assert all(0 < len(value) <= 2 * VALUE_MAX for value in record.values.values())
    keys = blocking_keys(record)
    assert len(keys) == len(set(keys)) <= KEYS_MAX
    assert Record.of(fields) == record
    if not any("\ud800" in value for value in fields.values()):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Record) == record


@given(st.sampled_from([*KIND_OF, "favourite"]), texts, texts)
def test_a_level_is_one_of_its_kind(field: str, a: str, b: str) -> None:
    kind = kind_of(field)
    normal = NORMALISE[kind.name]
    x, y = normal(a), normal(b)
    if x and y and x != y:
        assert 0 <= LEVEL[kind.name](x, y) <= kind.top


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"family_name": "Smith", "date_of_birth": "1980-05-17"},
            {"family_name": "Smith", "date_of_birth": "1990-05-17"},
        ),
        (
            {"given_name": "Anna", "date_of_birth": "1980-05-17"},
            {"given_name": "Ana", "date_of_birth": "1890-05-17"},
        ),
        (
            {"given_name": "Mia", "family_name": "Josen", "city": "Ipswich", "date_of_birth": "2022-02-22"},
            {"given_name": "Mia", "family_name": "Nojes", "city": "Ipswich", "date_of_birth": "2031-02-20"},
        ),
        (
            {"family_name": "Caalmil", "occupation": "weaver"},
            {"family_name": "Calmil", "occupation": "weaver"},
        ),
        ({"organisation": "Laar Trading", "city": "Leeds"}, {"organisation": "Laar", "city": "Leeds"}),
        (
            {"organisation": "Anper", "phone": "0113 496 0000"},
            {"organisation": "Anper Oldel", "street": "190 Delin Ave"},
        ),
    ],
)
def test_records_that_no_key_brought_together_share_one(one: dict[str, str], other: dict[str, str]) -> None:
    keys, others = (set(blocking_keys(Record.of(row))) for row in (one, other))
    assert keys & others
    assert max(len(keys), len(others)) <= KEYS_MAX
