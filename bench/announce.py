"""How long a version of a model takes from `learn` into the head of every shard: checkpoint, announcement,
log, commit.

    python -m bench.announce [rounds] [events/s] [customers] [events each]

Redis and the workers of `resolve` and `profile` are processes, as in `millrace run`; the trainer is that of
`learn`, and begins a round with 500 examples learnt. Measured three times: with nothing else to do; while so
many events come each second; and while a full raw log is worked off as fast as it goes, where a version waits
its turn behind the events that were before it in the log of its shard.
"""

import asyncio
import logging
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from threading import Thread

import structlog

from bench.run import alive, applied, flowing, publish, running
from bench.steps import fill
from flows.learn import Batch, Learning
from flows.logic.models.binary_trainer import SNAPSHOT_EVERY, BinaryTrainer
from flows.logic.models.churn import FEATURES, NAME
from flows.runtime.deployment import Deployment
from flows.runtime.snapshots import sender
from schemas.config import Config
from schemas.wire.triggers import Example

GIVE_UP_S = 60.0
LOOK_EVERY_S = 0.002
PAUSE_S = 0.3


def examples() -> Iterator[Example | None]:
    luck = random.Random(1)
    while True:
        x = [luck.gauss(0.0, 1.0) for _ in FEATURES]
        yield Example(
            model=NAME,
            customer=b"c",
            asked_ms=0,
            answered_ms=0,
            features=x,
            predicted=None,
            version=0,
            label=float(luck.random() < 0.3),
        )


def spread(config: Config, rounds: int, alive: Callable[[], None]) -> Iterator[float]:
    """Seconds of each round."""
    outbox, who, shown = Deployment(config).outbox, sender(NAME), examples()
    learning = Learning(
        BinaryTrainer(NAME, FEATURES, config.churn.learning_rate),
        outbox,
        Deployment(config).directory,
        Deployment(config).models,
        Deployment(config).signer,
        config.shards.count,
        [who],
    )
    for _ in range(rounds):
        checkpoint = learning.learn(Batch(list(islice(shown, SNAPSHOT_EVERY)), {}, 0))
        version = checkpoint.announced[-1].version
        began = time.monotonic()
        learning.commit(checkpoint)
        while outbox.in_force(who) < version:
            alive()
            if time.monotonic() - began > GIVE_UP_S:
                raise SystemExit(f"version {version} was not in every shard after {GIVE_UP_S} s")
            time.sleep(LOOK_EVERY_S)
        yield time.monotonic() - began
        time.sleep(PAUSE_S)


def main(rounds: int, rate: int, customers: int, each: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with running() as (config, folder):
        with flowing(folder, "resolve", "profile") as processes:
            list(spread(config, 1, lambda: alive(processes)))  # now they have started
            show("idle", list(spread(config, rounds, lambda: alive(processes))))
            load = Thread(target=lambda: asyncio.run(publish(config, rate)))
            load.start()
            time.sleep(PAUSE_S)
            show(
                f"{rate:,}/s",
                [seconds for seconds in spread(config, rounds, lambda: alive(processes)) if load.is_alive()],
            )
            load.join()
        before = applied(config)
        total = fill(config, customers, each)
        with flowing(folder, "resolve", "profile") as processes:
            while applied(config) - before < total * 0.05:
                alive(processes)
                time.sleep(0.01)
            show(
                "full log",
                [
                    seconds
                    for seconds in spread(config, rounds, lambda: alive(processes))
                    if applied(config) - before < total
                ],
            )


def show(load: str, seconds: list[float]) -> None:
    if seconds:
        print(
            f"{load:10} {len(seconds)} rounds: median {1e3 * statistics.median(seconds):.0f} ms,"
            f" most {1e3 * max(seconds):.0f} ms",
            flush=True,
        )


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*given, *(10, 2_000, 5_000, 15)[len(given) :])
