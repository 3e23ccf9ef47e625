"""`millrace repair customer ID`: what is left of a customer whose profile is gone, or cannot be read, is
removed, and he begins anew.

`millrace repair shard N`: a shard that its log does not go with any more goes back, so that nothing of what
comes is skipped.

That happens when the directory comes back older than the shard: its server lost a tail that the shard's had.
The log may have grown since, so its end says nothing; but all that it holds is either new to the shard or was
there when the tail was lost, which is what the shard had not committed at that moment. So the shard begins
with the log's first entry.

What the directory takes in again, and the few entries that the shard had read of the old log already, were
counted once before; the message ids that a customer remembers (`shards.dedupe`) drop them. Beyond these they
count twice, and so they may where two customers were united since. A restored backup is exact.
"""

import time

from flows.logic.shard.state import decode_profile, decode_sensitive
from flows.profile import parted
from flows.runtime import deployment
from schemas.config import Config
from schemas.errors import ConfigError, Damaged
from schemas.records.identity_graph import ID_BYTES, shard_of
from schemas.records.outbox_lanes import Lane
from state.damage import UNREADABLE
from state.redis.client import reported
from state.shards.shard_protocols import ShardCommit, Shards

INTERNAL = (Lane.ABSORBS, "internal")  # lane, consumer


def shard(config: Config, number: int) -> int:
    """Repair it, and say what was done. Its worker ends, and is started again. Raises `ConfigError`,
    `Unreachable`."""
    if number >= config.shards.count:
        raise ConfigError(f"there is no shard {number}: shards.count is {config.shards.count}")
    with reported():
        directory, shards, outbox = (
            deployment.directory(config),
            deployment.shards(config),
            deployment.outbox(config),
        )
        end, head = directory.heads()[number], shards.heads()[number]
        cursor, sent = outbox.cursors(*INTERNAL)[number], directory.sent(f"shard:{number}")
        torn = head.offset > end or number in parted(directory, {number: head})
        if not torn and cursor <= sent:
            print(f"shard {number} has read its log up to entry {head.offset} of {end}: nothing to repair")
            return 0
        if torn:
            first = next((entry.seq for entry in directory.read({number: 0}, 1, 0)), end + 1)
            shards.rewind(number, first - 1)
            print(f"shard {number}: back from entry {head.offset} to {first - 1}; its log ends at {end}")
        if cursor > sent:
            first = next(
                (entry.seq for entry in outbox.read(Lane.ABSORBS, {number: sent}, 1, 0)),
                head.outbox.get(Lane.ABSORBS, 0) + 1,
            )
            outbox.set_back(*INTERNAL, number, sent)
            print(
                f"shard {number}: what it hands over to other shards goes out again from message {first}; restart `deliver`"
            )
            if first > sent + 1:
                print(
                    f"messages {sent + 1} to {first - 1} are gone: customers that wait for them wait on; restore a backup if that matters"
                )
    return 0


def customer(config: Config, ident: str) -> int:
    """Give up what is kept of a customer. The worker of his shard ends, and is started again. Raises
    `ConfigError`, `Unreachable`."""
    try:
        root = bytes.fromhex(ident)
    except ValueError:
        root = b""
    if len(root) != ID_BYTES:
        raise ConfigError(
            f"{ident!r} is no customer: expected {2 * ID_BYTES} hex digits, as the line says that names him"
        )
    with reported():
        store, number = deployment.shards(config), shard_of(root, config.shards.count)
        if not _is_damaged(store, number, root):
            print(
                f"customer {ident} (shard {number}): his profile is there and can be read: nothing to repair"
            )
            return 0
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
    print(
        f"customer {ident} (shard {number}): removed; his identifiers stay his, and his history begins with his next event"
    )
    return 0


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
