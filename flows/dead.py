"""`millrace dead`: what failed for good, to look at and to send again.

    e:ID   an event that was refused: replayed into the raw log, from where it takes the way of any other
    d:ID   a delivery that a receiver did not take: replayed to that receiver, under the trigger's own id

An entry is removed when the log or the receiver has what it holds, and not before: a replay that dies half-way sends some of it
twice, which message ids and trigger ids make harmless. What would fail again stays, and the reason is printed.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from heapq import merge
from itertools import islice

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from connectors import formats
from connectors.sink import Delivered, Delivery, Outcome, Retry, Sink
from flows import compose
from flows.deliver import make_sink
from schemas.config import Config, Connector
from schemas.errors import Foreign
from schemas.events import DeadLetter, RawEvent, Reject
from schemas.triggers import Trigger
from state.client import reported
from state.dead import DeadDelivery, DeadEvent

BATCH = 100
KEPT_SHOWN = 20
_ID = re.compile(r"([ed]):(\d{1,19}-\d{1,19})")
_read_trigger = msgspec.msgpack.Decoder(Trigger).decode

Dead = DeadEvent | DeadDelivery


def listing(config: Config, reason: str | None, limit: int) -> int:
    """Print the newest `limit`, without what they hold. `reason`: an event's code, or how the words of a delivery's begin."""
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    for column in ("reason", "from", "when", "position"):
        table.add_column(column, overflow="fold")
    with reported():
        found = merge(compose.dead_events(config).newest(), compose.dead_deliveries(config).newest(), key=_when_ms, reverse=True)
        for dead in islice((dead for dead in found if _is_for(dead, reason)), limit):
            table.add_row(*(Text(printable(cell)) for cell in _row(dead)))
    if table.row_count:
        Console().print(table)
    else:
        print("nothing is dead" if reason is None else f"nothing is dead for the reason {reason}")
    return 0


def show(config: Config, entry: str) -> int:
    """Print all of one, with the original bytes opened: that is what it is for. 1 if there is no such entry. Raises `Foreign`."""
    with reported():
        dead = _find(config, entry)
    if dead is None:
        print(f"no dead letter has the id {printable(entry)}")
        return 1
    if isinstance(dead, DeadEvent):
        letter = dead.letter
        facts = {name: getattr(letter, name) for name in DeadLetter.__struct_fields__ if name != "sealed"}
        facts |= {name: _moment(getattr(letter, name)) for name in ("received_ms", "rejected_ms")}
        body = compose.log_seal(config).open(letter.sealed)
    else:
        facts = {"reason": dead.reason, "connector": dead.connector, "failed": _moment(_when_ms(dead))}
        trigger = _trigger(dead)
        body = dead.body if trigger is None else msgspec.json.format(msgspec.json.encode(msgspec.structs.asdict(trigger)))
    for name, fact in facts.items():
        print(f"{name.removesuffix('_ms'):10} {printable(str(fact))}")
    print(f"\n{printable(body.decode(errors='backslashreplace'), keep=chr(10))}")
    return 0


def replay(config: Config, entries: list[str], reason: str | None) -> int:
    """Send these again, or all there are (for this `reason`). 0 if all went out, else 1. Raises `LogFull`, `Unreachable`."""
    tally = _Tally()
    with reported():
        if entries:
            chosen = {entry: _find(config, entry) for entry in entries}
            for entry, dead in chosen.items():
                if dead is None:
                    tally.keep(entry, "there is no such dead letter")
            events: Iterable[DeadEvent] = [dead for dead in chosen.values() if isinstance(dead, DeadEvent)]
            deliveries: Iterable[DeadDelivery] = [dead for dead in chosen.values() if isinstance(dead, DeadDelivery)]
        else:
            events = (dead for dead in compose.dead_events(config).oldest() if _is_for(dead, reason))
            deliveries = (dead for dead in compose.dead_deliveries(config).oldest() if _is_for(dead, reason))
        try:
            asyncio.run(_replay(config, _batches(events), _batches(deliveries), tally))
        finally:
            tally.show()
    return 1 if tally.kept else 0


class _Tally:
    """What became of them."""

    def __init__(self) -> None:
        self.sent = self.kept = 0
        self._lines: list[str] = []

    def keep(self, name: str, why: str) -> None:
        self.kept += 1
        if self.kept <= KEPT_SHOWN:
            self._lines.append(printable(f"{name} not sent: {why}"))

    def show(self) -> None:
        for line in self._lines:
            print(line)
        if self.kept > KEPT_SHOWN:
            print(f"... and {self.kept - KEPT_SHOWN} more")
        print(f"{self.sent} sent again, {self.kept} not")


async def _replay(config: Config, events: Iterator[list[DeadEvent]], deliveries: Iterator[list[DeadDelivery]], tally: _Tally) -> None:
    first = next(events, None)
    if first is not None:
        await _replay_events(config, first, events, tally)
    await _replay_deliveries(config, deliveries, tally)


# --- events ---------------------------------------------------------------------------------------------------------


async def _replay_events(config: Config, batch: list[DeadEvent] | None, rest: Iterator[list[DeadEvent]], tally: _Tally) -> None:
    letters, mender = compose.dead_events(config), _Mender(config)
    writer = compose.raw_writer(config)
    try:
        while batch:
            ready: list[tuple[str, RawEvent]] = []
            going: list[str] = []
            for dead in batch:
                mended = mender.mend(dead.letter)
                if isinstance(mended, Reject):
                    tally.keep(_name(dead), f"it would be refused again: {mended.reason}: {mended.detail}".rstrip(": "))
                else:
                    ready.append(mended)
                    going.append(dead.id)
            await writer.append(ready)
            letters.drop(going)
            tally.sent += len(going)
            batch = next(rest, None)
    finally:
        await writer.close()
        mender.close()


class _Mender:
    """Decides whether an event would pass now. One that would not is left alone: it would only come back, and it would count towards
    `validate.reject_percent`, which stops `resolve`."""

    def __init__(self, config: Config) -> None:
        self._seal = compose.log_seal(config)
        self._avro = compose.avro_reader(config)
        self._validator = compose.validator(config)

    def mend(self, letter: DeadLetter) -> tuple[str, RawEvent] | Reject:
        """The event as the raw log takes it, under the key that keeps a customer's order. The time of its receipt stays, because a
        message without an id of its own is named by it."""
        try:
            value = self._translated(letter)
        except Foreign as error:
            return Reject("seal_broken", str(error))
        if isinstance(value, Reject):
            return value
        event = RawEvent(value, letter.received_ms, letter.source)
        try:
            checked = self._validator.check(event)
        except Exception as error:  # noqa: BLE001  # the defect that made it `poison` is still there
            return Reject("poison", type(error).__name__)
        return checked if isinstance(checked, Reject) else (checked.user_id or checked.message, event)

    def _translated(self, letter: DeadLetter) -> bytes | Reject:
        """As JSON of Segment's form: what the edge could not read then, it may read now that a schema or a key is back."""
        value = self._seal.open(letter.sealed)
        match letter.reason:
            case "seal_broken":
                return self._seal.open(value)
            case "schema_unknown" | "avro_invalid":
                return self._avro.message(value)
            case "cloudevent_invalid":
                return formats.structured(value)
            case _:
                return value

    def close(self) -> None:
        self._avro.close()


