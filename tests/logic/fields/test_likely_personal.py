"""What looks like personal data under names that nobody listed: recognised, masked, counted within bounds."""

import random
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.fields.likely_personal import kind_of, masked
from flows.logic.fields.personal_tally import (
    EVERY,
    FIELDS_MAX,
    FIRST,
    VALUES_MAX,
    LikelyPersonal,
    PersonalTally,
    report,
)
from flows.logic.message import Checked
from flows.logic.resolution.validation import Validator
from schemas.config import Config
from schemas.records.personal_findings import PersonalFindings
from schemas.wire.events import RawEvent
from tests.logic.fields.made import resident_id
from tests.logic.fields.test_attributes import date
from tests.logic.fields.test_check import KEY, NOW

PERSONAL = Validator(Config(), KEY, {})._personal
ID = resident_id("330106", date(1990, 3, 7), 12)
NAMES = "王小明 李娜 欧阳娜娜 张伟 刘洋 陈静 杨光 赵敏 黄蓉 周杰 吴京 徐静 孙俪 马云".split()


def seen(field: str, text: str) -> str | None:
    """The kind and the masked example."""
    found = kind_of(field, text, PERSONAL, 2026)
    return found and f"{found[0]}: {masked(*found)}"


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("contact2", "13800135678", "phone: 138****5678"),
        ("customerId", "13800135678", "phone?: 138****5678"),
        ("customerId", "+86 138 0013 5678", "phone: 138****5678"),
        ("foo", "+86 138 0013 5678", "phone: 138****5678"),
        ("foo", "打我电话13800135678", "phone: 138****5678"),
        ("foo", "0571-88881234", "phone: 057****1234"),
        ("link", "https://shop.example/?e=ana%40mail.example", "email: a***@m***"),
        ("foo", "Ana.Maria@mail.example", "email: A***@m***"),
        ("foo", ID, "id_number: 3301****"),
        ("foo", "4111 1111 1111 1111", "bank_card: ****1111"),
        ("车牌", "浙A·12345", "plate: 浙A***"),
        ("client", "8.8.8.8", "ip: 8.***"),
        ("client", "2001:4860:4860::8888", "ip: 2001:***"),
        ("dest", "浙江省杭州市西湖区文三路123号", "address: 浙江省***"),
        ("dest", "文三路12号3幢402室", "address: 文***"),
        ("dest", "221B Baker Street", "address: 2***"),
        ("dest", "Hauptstraße 12", "address: H***"),
        ("dob", "1988-02-29", "birthday: 19***"),
        ("宝宝出生日", "2020年1月1日", "birthday: 20***"),
        ("who", "王小明", "name: 王***"),
        ("who", "John Smith", "name: J*** S***"),
    ],
)
def test_what_is_recognised(field: str, text: str, expected: str) -> None:
    assert seen(field, text) == expected


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("version", "8.8.8.8"),
        ("client", "10.0.0.1"),
        ("client", "127.0.0.1"),
        ("time", "12:30"),
        ("color", "白色"),
        ("productTitle", "Blue Shirt"),
        ("foo", "order completed"),
        ("foo", "2026-01-01T00:00:00Z"),
        ("released", "1988-02-29"),
        ("foo", "iPhone 15 Pro"),
        ("city", "杭州市西湖区"),
        ("foo", ""),
        ("foo", "330106199003071225"),
    ],
)
def test_what_is_not(field: str, text: str) -> None:
    assert seen(field, text) is None


@given(st.text(max_size=300), st.text(max_size=30))
def test_no_example_is_the_value_itself(text: str, field: str) -> None:
    found = kind_of(field, text, PERSONAL, 2026)
    if found is not None:
        assert "***" in masked(*found)
        assert masked(*found) not in text


@pytest.mark.parametrize("part", ["1", "f:", "a@", "路1", "A b ", "王", "1.", "+1", "%40"])
@pytest.mark.parametrize("field", ["x", "orderNo", "dob"])
def test_any_text_takes_about_the_same_time(part: str, field: str) -> None:
    """What is long is cut: else this would not end."""
    kind_of(field, part * 1_000_000, PERSONAL, 2026)


# --- counts


def tally_of(*events: tuple[str, dict[str, Any]], tally: PersonalTally | None = None) -> PersonalTally:
    """What `resolve` counts of these events: type or name, and properties or traits."""
    noted = tally or PersonalTally()
    validator = Validator(Config(), KEY, {}, noted)
    for n, (name, data) in enumerate(events):
        said: dict[str, Any] = {"type": "track", "event": name, "properties": data}
        if name == "identify":
            said = {"type": name, "traits": data}
        raw = msgspec.json.encode({"userId": f"u{n}", "messageId": f"m{n}", **said})
        found = validator.check(RawEvent(raw, NOW, "web"))
        assert isinstance(found, Checked)
        validator.note(found)
    return noted


def rows(tally: PersonalTally) -> dict[str, LikelyPersonal]:
    return {f"{row.event}/{row.field}/{row.kind}": row for row in report([tally.findings()], NOW)}


