"""`millrace source`: the sources that are suspended, and the word to go on."""

from typing import Final

from rich.table import Table
from rich.text import Text

from flows.cli.printing import console, moment_text, printable
from flows.runtime.deployment import Deployment
from flows.services import suspensions
from flows.services.suspensions import Held, Meanwhile
from schemas.config import Config

_MEANWHILE: Final[dict[Meanwhile, str]] = {
    "refused": "the gateway answers 429",
    "waiting": "wait in the topic",
    "read": "go on to the dead letters where they are bad: the gateway writes there too",
}


def listing(config: Config) -> int:
    """Print those that are suspended now."""
    found = suspensions.held(Deployment(config))
    if not found:
        print("no source is suspended")
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("source", "since", "rejected", "lately for", "its events"):
        table.add_column(column, overflow="fold")
    for one in found:
        table.add_row(*(Text(printable(cell)) for cell in _row(one)))
    console().print(table)
    print(
        "mend the source (poison: another build), then `millrace source resume NAME`; "
        "`millrace dead list` shows what was rejected"
    )
    return 0


def _row(one: Held) -> tuple[str, str, str, str, str]:
    found = one.suspension
    reasons = ", ".join(f"{reason} {n}" for reason, n in found.reasons.items())
    rejected = f"{found.rejects} of {found.events}"
    return one.source, moment_text(found.since_ms), rejected, reasons, _MEANWHILE[one.meanwhile]


def resume(config: Config, source: str) -> int:
    """Go on with it. 1 if it is not suspended. Raises `LogFull`, `Unreachable`."""
    deployment = Deployment(config)
    if suspensions.resume(deployment, source):
        print(f"{printable(source)} goes on within about a second")
        return 0
    names = ", ".join(one.source for one in suspensions.held(deployment))
    print(f"{printable(source)} is not suspended; suspended: {printable(names) or 'none'}")
    return 1
