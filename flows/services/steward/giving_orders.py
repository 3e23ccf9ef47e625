"""A steward's word about customers, given as an order, and what became of it."""

from collections.abc import Sequence
from typing import Any

from flows.logic.resolution.identity_orders import document
from flows.runtime.deployment import Deployment
from flows.services.steward import access
from flows.services.steward.desk import Said
from flows.services.steward.named_customers import apart
from flows.services.steward.orders import Given, give
from schemas.errors import Unusable
from state.redis.client import reported


def order(
    deployment: Deployment, kind: str, named: Sequence[str], *, forced: bool = False, reason: str = ""
) -> Given:
    """Give an order about these, such as `email:ana@example.org`, and return what became of it. Raises
    `Unusable`, `Unreachable`."""
    more: dict[str, Any] = {"reason": reason} if reason else {}
    if forced:
        more["forced"] = True
    alike = _alike(deployment, [apart(one) for one in named])
    return carry_out(deployment, document(kind, *alike, **more))


def decide(deployment: Deployment, ident: str, said: Said, reason: str) -> Given | None:
    """Decide about a pair in the queue, and return what became of it; None if there is no such pair. Raises
    `Unreachable`."""
    with reported():
        ordered = access.steward(deployment).decision(ident, said, reason)
    return None if ordered is None else carry_out(deployment, ordered)


def carry_out(deployment: Deployment, ordered: bytes) -> Given:
    """Give an order, and return what became of it. Raises `Unreachable`."""
    with reported():
        return give(access.order_desk(deployment), ordered, deployment.raw_writer, deployment.raw_reader)


def _alike(deployment: Deployment, named: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Two customers or two identifiers: where one of each is given, the identifier's customer."""
    if len({kind == "customer" for kind, _ in named}) == 1:
        return named
    people = access.steward(deployment).people
    found = [(one, people.find(":".join(one))) for one in named]
    for one, root in found:
        if root is None:
            raise Unusable(f"nobody has {':'.join(one)}")
    return [("customer", root.hex()) for _, root in found if root is not None]
