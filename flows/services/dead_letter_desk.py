"""What failed for good, to look at and to send again.

    e:ID   an event that was refused: replayed into the raw log, from where it takes the way of any other.
           Or a record, or a steward's decision, that matching raised on (`poison`, from `match`): replayed
           into the log of matching
    q:ID   an event that passed, and that the logic of its customer's shard raised on (`poison`): shown with
           its traceback; replayed into the log of its customer's shard
    x:ID   an example that a model's trainer raised on (`poison`): replayed to that trainer
    d:ID   a delivery that a receiver did not take: replayed to that receiver, under the trigger's own id

Only `opened` opens what an event holds. How things are sent again stands in `flows.services.resending`.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import TypeVar

import msgspec

from flows.runtime.deployment import Deployment
from flows.runtime.release import BUILD
from flows.services.resending import Tally, resend
from schemas.records.identity_graph import text_id
from schemas.records.match_log import MatchKind
from schemas.wire.events import DeadLetter, Fact
from schemas.wire.triggers import Example
from state.dead_letter_logs import DeadDelivery, DeadEvent, DeadExample, DeadFact
from state.directory.matches import PARTITION as MATCHING
from state.redis.client import reported

_ID = re.compile(r"([edqx]):(\d{1,19}-\d{1,19})")

Dead = DeadEvent | DeadFact | DeadExample | DeadDelivery
AnyDead = TypeVar("AnyDead", DeadEvent, DeadFact, DeadExample)
Facts = dict[str, str | int | datetime]


class Opened(msgspec.Struct, frozen=True):
    """All of one."""

    facts: Facts  # what is known about it
    body: bytes  # what it holds


def newest(deployment: Deployment, reason: str | None, limit: int) -> list[Dead]:
    """Return the newest `limit`. `reason`: an event's code, or how the words of a delivery's begin. Raises
    `Unreachable`."""
    with reported():
        kinds = (
            deployment.dead_events,
            deployment.dead_facts,
            deployment.dead_examples,
            deployment.dead_deliveries,
        )
        each: list[Iterator[Dead]] = [kind.newest() for kind in kinds]
        found = merge(*each, key=when_ms, reverse=True)
        return list(islice((dead for dead in found if _is_for(dead, reason)), limit))


def find(deployment: Deployment, entry: str) -> Dead | None:
    """Return the one with this id, or None if there is none. Raises `Unreachable`."""
    match = _ID.fullmatch(entry)
    if match is None:
        return None
    kind, number = match.groups()
    with reported():
        if kind == "q":
            shard, _, seq = number.partition("-")
            return deployment.dead_facts.find(int(shard), int(seq))
        if kind == "x":
            return deployment.dead_examples.find(number)
        return (deployment.dead_events if kind == "e" else deployment.dead_deliveries).find(number)


def opened(deployment: Deployment, dead: Dead) -> Opened:
    """Return all of one, with the original bytes opened: that is what it is for. Raises `Foreign`."""
    if isinstance(dead, DeadEvent):
        return _event(deployment, dead.letter)
    if isinstance(dead, DeadFact):
        return _quarantined(dead)
    if isinstance(dead, DeadExample):
        return _unlearnt(dead)
    facts: Facts = {"reason": dead.reason, "connector": dead.connector, "failed": _moment(when_ms(dead))}
    trigger = dead.trigger
    if trigger is None:
        return Opened(facts, dead.body)
    return Opened(facts, msgspec.json.format(msgspec.json.encode(msgspec.structs.asdict(trigger))))


def _event(deployment: Deployment, letter: DeadLetter) -> Opened:
    facts: Facts = {name: getattr(letter, name) for name in DeadLetter.__struct_fields__ if name != "sealed"}
    facts |= {name: _moment(getattr(letter, name)) for name in ("received_ms", "rejected_ms")}
    body = deployment.log_seal.open(letter.sealed)
    if letter.partition == MATCHING:
        body = _said(deployment, chr(body[0]), body[1:])
    return Opened(facts, body)


def _quarantined(dead: DeadFact) -> Opened:
    found = dead.quarantined
    facts: Facts = {
        "reason": "poison",
        "error": found.error,
        "customer": text_id(found.root),
        "shard": dead.shard,
        "position": found.position,
        "build": found.build,
        "put aside": _moment(dead.when_ms),
    }
    trace = "".join(f"  {place}\n" for place in found.trace)
    if not found.payload:
        return Opened(facts, f"{trace}\na timer was due".encode())
    fact = msgspec.structs.asdict(msgspec.msgpack.decode(found.payload, type=Fact))
    fact["sealed"] = sorted(fact["sealed"])  # names; the values are sealed for the customer
    fact["subject"] = text_id(fact["subject"])
    return Opened(facts, trace.encode() + b"\n" + msgspec.json.format(msgspec.json.encode(fact)))


def _unlearnt(dead: DeadExample) -> Opened:
    found = dead.unlearnt
    facts: Facts = {
        "reason": "poison",
        "detail": found.detail,
        "model": found.model,
        "build": found.build,
        "put aside": _moment(when_ms(dead)),
    }
    example = msgspec.structs.asdict(msgspec.msgpack.decode(found.body, type=Example))
    example["customer"] = text_id(example["customer"])
    return Opened(facts, msgspec.json.format(msgspec.json.encode(example)))


def _said(deployment: Deployment, kind: str, body: bytes) -> bytes:
    """What matching raised on, opened."""
    from flows.match import opened, pieces

    [(origin, rest)] = pieces(kind, body)
    if kind == MatchKind.DECISIONS:
        decided = "one" if rest[-1:] == b"1" else "not one"
        return f"a steward's decision about {text_id(origin)} and {text_id(rest[:-1])}: {decided}".encode()
    said = opened(deployment.data_keys, origin, rest)
    return text_id(origin).encode() + b"\n" + (b"erased since" if said is None else msgspec.json.format(said))


Chosen = tuple[Iterable[DeadEvent], Iterable[DeadFact], Iterable[DeadExample], Iterable[DeadDelivery]]


def chosen(deployment: Deployment, entries: list[str], reason: str | None, tally: Tally) -> Chosen:
    """Return these, or all there are (for this `reason`); `tally` hears of those that will not be sent.
    Raises `Unreachable`."""
    return _named(deployment, entries, tally) if entries else _all(deployment, reason, tally)


def replay(deployment: Deployment, what: Chosen, tally: Tally) -> None:
    """Send these again; `tally` says what became of them, also where this raises. Raises `LogFull`,
    `Unreachable`."""
    with reported():
        asyncio.run(resend(deployment, *what, tally))


def _named(deployment: Deployment, entries: list[str], tally: Tally) -> Chosen:
    """Those with these ids, by their kinds."""
    named = {entry: find(deployment, entry) for entry in entries}
    for entry, dead in named.items():
        if dead is None:
            tally.keep(entry, "there is no such dead letter")
    found = list(named.values())
    return (
        [dead for dead in found if isinstance(dead, DeadEvent)],
        [dead for dead in found if isinstance(dead, DeadFact)],
        [dead for dead in found if isinstance(dead, DeadExample)],
        [dead for dead in found if isinstance(dead, DeadDelivery)],
    )


def _all(deployment: Deployment, reason: str | None, tally: Tally) -> Chosen:
    """All (for this `reason`), by their kinds."""
    events = (dead for dead in deployment.dead_events.oldest() if _is_for(dead, reason))
    facts = (dead for dead in deployment.dead_facts.oldest() if _is_for(dead, reason))
    examples = (dead for dead in deployment.dead_examples.oldest() if _is_for(dead, reason))
    deliveries = (dead for dead in deployment.dead_deliveries.oldest() if _is_for(dead, reason))
    return _mended(events, tally), _mended(facts, tally), _mended(examples, tally), deliveries


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


def when_ms(dead: Dead) -> int:
    """Return when it failed, in Unix milliseconds."""
    return dead.when_ms if isinstance(dead, DeadFact) else int(dead.id.partition("-")[0])


def _is_for(dead: Dead, reason: str | None) -> bool:
    if reason is None:
        return True
    if isinstance(dead, DeadFact | DeadExample):
        return reason == "poison"
    return dead.letter.reason == reason if isinstance(dead, DeadEvent) else dead.reason.startswith(reason)


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
