"""`millrace bench`: what the engine does on this machine. Redis, resolve and profile as processes, as in
`millrace run`.

throughput   a full raw log, JSON in -> trigger in the outbox; from 5 % to 100 % of the events, without the
             start-up
latency      half of that load, in real time: an event's arrival -> the commit of its trigger, without the
             first seconds (all caches are empty); and the same in a burst, where all customers identify
             themselves within some two seconds
memory       of Redis when all is applied, for each customer (3 identifiers, 30 events)
idle         CPU of the whole embedded stack with nothing to do
naive        bench/naive.py on the same machine in the same run
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil

from bench.load import CUSTOMERS, EVENTS_EACH, events
from bench.steps import configuration, fill, measure, redis_cpu_s
from flows.lab.demo.stack import to_toml
from flows.logic.facets import decisions
from flows.runtime.deployment import Deployment
from flows.services.processes import Flow, workers_of_this_machine
from schemas.config import Config
from schemas.config.toml import DEFAULT
from schemas.records.outbox_lanes import LANES, Lane
from schemas.wire.events import RawEvent
from schemas.wire.triggers import Trigger
from state.redis.embedded import embedded

NAIVE_EVENTS = 50_000
WARM_S = 5.0
LATENCY_S = 15.0
IDLE_S = 10.0
_STEPS = (4_000, 15)  # customers and events each of the step-by-step measurement


def run(customers: int = CUSTOMERS, each: int = EVENTS_EACH) -> dict[str, Any]:
    """All figures."""
    with running() as (config, _folder):
        steps = measure(config, fill(config, *_STEPS))
    with running() as (config, folder):
        report = _throughput(config, folder, customers, each)
        report["latency_ms"] = _latency(config, folder, report["events_per_s"] / 2)
        report["burst_latency_ms"] = _latency(config, folder, report["events_per_s"] / 2, burst=True)
        naive = _naive(Deployment(config).redis_url)
    with running(server=False) as (_config, folder):
        idle = _idle(folder)
    report["us_per_event"] |= {f"step:{step}": round(us, 2) for step, us in steps.items()}
    ratio = report["events_per_s"] / naive
    return (
        {"compiled": not decisions.__file__.endswith(".py")}
        | report
        | {
            "idle_cpu_percent": idle,
            "naive": {"events_per_s": round(naive)},
            "ratio_to_naive": round(ratio, 2),
        }
    )


@contextmanager
def running(*, server: bool = True) -> Iterator[tuple[Config, Path]]:
    with tempfile.TemporaryDirectory(prefix="mr-") as name:
        folder = Path(name)
        config = configuration(folder)
        _write(config, folder / "bench.toml")
        if server:
            with embedded(config).running():
                Deployment(config).prepare()
                yield config, folder
        else:
            yield config, folder


def _write(config: Config, path: Path) -> None:
    """The same configuration as a file, for the processes."""
    document = tomllib.loads(DEFAULT.read_text())
    document["data"] = {"folder": str(path.parent)}
    document["raw"] = document.get("raw", {}) | {"max_events": config.raw.max_events}
    document["connector"] = []
    document["identity"] = document.get("identity", {}) | {"capacity": config.identity.capacity}
    for rule in [*document["trigger"], *document["action"]]:
        rule["to"] = []
    document["gateway"] = document.get("gateway", {}) | {"listen": "127.0.0.1:18642"}
    path.write_text(to_toml(document))


@contextmanager
def flowing(folder: Path, *names: Flow) -> Iterator[list[tuple[Flow, psutil.Process]]]:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics")}
    (folder / "metrics").mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "flows.cli", "run"]
    workers = [
        (name, worker, count)
        for name in names
        for count in [workers_of_this_machine(name)]
        for worker in range(count)
    ]
    processes = [
        subprocess.Popen(
            [*argv, name, "--worker", f"{worker}/{count}", "-c", str(folder / "bench.toml")],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
        )
        for name, worker, count in workers
    ]
    try:
        yield [
            (name, psutil.Process(process.pid))
            for (name, *_), process in zip(workers, processes, strict=True)
        ]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)


def applied(config: Config) -> int:
    return sum(
        counters.get("applied", 0) + counters.get("duplicates", 0)
        for counters in Deployment(config).shards.counters().values()
    )


def _throughput(config: Config, folder: Path, customers: int, each: int) -> dict[str, Any]:
    client = Deployment(config).client
    empty = client.info("memory")["used_memory"]
    total = fill(config, customers, each)
    with flowing(folder, "resolve", "profile") as processes:
        while (first := applied(config)) < total * 0.05:
            alive(processes)
            time.sleep(0.01)
        began, before = time.monotonic(), _spent_s(config, processes)
        while applied(config) < total:
            alive(processes)
            time.sleep(0.05)
        seconds = time.monotonic() - began
        spent = {name: after - before[name] for name, after in _spent_s(config, processes).items()}
    done = total - first
    full = client.info("memory")["used_memory"]
    _empty_outbox(config)
    used = client.info("memory")["used_memory"]
    us = {name: round(1e6 * s / done, 2) for name, s in spent.items()}
    return {
        "events": total,
        "events_per_s": round(done / seconds),
        "us_per_event": us | {"all": round(sum(us.values()), 2)},
        "bytes_per_customer": round((used - empty) / customers),
        "outbox_bytes": full - used,
    }


def _empty_outbox(config: Config) -> None:
    """What triggers and examples take that nobody has read in this benchmark is not the customers'. (MEMORY
    USAGE of a stream is a guess, and may be a tenth too much.)"""
    client, names = Deployment(config).client, Deployment(config).names
    for shard in range(config.shards.count):
        for lane in LANES:
            client.xtrim(names.outbox(shard, lane), maxlen=0, approximate=False)


def _spent_s(config: Config, processes: list[tuple[Flow, psutil.Process]]) -> dict[str, float]:
    """CPU so far, by flow, and of Redis."""
    spent = {"redis": redis_cpu_s(config)}
    for name, process in processes:
        spent[name] = spent.get(name, 0.0) + _cpu_s(process)
    return spent


def alive(processes: list[tuple[Flow, psutil.Process]]) -> None:
    for _, process in processes:
        if process.status() == psutil.STATUS_ZOMBIE:
            raise SystemExit("a flow ended; its last line above says why")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _latency(config: Config, folder: Path, rate: float, *, burst: bool = False) -> dict[str, float]:
    """Publish in real time, then read the receipts of the triggers that these events caused."""
    outbox = Deployment(config).outbox
    before = {
        entry.shard: entry.seq
        for entry in outbox.read(Lane.TRIGGERS, dict.fromkeys(range(config.shards.count), 0), 10_000_000, 0)
    }
    with flowing(folder, "resolve", "profile"):
        time.sleep(3)
        warm_ms = 1000 * (time.time() + WARM_S)
        asyncio.run(publish(config, rate, burst=burst))
        time.sleep(2)
    found = outbox.read(
        "t", {shard: before.get(shard, 0) for shard in range(config.shards.count)}, 10_000_000, 0
    )
    decode = msgspec.msgpack.Decoder(Trigger).decode
    delays = sorted(
        entry.stamp_ms - trigger.receipt.received_ms
        for entry in found
        if not (trigger := decode(entry.body)).cause.startswith("timer:")
        and trigger.receipt.received_ms >= warm_ms
    )
    return {
        "p50": delays[len(delays) // 2],
        "p99": delays[len(delays) * 99 // 100],
        "triggers": len(delays),
        "events_per_s": round(rate),
    }


async def publish(config: Config, rate: float, *, burst: bool = False) -> None:
    writer, first = Deployment(config).raw_writer(), b'"b-' if burst else b'"n-'
    source = events(CUSTOMERS, EVENTS_EACH, spread=not burst)
    began, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < WARM_S + LATENCY_S:
        now = int(time.time() * 1000)
        batch = []
        while sent < rate * elapsed:
            key, event = next(source)
            batch.append((key, RawEvent(event.value.replace(b'"m-', first, 1), now, event.source)))
            sent += 1
        await writer.append(batch)
        await asyncio.sleep(0.005)
    await writer.close()


def _idle(folder: Path) -> float:
    """Percent of one core."""
    argv = [sys.executable, "-m", "flows.cli", "run", "all", "-c", str(folder / "bench.toml")]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(8)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        before = sum(map(_cpu_s, family))
        time.sleep(IDLE_S)
        return round(100 * (sum(map(_cpu_s, family)) - before) / IDLE_S, 1)
    finally:
        process.terminate()
        process.wait(20)


def _naive(url: str) -> float:
    argv = [sys.executable, str(Path(__file__).parent / "naive.py"), url, str(NAIVE_EVENTS)]
    done = subprocess.run(
        argv,
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    figures: Mapping[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures["events"] / figures["seconds"]


def main(as_json: bool) -> int:
    report = run()
    if as_json:
        print(json.dumps(report))
    else:
        print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main("--json" in sys.argv))
