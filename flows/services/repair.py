"""Going on after a server lost what another still has.

`customer`: what is left of a customer whose profile is gone, or cannot be read, is removed, and the customer
begins again.

`shard`: a shard that its log does not go with any more goes back, so that nothing of what comes is skipped.

That happens when the directory comes back older than the shard: its server lost a tail that the shard's had.
The log may have grown since, so its end says nothing; but all that it holds is either new to the shard or was
there when the tail was lost, which is what the shard had not committed at that moment. So the shard begins
with the log's first entry.

What the directory takes in again, and the few entries that the shard had read of the old log already, were
counted once before; the message ids that a customer remembers (`shards.dedupe`) drop them. Beyond these they
count twice, and so they may where two customers were united since. A restored backup is exact.
"""

import time

import msgspec

from flows.logic.shard.state import decode_profile, decode_sensitive
from flows.profile import parted
from flows.runtime.deployment import Deployment
from schemas.errors import ConfigError, Damaged
from schemas.records.identity_graph import ID_BYTES, shard_of
from schemas.records.outbox_lanes import Lane
from state.damage import UNREADABLE
from state.redis.client import reported
from state.shards.shard_protocols import ShardCommit, Shards

INTERNAL = (Lane.ABSORBS, "internal")  # lane, consumer


class Resent(msgspec.Struct, frozen=True):
    """What a shard hands over to others goes out again, behind `sent`."""

    first: int
    sent: int  # what the others have had

    @property
    def gone(self) -> bool:
        """Return whether messages between the two are lost."""
        return self.first > self.sent + 1


class RepairedShard(msgspec.Struct, frozen=True):
    """What became of a shard."""

    number: int
    read: int  # entry of its log that it had come to
    end: int  # of its log
    back_to: int | None  # entry that it has gone back to
    resent: Resent | None


class RepairedCustomer(msgspec.Struct, frozen=True):
    """What became of a customer."""

    shard: int
    removed: bool  # False: the profile is there and can be read


def shard(deployment: Deployment, number: int) -> RepairedShard:
    """Repair it, and return what was done. Its worker ends, and is started again. Raises `ConfigError`,
    `Unreachable`."""
    count = deployment.config.shards.count
    if number >= count:
        raise ConfigError(f"there is no shard {number}: shards.count is {count}")
    with reported():
        directory, shards, outbox = deployment.directory, deployment.shards, deployment.outbox
        end, head = directory.heads()[number], shards.heads()[number]
        cursor, sent = outbox.cursors(*INTERNAL)[number], directory.sent(f"shard:{number}")
        torn = head.offset > end or number in parted(directory, {number: head})
        back_to: int | None = None
        resent: Resent | None = None
        if torn:
            first = next((entry.seq for entry in directory.read({number: 0}, 1, 0)), end + 1)
            back_to = first - 1
            shards.rewind(number, back_to)
        if cursor > sent:
            behind = head.outbox.get(Lane.ABSORBS, 0) + 1
            first = next((entry.seq for entry in outbox.read(Lane.ABSORBS, {number: sent}, 1, 0)), behind)
            outbox.set_back(*INTERNAL, number, sent)
            resent = Resent(first, sent)
    return RepairedShard(number, read=head.offset, end=end, back_to=back_to, resent=resent)


def customer(deployment: Deployment, ident: str) -> RepairedCustomer:
    """Give up what is kept of a customer, and return whether it had to be. The worker of the customer's shard
    ends, and is started again. Raises `ConfigError`, `Unreachable`."""
    try:
        root = bytes.fromhex(ident)
    except ValueError:
        root = b""
    if len(root) != ID_BYTES:
        raise ConfigError(
            f"{ident!r} is no customer: expected {2 * ID_BYTES} hex digits, as the line says that names him"
        )
    with reported():
        store, number = deployment.shards, shard_of(root, deployment.config.shards.count)
        if not _is_damaged(store, number, root):
            return RepairedCustomer(number, removed=False)
        head, counters = store.claim([number])[number], store.counters()[number]
        counters["profiles"] = counters.get("profiles", 1) - 1
        gone: dict[bytes, bytes | None] = {root: None}
        commit = ShardCommit(
            shard=number,
            before=head,
            head=head,
            counters=counters,
            profiles=gone,
            sensitive=gone,
            timers={root: 0},
            outbox=[],
            past=gone,
        )
        store.commit([commit], int(time.time() * 1000))
    return RepairedCustomer(number, removed=True)


def _is_damaged(store: Shards, number: int, root: bytes) -> bool:
    try:
        packed, sealed = store.load_many({number: [root]}, {number: [root]})
        if packed[0] is None:
            return bool(store.traces({number: [root]}))
        decode_profile(packed[0])
        if sealed[0] is not None:
            decode_sensitive(sealed[0])
    except (Damaged, *UNREADABLE):
        return True
    return False
