"""`millrace dead`: what failed for good, to look at and to send again.

    e:ID   an event that was refused: replayed into the raw log, from where it takes the way of any other. Or
           a record, or a steward's
           decision, that matching raised on (`poison`, from `match`): replayed into the log of matching
    q:ID   an event that passed, and that the logic of its customer's shard raised on (`poison`): shown with
           its traceback; replayed into
           the log of its customer's shard
    x:ID   an example that a model's trainer raised on (`poison`): replayed to that trainer
    d:ID   a delivery that a receiver did not take: replayed to that receiver, under the trigger's own id

Only `show` opens what an event holds. How things are sent again stands in `flows.services.resending`.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import Any, TypeVar

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.runtime.deployment import Deployment
from flows.runtime.release import BUILD
from flows.services.resending import Tally, resend
from schemas.config import Config
from schemas.records.identity_graph import text_id
from schemas.records.match_log import MatchKind
from schemas.wire.events import DeadLetter, Fact
from schemas.wire.triggers import Example
from state.dead_letter_logs import DeadDelivery, DeadEvent, DeadExample, DeadFact
from state.directory.matches import PARTITION as MATCHING
from state.redis.client import reported

KEPT_SHOWN = 20
PIPED_WIDTH = 200  # so that an entry is one line for `grep`
_ID = re.compile(r"([edqx]):(\d{1,19}-\d{1,19})")

Dead = DeadEvent | DeadFact | DeadExample | DeadDelivery
AnyDead = TypeVar("AnyDead", DeadEvent, DeadFact, DeadExample)


def listing(config: Config, reason: str | None, limit: int) -> int:
    """Print the newest `limit`, without what they hold. `reason`: an event's code, or how the words of a
    delivery's begin."""
    deployment = Deployment(config)
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    for column in ("reason", "from", "when", "position"):
        table.add_column(column, overflow="fold")
    with reported():
        kinds = (
            deployment.dead_events,
            deployment.dead_facts,
            deployment.dead_examples,
            deployment.dead_deliveries,
        )
        each: list[Iterator[Dead]] = [kind.newest() for kind in kinds]
        found = merge(*each, key=_when_ms, reverse=True)
        for dead in islice((dead for dead in found if _is_for(dead, reason)), limit):
            table.add_row(*(Text(printable(cell)) for cell in _row(dead)))
    if table.row_count:
        console = Console()
        if not console.is_terminal:
            console.width = PIPED_WIDTH
        console.print(table)
    else:
        print("nothing is dead" if reason is None else f"nothing is dead for the reason {reason}")
    return 0


def show(config: Config, entry: str) -> int:
    """Print all of one, with the original bytes opened: that is what it is for. 1 if there is no such entry.
    Raises `Foreign`."""
    with reported():
        dead = _find(config, entry)
    if dead is None:
        print(f"no dead letter has the id {printable(entry)}")
        return 1
    if isinstance(dead, DeadEvent):
        letter = dead.letter
        facts = {name: getattr(letter, name) for name in DeadLetter.__struct_fields__ if name != "sealed"}
        facts |= {name: _moment(getattr(letter, name)) for name in ("received_ms", "rejected_ms")}
        body = Deployment(config).log_seal.open(letter.sealed)
        if letter.partition == MATCHING:
            body = _said(config, chr(body[0]), body[1:])
    elif isinstance(dead, DeadFact):
        facts, body = _quarantined(dead)
    elif isinstance(dead, DeadExample):
        facts, body = _unlearnt(dead)
    else:
        facts = {"reason": dead.reason, "connector": dead.connector, "failed": _moment(_when_ms(dead))}
        trigger = dead.trigger
        body = (
            dead.body
            if trigger is None
            else msgspec.json.format(msgspec.json.encode(msgspec.structs.asdict(trigger)))
        )
    for name, fact in facts.items():
        print(f"{name.removesuffix('_ms'):10} {printable(str(fact))}")
    print(f"\n{printable(body.decode(errors='backslashreplace'), keep=chr(10))}")
    return 0


def _quarantined(dead: DeadFact) -> tuple[dict[str, Any], bytes]:
    found = dead.quarantined
    facts = {
        "reason": "poison",
        "error": found.error,
        "customer": text_id(found.root),
        "shard": dead.shard,
        "position": found.position,
    }
    facts |= {"build": found.build, "put aside": _moment(dead.when_ms)}
    trace = "".join(f"  {place}\n" for place in found.trace)
    if not found.payload:
        return facts, f"{trace}\na timer was due".encode()
    fact = msgspec.structs.asdict(msgspec.msgpack.decode(found.payload, type=Fact))
    fact["sealed"] = sorted(fact["sealed"])  # names; the values are sealed for the customer
    fact["subject"] = text_id(fact["subject"])
    return facts, trace.encode() + b"\n" + msgspec.json.format(msgspec.json.encode(fact))


