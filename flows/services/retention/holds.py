"""Customers on hold: whatever retention says, they are not erased, nor by a request, until they are released.

For a dispute, or a duty to keep. A hold is of each origin that the customer has when it is given, so it
outlasts unions and lies on both sides of one that is undone.
"""

import time
from typing import Any, Final

from flows.runtime.deployment import Deployment
from flows.services.subjects import requests
from flows.services.subjects.receipts import moment
from schemas.errors import Unusable
from schemas.records.identity_graph import text_id
from schemas.records.retention import Hold
from state.redis.client import reported

HOLDS_MAX: Final = 10_000  # origins: each look at who is too old reads them all


def hold(deployment: Deployment, who: str, *, by: str, note: str = "") -> str:
    """Put `NAMESPACE:VALUE`, or a customer's id, on hold, and return the customer's id. Raises `Unusable`
    where nobody is known so, or too many are on hold, `Unreachable`."""
    with reported():
        records, (root, members) = deployment.sweep_records, _members(deployment, who)
        if len(records.holds()) + len(members) > HOLDS_MAX:
            raise Unusable(f"{HOLDS_MAX:,} origins are on hold at most: release some first")
        held = Hold(int(time.time() * 1000), by, requests.kept(note))
        for origin in members:
            records.hold(origin, held)
        return text_id(root)


def release(deployment: Deployment, who: str) -> bool:
    """Take a customer off hold; return whether it was on hold. Raises `Unusable` where nobody is known so,
    `Unreachable`."""
    with reported():
        _, members = _members(deployment, who)
        return sum(deployment.sweep_records.release(origin) for origin in members) > 0


def everything(deployment: Deployment) -> list[dict[str, Any]]:
    """Return who is on hold, the oldest first. Raises `Unreachable`."""
    with reported():
        found = {}
        for origin, held in deployment.sweep_records.holds().items():
            found[deployment.directory.root(origin)] = held
    return [
        {
            "customer": text_id(root),
            "since": moment(held.since_ms),
            "by": held.by,
            "note": held.note,
        }
        for root, held in sorted(found.items(), key=lambda item: (item[1].since_ms, item[0]))
    ]


def _members(deployment: Deployment, who: str) -> tuple[bytes, list[bytes]]:
    root = requests.customer(deployment, who)
    members, _ = deployment.ledger.members(root)
    return root, members or [root]
