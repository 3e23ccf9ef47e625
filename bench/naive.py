"""The flow that most people would write first: Bytewax `stateful_map` for each item, and one redis-py HSET
for each event.

    python bench/naive.py REDIS_URL EVENTS      # prints {"events": n, "seconds": s}

It has a far smaller job than millrace: no identity, no validation, no exactly-once; a count, a sum and one
rule.
"""

import json
import sys
import time

import redis
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main
from bytewax.testing import TestingSource

from bench.load import CUSTOMERS, events

_Figures = tuple[int, float]


def count(held: _Figures | None, event: dict[str, object]) -> tuple[_Figures, tuple[int, float]]:
    """One customer's count and sum."""
    n, total = held or (0, 0.0)
    properties = event.get("properties")
    amount = properties.get("total", 0.0) if isinstance(properties, dict) else 0.0
    figures = (n + 1, total + amount)
    return figures, figures


def main(url: str, wanted: int) -> None:
    client = redis.Redis.from_url(url)
    raw = [event.value for (_key, event), _n in zip(events(CUSTOMERS), range(wanted), strict=False)]
    fired = []

    def store(item: tuple[str, _Figures]) -> _Figures:
        key, (n, total) = item
        client.hset(f"naive:{key}", mapping={"events": n, "spent": total})
        if total > 200:
            fired.append(key)
        return n, total

    flow = Dataflow("naive")
    parsed = op.map("parse", op.input("in", flow, TestingSource(raw, batch_size=500)), json.loads)
    keyed = op.key_on("key", parsed, lambda event: str(event.get("userId") or event["anonymousId"]))
    counted = op.stateful_map("count", keyed, count)
    stored = op.map("store", counted, store)
    op.inspect("out", op.filter("none", stored, lambda _: False), lambda _step, _item: None)
    began = time.monotonic()
    cli_main(flow)
    print(json.dumps({"events": wanted, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
