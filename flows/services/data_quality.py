"""How good the data of each source is, from the counters that the shards commit with their profiles."""

import msgspec

from flows.logic.fields.quality import FieldQuality, Unread, report, unread_report
from flows.logic.shard.state import sums
from flows.runtime.deployment import Deployment
from state.redis.client import reported


class Quality(msgspec.Struct, frozen=True):
    """Of all sources."""

    fields: list[FieldQuality]
    unread: list[Unread]  # values that counted in no figure, and that no rule could compare


def quality(deployment: Deployment) -> Quality:
    """Return what has been counted so far. Raises `Unreachable`, `Foreign`."""
    with reported():
        deployment.check_data()  # that the data is ours
        totals = sums(deployment.shards.counters().values())
    return Quality(report(totals), unread_report(totals))