def test_fields_are_told_with_what_becomes_of_them() -> None:
    found = rows(
        tally_of(
            ("Paid", {"handle": "13800135678", "memo": "mail ana@shop.example"}),
            ("Paid", {"items": [{"to": "文三路12号"}, {"to": ""}]}),
            ("Paid", {"handle": "no number", "email": "ana@shop.example", "ana@shop.example": 1}),
            ("identify", {"weixin_phone_": "13900135678", "phone": "13900135678", "plan": "gold"}),
        )
    )
    assert {name: (row.hits, row.looked_at, row.kept) for name, row in found.items()} == {
        "Paid/properties.handle/phone": (1, 2, 1),  # stays in the open
        "Paid/properties.memo/email": (1, 1, 0),  # is taken out
        "Paid/properties.items.*.to/address": (1, 1, 1),
    }
    assert "ana" not in repr([row.example for row in found.values()])


def test_names_are_told_by_most_values_of_a_field_that_differ() -> None:
    shirts = [("Paid", {"label": "白色", "maker": "高档", "who": "高档"})] * 20
    people = [("Paid", {"who2": name}) for name in NAMES]
    mixed = [("Paid", {"search": name}) for name in NAMES] + [("Paid", {"search": "衬衫"})] * 15
    few = [("Paid", {"agent": name}) for name in NAMES[:3]] * 9
    found = rows(tally_of(*shirts, *people, *mixed, *few))
    assert set(found) == {"Paid/properties.who2/name"}
    assert found["Paid/properties.who2/name"].hits == len(NAMES)


def test_numbers_under_the_name_of_a_code_are_told_where_most_are_of_somebody() -> None:
    orders = [("Paid", {"orderId": f"{13_000_000_000 + n * 700_000_001}"}) for n in range(60)]
    people = [("Paid", {"customerId": f"138{n:08}"}) for n in range(60)]
    assert set(rows(tally_of(*orders, *people))) == {"Paid/properties.customerId/phone?"}


def test_what_only_we_write_and_what_is_listed_is_not_looked_at() -> None:
    tally = tally_of(("identify", {"idNumber": ID, "birthday": "1988-02", "phone": "123"}))
    assert [one for one in tally._fields if "$" in one[2]] == []
    assert rows(tally) == {}


def test_one_event_in_many_is_looked_at_once_there_were_enough() -> None:
    tally = PersonalTally(PersonalFindings(events=FIRST))
    sampled = [n for n in range(100_000) if tally.samples(f"message-{n}")]
    assert 0.8 < len(sampled) * EVERY / 100_000 < 1.25
    young = PersonalTally()
    assert all(young.samples(f"message-{n}") for n in range(FIRST)), "none of them was looked at yet"
    assert len({later - n for n, later in pairwise(sampled)}) > len(sampled) / 2, "at no regular distance"


def test_what_is_counted_is_bounded() -> None:
    tally = PersonalTally()
    luck = random.Random(1)
    flood = {f"k{n}": "13800135678" for n in range(500)}
    for n in range(30):
        data = {f"{n}-{name}": value for name, value in flood.items()}
        tally.look("web", "Paid", {"properties": data}, PERSONAL, NOW)
    assert len(tally._fields) == FIELDS_MAX
    assert sum(one.looked_at for one in tally._fields.values()) <= 30 * VALUES_MAX
    assert tally.findings().beyond > 0
    deep: dict[str, Any] = {"a": "13800135678"}
    for _ in range(100):
        deep = {"a" * luck.randrange(1, 300): deep}
    other = PersonalTally()
    other.look("web", "Paid", {"properties": deep}, PERSONAL, NOW)
    assert len(repr(other.findings())) < 1_000


def test_a_field_without_a_hit_makes_room_for_another() -> None:
    tally = PersonalTally()
    for n in range(FIELDS_MAX + 10):
        tally.look("web", "Paid", {"properties": {f"k{n}": "plain"}}, PERSONAL, NOW)
    tally.look("web", "Paid", {"properties": {"handle": "13800135678"}}, PERSONAL, NOW)
    assert [one.field for one in tally.findings().fields] == ["properties.handle"]


def test_a_defect_of_ours_costs_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError

    monkeypatch.setattr("flows.logic.fields.personal_tally.kind_of", broken)
    found = tally_of(("Paid", {"handle": "13800135678"})).findings()
    assert (found.events, found.failed, found.fields) == (1, 1, [])


def test_workers_add_up_and_what_is_old_is_forgotten() -> None:
    one, other = (tally_of(("Paid", {"handle": "13800135678"})).findings() for _ in range(2))
    [row] = report([one, other], NOW)
    assert (row.hits, row.looked_at, row.kept) == (2, 2, 2)
    assert report([one, other], NOW + 31 * 86_400_000) == []
    assert one.fields[0].hits == {"phone": 1}, "a report changes nothing"
    tally = PersonalTally(one)
    tally.look("web", "Paid", {"properties": {"total": 5}}, PERSONAL, NOW + 31 * 86_400_000)
    assert tally.findings().fields == []


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(ANY)
def test_whatever_is_in_it_is_looked_at(value: Any) -> None:
    tally = PersonalTally()
    tally.look("web", "Paid", {"properties": {"x": value}}, PERSONAL, NOW)
    msgspec.msgpack.encode(tally.findings())
    assert tally.findings().failed == 0