# --- deliveries -----------------------------------------------------------------------------------------------------


async def _replay_deliveries(config: Config, batches: Iterator[list[DeadDelivery]], tally: _Tally) -> None:
    connectors = {connector.name: connector for connector in config.connector if connector.enabled}
    counters: dict[str, _Counter] = {}
    make = make_sink(config, compose.redis_url(config))
    try:
        for batch in batches:
            by_connector: dict[str, list[DeadDelivery]] = defaultdict(list)
            for dead in batch:
                by_connector[dead.connector].append(dead)
            for name, found in by_connector.items():
                if name not in connectors:
                    for dead in found:
                        tally.keep(_name(dead), f"no connector {name} is configured and enabled")
                    continue
                if name not in counters:
                    counters[name] = _Counter(config, connectors[name], make(connectors[name]))
                await counters[name].hand_over(found, tally)
    finally:
        for counter in counters.values():
            await counter.close()


class _Counter:
    """One receiver. After `deliver.breaker_failures` failures in a row it is left in peace."""

    def __init__(self, config: Config, connector: Connector, sink: Sink) -> None:
        self._connector = connector
        self._sink = sink
        self._letters = compose.dead_deliveries(config)
        self._deliveries = compose.deliveries(config)
        self._identify = compose.identify(config)
        self._failures_max = config.deliver.breaker_failures
        self._failures = 0

    async def hand_over(self, found: list[DeadDelivery], tally: _Tally) -> None:
        ready: list[tuple[DeadDelivery, Trigger]] = []
        for dead in found:
            trigger = _trigger(dead)
            if trigger is None:
                tally.keep(_name(dead), "what it holds is no trigger")
            else:
                ready.append((dead, trigger))
        size = self._sink.batch_max
        for at in range(0, len(ready), size):
            part = ready[at : at + size]
            if self._failures >= self._failures_max:
                for dead, _ in part:
                    tally.keep(_name(dead), f"{self._connector.name} failed {self._failures} times in a row")
                continue
            triggers = [trigger for _, trigger in part]
            names = self._identify([trigger.customer for trigger in triggers], self._connector.identify)
            outcomes = await self._sink.deliver([Delivery(trigger, known) for trigger, known in zip(triggers, names, strict=True)])
            self._settle([dead for dead, _ in part], outcomes, tally)

    def _settle(self, tried: list[DeadDelivery], outcomes: list[Outcome], tally: _Tally) -> None:
        taken = []
        for dead, outcome in zip(tried, outcomes, strict=True):
            self._failures = self._failures + 1 if isinstance(outcome, Retry) else 0
            if isinstance(outcome, Delivered):
                taken.append(dead.id)
            else:
                tally.keep(_name(dead), f"{self._connector.name}: {outcome.reason}")
        self._letters.drop(taken)
        tally.sent += len(taken)
        if taken and self._connector.name in self._deliveries.disabled():
            self._deliveries.enable(self._connector.name)
            print(f"{self._connector.name} had answered 410 and takes triggers again: restart `deliver` to go on with it")

    async def close(self) -> None:
        await self._sink.close()


