"""What one window makes customers hand over to one another, as the twin of the directory's script collects
it."""

from collections import Counter

import msgspec

from schemas.records.shard_log import Erase, Lend, Retire, Split


class HandOvers(msgspec.Struct):
    """What one window makes customers hand over."""

    retired: list[Retire] = []
    lent: list[Lend] = []
    # what follows from orders, in their order; all the rest comes of the groups before them
    then: list[Retire | Lend | Split | Erase] = []
    labels: list[bytes] = []  # what stewards decided: two origins, and whether they are one
    ordering: bool = False

    def add(self, change: Retire | Lend | Split | Erase) -> None:
        if self.ordering or isinstance(change, Split | Erase):
            self.then.append(change)
        elif isinstance(change, Retire):
            self.retired.append(change)
        else:
            self.lent.append(change)

    def number(self) -> None:
        """Tell each lender which expectations of its window are younger than its debt."""
        moved = Counter[tuple[bytes, bytes]]()
        for lend in reversed(self.lent):
            lend.later = moved[lend.root, lend.identifier]
            moved[lend.to, lend.identifier] += 1
