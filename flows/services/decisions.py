"""What was decided about one customer: what was not sent, and why; which action was chosen, and why not
another one."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from flows.runtime.deployment import Deployment
from flows.services.steward.access import steward
from flows.services.subjects.sweeping import entries
from schemas.errors import Unusable
from schemas.records.identity_graph import shard_of, text_id
from schemas.records.outbox_lanes import Lane
from schemas.wire import reasons
from schemas.wire.triggers import Decision
from state.redis.client import reported

SHOWN_MAX: Final = 1_000
_decode = msgspec.msgpack.Decoder(Decision).decode


def of(deployment: Deployment, who: str, *, limit: int = 100) -> list[Decision]:
    """Return the decisions about `NAMESPACE:VALUE`, or a customer's id, that are still kept, the newest
    first. Raises `Unusable` where nobody is known so, `Unreachable`."""
    with reported():
        people = steward(deployment).people
        root = people.find(who if ":" in who else f"customer:{who}")
        if root is None:
            raise Unusable(f"nobody is known as {who}: expected NAMESPACE:VALUE, or the id of a customer")
        origins, _ = deployment.ledger.members(root)
        found = sorted(about(deployment, origins), key=lambda one: (-one.at_ms, one.rule, one.cause))
    return found[: min(limit, SHOWN_MAX)]


def about(deployment: Deployment, origins: Sequence[bytes]) -> Iterator[Decision]:
    """Yield the decisions about these origins, as they lie in the lanes of their shards."""
    shards = {shard_of(origin, deployment.config.shards.count) for origin in origins}
    found = entries(deployment.outbox, Lane.DECISIONS, shards, frozenset(origins))
    return (_decode(entry.body) for entry in found)


def plain(decision: Decision, lang: str) -> dict[str, Any]:
    """Return a decision as people and programs read it."""
    return {
        "at_ms": decision.at_ms,
        "customer": text_id(decision.customer),
        "rule": decision.rule,
        "cause": decision.cause,
        "action": decision.action,
        "reason": decision.reason,
        "why": reasons.words(decision.reason, lang),
        "others": {name: reasons.withheld(code, lang) for name, code in decision.withheld.items()},
        "probability": decision.propensity,
        "trigger": decision.id,
    }
