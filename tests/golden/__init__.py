"""One record of every kind that lasts, as each release wrote it: `<Record>.<version>.bin`.

A release that changes a record adds a file, `python -m tests.golden`; files that are there are never changed,
for they lie in somebody's Redis, archive or backup.
"""

from pathlib import Path
from typing import Any

import msgspec

from schemas.records.centre_sessions import CentreSession
from schemas.records.consents import Consents, Word
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
from schemas.records.mandates import Mandate, Notice
from schemas.records.outbox_lanes import Lane
from schemas.records.personal_findings import FieldFindings, PersonalFindings
from schemas.records.privacy_requests import Answer, PrivacyRequest, Step
from schemas.records.retention import Hold, Sweep, Swept
from schemas.records.shard_log import Announced, Erase, Expect, Lend, NotSent, Retire, Split, Tick
from schemas.wire.events import DeadLetter, Fact, Quarantined, RawEvent, Unlearnt
from schemas.wire.triggers import Absorb, Decision, Example, Receipt, Trigger
from state.model_store import Announcement, Checkpoint

FOLDER = Path(__file__).parent
A, B, C = (letter * 12 for letter in (b"a", b"b", b"c"))
NOW = 1_767_225_600_000

_fact = Fact(
    type="track",
    name="Order Completed",
    time_ms=NOW,
    received_ms=NOW + 1,
    resolved_ms=NOW + 2,
    message="message-1",
    channel="web",
    subject=A,
    properties={"total": 12.5, "items": [{"sku": "x", "n": 2}], "gift": None, "big": 2**63},
    traits={"plan": "gold"},
    sealed={"email": b"\x00sealed"},
    refused=["marketing"],
)
_fragment = Fragment(
    first_ms=NOW - 9,
    last_ms=NOW,
    events=30,
    orders=3,
    spent=12_500_000,
    ordered_ms=NOW - 1,
    channels={"web": 29, "app": 1},
    hours={8: 29, 23: 1},
    sessions=[981_791, 981_792],
    aggregates={1: 3, 2: 12.5, 3: [["x", 2]], 4: {"x": [1, NOW]}},
    traits={"plan": (NOW, "gold"), "age": (NOW, 33)},
    dedupe_ring=b"ring01ring02",
    latest=(5_000_000, NOW // 1000 - 86_400),
)
_in_flight = InFlightMerge(
    customers=[[A, C]],
    identifiers=[B, B],
    early=[C],
    held=[Held(A, B, 1, b"payload")],
    owed=[Owed(B, A, C, 2)],
    dedupe_ring=b"ring03",
    arrived=[B],
    partings=[Parting(B, [B, C], 3, [A])],
)
_profile = Profile(
    fragments={A: _fragment, B: Fragment()},
    tags={"vip": (NOW, NOW + 5), "buyer": (NOW, 0)},
    segment="good",
    stage="active",
    returned_ms=NOW - 7,
    scores={"churn": (0.25, 4)},
    cooldowns={"thanks": NOW + 60_000},
    waits=[Wait(rule="left", due_ms=NOW + 30, cause="message-1", subject=A, since_ms=NOW)],
    ended={"left": NOW - 1},
    questions=[
        Question(
            model="churn",
            asked_ms=NOW,
            due_ms=NOW + 9,
            events=30,
            features=b"\x00\x00\x80?",
            predicted=0.5,
            version=4,
        ),
        Question(
            model="purchase",
            asked_ms=NOW,
            due_ms=NOW + 9,
            events=30,
            features=b"",
            predicted=None,
            version=0,
            outcome=1.0,
            amount=12.5,
        ),
    ],
    asked_ms=NOW,
    in_flight=_in_flight,
    indexed_ms=NOW + 86_400_000,
    history_bytes=4_096,
    joined_ms=NOW - 3,
    asked={"deal": NOW - 5},
    open={
        "trg_0": Open(
            decided_ms=NOW,
            context=b"\x00\x00\x80?",
            action="call",
            propensity=0.25,
            version=4,
            reward=1.0,
            rewards=2,
            eligible=["call", "mail"],
        )
    },
    recent=["SKU-2", "SKU-1"],
    refused=["marketing", "sales"],
    cluster="c1",
    clustered_ms=NOW - 5,
)
_receipt = Receipt(
    event_ms=NOW, received_ms=NOW + 1, resolved_ms=NOW + 2, applied_ms=NOW + 3, emitted_ms=NOW + 4
)
_commit = WindowCommit(
    partition="events/3",
    before=-1,
    after=1 << 60,
    groups=[
        Group([Identifier(0, A), Identifier(4, B)], [Routed(0, b"fact"), Routed(1, b"other", C, b"record")])
    ],
    dead=[b"letter"],
    rejected={"not_json": 1},
    orders=[Order(kind="link", a=A, b=B, by="steward", note=b"note", forced=True, origins=True)],
    time_ms=NOW,
    puts=[Put("mk", b"8 bytes.", b"origins"), Put("mr", A, None)],
    erasures=2,
)

SAMPLES: dict[str, Any] = {
    type(sample).__name__: sample
    for sample in (
        RawEvent(
            value=b'{"type":"track"}',
            received_ms=NOW,
            source="web",
            fault="too_large",
            detail="too many bytes",
        ),
        _fact,
        DeadLetter(
            reason="not_json",
            detail="at byte 3",
            partition="events/3",
            position=1 << 60,
            index=2,
            source="web",
            received_ms=NOW,
            rejected_ms=NOW + 5,
            sealed=b"sealed",
            build="0.1.0",
        ),
        Quarantined(
            error="KeyError",
            trace=["flows.logic.profile:1 _add", "flows.logic.fragments:2 add"],
            position=7,
            build="0.1.0",
            at_ms=NOW,
            root=A,
            origin=B,
            payload=b"payload",
        ),
        Unlearnt(
            "churn", "KeyError at flows.logic.models.newton:1 add < flows.learn:2 learn", "0.1.0", b"example"
        ),
        _profile,
        Sensitive({A: {"email": Sealed(NOW, b"sealed")}, B: {}}),
        Head(
            epoch=3,
            offset=120,
            clock_ms=NOW,
            outbox={Lane.TRIGGERS: 5, Lane.ABSORBS: 1, Lane.QUARANTINE: 2},
            rules=2,
            models={"learn:churn": 4},
            mark=b"8 bytes.",
            used={"call": (20_454, 7)},
        ),
        Expect(A, [B, C], C, A),
        Lend(root=A, to=B, identifier=C, origin=A, later=1, home=B),
        Retire(retired=A, survivor=B, origins=[A, C], union=7, one=C, other=B),
        Split(A, B, [B, C], 7),
        Erase(A),
        PrivacyRequest(
            id="erase-616161616161616161616161",
            right="erase",
            customer=A,
            regime="pipl",
            asked_ms=NOW,
            due_ms=NOW + 9,
            by="command",
            step=Step.SWEPT,
            times={"asked": NOW, "detached": NOW + 1},
            origins=[A, B],
            users=[C],
            shards=[1, 3],
            identifiers=[A, C],
            names=b"sealed",
            answers={"crm": Answer("waiting", "status 503", NOW + 3, 2, NOW + 4)},
            counts={"origins": 2},
            joined="erase-1",
            again=True,
            mark={"log": 7},
            suppress=True,
            note="as asked",
            receipt=b"{}",
            unheard_since_ms=NOW - 9,
            begins_ms=NOW + 2,
            internal=True,
            proof="message-1",
            text=b"sealed",
        ),
        Mandate(
            id="a7551968-d5d6-44b2-9831-815ac9017798",
            dialect="opendsr",
            kind="erasure",
            subject="USER_ID",
            identifiers=[A, B],
            by="token 00000000",
            asked_ms=NOW,
            begins_ms=NOW + 1,
            due_ms=NOW + 9,
            state="in_progress",
            times={"pending": NOW, "in_progress": NOW + 1},
            requests=["erase-616161616161616161616161"],
            unresolved=[("email", "sha256")],
            callbacks=b"sealed",
            notices=[Notice(1, "in_progress", 2, NOW + 3)],
            given_up=1,
            details={"regulation": "gdpr"},
        ),
        Sweep(
            phase=4,
            cursor=7,
            began_ms=NOW,
            looked=3,
            unknown=1,
            classes={"customers": Swept(2, 1, NOW - 9, NOW)},
            ended_ms=NOW - 5,
            took_ms=2,
            last_looked=4,
            last_unknown=2,
            last={"requests": Swept(1, 1, NOW - 8, NOW - 6)},
            clock_ms=NOW + 1,
            waits_until_ms=NOW + 9,
            why="clock",
            rule_ms=5,
            hour_ms=NOW - 1,
            hour_erased=1,
        ),
        Hold(NOW, "command", "a dispute"),
        CentreSession(A, "csrf", "zh", NOW, {"marketing": False}, NOW - 1),
        Tick(NOW),
        Announced("learn:churn", 4),
        Trigger(
            id="trg_0",
            customer=A.hex(),
            rule="thanks",
            action="thank",
            channel="email",
            purpose="service",
            to=["crm"],
            cause="message-1",
            reasons={"orders": 3, "traits": ["a"]},
            scores={"churn": {"score": 0.25, "version": 4}},
            properties={"total": 12.5},
            receipt=_receipt,
        ),
        Absorb(
            survivor=A,
            retired=B,
            general=b"general",
            sensitive=b"sensitive",
            identifier=C,
            dedupe_ring=b"ring01",
            origins=[B, C],
            history=b"past",
            union=7,
            one=C,
            other=A,
            restored=True,
        ),
        Example(
            model="churn",
            customer=A,
            asked_ms=NOW,
            answered_ms=NOW + 9,
            features=[0.5, 2.0],
            predicted=0.25,
            version=4,
            label=1.0,
            amount=12.5,
        ),
        Example(
            model="best_action",
            customer=A,
            asked_ms=NOW,
            answered_ms=NOW + 9,
            features=[0.5, 2.0],
            predicted=0.25,
            version=4,
            label=1.0,
            action="call",
            propensity=0.25,
            decision="trg_0",
            recent=["SKU-1"],
            segment="good",
            eligible=["call", "mail"],
        ),
        Decision(
            customer=A,
            rule="thanks",
            cause="message-1",
            at_ms=NOW,
            reason="chosen",
            id="trg_0",
            action="call",
            propensity=0.25,
            expected=1.5,
            propensities={"call": 0.25, "none": 0.75},
            withheld={"mail": "budget"},
            context=[0.5, 2.0],
            version=4,
        ),
        _commit,
        WindowContent(
            limits=[1, 3],
            commit=_commit,
            events=[RawEvent(b"{}", NOW, "web")],
            positions=[5],
            origins=[A],
            policy=b"policy",
        ),
        NotSent(
            id="trg_1",
            rule="thanks",
            cause="message-1",
            action="thank",
            connector="crm",
            reason="consent",
            detail="the customer has refused marketing by sms",
            at_ms=NOW,
        ),
        Consents(
            words={
                "marketing": Word(
                    granted=False, moment=NOW, source="web", version="2026-01", proof="message-1", over=(A, B)
                ),
                "sms": Word(granted=True, moment=NOW + 1, source="app", version="", proof="message-2"),
            },
            country="CN",
            country_at=NOW,
        ),
        Journalled(
            seq=9,
            kind=JournalKind.ABSORB,
            body=b"body",
            sender="shard:3",
            sent=7,
            extra=b"extra",
            announced=b"announced",
            content=b"content",
        ),
        Checkpoint(
            trainer=b"trainer",
            positions={0: 5, 1: 0},
            tick=NOW // 1000,
            announced=[Announcement(4, b"signed")],
            metrics={"auc": 0.75},
        ),
        PersonalFindings(
            events=1_000,
            fields=[
                FieldFindings(
                    source="web",
                    event="Order Completed",
                    field="properties.items.*.note",
                    looked_at=40,
                    hits={"phone": 3},
                    kept={"phone": 2},
                    examples={"phone": "138****5678"},
                    different={"phone": 1 << 63},
                    seen_ms=NOW,
                )
            ],
            beyond=2,
            failed=1,
        ),
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