# --- both -----------------------------------------------------------------------------------------------------------


def printable(text: str, keep: str = "") -> str:
    """Without control characters, which a sender could steer the operator's terminal with.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def _find(config: Config, entry: str) -> Dead | None:
    match = _ID.fullmatch(entry)
    if match is None:
        return None
    return compose.dead_events(config).find(match[2]) if match[1] == "e" else compose.dead_deliveries(config).find(match[2])


def _batches(found: Iterable[Dead]) -> Iterator[list[Dead]]:
    iterator = iter(found)
    return iter(lambda: list(islice(iterator, BATCH)), [])


def _is_for(dead: Dead, reason: str | None) -> bool:
    if reason is None:
        return True
    return dead.letter.reason == reason if isinstance(dead, DeadEvent) else dead.reason.startswith(reason)


def _name(dead: Dead) -> str:
    return f"{'e' if isinstance(dead, DeadEvent) else 'd'}:{dead.id}"


def _row(dead: Dead) -> tuple[str, str, str, str, str]:
    when = _moment(_when_ms(dead))
    if isinstance(dead, DeadEvent):
        letter = dead.letter
        return _name(dead), letter.reason, letter.source, when, f"{letter.partition} {letter.position}:{letter.index}"
    trigger = _trigger(dead)
    return _name(dead), dead.reason, dead.connector, when, f"{trigger.rule} {trigger.id}" if trigger else ""


def _trigger(dead: DeadDelivery) -> Trigger | None:
    """None where an outbox entry was broken, or comes from the internal lane."""
    try:
        return _read_trigger(dead.body)
    except msgspec.DecodeError:
        return None


def _when_ms(dead: Dead) -> int:
    return int(dead.id.partition("-")[0])


def _moment(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
