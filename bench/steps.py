"""CPU of each step of the whole path, in one process against a real Redis: where the time goes, and what a
profiler can look at.

    python -m bench.steps [events] [rounds]
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from bench.load import CUSTOMERS, events
from connectors.raw.log import START
from flows.profile import Worker
from flows.resolve import Resolver
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop, tune_collector
from flows.runtime.windows import Windows
from schemas.config import Config
from schemas.config.toml import load
from state.redis.embedded import embedded


def configuration(folder: Path) -> Config:
    """Write the packaged file to a folder of its own, with room for all events at once."""
    config = load(None)
    replace = msgspec.structs.replace
    return replace(
        config,
        data=replace(config.data, folder=str(folder)),
        keys=replace(config.keys, path=str(folder / "keys.json")),
        raw=replace(config.raw, max_events=10_000_000),
        identity=replace(config.identity, capacity=3 * CUSTOMERS),  # as an operator plans it
        connector=(),
        trigger=tuple(replace(rule, to=()) for rule in config.trigger),
        action=tuple(replace(action, to=()) for action in config.action),
    )


def fill(config: Config, customers: int, each: int) -> int:
    """Put the load into the raw log, as the gateway would."""

    async def work() -> int:
        writer, sent = Deployment(config).raw_writer(), 0
        batch: list[Any] = []
        for pair in events(customers, each):
            batch.append(pair)
            if len(batch) == 2000:
                await writer.append(batch)
                sent += len(batch)
                batch = []
        await writer.append(batch)
        await writer.close()
        return sent + len(batch)

    return asyncio.run(work())


def redis_cpu_s(config: Config) -> float:
    info = Deployment(config).client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


def measure(config: Config, total: int) -> dict[str, float]:
    """Return the µs of CPU for each event, by step."""
    spent: dict[str, float] = {}

    def timed(step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return call(*given, **named)
            finally:
                spent[step] = spent.get(step, 0.0) + time.process_time() - began

        return run

    reader, directory = Deployment(config).raw_reader(), Deployment(config).directory
    positions = dict.fromkeys(reader.partitions(), START)
    reader.assign(positions)
    windows = Windows(reader, config.window, positions)
    resolver = Resolver(
        config,
        Deployment(config).validator(),
        directory,
        Deployment(config).data_keys,
        Deployment(config).log_seal,
        Stop(),
    )
    worker = Worker(
        range(config.shards.count),
        directory,
        Deployment(config).shards,
        Deployment(config).machine(),
        cache=config.shards.cache,
        outbox_max=10_000_000,
        clock_ms=lambda: int(time.time() * 1000),
    )
    # steps inside a step
    drafting = resolver._drafting
    drafting.groups = timed("resolve.pack", drafting.groups)  # type: ignore[method-assign]
    resolver._patiently = timed("resolve.commit", resolver._patiently)  # type: ignore[method-assign]
    poll, judge, commit = (
        timed("resolve.read", windows.poll),
        timed("resolve.check", resolver.judge),
        resolver.commit,
    )
    read, apply, store = (
        timed("profile.read", worker.read),
        timed("profile.apply", worker.apply),
        timed("profile.commit", worker.commit),
    )
    tune_collector()
    redis_before, done = redis_cpu_s(config), 0
    while done < total:
        for window in poll():
            commit(judge(window))
            done += len(window.events)
        while entries := read():
            store(apply(entries))
            if sum(len(entry.body) for entry in entries) < 100_000:
                break
    reader.close()
    steps = {step: 1e6 * seconds / total for step, seconds in sorted(spent.items())}
    return steps | {"redis": 1e6 * (redis_cpu_s(config) - redis_before) / total}


def main(customers: int, each: int) -> None:
    with tempfile.TemporaryDirectory(prefix="mr-") as name:
        config = configuration(Path(name))
        with embedded(config).running():
            Deployment(config).prepare()
            total = fill(config, customers, each)
            steps = measure(config, total)
    for step, us in steps.items():
        print(f"{step:16} {us:7.2f} us/event")
    print(f"{'all':16} {sum(steps.values()):7.2f} us/event")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000, int(sys.argv[2]) if len(sys.argv) > 2 else 15)
