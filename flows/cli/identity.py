"""`millrace identity`: who a customer is and why, and what a steward has to say to it."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from flows.cli.tables import folded
from flows.logic.resolution.identity_orders import document
from flows.runtime.deployment import Deployment
from flows.services.dead_letters import PIPED_WIDTH, printable
from flows.services.restore import moment
from flows.services.steward import access
from flows.services.steward.desk import Customer, Entry, Sent
from flows.services.steward.orders import give
from flows.services.steward.people import Named, apart
from flows.services.steward.undoing import Outcome, Undoing, Wanted, collected, standing
from schemas.config import Config
from schemas.errors import Unusable
from schemas.units import Duration
from schemas.wire.events import Reject
from state.redis.client import reported

SENT_SHOWN = 50


def show(config: Config, named: str, lang: str, as_json: bool) -> int:
    """Print who a customer is: identifiers, what united them, who is kept apart. 1 if nobody has this
    identifier."""
    with reported():
        found = access.steward(Deployment(config)).show(named)
    if found is None:
        return _nobody(named)
    if as_json:
        return as_one_line(found)
    _print_customer(found, lang)
    return 0


def history(config: Config, named: str, lang: str, as_json: bool) -> int:
    """Print what the ledger says of a customer, and what was sent while it was united with others."""
    with reported():
        found = access.steward(Deployment(config)).history(named)
    if found is None:
        return _nobody(named)
    if as_json:
        return as_one_line(found)
    say = console()
    say.print(f"customer {found.customer}")
    say.print(_unions(found.entries, lang) if found.entries else "it was never united with another")
    if not found.complete:
        say.print("the ledger has more of them, older than these")
    _print_sent(found.sent)
    return 0


def suspended(config: Config, as_json: bool) -> int:
    """Print the identifiers that are evidence no longer, the latest first."""
    with reported():
        found = access.steward(Deployment(config)).suspended()
    if as_json:
        return as_one_line(found)
    table = _table("identifier", "value", "since", "customer")
    for one in found:
        value = f"{one.namespace}:{one.value}" if one.value else one.namespace or ""
        table.add_row(
            f"identifier:{one.identifier}", _text(value), moment_text(one.since_ms), one.customer or ""
        )
    console().print(table if found else "no identifier is suspended")
    return 0


def recent(config: Config, limit: int, lang: str, as_json: bool) -> int:
    """Print what became of identities lately, a line each, cut to the terminal: `history` and `review show`
    have all of it."""
    with reported():
        found = access.steward(Deployment(config)).recent(limit)
    if as_json:
        return as_one_line(found)
    say = console()
    if not found:
        say.print("nobody was united, suspended or put to review yet")
    for one in found:
        line = f"{moment_text(one.time_ms)}  {one.what:9} {one.id:>8}  {printable(one.words.of(lang))}"
        say.print(Text(line), no_wrap=True, overflow="ellipsis")
    return 0


def order(config: Config, kind: str, named: Sequence[str], *, forced: bool = False, reason: str = "") -> int:
    """Give an order about these, and say what became of it. 0 if it was carried out. Raises `Unusable`."""
    more: dict[str, Any] = {"reason": reason} if reason else {}
    return carry_out(
        config,
        document(
            kind,
            *_alike(config, [apart(one) for one in named]),
            **more,
            **({"forced": True} if forced else {}),
        ),
    )


def carry_out(config: Config, ordered: bytes) -> int:
    """Give an order, and say what became of it."""
    deployment = Deployment(config)
    with reported():
        given = give(
            access.order_desk(deployment),
            ordered,
            deployment.raw_writer,
            deployment.raw_reader,
        )
    console().print(given.state + (f": {printable(given.why)}" if given.why else ""), markup=False)
    return 0 if given.state == "done" else 1


def _alike(config: Config, named: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Two customers or two identifiers: where one of each is given, the identifier's customer."""
    if len({kind == "customer" for kind, _ in named}) == 1:
        return named
    people = access.steward(Deployment(config)).people
    found = [(one, people.find(":".join(one))) for one in named]
    for one, root in found:
        if root is None:
            raise Unusable(f"nobody has {':'.join(one)}")
    return [("customer", root.hex()) for _, root in found if root is not None]


