"""How many of the records whose customer is already there find it by their blocking keys, and what that
costs.

    python -m bench.candidates FILE.csv TRUTH [ID ...]

The file is read as `millrace eval identity` reads it, in one random order. Customers are united by the truth,
so nothing but the keys and the bounds of the index can miss them.
"""

import sys
import time
from pathlib import Path
from random import Random

from flows.lab.evaluate.matching_trial import read
from flows.logic.matching import Record, blocking_keys, guess_fields
from flows.logic.matching.lists import KeyList, near
from flows.logic.matching.stage import KEY_BYTES, NEAR_MAX
from schemas.records.identity_graph import ID_BYTES


def measure(records: list[tuple[str, Record]]) -> dict[str, float]:
    """`found`: the share of records whose customer is among the candidates, of those whose customer is
    there."""
    lists: dict[bytes, KeyList] = {}
    ids: dict[str, bytes] = {}
    found = there = candidates = keys_each = 0
    began_s = time.process_time()
    for customer, record in records:
        keys = [key.encode().ljust(KEY_BYTES) for key in blocking_keys(record)]
        for key in keys:
            if key not in lists:
                lists[key] = KeyList(None)
        some = near(keys, lists, NEAR_MAX)
        known = customer in ids
        origin = ids.setdefault(customer, len(ids).to_bytes(ID_BYTES))
        there += known
        found += known and origin in some
        candidates += len(some)
        keys_each += len(keys)
        for key in keys:
            if origin not in lists[key].origins:
                lists[key].add(origin)
    many = max(1, len(records))
    return {
        "found": found / max(1, there),
        "candidates_each": candidates / many,
        "keys_each": keys_each / many,
        "keys": len(lists) / many,
        "microseconds_each": (time.process_time() - began_s) / many * 1e6,
    }


def main() -> None:
    file, truth, *ids = sys.argv[1:]
    headings, rows = read(Path(file))
    fields = guess_fields(headings, rows, (truth, *ids))
    Random(1).shuffle(rows)
    records = [
        (row[truth], Record.of({field: row[column] for column, field in fields.items() if row[column]}))
        for row in rows
    ]
    print(" ".join(f"{name} {value:.4f}" for name, value in measure(records).items()))


if __name__ == "__main__":
    main()
