"""One hash for each shard, for the directory and for the whole, of a deployment that may be running."""

import msgspec

from flows.runtime.deployment import Deployment
from state import state_digest
from state.digest_entries import Digest
from state.redis.client import reported


class Digested(msgspec.Struct, frozen=True):
    """A digest and the moment that it is of."""

    digest: Digest
    tick_ms: int | None  # the last tick by then; None where the deployment has moved on meanwhile


def digest(deployment: Deployment) -> Digested:
    """Return the digest of now. Raises `Unreachable`, `Foreign`, `Moving`."""
    client, names = deployment.client, deployment.names
    with reported():
        reading = state_digest.Reading(
            client,
            names,
            deployment.layout,
            deployment.directory,
            state_digest.as_said(deployment.data_keys),
        )
        found = reading.digest()
        journal, tick = client.hmget(names.meta, "journal", "tick")
    has_moved_on = int(journal or 0) != found.directory.position
    return Digested(found, None if has_moved_on else int(tick or 0) * 1000)
