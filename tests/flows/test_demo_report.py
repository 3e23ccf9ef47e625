"""What the demo says at its end and on its screen, from parts that stand still."""

from typing import Any

import msgspec
import pytest
from rich.console import Console

from flows.demo.audit import Ledger, Verdict
from flows.demo.figures import Figures
from flows.demo.follow import Follower
from flows.demo.receiver import Got, Receiver
from flows.demo.report import Report, build, table, taught
from flows.demo.screen import Screen
from flows.demo.stack import ORDERS

BEGAN_MS = 1_000


class Sent:
    """A publisher that has finished."""

    published, accepted, malformed, failed, misread, pending = 6, 5, 1, 0, 0, 0


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


def report(figures: Figures = RIGHT, triggers: tuple[Got, ...] = GOT, verdict: Verdict = WELL) -> Report:
    sent: Any = Sent()
    return build(5.0, sent, book(), figures, received(*triggers), list(triggers), BEGAN_MS, verdict)


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
        ({"triggers": GOT[1:], "figures": msgspec.structs.replace(RIGHT, triggers={ORDERS: 1, "vip": 1})}, 1, 0),  # never emitted at all
        ({"triggers": (*GOT, got("t4", "m2"))}, 0, 1),
    ],
)
def test_each_difference_from_the_truth_is_counted(changes: dict[str, Any], lost: int, doubled: int) -> None:
    bad = report(**changes)
    assert (bad.lost, bad.doubled) == (lost, doubled)
    assert not bad.good


@pytest.mark.parametrize("verdict", [msgspec.structs.replace(WELL, split=1), msgspec.structs.replace(WELL, mixed=1)])
def test_wrong_identities_are_not_good_either(verdict: Verdict) -> None:
    assert not report(verdict=verdict).good


def test_a_run_that_delivers_nothing_is_not_good() -> None:
    assert not report(figures=msgspec.structs.replace(RIGHT, triggers={}), triggers=()).good


def test_triggers_of_an_earlier_run_are_not_counted() -> None:
    earlier = msgspec.structs.replace(got("t0", "old"), receipt={"received_ms": 1, "emitted_ms": BEGAN_MS - 1})
    assert report(triggers=(*GOT, earlier)).triggers_delivered == 3


def test_what_models_drove_is_told_by_the_reasons() -> None:
    reasons: list[dict[str, Any]] = [
        {"action.version": 3, "action.propensity": 0.9},
        {"action.version": 0, "action.propensity": 0.5},  # uniform: no model yet
        {"recommended": ["SKU-1"], "cluster": "c1"},
        {"recommended": [], "cluster": ""},
        {"score.churn": 0.9, "score.churn because of recency": 0.4},
    ]
    triggers = [msgspec.structs.replace(got(f"t{number}", "m"), reasons=each) for number, each in enumerate(reasons)]
    found = taught(Figures(versions={"best_action": 3, "recommendation": 2, "clusters": 1, "churn": 4}), triggers)
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
    assert "nothing lost, nothing doubled" in capture.get()
    assert "NOT as it should be" in capture.get()


def test_the_screen_shows_rates_counts_and_lags() -> None:
    now = msgspec.structs.replace(RIGHT, united=4, tags={"vip": 2}, segments={"potential": 7}, lag={"resolve": 11})
    observer: Any = Looks(now)
    sent: Any = Sent()
    screen = Screen(observer, Figures(), sent, received(*GOT), Follower(), "http://127.0.0.1:8080")
    console = Console(width=160, height=40)
    with console.capture() as capture:
        console.print(screen.draw(console.height), height=console.height)
    shown = capture.get()
    for text in ("4 merges", "3 of 3", "30 ms event→trigger p50", "too_deep", "vip", "potential", "resolve", "11", "http://127.0.0.1:8080"):
        assert text in shown
