"""What the demo says at its end and on its screen, from parts that stand still."""

import re
from typing import Any

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from flows.lab.demo.audit import Ledger, Verdict
from flows.lab.demo.closing_report import NOBODY, Decided, Report, build, table, taught
from flows.lab.demo.figures import Figures
from flows.lab.demo.follow import Follower
from flows.lab.demo.rights import Erasure, Withdrawal
from flows.lab.demo.screen import DECIDED, Line, Screen
from flows.lab.demo.stack import ORDERS
from flows.lab.demo.trigger_receiver import Got, Receiver

BEGAN_MS = 1_000


class Sent:
    """A publisher that has finished."""

    published, accepted, malformed, misread, pending, unanswered = 6, 5, 1, 0, 0, 0


class Looks:
    """An observer that always sees the same."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def look(self) -> Figures:
        return self._figures

    def profile(self, _namespace: str, _value: str) -> None:
        return None


def received(*got: Got) -> Receiver:
    receiver = Receiver(lambda _: None)
    with receiver:
        receiver.got |= {one.id: one for one in got}
    return receiver


def got(trigger_id: str, cause: str, rule: str = ORDERS, arrived_ms: int = 1_700) -> Got:
    return Got(trigger_id, "c" * 24, rule, cause, {}, {"received_ms": 1_500, "emitted_ms": 1_530}, arrived_ms)


def book() -> Ledger:
    ledger = Ledger()
    for number, event in enumerate(("Order Completed", "Order Completed", "Product Viewed"), 1):
        ledger.sent({"messageId": f"m{number}", "userId": "u1", "type": "track", "event": event}, 1_400)
    return ledger


RIGHT = Figures(applied=3, duplicates=1, profiles=1, triggers={ORDERS: 2, "vip": 1}, rejected={"too_deep": 1})
GOT = (got("t1", "m1"), got("t2", "m2"), got("t3", "m2", rule="vip"))
WELL = Verdict(households=1, lost=0, doubled=0, split=0, mixed=0)


def report(
    figures: Figures = RIGHT,
    triggers: tuple[Got, ...] = GOT,
    verdict: Verdict = WELL,
    *,
    busy: bool = False,
    decided: Decided = NOBODY,
) -> Report:
    sent: Any = Sent()
    got = received(*triggers), list(triggers)
    return build(5.0, sent, book(), figures, *got, BEGAN_MS, verdict, busy=busy, decided=decided)


def test_a_run_in_which_all_is_well() -> None:
    good = report()
    assert good.good
    assert (good.lost, good.doubled) == (0, 0)
    assert (good.triggers_emitted, good.triggers_delivered) == (3, 3)
    assert (good.latency_ms.p50, good.publish_to_webhook_ms.p99) == (30, 300)


@pytest.mark.parametrize(
    ("changes", "lost", "doubled"),
    [
        ({"figures": msgspec.structs.replace(RIGHT, applied=2)}, 1, 0),
        ({"figures": msgspec.structs.replace(RIGHT, applied=5)}, 0, 2),
        ({"figures": msgspec.structs.replace(RIGHT, rejected={})}, 1, 0),
        ({"verdict": msgspec.structs.replace(WELL, lost=2)}, 2, 0),
        ({"verdict": msgspec.structs.replace(WELL, doubled=2)}, 0, 2),
        ({"triggers": GOT[:2]}, 1, 0),
        (
            {"triggers": GOT[1:], "figures": msgspec.structs.replace(RIGHT, triggers={ORDERS: 1, "vip": 1})},
            1,
            0,
        ),  # never emitted at all
        ({"triggers": (*GOT, got("t4", "m2"))}, 0, 1),
    ],
)
def test_each_difference_from_the_truth_is_counted(changes: dict[str, Any], lost: int, doubled: int) -> None:
    bad = report(**changes)
    assert (bad.lost, bad.doubled) == (lost, doubled)
    assert not bad.good


TAKEN_BACK = Withdrawal(
    customer="c" * 24,
    purpose="marketing",
    offers_before=1,
    held_after_ms=207,
    fired_after=1,
    sent_after=0,
    why="consent: the customer has refused marketing by email",
)
ERASED = Erasure(
    customer="a" * 24,
    request="erase-a",
    steps_ms={"asked": 0, "detached": 322, "done": 1_995},
    receipt="verified",
    receivers={"crm": "taken"},
    events_gone=3,
    left=[],
    came_back_as="b" * 24,
    came_back_events=1,
)


def decided(**changes: Any) -> Decided:
    both = {"withdrawal": TAKEN_BACK, "erasure": ERASED}
    found = {
        what: one
        and msgspec.structs.replace(one, **{name: changes[name] for name in changes if hasattr(one, name)})
        for what, one in both.items()
    }
    return Decided(outcome=(found["withdrawal"], found["erasure"]), due=("withdrawal", "erasure"))  # type: ignore[arg-type]


def test_what_the_door_refused_is_not_lost_and_no_more_than_that() -> None:
    fired = msgspec.structs.replace(RIGHT, triggers={ORDERS: 2, "vip": 1, "demo_offer": 2})
    one = Decided(withheld=frozenset(["t9"]))
    assert report(fired, decided=one).lost == 1
    both = report(fired, decided=Decided(withheld=frozenset(["t8", "t9"])))
    assert (both.lost, both.triggers_withheld) == (0, 2)


def test_a_withdrawal_that_is_honoured_and_an_erasure_that_is_whole_are_told() -> None:
    good = report(decided=decided())
    assert (good.good, good.wrong) == (True, [])
    console = Console(width=130)
    with console.capture() as capture:
        console.print(table(good))
    for said in (
        "a withdrawal honoured, an erasure whole",
        "cccccc…cccc took back marketing; the door refused after 207 ms; sent since: 0",
        "aaaaaa…aaaa: asked 0 ms · detached 322 ms · done 1,995 ms",
        "as bbbbbb…bbbb, somebody new, with 1 event",
    ):
        assert said in capture.get()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sent_after": 1}, "not honoured: 1 sent for marketing"),
        ({"receipt": "the signature is wrong"}, "not genuine: the signature is wrong"),
        ({"left": ["origin aa has a profile"]}, "left something: origin aa has a profile"),
        ({"came_back_as": "a" * 24}, "is the same customer again"),
        ({"came_back_events": 4}, "came back with 4 events"),
    ],
)
def test_each_thing_that_is_not_as_it_should_be_fails_the_run(change: dict[str, Any], says: str) -> None:
    bad = report(decided=decided(**change))
    assert not bad.good
    assert len(bad.wrong) == 1
    assert says in bad.wrong[0]
    console = Console(width=130)
    with console.capture() as capture:
        console.print(table(bad))
    assert "NOT as it should be" in capture.get()
    assert says in capture.get()


def test_what_was_not_done_in_time_fails_a_counted_run_and_not_one_that_was_ended() -> None:
    unfinished = Decided(outcome=(TAKEN_BACK, None), due=("withdrawal", "erasure"))
    assert report(decided=unfinished).wrong == ["the erasure was not done in time"]
    assert report(decided=msgspec.structs.replace(unfinished, excused=True)).good
    assert report(decided=Decided(due=("erasure",), outcome=(None, ERASED))).good, "nobody is asked anything"


HALFWAY = Figures(
    applied=1, profiles=1, triggers={ORDERS: 1, "vip": 1}, lag={"resolve": 1, "deliver demo-receiver": 1}
)


def test_what_still_lies_in_a_log_when_it_ends_is_not_lost() -> None:
    """Two of three events, a repeat and a malformed one wait in the raw log, and one of two triggers for its
    delivery."""
    early = report(HALFWAY, GOT[:1], msgspec.structs.replace(WELL, lost=2), busy=True)
    assert (early.events_accepted, early.events_on_the_way, early.lost, early.doubled) == (5, 4, 0, 0)
    assert early.good
    at_rest = msgspec.structs.replace(HALFWAY, lag={})
    still = report(
        at_rest, GOT[:1], msgspec.structs.replace(WELL, lost=2)
    )  # nothing moves any more, and it is not there
    assert (still.events_on_the_way, still.good) == (0, False)
    assert still.lost == 2 + 1 + 1


def test_more_than_lies_in_a_log_is_lost_all_the_same() -> None:
    assert (
        report(
            msgspec.structs.replace(HALFWAY, duplicates=1, rejected={"too_deep": 1}, lag={}),
            GOT[:1],
            busy=True,
        ).lost
        > 0
    )
    assert report(HALFWAY, GOT[:1], msgspec.structs.replace(WELL, lost=9), busy=True).lost == 5


@pytest.mark.parametrize(
    "verdict", [msgspec.structs.replace(WELL, split=1), msgspec.structs.replace(WELL, mixed=1)]
)
def test_wrong_identities_are_not_good_either(verdict: Verdict) -> None:
    assert not report(verdict=verdict).good


def test_a_run_that_delivers_nothing_is_not_good() -> None:
    assert not report(figures=msgspec.structs.replace(RIGHT, triggers={}), triggers=()).good


def test_triggers_of_an_earlier_run_are_not_counted() -> None:
    earlier = msgspec.structs.replace(
        got("t0", "old"), receipt={"received_ms": 1, "emitted_ms": BEGAN_MS - 1}
    )
    assert report(triggers=(*GOT, earlier)).triggers_delivered == 3


def test_what_models_drove_is_told_by_the_reasons() -> None:
    reasons: list[dict[str, Any]] = [
        {"action.version": 3, "action.propensity": 0.9},
        {"action.version": 0, "action.propensity": 0.5},  # uniform: no model yet
        {"recommended": ["SKU-1"], "cluster": "c1"},
        {"recommended": [], "cluster": ""},
        {"score.churn": 0.9, "score.churn because of recency": 0.4},
    ]
    triggers = [
        msgspec.structs.replace(got(f"t{number}", "m"), reasons=each) for number, each in enumerate(reasons)
    ]
    found = taught(
        Figures(versions={"best_action": 3, "recommendation": 2, "clusters": 1, "churn": 4}), triggers
    )
    assert {model: (each.version, each.triggers) for model, each in found.items()} == {
        "best_action": (3, 1),
        "clusters": (1, 1),
        "recommendation": (2, 1),
    }


def test_the_table_says_what_it_is_about() -> None:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table(report()))
        console.print(table(report(triggers=())))
        console.print(
            table(msgspec.structs.replace(report(), events_on_the_way=1_234, events_unacknowledged=56))
        )
    assert "nothing lost, nothing doubled" in capture.get()
    assert "NOT as it should be" in capture.get()
    assert "1,234 events were still on their way; 56 were never acknowledged" in " ".join(
        capture.get().split()
    )


# --- the screen


SIZES = [(80, 24), (100, 30), (150, 50), (200, 60), (400, 20)]
MANY = Figures(
    applied=1_234_567,
    duplicates=23_456,
    profiles=345_678,
    united=12_345,
    moved=2_345,
    triggers={
        f"{name}_{number}": 2_000_321 // number
        for number in range(1, 4)
        for name in ("come_back_after_cart", "thank", "offer_best")
    },
    rejected=dict.fromkeys(
        ("timestamp_out_of_range", "too_many_properties", "plan_violation", "id_missing"), 1234
    ),
    tags={"big_spender": 54_321, "heavy_user_of_the_app": 12_345, "vip": 7},
    segments={"high_value_at_risk": 123_456, "potential": 98_765},
    lag={
        "resolve": 1_234,
        "profile": 56_789,
        "deliver demo-receiver": 12_345,
        "learn learn:recommendation": 3_456,
        "match": 0,
    },
)


class Story:
    """A follower with more to tell than has room, some of it long and in wide letters."""

    def look(self, _read: object, _now_ms: int) -> list[tuple[str, str, str]]:
        contact = (
            "12 events; email z***@example.com, name 张*, phone +86 *** **** "
            "**78, a customer of the household of " + "张伟" * 12
        )
        return [
            (
                "12:34:56.78",
                "profile" if number % 3 else "trigger",
                f"line {number} {contact if number % 4 == 1 else 'short'}",
            )
            for number in range(40)
        ]


TWO: tuple[Line, ...] = tuple(
    (f"12:34:5{n}.00", "erasure" if n % 2 else "consent", f"step {n} " + "of what both decided " * n)
    for n in range(5)
)


def picture(
    width: int,
    height: int,
    figures: Figures = MANY,
    follower: Any = None,
    pending: int = 1_234,
    two: tuple[Line, ...] = (),
) -> str:
    observer: Any = Looks(figures)
    sent: Any = Sent()
    sent.pending, sent.published = pending, 1_300_000
    screen = Screen(
        observer, Figures(), sent, received(*GOT), follower or Story(), "http://127.0.0.1:8080", lambda: two
    )
    console = Console(width=width, height=height)
    with console.capture() as capture:
        console.print(screen.draw(console), height=height)
    return capture.get()


@pytest.mark.parametrize("two", [(), TWO])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_screen_cuts_nothing_at_any_size(width: int, height: int, two: tuple[Line, ...]) -> None:
    shown = picture(width, height, two=two)
    lines = shown.rstrip("\n").split("\n")
    assert len(lines) == height
    assert {cell_len(line) for line in lines} == {width}
    assert "…" not in shown
    for figure in (
        "1,234,567 applied",
        "1,300,000 published",
        "23,456 duplicates",
        "345,678 customers",
        "1,234 unacknowledged",
        "30 ms to trigger p50",
    ):
        assert figure in shown
    for title in (
        "Triggers, by rule",
        "Tags (customers)",
        "Segments (customers)",
        "Rejects, by reason",
        "Lag (entries)",
        "One customer",
    ):
        assert title in shown
    assert any(re.search(r"come_back_after_cart_1 +2,000,321 ", line) for line in lines)
    assert any(re.search(r"big_spender +54,321 ", line) for line in lines)
    assert "line 39 short" in shown, "the newest of the story"


@pytest.mark.parametrize(("width", "height"), SIZES[1:])
def test_who_decides_is_shown_beside_all_else(width: int, height: int) -> None:
    shown = picture(width, height, two=TWO)
    assert DECIDED in shown
    assert "step 4 of what both" in shown, "the newest"
    assert DECIDED not in picture(width, height), "before anybody has decided anything"


@pytest.mark.parametrize(("width", "height"), SIZES[2:4])
def test_where_there_is_room_all_of_it_is_shown(width: int, height: int) -> None:
    shown = picture(width, height)
    for counts in (MANY.triggers, MANY.tags, MANY.segments, MANY.rejected, MANY.lag):
        for name, count in counts.items():
            assert re.search(rf"{re.escape(name)} +{count:,} ", shown), name
    assert " more" not in shown


def test_what_has_no_room_is_counted() -> None:
    assert re.search(r"\d more", picture(80, 24))


@pytest.mark.parametrize(("width", "height"), [(40, 10), (10, 3), (1, 1)])
def test_a_tiny_screen_is_drawn_all_the_same(width: int, height: int) -> None:
    assert picture(width, height)


def test_the_screen_shows_rates_counts_and_lags() -> None:
    now = msgspec.structs.replace(
        RIGHT, united=4, tags={"vip": 2}, segments={"potential": 7}, lag={"resolve": 11}
    )
    shown = picture(160, 40, now, Follower())
    for text in (
        "4 merges",
        "3 delivered",
        "30 ms to trigger p50",
        "too_deep",
        "vip",
        "potential",
        "resolve",
        "11",
        "http://127.0.0.1:8080",
    ):
        assert text in shown
