"""`millrace identity`: who a customer is and why, and what a steward has to say to it."""

import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from flows.cli.moments import moment_or_ago
from flows.cli.printing import console, folded, moment_or_nothing, print_json, printable
from flows.runtime.deployment import Deployment
from flows.services.steward import access, giving_orders
from flows.services.steward.desk import Customer, Entry, Sent
from flows.services.steward.named_customers import Named
from flows.services.steward.orders import Given
from flows.services.steward.undoing import Outcome
from flows.services.steward.unmerging import Choice, Plan, Unmerging
from schemas.config import Config
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
        print_json(found)
        return 0
    _print_customer(found, lang)
    return 0


def history(config: Config, named: str, lang: str, as_json: bool) -> int:
    """Print what the ledger says of a customer, and what was sent while it was united with others."""
    with reported():
        found = access.steward(Deployment(config)).history(named)
    if found is None:
        return _nobody(named)
    if as_json:
        print_json(found)
        return 0
    say = plain()
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
        print_json(found)
        return 0
    table = _table("identifier", "value", "since", "customer")
    for one in found:
        value = f"{one.namespace}:{one.value}" if one.value else one.namespace or ""
        table.add_row(
            f"identifier:{one.identifier}", _text(value), moment_or_nothing(one.since_ms), one.customer or ""
        )
    plain().print(table if found else "no identifier is suspended")
    return 0


def recent(config: Config, limit: int, lang: str, as_json: bool) -> int:
    """Print what became of identities lately, a line each, cut to the terminal: `history` and `review show`
    have all of it."""
    with reported():
        found = access.steward(Deployment(config)).recent(limit)
    if as_json:
        print_json(found)
        return 0
    say = plain()
    if not found:
        say.print("nobody was united, suspended or put to review yet")
    for one in found:
        line = f"{moment_or_nothing(one.time_ms)}  {one.what:9} {one.id:>8}  {printable(one.words.of(lang))}"
        say.print(Text(line), no_wrap=True, overflow="ellipsis")
    return 0


def order(config: Config, kind: str, named: Sequence[str], *, forced: bool = False, reason: str = "") -> int:
    """Give an order about these, and say what became of it. 0 if it was carried out. Raises `Unusable`."""
    return say_given(giving_orders.order(Deployment(config), kind, named, forced=forced, reason=reason))


def say_given(given: Given) -> int:
    """Say what became of an order. 0 if it was carried out."""
    plain().print(given.state + (f": {printable(given.why)}" if given.why else ""), markup=False)
    return 0 if given.state == "done" else 1


class Selection(msgspec.Struct, frozen=True):
    """What `unmerge` is told: one union, a customer, or which of all."""

    target: str | None
    rule: str | None
    since: str | None
    until: str | None
    identifier: str | None

    def wants_many(self) -> bool:
        """Return whether it says which of all."""
        return any((self.rule, self.since, self.until, self.identifier))

    def parsed(self, now_ms: int) -> Choice:
        """Return it with its times understood. Raises `ConfigError`."""
        return Choice(
            target=self.target,
            rule=self.rule or None,
            since_ms=moment_or_ago(self.since, "--since", now_ms) if self.since else None,
            until_ms=moment_or_ago(self.until, "--until", now_ms) if self.until else None,
            identifier=self.identifier,
        )


def unmerge(
    config: Config, chosen: Selection, rate: int, dry: bool, sure: Callable[[str], bool], as_json: bool
) -> int:
    """Undo unions, and list what was sent meanwhile. 0 if all of them were undone. `sure` is asked before
    many are. Raises `Unusable`."""
    deployment = Deployment(config)
    unmerging = Unmerging(deployment, chosen.parsed(int(time.time() * 1000)))
    plan = unmerging.plan()
    if dry or plan.is_empty:
        return _would_undo(deployment, plan, as_json)
    total = len(plan.unions) + len(plan.identifiers)
    if total > 1 and not sure(_question(plan)):
        return 1
    with _bar(Console(stderr=True, highlight=False, soft_wrap=True)) as bar:
        task = bar.add_task("undone", total=total)
        outcome = unmerging.undo(plan, rate, lambda done: bar.update(task, completed=done))
    if as_json:
        print_json(outcome)
    else:
        _print_outcome(outcome)
    return 1 if outcome.refused or outcome.taken_out not in ("", "done") else 0


def _question(plan: Plan) -> str:
    parts = []
    if plan.unions:
        parts.append(f"undo {len(plan.unions):,} unions")
    if plan.identifiers:
        parts.append(f"part {len(plan.identifiers):,} identifiers")
    return ", ".join(parts)


def _would_undo(deployment: Deployment, plan: Plan, as_json: bool) -> int:
    unions, others = plan.unions, plan.identifiers
    if as_json:
        print_json({"unions": unions, "identifiers": [other.hex() for other in others]})
        return 0
    plain().print(f"{len(unions):,} unions would be undone" if unions else "no union that stands fits")
    if others:
        plain().print(
            f"{len(others):,} identifiers that were new when they came with it would become customers of "
            "their own"
        )
    if unions:
        with reported():
            entries = access.steward(deployment).entries(unions[:SENT_SHOWN])
        plain().print(_unions(entries, "en"))
        if (more := len(unions) - SENT_SHOWN) > 0:
            plain().print(f"... and {more:,} more")
    return 0


def plain() -> Console:
    """Return a console that highlights nothing."""
    return console(highlight=False)


def identifiers(found: Iterable[Named]) -> Table:
    """Return a table of a customer's identifiers."""
    table = _table("namespace", "value", "identifier", "suspended since")
    for one in found:
        table.add_row(
            one.namespace,
            _text(one.value or "(unknown)"),
            one.identifier,
            moment_or_nothing(one.suspended_ms),
        )
    return table


def _print_customer(found: Customer, lang: str) -> None:
    say = plain()
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
            moment_or_nothing(entry.time_ms),
            _text(entry.by),
            _text(words),
            entry.retired,
            entry.survivor,
            place,
        )
    return table


def _print_outcome(outcome: Outcome) -> None:
    say = plain()
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
            "the suspended identifier was taken out of the customer that it was first seen with: "
            f"{outcome.taken_out}"
        )
    _print_sent(outcome.sent)


def _print_sent(sent: Sequence[Sent]) -> None:
    say = plain()
    if not sent:
        say.print("no trigger went out while they were united")
        return
    say.print(f"{len(sent):,} triggers went out while they were united; they are not called back")
    table = _table("rule", "customer", "cause", "when")
    for one in sent[:SENT_SHOWN]:
        table.add_row(
            _text(one.rule), one.customer, _text(printable(one.cause)), moment_or_nothing(one.at_ms)
        )
    say.print(table)
    if (more := len(sent) - SENT_SHOWN) > 0:
        say.print(f"... and {more:,} more")


def _table(*columns: str) -> Table:
    return folded(Table(*columns, padding=(0, 1, 0, 0), box=SIMPLE_HEAD))


def _text(value: str) -> Text:
    return Text(printable(value))


def _nobody(named: str) -> int:
    plain().print(f"nobody has {printable(named)}", markup=False)
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
