"""One record of every kind that lasts, as each release wrote it: `<Record>.<version>.bin`.

A release that changes a record adds a file, `python -m tests.golden`; files that are there are never changed,
for they lie in somebody's Redis, archive or backup.
"""

from pathlib import Path
from typing import Any

import msgspec

from schemas.records.customer_profile import (
    Fragment,
    Head,
    Held,
    InFlightMerge,
    Open,
    Owed,
    Parting,
    Profile,
    Question,
    Sealed,
    Sensitive,
    Wait,
)
from schemas.records.identity_graph import Group, Identifier, Order, Put, Routed, WindowCommit
from schemas.records.journal import JournalKind, Journalled, WindowContent
from schemas.records.shard_log import Announced, Expect, Lend, Retire, Split, Tick
from schemas.wire.events import DeadLetter, Fact, Quarantined, RawEvent, Unlearnt
from schemas.wire.triggers import Absorb, Decision, Example, Receipt, Trigger
from state.model_store import Announcement, Checkpoint

FOLDER = Path(__file__).parent
A, B, C = (letter * 12 for letter in (b"a", b"b", b"c"))
NOW = 1_767_225_600_000

_fact = Fact(
    *("track", "Order Completed", NOW, NOW + 1, NOW + 2, "message-1", "web", A),
    {"total": 12.5, "items": [{"sku": "x", "n": 2}], "gift": None, "big": 2**63},
    {"plan": "gold"},
    {"email": b"\x00sealed"},
)
_fragment = Fragment(
    *(NOW - 9, NOW, 30, 3, 12_500_000, NOW - 1, {"web": 29, "app": 1}, {8: 29, 23: 1}, [981_791, 981_792]),
    {1: 3, 2: 12.5, 3: [["x", 2]], 4: {"x": [1, NOW]}},
    {"plan": (NOW, "gold"), "age": (NOW, 33)},
    b"ring01ring02",
    (5_000_000, NOW // 1000 - 86_400),
)
_in_flight = InFlightMerge(
    [[A, C]],
    [B, B],
    [C],
    [Held(A, B, 1, b"payload")],
    [Owed(B, A, C, 2)],
    b"ring03",
    [B],
    [Parting(B, [B, C], 3, [A])],
)
_profile = Profile(
    {A: _fragment, B: Fragment()},
    *(
        {"vip": (NOW, NOW + 5), "buyer": (NOW, 0)},
        "good",
        "active",
        NOW - 7,
        {"churn": (0.25, 4)},
        {"thanks": NOW + 60_000},
    ),
    [Wait("left", NOW + 30, "message-1", A, NOW)],
    {"left": NOW - 1},
    [
        Question("churn", NOW, NOW + 9, 30, b"\x00\x00\x80?", 0.5, 4),
        Question("purchase", NOW, NOW + 9, 30, b"", None, 0, 1.0, 12.5),
    ],
    *(NOW, _in_flight, NOW + 86_400_000, 4_096, NOW - 3, {"deal": NOW - 5}),
    *(
        {"trg_0": Open(NOW, b"\x00\x00\x80?", "call", 0.25, 4, 1.0, 2, ["call", "mail"])},
        ["SKU-2", "SKU-1"],
        "c1",
        NOW - 5,
    ),
)
_receipt = Receipt(NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 4)
_commit = WindowCommit(
    *("events/3", -1, 1 << 60),
    [Group([Identifier(0, A), Identifier(4, B)], [Routed(0, b"fact"), Routed(1, b"other", C, b"record")])],
    [b"letter"],
    {"not_json": 1},
    [Order("link", A, B, "steward", b"note", True, True)],
    NOW,
    [Put("mk", b"8 bytes.", b"origins"), Put("mr", A, None)],
)

SAMPLES: dict[str, Any] = {
    type(sample).__name__: sample
    for sample in (
        RawEvent(b'{"type":"track"}', NOW, "web", "too_large", "too many bytes"),
        _fact,
        DeadLetter("not_json", "at byte 3", "events/3", 1 << 60, 2, "web", NOW, NOW + 5, b"sealed", "0.1.0"),
        Quarantined(
            "KeyError",
            ["flows.logic.profile:1 _add", "flows.logic.fragments:2 add"],
            7,
            "0.1.0",
            NOW,
            A,
            B,
            b"payload",
        ),
        Unlearnt(
            "churn", "KeyError at flows.logic.models.newton:1 add < flows.learn:2 learn", "0.1.0", b"example"
        ),
        _profile,
        Sensitive({A: {"email": Sealed(NOW, b"sealed")}, B: {}}),
        Head(
            3, 120, NOW, {"t": 5, "i": 1, "q": 2}, 2, {"learn:churn": 4}, b"8 bytes.", {"call": (20_454, 7)}
        ),
        Expect(A, [B, C], C, A),
        Lend(A, B, C, A, 1, B),
        Retire(A, B, [A, C], 7, C, B),
        Split(A, B, [B, C], 7),
        Tick(NOW),
        Announced("learn:churn", 4),
        Trigger(
            *("trg_0", A.hex(), "thanks", "thank", "email", "service", ["crm"], "message-1"),
            *(
                {"orders": 3, "traits": ["a"]},
                {"churn": {"score": 0.25, "version": 4}},
                {"total": 12.5},
                _receipt,
            ),
        ),
        Absorb(A, B, b"general", b"sensitive", C, b"ring01", [B, C], b"past", 7, C, A, True),
        Example("churn", A, NOW, NOW + 9, [0.5, 2.0], 0.25, 4, 1.0, 12.5),
        Example(
            "best_action",
            A,
            NOW,
            NOW + 9,
            [0.5, 2.0],
            0.25,
            4,
            1.0,
            action="call",
            propensity=0.25,
            decision="trg_0",
            recent=["SKU-1"],
            segment="good",
            eligible=["call", "mail"],
        ),
        Decision(
            *(
                A,
                "thanks",
                "message-1",
                NOW,
                "chosen",
                "trg_0",
                "call",
                0.25,
                1.5,
                {"call": 0.25, "none": 0.75},
                {"mail": "budget"},
            ),
            *([0.5, 2.0], 4),
        ),
        _commit,
        WindowContent([1, 3], _commit, [RawEvent(b"{}", NOW, "web")], [5], [A], b"policy"),
        Journalled(9, JournalKind.ABSORB, b"body", "shard:3", 7, b"extra", b"announced", b"content"),
        Checkpoint(b"trainer", {0: 5, 1: 0}, NOW // 1000, [Announcement(4, b"signed")], {"auc": 0.75}),
    )
}


def versions(record: str) -> list[Path]:
    """The files of one record, the oldest first."""
    return sorted(FOLDER.glob(f"{record}.*.bin"), key=lambda file: int(file.suffixes[0][1:]))


def add_missing() -> list[Path]:
    """Write a file for each record that is not as its newest file says."""
    added = []
    for record, sample in SAMPLES.items():
        packed, files = msgspec.msgpack.encode(sample), versions(record)
        if not files or files[-1].read_bytes() != packed:
            file = FOLDER / f"{record}.{len(files) + 1}.bin"
            file.write_bytes(packed)
            added.append(file)
    return added