class Selection(msgspec.Struct, frozen=True):
    """What `unmerge` is told: one union, a customer, or which of all."""

    target: str | None
    rule: str | None
    since: str | None
    until: str | None
    identifier: str | None

    def wants_many(self) -> bool:
        return any((self.rule, self.since, self.until, self.identifier))


def unmerge(
    config: Config, chosen: Selection, rate: int, dry: bool, sure: Callable[[str], bool], as_json: bool
) -> int:
    """Undo unions, and list what was sent meanwhile. 0 if all of them were undone. `sure` is asked before
    many are. Raises `Unusable`."""
    deployment = Deployment(config)
    say = Console(stderr=True, highlight=False, soft_wrap=True)
    with reported():
        unions = _selected(config, chosen)
        culprit = _culprit(config, chosen)
        others = collected(deployment.directory, deployment.ledger, culprit) if culprit else []
        if dry or not (unions or others or _still_held(config, culprit)):
            return _would_undo(config, unions, others, as_json)
        if len(unions) + len(others) > 1 and not sure(_question(unions, others)):
            return 1
        with _bar(say) as bar:
            task = bar.add_task("undone", total=len(unions) + len(others))
            steward, directory = access.steward(deployment), deployment.directory
            before = 0
            run = Undoing(
                steward,
                directory,
                deployment.ledger,
                deployment.shards,
                rate,
                lambda n: bar.update(task, completed=before + n),
            )
            outcome = run.run(unions, deployment.raw_writer) if unions else Outcome(0, 0, [])
            before = len(unions)
            if others:
                parted = run.part(culprit, others, deployment.raw_writer)
                outcome = msgspec.structs.replace(
                    outcome, parted=parted, refused=outcome.refused + len(others) - parted
                )
        if _still_held(config, culprit):
            ordered = document("unlink", *[("identifier", culprit.hex())] * 2)
            given = give(
                access.order_desk(deployment),
                ordered,
                deployment.raw_writer,
                deployment.raw_reader,
            )
            outcome = msgspec.structs.replace(outcome, taken_out=given.state)
    if as_json:
        as_one_line(outcome)
    else:
        _print_outcome(outcome)
    return 1 if outcome.refused or outcome.taken_out not in ("", "done") else 0


def _question(unions: Sequence[int], others: Sequence[bytes]) -> str:
    parts = [f"undo {len(unions):,} unions"] * bool(unions) + [f"part {len(others):,} identifiers"] * bool(
        others
    )
    return ", ".join(parts)


def _culprit(config: Config, chosen: Selection) -> bytes:
    """The identifier of which all is to be undone: it is suspended, or nothing else is selected by. Empty:
    there is none."""
    if chosen.identifier is None:
        return b""
    people = access.steward(Deployment(config)).people
    identifier = people.hashed(chosen.identifier)
    alone = not any((chosen.rule, chosen.since, chosen.until))
    return identifier if alone or identifier in people.directory.suspended() else b""


def _still_held(config: Config, culprit: bytes) -> bool:
    """Whether a suspended identifier is still held by a customer with others: who was first seen with it."""
    people = access.steward(Deployment(config)).people
    if not culprit or culprit not in people.directory.suspended():
        return False
    [root] = people.directory.lookup([culprit])
    return root is not None and len(people.ledger.members(root)[1]) > 1


def _selected(config: Config, chosen: Selection) -> list[int]:
    """Numbers of unions that stand, the newest first."""
    deployment = Deployment(config)
    ledger, desk = deployment.ledger, access.order_desk(deployment)
    if chosen.target is None:
        people, now_ms = access.steward(deployment).people, int(time.time() * 1000)
        return standing(
            ledger,
            Wanted(
                chosen.rule or "",
                _when(chosen.since, "--since", now_ms) if chosen.since else 0,
                _when(chosen.until, "--until", now_ms) if chosen.until else 2**62,
                people.hashed(chosen.identifier) if chosen.identifier else b"",
            ),
        )
    if chosen.target.isdecimal():
        number = int(chosen.target)
        read = desk.read(document("undo", union=number))
        if why := read.detail if isinstance(read, Reject) else desk.objection(read):
            raise Unusable(why)
        return [number]
    root = access.steward(deployment).people.find(chosen.target)
    if root is None:
        raise Unusable(f"nobody has {chosen.target}")
    return sorted((seq for seq, _, _ in ledger.edges(root)), reverse=True)


