"""Twin of what there is to read of identities: the ledger of unions, the queue for stewards, who has which
identifiers.

Written to be obvious rather than fast.
"""

from collections.abc import Sequence

from schemas.records.identity_graph import Identifier, Pair, Union
from state.directory.graph import Graph


class MemoryLedger:
    """Twin of `state.directory.ledger.RedisLedger`."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def suspended(self) -> dict[bytes, int]:
        return dict(self.graph.suspended)

    def union(self, seq: int) -> Union | None:
        return self.graph.ledger.get(seq)

    def unions(self, after: int, count: int) -> list[Union]:
        return [union for seq, union in self.graph.ledger.items() if seq > after][:count]

    def newest(self, before: int, count: int) -> list[Union]:
        return [union for seq, union in reversed(self.graph.ledger.items()) if seq < before][:count]

    def holdings(self, roots: Sequence[bytes]) -> list[tuple[list[bytes], list[Identifier]]]:
        return [self.members(root) for root in roots]

    def homes(self, identifiers: Sequence[bytes]) -> list[bytes | None]:
        return [self.graph.origins.get(identifier) for identifier in identifiers]

    def alone(self, identifiers: Sequence[bytes]) -> list[bool]:
        return [identifier in self.graph.alone for identifier in identifiers]

    def cannot_link(self, origins: Sequence[bytes]) -> list[list[bytes]]:
        return [list(self.graph.cannot_link.get(origin, ())) for origin in origins]

    def about(self, origins: Sequence[bytes], count: int) -> tuple[list[Union], bool]:
        found, complete = dict[int, Union](), True
        for origin in origins:
            naming = [
                union
                for union in reversed(self.graph.ledger.values())
                if origin in (union.retired, union.survivor, union.one, union.other)
            ]
            found |= {union.seq: union for union in naming[:count]}
            complete &= len(naming) <= count
        return sorted(found.values(), key=lambda union: -union.seq), complete

    def edges(self, root: bytes) -> list[tuple[int, bytes, bytes]]:
        return list(self.graph.unions.get(root, ()))

    def members(self, root: bytes) -> tuple[list[bytes], list[Identifier]]:
        record = self.graph.records.get(root)
        if record is None:
            return [], []
        return list(record.members), [Identifier(*held) for held in record.identifiers]

    def reviews(self) -> list[Pair]:
        return sorted(self.graph.reviews.values(), key=lambda pair: (pair.time_ms, pair.a, pair.b))

    def lookup(self, identifiers: Sequence[bytes]) -> list[bytes | None]:
        origins = self.homes(identifiers)
        return [None if origin is None else self.graph.root(origin) for origin in origins]

    def root(self, origin: bytes) -> bytes:
        return self.graph.root(origin)
