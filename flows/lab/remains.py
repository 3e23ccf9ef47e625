"""What is still there of who was erased: looked for wherever it was, without asking the erasure itself.

Shared by the demo and chaos. A mark for each origin stays on purpose; it is a keyed hash, and leads nowhere.
"""

from collections.abc import Iterable, Iterator, Sequence

from flows.runtime.deployment import Deployment
from flows.services.subjects import requests
from flows.services.subjects.sweeping import queued
from schemas.errors import Foreign, Unusable
from schemas.records.identity_graph import shard_of
from schemas.records.outbox_lanes import LANES
from schemas.records.privacy_requests import PrivacyRequest
from state.redis.client import reported

Named = tuple[str, str]  # namespace, plain value


def remains(deployment: Deployment, request: PrivacyRequest, named: Iterable[Named] = ()) -> list[str]:
    """Return what is left, in words; nothing if all is gone. `named`: identifiers of the customer, which must
    lead to nobody, or to somebody who came after. Raises `Unreachable`."""
    with reported():
        return [
            *_in_the_directory(deployment, request.origins, named),
            *_in_shards(deployment, request.origins),
            *_in_lanes(deployment, request.origins),
            *_keys(deployment, [*request.origins, *request.users]),
        ]


def receipt_fault(deployment: Deployment, request: PrivacyRequest) -> str:
    """Return what is wrong with the receipt of an erasure that is done; empty if it is genuine and about this
    one. Raises `Unreachable`."""
    try:
        with reported():
            said = requests.verify(deployment, requests.receipt(deployment, request.id), None)
    except (Foreign, Unusable) as error:
        return str(error)
    about = said["id"], said["customer"], said["origins"]
    wanted = request.id, request.customer.hex(), [origin.hex() for origin in request.origins]
    return "" if about == wanted else f"the receipt of {request.id} is about {said['id']}"


def _in_the_directory(
    deployment: Deployment, origins: Sequence[bytes], named: Iterable[Named]
) -> Iterator[str]:
    directory, ledger = deployment.directory, deployment.ledger
    for origin, erased in zip(origins, directory.erased(origins), strict=True):
        if not erased:
            yield f"origin {origin.hex()} is not marked as erased"
        if any(ledger.members(origin)):
            yield f"origin {origin.hex()} is somebody in the directory"
    hashed = {name: deployment.identifiers.hash(*name) for name in named}
    found = {name: one for name, one in hashed.items() if one is not None}
    for (namespace, _value), root in zip(found, directory.lookup([*found.values()]), strict=True):
        if root is not None and root in origins:
            yield f"an identifier ({namespace}) still leads to the customer"


def _in_shards(deployment: Deployment, origins: Sequence[bytes]) -> Iterator[str]:
    shards = deployment.shards
    wanted: dict[int, list[bytes]] = {}
    for origin in origins:
        wanted.setdefault(shard_of(origin, deployment.config.shards.count), []).append(origin)
    in_order = [origin for found in wanted.values() for origin in found]
    profiles, sealed = shards.load_many(wanted, wanted)
    kinds = {"a profile": profiles, "a sealed record": sealed, "a merge history": shards.load_past(wanted)}
    for what, found in kinds.items():
        for origin, packed in zip(in_order, found, strict=True):
            if packed is not None:
                yield f"origin {origin.hex()} has {what}"
    for shard, origin in shards.traces(wanted):
        yield f"origin {origin.hex()} has a timer or a sealed record in shard {shard}"


def _in_lanes(deployment: Deployment, origins: Sequence[bytes]) -> Iterator[str]:
    every = range(deployment.config.shards.count)
    for lane in LANES:
        left = sum(1 for _ in queued(deployment.outbox, lane, every, frozenset(origins)))
        if left:
            yield f"{left} entries about the customer in lane {lane}"


def _keys(deployment: Deployment, names: Sequence[bytes]) -> Iterator[str]:
    for name, key in zip(names, deployment.data_keys.current(names), strict=True):
        if key is not None:
            yield f"the data key {name.hex()} is not destroyed"
