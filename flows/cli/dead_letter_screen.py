"""`millrace dead`: what failed for good (`flows.services.dead_letter_desk`)."""

from datetime import datetime

from rich.table import Table
from rich.text import Text

from flows.cli.printing import console, moment_text, printable
from flows.runtime.deployment import Deployment
from flows.services import dead_letter_desk
from flows.services.dead_letter_desk import Dead, when_ms
from flows.services.resending import Tally
from schemas.config import Config
from state.dead_letter_logs import DeadEvent, DeadExample, DeadFact

KEPT_SHOWN = 20


def listing(config: Config, reason: str | None, limit: int) -> int:
    """Print the newest `limit`, without what they hold. `reason`: an event's code, or how the words of a
    delivery's begin."""
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    for column in ("reason", "from", "when", "position"):
        table.add_column(column, overflow="fold")
    for dead in dead_letter_desk.newest(Deployment(config), reason, limit):
        table.add_row(*(Text(printable(cell)) for cell in _row(dead)))
    if table.row_count:
        console().print(table)
    else:
        print("nothing is dead" if reason is None else f"nothing is dead for the reason {reason}")
    return 0


def show(config: Config, entry: str) -> int:
    """Print all of one, with the original bytes opened. 1 if there is no such entry. Raises `Foreign`."""
    deployment = Deployment(config)
    dead = dead_letter_desk.find(deployment, entry)
    if dead is None:
        print(f"no dead letter has the id {printable(entry)}")
        return 1
    found = dead_letter_desk.opened(deployment, dead)
    for name, fact in found.facts.items():
        said = f"{fact:%Y-%m-%d %H:%M:%S}Z" if isinstance(fact, datetime) else str(fact)
        print(f"{name.removesuffix('_ms'):10} {printable(said)}")
    print(f"\n{printable(found.body.decode(errors='backslashreplace'), keep=chr(10))}")
    return 0


def replay(config: Config, entries: list[str], reason: str | None) -> int:
    """Send these again, or all there are (for this `reason`). 0 if all went out, else 1. Raises `LogFull`,
    `Unreachable`."""
    deployment, tally = Deployment(config), Tally()
    chosen = dead_letter_desk.chosen(deployment, entries, reason, tally)
    try:
        dead_letter_desk.replay(deployment, chosen, tally)
    finally:
        _report(tally)
    return 1 if tally.kept else 0


def _report(tally: Tally) -> None:
    for note in tally.notes:
        print(note)
    for name, why in tally.kept[:KEPT_SHOWN]:
        print(printable(f"{name} not sent: {why}"))
    if (more := len(tally.kept) - KEPT_SHOWN) > 0:
        print(f"... and {more} more")
    print(f"{tally.sent} sent again, {len(tally.kept)} not")


def _row(dead: Dead) -> tuple[str, str, str, str, str]:
    when = moment_text(when_ms(dead))
    if isinstance(dead, DeadEvent):
        letter = dead.letter
        return (
            dead.name,
            letter.reason,
            letter.source,
            when,
            f"{letter.partition} {letter.position}:{letter.index}",
        )
    if isinstance(dead, DeadFact):
        found = dead.quarantined
        return dead.name, "poison", found.where, when, f"shard {dead.shard} {found.position}"
    if isinstance(dead, DeadExample):
        where = dead.unlearnt.detail.partition(" < ")[0]
        return dead.name, "poison", f"model {dead.unlearnt.model}", when, where
    trigger = dead.trigger
    return dead.name, dead.reason, dead.connector, when, f"{trigger.rule} {trigger.id}" if trigger else ""
