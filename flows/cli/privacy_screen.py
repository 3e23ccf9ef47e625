"""What `millrace privacy` prints."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.printing import console, folded, moment_or_nothing, moment_text, print_json
from flows.runtime.deployment import Deployment
from flows.services import privacy_report
from flows.services.centre import links
from flows.services.privacy_report import Report
from schemas.bilingual import Lang
from schemas.config import Config


def report(config: Config, html: Path | None, lang: Lang, *, as_json: bool) -> int:
    """Print the report, or write it as a page. 1 if something is late. Raises `Unreachable`, `Foreign`,
    `ConfigError`, `KeysAway`, `OSError`."""
    found = privacy_report.report(Deployment(config))
    if html is not None:
        from flows.services.pages.privacy_page import page

        html.write_text(page(found, lang), encoding="utf-8")
    if as_json:
        print_json(privacy_report.plain(found))
    elif html is not None:
        print(f"written to {html}")
    else:
        _print(found, console())
    overdue = sum(clock.overdue for clock in found.clocks)
    return 1 if overdue or found.retention.behind or found.erasures.receipts > found.erasures.genuine else 0


def _print(found: Report, out: Console) -> None:
    _print_consents(found, out)
    _print_requests(found, out)
    _print_recipients(found, out)
    _print_retention(found, out)
    keys = found.keys
    missing = f"; MISSING: {', '.join(keys.missing)}" if keys.missing else ""
    out.print(
        f"{keys.data_keys:,} customers' keys; {keys.provider}, {keys.newest} wraps what is new{missing}",
        markup=False,
    )


def _print_consents(found: Report, out: Console) -> None:
    said = folded(Table("purpose", "before any word", "yes", "no", title="consents", title_justify="left"))
    for one in found.consents.purposes:
        said.add_row(one.name, one.before or "not asked for", f"{one.yes:,}", f"{one.no:,}")
    out.print(said)
    modes = ", ".join(f"{mode} {count:,}" for mode, count in found.consents.modes.items())
    out.print(
        f"{found.consents.customers:,} customers have said something" + (f"; {modes}" if modes else ""),
        markup=False,
    )


def _print_requests(found: Report, out: Console) -> None:
    heads = ("request", "clock", "open", "soon", "overdue", "done", "refused", "late", "median days")
    clocks = folded(Table(*heads, title="requests", title_justify="left"))
    for one in found.clocks:
        counts = (one.in_time, one.soon, one.overdue, one.done, one.refused, one.late)
        days = "" if one.median_days is None else f"{one.median_days:.1f}"
        clocks.add_row(one.right, one.regime, *(f"{count:,}" for count in counts), days)
    out.print(clocks)
    erased = found.erasures
    out.print(
        f"erasures: {erased.asked_by_customers:,} asked for, {erased.asked_by_retention:,} by retention,"
        f" {erased.under_way:,} under way; {erased.genuine:,} of {erased.receipts:,} receipts are genuine;"
        f" {erased.on_hold:,} identities on hold, {erased.suppressed:,} identifiers suppressed",
        markup=False,
    )


def _print_recipients(found: Report, out: Console) -> None:
    told = folded(
        Table("receiver", "type", "is given", "asked to delete", title="receivers", title_justify="left")
    )
    for one in found.recipients:
        answers = ", ".join(f"{said} {count:,}" for said, count in one.answers.items())
        told.add_row(Text(one.name), one.type if one.enabled else "off", Text(", ".join(one.knows)), answers)
    out.print(told)


def _print_retention(found: Report, out: Console) -> None:
    kept = found.retention
    table = folded(
        Table("data", "ends", "option", "removed", "oldest", title="retention", title_justify="left")
    )
    for one in kept.classes:
        swept = one.swept
        removed = f"{swept.removed:,}" if swept else ""
        oldest = moment_or_nothing(swept.oldest_ms) if swept else ""
        table.add_row(Text(one.name), Text(one.rule.en), one.option, removed, oldest)
    out.print(table)
    if kept.last_pass_ms:
        out.print(
            f"the last sweep ended {moment_text(kept.last_pass_ms)}, and looked at {kept.customers:,}"
            f" customers; {kept.unknown:,} of them have no profile",
            markup=False,
        )
    else:
        out.print(f"no sweep has come to its end yet: {kept.looking_at:,} customers so far", markup=False)
    if kept.waits_until_ms:
        out.print(
            f"[bold red]nobody is erased before {moment_text(kept.waits_until_ms)}[/]: the rule is new, or"
            " the clock has jumped (retention.grace)"
        )
    if kept.behind:
        out.print("[bold red]what is too old is not removed in time[/]: look at the log of process `privacy`")


def link(config: Config, who: str, days: int, lang: Lang) -> int:
    """Print a link. Raises `Unusable`, `Unreachable`."""
    print(links.make(Deployment(config), who, days=days, lang=lang))
    return 0
