"""How good the data of each source is, from the counters that the shards commit with their profiles."""

import time

import msgspec

from flows.logic.fields.personal_tally import LikelyPersonal
from flows.logic.fields.personal_tally import report as report_personal
from flows.logic.fields.quality import FieldQuality, Unread, report, unread_report
from flows.logic.shard.state import sums
from flows.runtime.deployment import Deployment
from state.redis.client import reported


class Quality(msgspec.Struct, frozen=True):
    """Of all sources."""

    fields: list[FieldQuality]
    unread: list[Unread]  # values that counted in no figure, and that no rule could compare


class Personal(msgspec.Struct, frozen=True):
    """What looks like personal data in fields that nobody listed, of all sources."""

    events: int  # that were looked at: one in many
    fields: list[LikelyPersonal]
    beyond: int  # values of fields for which there was no room
    failed: int = 0  # events that our own logic raised on


def personal(deployment: Deployment) -> Personal:
    """Return what has been found in the last thirty days. Raises `Unreachable`, `Foreign`."""
    with reported():
        deployment.check_data()  # that the data is ours
        workers = deployment.personal_findings.all()
    return Personal(
        events=sum(worker.events for worker in workers),
        fields=report_personal(workers, int(time.time() * 1000)),
        beyond=sum(worker.beyond for worker in workers),
        failed=sum(worker.failed for worker in workers),
    )


def quality(deployment: Deployment) -> Quality:
    """Return what has been counted so far. Raises `Unreachable`, `Foreign`."""
    with reported():
        deployment.check_data()  # that the data is ours
        totals = sums(deployment.shards.counters().values())
    return Quality(report(totals), unread_report(totals))
