"""That the count of chaos would see what it looks for: what is stored or sent against somebody's word, and
what is left of who was erased. On a real Redis and its archive, and on journals written by hand."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from flows.lab.chaos.booked_traffic import Book, Message, Sent, _Person
from flows.lab.chaos.consent_count import (
    ALLOWED,
    DENIED,
    GONE,
    REFUSED_MS,
    TOLERATED_MS,
    Refused,
    WatchedDirectory,
    raw_of,
    refused_without_reason,
    sent_against,
)
from flows.lab.chaos.final_count import Verdict, _messages
from flows.lab.chaos.journal_watch import BACK_MS, JournalWatch
from flows.lab.chaos.leavers import Asked, Erasures, judge_erasures
from flows.lab.chaos.loss_report import build
from flows.lab.chaos.site import CRM, MARKETING, OFFER
from flows.lab.demo.trigger_receiver import Got
from flows.logic.permissions.permissions import Permissions
from flows.logic.resolution import consents
from flows.runtime.archived_windows import unpacked
from flows.services.subjects import requests
from schemas.records.journal import JournalKind
from schemas.records.privacy_requests import PrivacyRequest
from schemas.records.shard_log import NotSent
from tests.subjects import Erased

CUSTOMER = bytes(12)

# --- what was stored ----------------------------------------------------------------------------------


class Lived:
    """A deployment in which people say yes and no, its book, and the twin that looks at it afterwards."""

    def __init__(self, folder: Path, url: str) -> None:
        self.site = Erased(folder, url)
        self.site.start()
        self.book = Book()
        self._archiver = self.site.archiver()

    def say(self, *messages: Message) -> None:
        """One window."""
        for message in messages:
            self.book.messages[message["messageId"]] = Sent("p", None, 0.0, 1.0, made=message)
        self.site.say(*messages)
        self.site.tick()
        self.site.settle()

    def looked_at(self) -> tuple[WatchedDirectory, set[str], int]:
        """The twin, the messages that it knows of, and how many it cannot tell."""
        while self._archiver.round(block_ms=0):
            pass
        self._archiver.close()
        deployment = self.site.deployment
        twin = WatchedDirectory(deployment.layout, 1_000, deployment.identifiers.of, [])
        taken: set[str] = set()
        untold = 0
        for found in deployment.archive.entries(0):
            if found.entry.kind != JournalKind.WINDOW:
                twin.replay(found.entry)
                continue
            content = unpacked(found.entry.content)
            raw, unknown = raw_of(content, deployment.data_keys, self.book)
            twin.live(content.commit, raw)
            taken |= {msgspec.json.decode(event.value)["messageId"] for _, _, event in raw}
            untold += unknown
        return twin, taken, untold


@pytest.fixture
def lived(tmp_path: Path, redis_url: str) -> Lived:
    return Lived(tmp_path, redis_url)


def page(number: int, **more: Any) -> Message:
    who = {"userId": "ana", "anonymousId": "ana-phone"}
    return {"type": "page", "name": "Home", "messageId": f"p:{number}"} | who | more


def order(number: int, **more: Any) -> Message:
    return page(number) | {"type": "track", "event": "Order Completed", "properties": {"total": 5}} | more


def says(granted: bool, *things: str) -> dict[str, Any]:
    preferences = dict.fromkeys(things or ("marketing", "personalisation"), granted)
    return {"context": {"consent": {"categoryPreferences": preferences}}}


def test_what_is_withheld_and_what_is_kept_is_as_it_was_said(lived: Lived) -> None:
    lived.say(page(1), page(2, **says(False)), page(3), order(4))
    lived.say(page(5), page(6, **says(True, "personalisation")), page(7))
    twin, taken, untold = lived.looked_at()
    assert twin.witness.stored == []
    assert {message for message, _ in twin.landed} == {f"p:{n}" for n in (1, 2, 4, 6, 7)}
    assert (len(taken), untold) == (7, 0), "of what is withheld it is known that it came in"


def test_what_is_stored_against_a_no_is_found(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    lived.say(page(1, **says(False)))
    monkeypatch.setattr(consents, "is_withheld", lambda *_: "")
    lived.say(page(2))
    monkeypatch.undo()
    lived.say(page(3))
    twin, _, _ = lived.looked_at()
    assert len(twin.witness.stored) == 1
    assert twin.witness.stored[0].startswith("p:2 is kept")


def test_what_is_withheld_for_no_reason_is_found(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    lived.say(page(1, **says(True)))
    monkeypatch.setattr(Permissions, "denied", lambda *_: frozenset(["behaviour"]))
    lived.say(page(2, **says(False, "location")), page(3))
    twin, _, _ = lived.looked_at()
    assert "p:3 is not kept, and may be" in twin.witness.stored


def test_events_of_who_was_erased_are_told_by_their_facts_and_the_others_counted(lived: Lived) -> None:
    lived.say(page(1), page(2, **says(False)), page(3), order(4))
    lived.say(page(5), order(6))
    lived.site.erase("user_id:ana")
    lived.say(order(7), page(8))
    twin, taken, untold = lived.looked_at()
    assert twin.witness.stored == []
    assert {f"p:{n}" for n in (1, 2, 4, 6, 7, 8)} <= taken
    assert len(taken) + untold == 8, "what was withheld of somebody erased lies under a destroyed key"
    erased = {origin for origin, mark in twin.graph.marks.items() if mark}
    assert {message for message, origin in twin.landed if origin not in erased} == {"p:7", "p:8"}


def test_a_message_that_no_window_has_is_lost_also_if_somebody_was_erased(lived: Lived) -> None:
    lived.say(page(1), page(2, **says(False)), page(3))
    lived.site.erase("user_id:ana")
    lived.book.messages["p:9"] = Sent("p", None, 0.0, 1.0, made=page(9))
    _, taken, untold = lived.looked_at()
    seen: Any = type("Seen", (), {"taken": taken, "untold": untold, "committed": Counter[str]()})
    assert untold == 1
    assert len(list(_messages(lived.book, seen))) == 1, "one of the two that are missing"


# --- what was sent ------------------------------------------------------------------------------------


def watch(*looks: tuple[int, int]) -> JournalWatch:
    """Looks of the journal, each a time and its head."""
    made = JournalWatch(lambda: 0)
    for at_ms, head in looks:
        made.saw(at_ms, head)
    return made


EVERY_TENTH = [(ms, ms // 100) for ms in range(0, 60_000, 50)]  # ten entries a second


def got(at_ms: int, purpose: str = MARKETING) -> Got:
    return Got("t", CUSTOMER.hex(), OFFER, "m", {}, {}, at_ms, purpose)


def saying(*changes: tuple[int, str]) -> Callable[[bytes, int, int], set[str]]:
    """What held, by the entries from which on it did."""
    twin: Any = type("Twin", (), {"_states": {CUSTOMER: [(0, ALLOWED), *changes]}})
    return lambda customer, first, last: WatchedDirectory.states(twin, customer, first, last)


NO_AT_20_S = saying((200, DENIED))
LATE_MS = 20_000 + TOLERATED_MS


@pytest.mark.parametrize(
    ("at_ms", "states", "against"),
    [
        (19_000, NO_AT_20_S, 0),
        (LATE_MS - 200, NO_AT_20_S, 0),  # it may have been under way
        (LATE_MS + 200, NO_AT_20_S, 1),
        (30_000, saying((200, DENIED), (285, ALLOWED)), 0),
        (30_000, saying((200, DENIED), (285, ALLOWED), (286, DENIED)), 0),  # it may have been asked just then
        (30_000, saying((200, DENIED), (260, ALLOWED), (270, DENIED)), 1),
        (30_000, saying((5, DENIED), (299, ALLOWED)), 0),
    ],
)
def test_what_is_sent_later_than_the_door_may_have_been_told_is_found(
    at_ms: int, states: Any, against: int
) -> None:
    denied, gone = sent_against([got(at_ms)], states, watch(*EVERY_TENTH), [])
    assert (len(denied), gone) == (against, [])


def test_what_needs_no_consent_may_be_sent_but_not_about_somebody_erased() -> None:
    service = got(30_000, "service")
    assert sent_against([service], NO_AT_20_S, watch(*EVERY_TENTH), []) == ([], [])
    assert sent_against([service], saying((200, GONE)), watch(*EVERY_TENTH), []) == ([], [service])


def test_a_deliver_that_stood_still_had_asked_before() -> None:
    late = [got(29_900), got(31_000)]
    assert sent_against(late, NO_AT_20_S, watch(*EVERY_TENTH), [(19_000, 29_800)]) == ([], [])
    much_later = [got(29_800 + TOLERATED_MS + 1)]
    assert sent_against(much_later, NO_AT_20_S, watch(*EVERY_TENTH), [(19_000, 29_800)])[0] == much_later


def test_what_the_server_forgot_is_not_judged_and_all_else_is() -> None:
    looks = watch(*EVERY_TENTH[:500], (25_500, 240), *((ms, ms // 100) for ms in range(25_550, 60_000, 50)))
    [(since, until)] = looks.forgotten_ms
    assert since <= 24_100 - BACK_MS
    assert until == 25_500
    assert sent_against([got(25_000)], NO_AT_20_S, looks, [])[0] == []
    assert len(sent_against([got(40_000)], NO_AT_20_S, looks, [])[0]) == 1


def test_where_an_entry_was_in_time() -> None:
    looks = watch((100, 1), (200, 3), (300, 3), (400, 7))
    assert [looks.surely(ms) for ms in (50, 100, 250, 900)] == [0, 1, 3, 7]
    assert [looks.maybe(ms) for ms in (50, 100, 250, 900)] == [3, 3, 7, 7]
    assert [looks.there_ms(entry) for entry in (1, 2, 3, 4, 9)] == [100, 200, 200, 400, 400]


def test_what_is_refused_though_it_was_allowed_is_found() -> None:
    what = NotSent(
        id="t", rule=OFFER, cause="m", action="", connector=CRM, reason="consent", detail="", at_ms=0
    )
    looks = watch(*EVERY_TENTH)
    one = Refused(300, CUSTOMER, what)
    assert refused_without_reason([one], saying(), looks) == [one]
    assert refused_without_reason([one], NO_AT_20_S, looks) == []
    before = 30_000 - REFUSED_MS
    assert refused_without_reason([one], saying((5, DENIED), (before // 100 - 10, ALLOWED)), looks) == [one]
    assert refused_without_reason([one], saying((5, DENIED), (before // 100 + 10, ALLOWED)), looks) == []


# --- who was erased -----------------------------------------------------------------------------------


def judged(lived: Lived, asked: list[Asked], looks: JournalWatch, *, told: bool = True) -> Erasures:
    return judge_erasures(lived.site.deployment, asked, looks, lived.book, lambda _: told)


def test_erasures_are_whole_or_it_is_said_what_is_wrong(lived: Lived) -> None:
    lived.say(page(1), page(2, userId="bea", anonymousId="bea-phone"))
    lived.book.sessions = {"ana": {"ana-phone"}, "bea": {"bea-phone"}}
    request = lived.site.erase("user_id:ana")
    asked = [Asked(request.id, 1_000)]
    assert judged(lived, asked, watch()) == Erasures(done=1, incomplete=[], cut=0)
    assert judged(lived, asked, watch(), told=False).incomplete == [
        f"{request.id}: no receiver was asked to delete"
    ]
    unfinished = begun(lived)
    assert judged(lived, asked, watch()).incomplete == [f"{unfinished.id}: is not done, but asked"]
    store = lived.site.deployment.privacy_requests
    store.save(unfinished, msgspec.structs.replace(unfinished, step="done"), finished=True)
    assert judged(lived, asked, watch()).incomplete == [f"{unfinished.id}: has no receipt"]
    pretended = msgspec.structs.replace(unfinished, step="done", receipt=request.receipt)
    store.save(msgspec.structs.replace(unfinished, step="done"), pretended)
    wrong = " | ".join(judged(lived, asked, watch()).incomplete)
    assert "is about" in wrong
    assert "is not marked as erased" in wrong


def begun(lived: Lived) -> PrivacyRequest:
    """A request that nobody has taken on yet."""
    request = requests.erase(lived.site.deployment, "user_id:bea", by="test").request
    origins = [request.customer]
    named = msgspec.structs.replace(request, origins=origins)
    assert lived.site.deployment.privacy_requests.save(request, named)
    return named


def test_a_request_that_is_gone_is_a_fault_unless_its_moment_is(lived: Lived) -> None:
    asked = [Asked("erase-x", 24_900)]
    assert len(judged(lived, asked, watch(*EVERY_TENTH)).incomplete) == 1
    back = watch(*EVERY_TENTH[:500], (25_500, 240))
    assert judged(lived, asked, back) == Erasures(done=0, incomplete=[], cut=1)


# --- the report ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"stored_without_consent": ["p:2 is kept"]},
        {"sent_without_consent": ["t of rule offer"]},
        {"erasures": Erasures(done=0, incomplete=["x: is not done"], cut=0)},
    ],
)
def test_each_of_these_makes_a_run_no_good(changes: dict[str, Any]) -> None:
    clean = Verdict(
        losses=[],
        same=True,
        digest="",
        triggers=1,
        cut=0,
        taken_back=0,
        windows=1,
        withheld=3,
        refused=4,
        stored_without_consent=[],
        sent_without_consent=[],
        erasures=Erasures(done=2, incomplete=[], cut=0),
        findings=[],
    )

    def reported(verdict: Verdict) -> Any:
        return build(1, 1.0, "Redis", "always", [], [], Book(), 0, verdict)

    assert reported(clean).good
    assert (reported(clean).erasures, reported(clean).refused, reported(clean).withheld) == (2, 4, 3)
    bad = reported(msgspec.structs.replace(clean, **changes))
    assert not bad.good
    assert bad.findings, "it says which"


def test_people_say_yes_and_no_in_both_ways() -> None:
    person = _Person("p-1", Random(4), 0.5)
    made = [person.next(f"p:{n}") for n in range(200)]
    said = [
        message for message in made if "categoryPreferences" in str(message) and "marketing" in str(message)
    ]
    assert len(said) > 30
    assert any("consent.marketing" in message.get("traits", {}) for message in made)