def _when(text: str, option: str, now_ms: int) -> int:
    """A time, or so long ago. Raises `ConfigError`."""
    try:
        return now_ms - Duration.parse(text)
    except ValueError:
        return moment(text, option)


def _would_undo(config: Config, unions: Sequence[int], others: Sequence[bytes], as_json: bool) -> int:
    if as_json:
        return as_one_line({"unions": list(unions), "identifiers": [other.hex() for other in others]})
    console().print(f"{len(unions):,} unions would be undone" if unions else "no union that stands fits")
    if others:
        console().print(
            f"{len(others):,} identifiers that were new when they came with it would become customers of their own"
        )
    if unions:
        entries = access.steward(Deployment(config)).entries(unions[:SENT_SHOWN])
        console().print(_unions(entries, "en"))
        if (more := len(unions) - SENT_SHOWN) > 0:
            console().print(f"... and {more:,} more")
    return 0


# --- what is printed


def console() -> Console:
    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = PIPED_WIDTH
    return made


def moment_text(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z" if time_ms else ""


def identifiers(found: Iterable[Named]) -> Table:
    table = _table("namespace", "value", "identifier", "suspended since")
    for one in found:
        table.add_row(
            one.namespace, _text(one.value or "(unknown)"), one.identifier, moment_text(one.suspended_ms)
        )
    return table


def _print_customer(found: Customer, lang: str) -> None:
    say = console()
    say.print(f"customer {found.customer}, of {len(found.origins)} origins")
    say.print(identifiers(found.identifiers))
    if found.unions:
        say.print(_unions(found.unions, lang))
    if found.apart:
        say.print(f"never united with: {', '.join(found.apart)}")
    for review in found.reviews:
        say.print(f"to review {review.id}: {printable(review.evidence.words.of(lang))}", markup=False)


def _unions(entries: Iterable[Entry], lang: str) -> Table:
    table = _table("union", "when", "by", "evidence", "retired", "survivor", "position")
    for entry in entries:
        number = f"{entry.union}" if entry.stands or entry.kind == "undo" else f"{entry.union} (undone)"
        words = printable(entry.evidence.words.of(lang))
        place = f"{entry.partition} {entry.position}"
        table.add_row(
            number,
            moment_text(entry.time_ms),
            _text(entry.by),
            _text(words),
            entry.retired,
            entry.survivor,
            place,
        )
    return table


def _print_outcome(outcome: Outcome) -> None:
    say = console()
    say.print(
        f"{outcome.undone:,} unions undone"
        + (f", {outcome.refused:,} not (yet): run it again" if outcome.refused else "")
    )
    if outcome.parted:
        say.print(
            f"{outcome.parted:,} identifiers that were new when they came with it are customers of their own"
        )
    if outcome.taken_out:
        say.print(
            f"the suspended identifier was taken out of the customer that it was first seen with: {outcome.taken_out}"
        )
    _print_sent(outcome.sent)


def _print_sent(sent: Sequence[Sent]) -> None:
    say = console()
    if not sent:
        say.print("no trigger went out while they were united")
        return
    say.print(f"{len(sent):,} triggers went out while they were united; they are not called back")
    table = _table("rule", "customer", "cause", "when")
    for one in sent[:SENT_SHOWN]:
        table.add_row(_text(one.rule), one.customer, _text(printable(one.cause)), moment_text(one.at_ms))
    say.print(table)
    if (more := len(sent) - SENT_SHOWN) > 0:
        say.print(f"... and {more:,} more")


def _table(*columns: str) -> Table:
    return folded(Table(*columns, padding=(0, 1, 0, 0), box=SIMPLE_HEAD))


def _text(value: str) -> Text:
    return Text(printable(value))


def as_one_line(found: object) -> int:
    Console(soft_wrap=True, highlight=False).print(msgspec.json.encode(found).decode(), markup=False)
    return 0


def _nobody(named: str) -> int:
    console().print(f"nobody has {printable(named)}", markup=False)
    return 1


def _bar(say: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=say,
        transient=True,
    )
