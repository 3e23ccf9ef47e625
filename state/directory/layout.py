"""What is fixed when a deployment is created."""

from collections.abc import Sequence

import msgspec

from state.directory.policy import Policy

FORMAT = 4  # of everything in Redis; a newer one is refused, an older one read
IDS_PER_BUCKET = 64  # small enough for a listpack: 37 B an identifier instead of 120-185


class Layout(msgspec.Struct, frozen=True):
    """Fixed at creation, but for `limits` and `policy`."""

    name: str
    shards: int
    buckets: int
    # identifiers for each customer, by strength; 0 is the user id's. (These may change.)
    limits: tuple[int, ...]
    # fingerprint of the key file: with another one nobody would be found, and nothing could be opened
    keys: str = ""
    policy: Policy = Policy()  # (as above)

    @classmethod
    def of(
        cls,
        name: str,
        shards: int,
        capacity: int,
        limits: Sequence[int],
        keys: str = "",
        policy: Policy = Policy(),  # noqa: B008  # frozen
    ) -> "Layout":
        """Return the layout that is planned for `capacity` identifiers."""
        buckets = max(16, capacity // IDS_PER_BUCKET)
        return cls(name, shards, buckets, limits=tuple(limits), keys=keys, policy=policy)

    @property
    def shard_buckets(self) -> int:
        """Return the number of buckets of each shard: with three identifiers each, of some twenty
        customers."""
        return max(1, self.buckets // self.shards)
