"""Orders about identities as they come in: who may give which, and what is refused."""

from typing import Any

import msgspec
import pytest

from flows.logic.fields.identifiers import Identifiers
from flows.logic.resolution.identity_orders import STEWARD, OrderReader, document
from schemas.config import Identity
from schemas.records.identity_graph import Order, undo
from schemas.wire.events import RawEvent, Reject

HASHES = Identifiers(Identity(), b"k" * 32)
READER = OrderReader(HASHES, ["crm"])
ANA, MAIL = ("user_id", "ana"), ("email", "ana@x.de")


def read(body: bytes | dict[str, Any], source: str = STEWARD) -> Order | Reject:
    raw = RawEvent(body if isinstance(body, bytes) else msgspec.json.encode(body), 0, source)
    return READER.read(raw, Reject("type_unknown"))


def hashed(named: tuple[str, str]) -> bytes:
    found = HASHES.hash(*named)
    assert found is not None
    return found


def test_what_a_steward_orders() -> None:
    a, b = hashed(ANA), hashed(MAIL)
    assert read(document("link", ANA, MAIL, forced=True, reason="same")) == Order(
        "link", a, b, "steward", b"same", forced=True
    )
    assert read(document("apart", ANA, MAIL, by="review")) == Order("apart", a, b, "review")
    assert read(document("unsure", ANA, MAIL, by="review")) == Order("unsure", a, b, "review")
    assert read(document("release", ANA)) == Order("release", a, b"", "steward")
    assert read(document("release", ("identifier", a.hex()))) == Order("release", a, b"", "steward")
    assert read(document("undo", union=17)) == undo(17, "steward")
    customers = document("unlink", ("customer", "ab" * 12), ("customer", "cd" * 12))
    assert read(customers) == Order("unlink", b"\xab" * 12, b"\xcd" * 12, "steward", origins=True)


def test_the_reason_that_the_ledger_keeps_holds_no_personal_data_that_can_be_told() -> None:
    why = "ana@x.example called from +49 1512 6762489 (138 1234 5678, at work 13812345679): same person"
    ordered = read(document("link", ANA, MAIL, reason=why))
    assert isinstance(ordered, Order)
    assert ordered.note == b"(redacted) called from (redacted) ((redacted), at work (redacted)): same person"
    cut = read(document("link", ANA, MAIL, reason="x" * 250 + " ana@x.example"))
    assert isinstance(cut, Order)
    assert b"ana" not in cut.note


def test_what_is_wrong_with_an_order_is_said_without_what_came() -> None:
    for wrong in ("ana@x.example", "it's 'ana@x.example' - at `$.order`", "ana\n@x.example"):
        refused = read(document(wrong, ANA, MAIL))
        assert refused == Reject("field_invalid", "Invalid enum value - at `$.order`")


def test_an_app_may_unite_and_part_but_neither_force_nor_speak_for_a_steward() -> None:
    named = [{"type": kind, "value": value} for kind, value in (ANA, MAIL)]
    merge = {"type": "merge", "mergeProperties": named, "forced": True, "by": "review"}
    assert read(merge, "crm") == Order("link", hashed(ANA), hashed(MAIL), "crm")
    assert read(merge | {"type": "unmerge"}, "crm") == Order("unlink", hashed(ANA), hashed(MAIL), "crm")
    for body, source in (
        (merge, "web"),
        (document("undo", union=1), "crm"),
        (document("apart", ANA, MAIL), "crm"),
    ):
        refused = read(body, source)
        assert isinstance(refused, Reject)
        assert refused.reason == "order_forbidden"
    by_hash = merge | {
        "mergeProperties": [{"type": "identifier", "value": hashed(one).hex()} for one in (ANA, MAIL)]
    }
    assert isinstance(read(by_hash, "crm"), Reject)


def test_no_app_passes_for_a_steward() -> None:
    named = [{"type": kind, "value": value} for kind, value in (ANA, MAIL)]
    reader = OrderReader(HASHES, ["review"])
    order = reader.read(
        RawEvent(msgspec.json.encode({"type": "merge", "mergeProperties": named}), 0, "review"),
        Reject("type_unknown"),
    )
    assert isinstance(order, Order)
    assert order.by == "app review"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (document("undo", union=0), "field_invalid"),
        (document("undo", union=2**48), "field_invalid"),
        (document("link", ANA), "field_invalid"),
        (document("release", ANA, MAIL), "field_invalid"),
        (document("explode", ANA, MAIL), "field_invalid"),
        (document("link", ANA, MAIL, by="god"), "field_invalid"),
        (document("link", ANA, ("customer", "ab" * 12)), "id_invalid"),
        (document("link", ANA, ("user_id", "null")), "id_invalid"),
        (document("link", ANA, ("no_such", "x")), "id_invalid"),
        (document("link", ("customer", "ab"), ("customer", "zz" * 12)), "id_invalid"),
        (document("link", ANA, MAIL, reason="x" * 5_000), "type_unknown"),
        (b"{", "type_unknown"),
    ],
)
def test_what_is_no_order(body: bytes, reason: str) -> None:
    refused = read(body)
    assert isinstance(refused, Reject)
    assert refused.reason == reason


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"merge","by":"\xff"}',
        b'{"type":"identity","order":"\xff"}',
        b'{"type":"merge","x":' + b"[" * 2_000 + b"]" * 2_000 + b"}",
    ],
)
def test_what_is_no_text_or_too_deep_is_refused_and_raises_nothing(body: bytes) -> None:
    assert read(body) == Reject("type_unknown")
