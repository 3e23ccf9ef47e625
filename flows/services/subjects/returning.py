"""A past that comes back: a restored backup, or what was rebuilt from the archive. Whoever was erased since
is erased again, before any flow takes it up.

Who that is stands in the key ring, in place of the keys that were destroyed, and in the copy of the keys,
which is apart from every backup and always as it is now.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import structlog

from flows.runtime.deployment import Deployment
from flows.services.subjects.clocks import due_ms
from flows.services.subjects.erasing import PARTITION, Erasing, Parts, parts_of
from schemas.config import Rights
from schemas.records.identity_graph import text_id, undo
from schemas.records.privacy_requests import ENDS, PrivacyRequest, Step
from state.directory.directory_protocol import Directory
from state.privacy_requests import PrivacyRequests

log = structlog.get_logger()

PAGE: Final = 1_000


def erase_again(
    deployment: Deployment,
    directory: Directory,
    drain: Callable[[], None] = lambda: None,
    *,
    live: Deployment | None = None,
) -> list[PrivacyRequest]:
    """Erase whoever is there again, and return the requests for it. From here on nothing leads to any of
    them; what has to wait for other flows the process `privacy` carries on.

    `drain` has the shards apply their logs. `live`: whose key ring says who was erased, and who keeps the
    requests, where that is another deployment."""
    origins = {*(live or deployment).data_keys.destroyed()}
    if not origins:
        return []
    requests = (live or deployment).privacy_requests
    parts = dataclasses.replace(parts_of(deployment, directory), requests=requests)
    erasing = Erasing(parts)
    found = []
    for root in _customers(parts, erasing, origins):
        found.append(erasing.advance(_asked(requests, root, deployment.config.rights)))
    drain()
    found = [erasing.advance(request) for request in found]
    if found:
        log.warning(
            "erased_again",
            customers=len(found),
            unfinished=sum(request.step != Step.DONE for request in found),
        )
    return found


def _asked(requests: PrivacyRequests, root: bytes, rights: Rights) -> PrivacyRequest:
    """Return a request that is kept, for this return of the customer."""
    now, number = datetime.now(UTC), 1
    now_ms = int(now.timestamp() * 1000)
    while True:
        request = PrivacyRequest(
            id=f"again-{text_id(root)}-{number}",
            right="erase",
            customer=root,
            regime=rights.regime,
            asked_ms=now_ms,
            due_ms=due_ms(rights, now),
            by="return",
            times={Step.ASKED: now_ms},
            again=True,
        )
        if requests.add(request):
            return request
        held = requests.get(request.id)
        if held is not None and held.step not in ENDS:
            return held
        number += 1


def _customers(parts: Parts, erasing: Erasing, origins: Collection[bytes]) -> Iterator[bytes]:
    """Yield the customers who are there and were erased."""
    rest, seen = iter(sorted(origins)), set[bytes]()
    while page := list(islice(rest, PAGE)):
        for root in dict.fromkeys(map(parts.directory.root, page)):
            if root not in seen:
                seen.add(root)
                yield from _erased_parts(parts, erasing, root, origins)


def _erased_parts(parts: Parts, erasing: Erasing, root: bytes, origins: Collection[bytes]) -> Iterator[bytes]:
    """Yield the customer, if all of it was erased; where it is one with others in this past, only what was
    erased, as a customer of its own."""
    members, _ = parts.ledger.members(root)
    others = [member for member in members if member not in origins]
    if members and others:
        between = [
            seq for seq, one, other in parts.ledger.edges(root) if (one in origins) != (other in origins)
        ]
        erasing.order([undo(seq, PARTITION) for seq in between])
    for part in dict.fromkeys(map(parts.directory.root, members)):
        theirs, _ = parts.ledger.members(part)
        if all(member in origins for member in theirs):
            yield part
        elif any(member in origins for member in theirs):
            log.error(
                "erased_cannot_be_parted",
                customer=text_id(part),
                cause="the ledger does not reach back to the union (identity.ledger)",
                what_remains="its counts, without personal data: the keys are destroyed",
            )