def _unlearnt(dead: DeadExample) -> tuple[dict[str, Any], bytes]:
    found = dead.unlearnt
    facts = {
        "reason": "poison",
        "detail": found.detail,
        "model": found.model,
        "build": found.build,
        "put aside": _moment(_when_ms(dead)),
    }
    example = msgspec.structs.asdict(msgspec.msgpack.decode(found.body, type=Example))
    example["customer"] = text_id(example["customer"])
    return facts, msgspec.json.format(msgspec.json.encode(example))


def _said(config: Config, kind: str, body: bytes) -> bytes:
    """What matching raised on, opened."""
    from flows.match import opened, pieces

    [(origin, rest)] = pieces(kind, body)
    if kind == MatchKind.DECISIONS:
        return f"a steward's decision about {text_id(origin)} and {text_id(rest[:-1])}: {'one' if rest[-1:] == b'1' else 'not one'}".encode()
    said = opened(Deployment(config).data_keys, origin, rest)
    return text_id(origin).encode() + b"\n" + (b"erased since" if said is None else msgspec.json.format(said))


def replay(config: Config, entries: list[str], reason: str | None) -> int:
    """Send these again, or all there are (for this `reason`). 0 if all went out, else 1. Raises `LogFull`,
    `Unreachable`."""
    deployment = Deployment(config)
    tally = Tally()
    with reported():
        if entries:
            chosen = {entry: _find(config, entry) for entry in entries}
            for entry, dead in chosen.items():
                if dead is None:
                    tally.keep(entry, "there is no such dead letter")
            events: Iterable[DeadEvent] = [dead for dead in chosen.values() if isinstance(dead, DeadEvent)]
            facts: Iterable[DeadFact] = [dead for dead in chosen.values() if isinstance(dead, DeadFact)]
            examples: Iterable[DeadExample] = [
                dead for dead in chosen.values() if isinstance(dead, DeadExample)
            ]
            deliveries: Iterable[DeadDelivery] = [
                dead for dead in chosen.values() if isinstance(dead, DeadDelivery)
            ]
        else:
            events = _mended(
                (dead for dead in deployment.dead_events.oldest() if _is_for(dead, reason)), tally
            )
            facts = _mended((dead for dead in deployment.dead_facts.oldest() if _is_for(dead, reason)), tally)
            examples = _mended(
                (dead for dead in deployment.dead_examples.oldest() if _is_for(dead, reason)), tally
            )
            deliveries = (dead for dead in deployment.dead_deliveries.oldest() if _is_for(dead, reason))
        try:
            asyncio.run(resend(config, events, facts, examples, deliveries, tally))
        finally:
            _report(tally)
    return 1 if tally.kept else 0


def _mended(found: Iterable[AnyDead], tally: Tally) -> Iterator[AnyDead]:
    """Without those that this very build raised on: they would only come back, and facts count towards
    `validate.poison_percent`."""
    for dead in found:
        if dead.build == BUILD:
            tally.keep(
                dead.name,
                f"this build ({BUILD}) raised on it; replay it by its id if something else is mended",
            )
        else:
            yield dead


def _report(tally: Tally) -> None:
    for note in tally.notes:
        print(note)
    for name, why in tally.kept[:KEPT_SHOWN]:
        print(printable(f"{name} not sent: {why}"))
    if (more := len(tally.kept) - KEPT_SHOWN) > 0:
        print(f"... and {more} more")
    print(f"{tally.sent} sent again, {len(tally.kept)} not")


def printable(text: str, keep: str = "") -> str:
    """Without control characters, which a sender could steer the operator's terminal with.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def _find(config: Config, entry: str) -> Dead | None:
    deployment = Deployment(config)
    match = _ID.fullmatch(entry)
    if match is None:
        return None
    if match[1] == "q":
        shard, _, seq = match[2].partition("-")
        return deployment.dead_facts.find(int(shard), int(seq))
    if match[1] == "x":
        return deployment.dead_examples.find(match[2])
    return (
        deployment.dead_events.find(match[2])
        if match[1] == "e"
        else deployment.dead_deliveries.find(match[2])
    )


def _is_for(dead: Dead, reason: str | None) -> bool:
    if reason is None:
        return True
    if isinstance(dead, DeadFact | DeadExample):
        return reason == "poison"
    return dead.letter.reason == reason if isinstance(dead, DeadEvent) else dead.reason.startswith(reason)


def _row(dead: Dead) -> tuple[str, str, str, str, str]:
    when = _moment(_when_ms(dead))
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


def _when_ms(dead: Dead) -> int:
    return dead.when_ms if isinstance(dead, DeadFact) else int(dead.id.partition("-")[0])


def _moment(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
