"""What a demo ends with: the figures, each counted from the outside where that can be done, and whether all
is well."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec
from rich.table import Table

from flows.lab.demo.audit import Ledger, Verdict
from flows.lab.demo.figures import Figures, percentile
from flows.lab.demo.publisher import Publisher
from flows.lab.demo.rights import Erasure, Withdrawal, short
from flows.lab.demo.stack import CONNECTOR, ORDERS
from flows.lab.demo.trigger_receiver import Got, Receiver
from flows.logic.models.best_action import NAME as BEST_ACTION
from flows.logic.models.cluster_assigner import NAME as CLUSTERS
from flows.logic.models.recommendation_index import NAME as RECOMMENDATION


class Percentiles(msgspec.Struct, frozen=True):
    p50: int | None
    p99: int | None


class Learnt(msgspec.Struct, frozen=True):
    """What one model did."""

    examples: int
    version: int  # last announced; 0 is none yet
    triggers: int  # of rules that look at its score


Right = Literal["withdrawal", "erasure"]


class Decided(msgspec.Struct, frozen=True):
    """What became of who decided about their own data."""

    withheld: frozenset[str] = frozenset()  # triggers that fired and that the door refused
    outcome: tuple[Withdrawal | None, Erasure | None] = (None, None)
    troubles: tuple[str, ...] = ()
    due: tuple[Right, ...] = ()  # what was to be done
    excused: bool = False  # it was ended before that


NOBODY = Decided()


class Report(msgspec.Struct, frozen=True):
    """`events_applied`, `duplicates_dropped` and the like are the engine's words; `lost` and `doubled`
    compare them with the truth."""

    seconds: float
    events_published: int  # handed to clients, unreadable requests included
    events_accepted: int  # acknowledged by the gateway
    events_unacknowledged: (
        int  # neither answered nor refused when it ended: they may be there or not, and count as nothing
    )
    # acknowledged, and still in a log when it ended: what millrace does not lose, and has not applied yet
    events_on_the_way: int
    events_applied: int
    events_rejected: int
    duplicates_dropped: int
    profiles: int
    merges: int
    triggers_emitted: int
    triggers_delivered: int  # distinct ids
    triggers_withheld: int  # emitted, and refused at the door: their customers do not allow it
    triggers_repeated: int  # ids that came again, as at-least-once delivery may
    latency_ms: Percentiles  # event at the gateway -> trigger committed
    publish_to_webhook_ms: Percentiles  # order handed to the client -> its trigger at the receiver
    households_audited: int
    lost: int
    doubled: int
    split: int  # people who are several customers without need
    mixed: int  # customers who are several people that share nothing
    forged: int  # deliveries whose signature was wrong
    misread: int  # unreadable requests that the gateway took
    models: dict[str, Learnt] = {}
    actions: dict[str, int] = {}  # how often each was chosen as the best
    withdrawal: Withdrawal | None = None  # None: it was ended before that was done
    erasure: Erasure | None = None
    wrong: list[str] = []  # what of these two is not as it should be

    @property
    def good(self) -> bool:
        return self.triggers_delivered > 0 and not (
            self.lost or self.doubled or self.split or self.mixed or self.forged or self.misread or self.wrong
        )


def build(
    seconds: float,
    publisher: Publisher,
    ledger: Ledger,
    figures: Figures,
    receiver: Receiver,
    arrived: list[Got],
    began_ms: int,
    verdict: Verdict,
    looking: Mapping[str, Collection[str]] = {},
    busy: bool = False,
    decided: Decided = NOBODY,
) -> Report:
    """Return the report. `figures` and what had `arrived` are of one moment, when all was quiet. `looking`:
    of each model the rules that look at its score.

    `busy`: it was not, so what is acknowledged and not accounted for lies in a log.
    """
    # Not those of an earlier demo in the same folder.
    got = [trigger for trigger in arrived if trigger.receipt["emitted_ms"] >= began_ms]
    orders = {trigger.cause: trigger for trigger in got if trigger.rule == ORDERS}
    on_the_way = [
        trigger.arrived_ms - ledger.orders[cause]
        for cause, trigger in orders.items()
        if cause in ledger.orders
    ]
    latencies = [latency for trigger in got if (latency := trigger.latency_ms) is not None]
    sent, unsure = ledger.totals()
    on_its_way = (
        max(0, publisher.accepted - figures.applied - figures.duplicates - figures.rejects) if busy else 0
    )
    undelivered = figures.lag.get(f"deliver {CONNECTOR}", 0)
    lost_events = max(verdict.lost, sent - unsure - figures.applied)
    lost_rejects = publisher.malformed - figures.malformed
    unfired = len(ledger.orders.keys() - orders.keys()) - on_its_way  # a trigger follows its event
    settled = {trigger.id for trigger in got} | decided.withheld
    lost_triggers = max(figures.emitted - len(settled), unfired) - undelivered
    withdrawal, erasure = decided.outcome
    return Report(
        seconds=round(seconds, 1),
        events_published=publisher.published,
        events_accepted=publisher.accepted,
        events_unacknowledged=publisher.unanswered,
        events_on_the_way=on_its_way,
        events_applied=figures.applied,
        events_rejected=figures.rejects,
        duplicates_dropped=figures.duplicates,
        profiles=figures.profiles,
        merges=figures.united,
        triggers_emitted=figures.emitted,
        triggers_delivered=len(got),
        triggers_withheld=len(decided.withheld),
        triggers_repeated=receiver.repeats,
        latency_ms=Percentiles(percentile(latencies, 0.50), percentile(latencies, 0.99)),
        publish_to_webhook_ms=Percentiles(percentile(on_the_way, 0.50), percentile(on_the_way, 0.99)),
        households_audited=verdict.households,
        lost=max(0, lost_events - on_its_way) + max(0, lost_rejects - on_its_way) + max(0, lost_triggers),
        doubled=max(verdict.doubled, figures.applied - sent, 0) + receiver.twice(),
        split=verdict.split,
        mixed=verdict.mixed,
        forged=receiver.forged,
        misread=publisher.misread,
        models={
            model: Learnt(
                figures.examples.get(model, 0),
                figures.versions.get(model, 0),
                sum(figures.triggers.get(rule, 0) for rule in rules),
            )
            for model, rules in looking.items()
        }
        | taught(figures, got),
        actions=figures.actions,
        withdrawal=withdrawal,
        erasure=erasure,
        wrong=[*_wrong(decided, withdrawal, erasure)],
    )


def _wrong(decided: Decided, withdrawal: Withdrawal | None, erasure: Erasure | None) -> Iterator[str]:
    yield from decided.troubles
    yield from withdrawal.faults() if withdrawal is not None else ()
    yield from erasure.faults() if erasure is not None else ()
    if not decided.excused:
        done = {"withdrawal": withdrawal, "erasure": erasure}
        yield from (f"the {what} was not done in time" for what in decided.due if done[what] is None)


def taught(figures: Figures, got: Iterable[Got]) -> dict[str, Learnt]:
    """Return what the models without a score learnt: by the reasons of the triggers, among which stands what
    it said."""
    driven = Counter(model for trigger in got for model in _models_behind(trigger.reasons))
    return {
        model: Learnt(figures.examples.get(model, 0), figures.versions.get(model, 0), driven[model])
        for model in (BEST_ACTION, RECOMMENDATION, CLUSTERS)
    }


def _models_behind(reasons: Mapping[str, Any]) -> set[str]:
    said = {
        BEST_ACTION: reasons.get("action.version"),
        RECOMMENDATION: reasons.get("recommended"),
        CLUSTERS: reasons.get("cluster"),
    }
    return {model for model, value in said.items() if value}


def _shown(value: Any) -> str:
    """Numbers as they are, tables in one line."""
    if isinstance(value, dict):
        return " · ".join(
            f"{name} {f'({_shown(each)})' if isinstance(each, dict) else each}"
            for name, each in value.items()
        )
    return f"{value:,}"


def _verdict(report: Report) -> str:
    if not report.good:
        return "NOT as it should be"
    unfinished = (
        f"; {report.events_on_the_way:,} events were still on their way" if report.events_on_the_way else ""
    )
    unsure = (
        f"; {report.events_unacknowledged:,} were never acknowledged" if report.events_unacknowledged else ""
    )
    kept = ", a withdrawal honoured, an erasure whole" if report.withdrawal and report.erasure else ""
    return f"nothing lost, nothing doubled{kept}{unfinished}{unsure}"


def table(report: Report) -> Table:
    """Return it as people read it."""
    shown = Table(title=f"millrace demo: {_verdict(report)}", show_header=False)
    for name, value in msgspec.to_builtins(report).items():
        if name == "models":
            for model, learnt in value.items():
                said = (
                    f"{learnt['examples']:,} examples · version {learnt['version']} "
                    f"· {learnt['triggers']:,} triggers"
                )
                shown.add_row(f"model {model}", said)
            continue
        if name in ("withdrawal", "erasure", "wrong"):
            continue
        shown.add_row(name.replace("_", " "), _shown(value))
    for name, said in _decided(report):
        shown.add_row(name, said)
    return shown


def _decided(report: Report) -> Iterator[tuple[str, str]]:
    """Yield what is to be read of who withdrew and who was erased, and of what is wrong with it."""
    if (taken_back := report.withdrawal) is not None:
        yield (
            "withdrawal",
            f"{short(taken_back.customer)} took back {taken_back.purpose}; the door refused after "
            f"{taken_back.held_after_ms:,} ms; sent since: {taken_back.sent_after}",
        )
        yield "not sent, because", taken_back.why
    if (erasure := report.erasure) is not None:
        steps = " · ".join(f"{step} {after:,} ms" for step, after in erasure.steps_ms.items())
        yield "erasure", f"{short(erasure.customer)}: {steps}"
        receivers = " · ".join(f"{name} {said}" for name, said in erasure.receivers.items())
        yield "receipt", f"{erasure.receipt} · receivers: {receivers or 'none'}"
        yield (
            "left of the erased",
            "; ".join(erasure.left) or f"nothing; {erasure.events_gone} events are gone",
        )
        yield (
            "came back",
            f"as {short(erasure.came_back_as)}, somebody new, with {erasure.came_back_events} event",
        )
    for fault in report.wrong:
        yield "WRONG", fault
