"""`millrace source`: which sources are suspended, and the word to go on (see
`flows.runtime.limits`)."""

import time
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.runtime.deployment import Deployment
from flows.services.dead_letters import PIPED_WIDTH, printable
from schemas.config import Config
from state.redis.client import reported
from state.suspended import Suspension


def listing(config: Config) -> int:
    """Print those that are suspended now."""
    with reported():
        held = {source: found for source, found in Deployment(config).sources.all().items() if found.holds}
    if not held:
        print("no source is suspended")
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("source", "since", "rejected", "lately for", "its events"):
        table.add_column(column, overflow="fold")
    for source, found in sorted(held.items()):
        table.add_row(*(Text(printable(cell)) for cell in _row(config, source, found)))
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)
    print(
        "mend the source (poison: another build), then `millrace source resume NAME`; `millrace dead list` shows what was rejected"
    )
    return 0


def _row(config: Config, source: str, found: Suspension) -> tuple[str, str, str, str, str]:
    since = f"{datetime.fromtimestamp(found.since_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
    reasons = ", ".join(f"{reason} {n}" for reason, n in found.reasons.items())
    return source, since, f"{found.rejects} of {found.events}", reasons, _meanwhile(config, source)


def _meanwhile(config: Config, source: str) -> str:
    """What becomes of its events until somebody says to go on."""
    if config.raw.log == "kafka" and source in config.kafka.topics:
        shared = source == config.kafka.topics[0]
        return (
            "go on to the dead letters where they are bad: the gateway writes there too"
            if shared
            else "wait in the topic"
        )
    return "the gateway answers 429"


def resume(config: Config, source: str) -> int:
    """Go on with it. 1 if it is not suspended. Raises `LogFull`, `Unreachable`."""
    with reported():
        sources = Deployment(config).sources
        if sources.resume(source, time.time_ns() // 1_000_000):
            print(f"{printable(source)} goes on within about a second")
            return 0
        held = sorted(name for name, found in sources.all().items() if found.holds)
    print(f"{printable(source)} is not suspended; suspended: {printable(', '.join(held)) or 'none'}")
    return 1
