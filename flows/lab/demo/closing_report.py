"""What a demo ends with: the figures, each counted from the outside where that can be done, and whether all
is well."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from rich.table import Table

from flows.lab.demo.audit import Ledger, Verdict
from flows.lab.demo.figures import Figures, percentile
from flows.lab.demo.publisher import Publisher
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

    @property
    def good(self) -> bool:
        return self.triggers_delivered > 0 and not (
            self.lost or self.doubled or self.split or self.mixed or self.forged or self.misread
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
    lost_triggers = max(figures.emitted - len(got), unfired) - undelivered
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
    )


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
    return f"nothing lost, nothing doubled{unfinished}{unsure}"


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
        shown.add_row(name.replace("_", " "), _shown(value))
    return shown
