"""`millrace simulate`: the whole engine in one process, on twins, while everything goes wrong that can
(`docs/simulation.md`)."""

from collections import Counter
from time import perf_counter
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from flows.lab.simulate.oracle import Counts
from flows.lab.simulate.scheduler import Outcome, simulate

SHOWN = 20  # failing seeds

_MEANING = {
    "before": "workers that died before a write",
    "after": "writes whose answer was lost",
    "meanwhile": "calls between which others went on",
    "planned": "plans that others overtook",
    "replaced": "workers replaced while they lived",
    "back": "servers that came back without their last commits",
    "refused": "deliveries refused",
    "again": "changes of the rules",
    "erasures": "customers erased",
    "died: crash": "workers that died of a fault",
    "died: fenced": "stale workers refused",
    "log full": "waits for room in a log",
    "outbox full": "waits for room in an outbox",
}


def run(seeds: int, first: int, as_json: bool, *, privacy: bool = False) -> int:
    """Simulate `seeds` seeds from `first` on and print what came of it. Exit code 1 if one failed.

    `privacy`: customers say what they allow, and take it back, all the time.
    """
    begun = perf_counter()
    faults, failed, messages, triggers = Counter[str](), list[Outcome](), 0, 0
    counts = dict.fromkeys(Counts.__struct_fields__, 0)
    for seed in range(first, first + seeds):
        outcome = simulate(seed, privacy=privacy)
        for name, n in msgspec.structs.asdict(outcome.counts).items():
            counts[name] += n
        faults.update(outcome.faults)
        messages, triggers = messages + outcome.messages, triggers + outcome.triggers
        if outcome.problems:
            failed.append(outcome)
    told: dict[str, Any] = {
        "seeds": seeds,
        "first": first,
        "seconds": round(perf_counter() - begun, 1),
        "messages": messages,
        "triggers": triggers,
        **counts,
        "faults": dict(sorted(faults.items())),
        "failed": {outcome.seed: outcome.problems for outcome in failed},
    }
    console = Console(soft_wrap=True, highlight=False)
    if as_json:
        console.print(msgspec.json.encode(told).decode(), markup=False)
    else:
        console.print(_table(told))
        for outcome in failed[:SHOWN]:
            console.print(f"seed {outcome.seed}: {'; '.join(outcome.problems)}", markup=False)
            mode = " --privacy" if privacy else ""
            console.print(
                f"    again: millrace simulate --first {outcome.seed} --seeds 1{mode}", markup=False
            )
        console.print(f"{len(failed)} of {seeds} seeds failed", markup=False)
    return 1 if failed else 0


def _table(told: dict[str, Any]) -> Table:
    table = Table("", "", show_header=False)
    for name in ("seeds", "seconds", "messages", "triggers", *Counts.__struct_fields__):
        table.add_row(name.replace("_", " "), f"{told[name]:,}")
    for fault, count in told["faults"].items():
        table.add_row(_MEANING.get(fault, fault), f"{count:,}")
    return table
