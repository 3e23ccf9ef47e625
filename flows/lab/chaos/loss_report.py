"""What a run ends with: a line for each kind of fault, and whether anything was lost or doubled."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.lab.chaos.booked_traffic import Book
from flows.lab.chaos.final_count import Loss, Verdict
from flows.lab.chaos.strikes import BUDGET_S

ELSEWHERE = "(no fault in particular)"
SHOWN = 10  # losses


class Strike(msgspec.Struct, frozen=True):
    """One fault that happened. Monotonic seconds."""

    fault: str
    budgeted: bool
    began_s: float
    ended_s: float
    processing_s: float | None  # until something was processed again; None where nothing was in the way


class Row(msgspec.Struct, frozen=True):
    """All strikes of one kind. Seconds until processing again."""

    fault: str
    times: int
    median_s: float | None
    worst_s: float | None
    budgeted: bool  # else the time is measured from the end of the trouble
    lost: int
    doubled: int


class Report(msgspec.Struct, frozen=True):
    seed: int
    seconds: float
    raw_log: str
    fsync: str
    acknowledged: int  # events
    attempts: int  # batches sent, repetitions included
    windows: int
    triggers: int  # due, by the twin
    repeated: int  # deliveries of an id that had come before
    cut: int  # acknowledged events that went with the tail of a log, as its policy says
    taken_back: int  # triggers from a second that Redis lost, which did not come again
    lost: int
    doubled: int
    same_as_twin: bool
    digest: str
    withheld: int  # events that are not kept, as their customers want it
    refused: int  # triggers that the door refused, as their customers want it
    stored_without_consent: int  # and what was withheld though it was allowed
    sent_without_consent: int
    erasures: int  # each with a receipt that is genuine, and with nothing left
    erasures_incomplete: int
    erasures_cut: int  # asked for in a moment that Redis lost
    over_budget: int  # strikes after which it took longer than it may
    findings: list[str]
    losses: list[Loss]  # the first few
    skipped: list[str]
    faults: list[Row]
    left: str = ""  # the folder with logs and data, where something was wrong

    @property
    def good(self) -> bool:
        """Say whether nothing was lost or doubled. How fast it was is another question: that depends on the
        machine."""
        wrong = self.lost or self.doubled or self.findings
        against = self.stored_without_consent or self.sent_without_consent or self.erasures_incomplete
        return not (wrong or against) and self.same_as_twin and self.triggers > 0


def rows(strikes: Sequence[Strike], losses: Sequence[Loss], book: Book) -> list[Row]:
    """Return a row for each fault. A loss belongs to the fault during which its message was under way: the
    last that began before its acknowledgement."""
    blamed: Counter[tuple[str, str]] = Counter()
    for loss in losses:
        blamed[_blamed(strikes, loss, book), loss.kind] += loss.times
    found = []
    for fault in dict.fromkeys([strike.fault for strike in strikes]) | {ELSEWHERE: None}:
        ours = [strike for strike in strikes if strike.fault == fault]
        times = [strike.processing_s for strike in ours if strike.processing_s is not None]
        lost, doubled = blamed[fault, "lost"], blamed[fault, "doubled"]
        if ours or lost or doubled:
            budgeted = any(strike.budgeted for strike in ours)
            found.append(
                Row(
                    fault=fault,
                    times=len(ours),
                    median_s=round(median(times), 2) if times else None,
                    worst_s=round(max(times), 2) if times else None,
                    budgeted=budgeted,
                    lost=lost,
                    doubled=doubled,
                )
            )
    return found


def _blamed(strikes: Sequence[Strike], loss: Loss, book: Book) -> str:
    sent = book.messages.get(loss.message)
    if sent is None:
        return ELSEWHERE
    end = sent.acknowledged_s or sent.first_s
    before = [strike for strike in strikes if strike.began_s <= end + 1]
    return before[-1].fault if before else ELSEWHERE


def build(
    seed: int,
    seconds: float,
    raw_log: str,
    fsync: str,
    strikes: Sequence[Strike],
    skipped: list[str],
    book: Book,
    repeated: int,
    verdict: Verdict,
) -> Report:
    """Return the report. `verdict` has the findings of the run as well."""
    kinds = Counter[str]()
    for loss in verdict.losses:
        kinds[loss.kind] += loss.times
    return Report(
        seed=seed,
        seconds=round(seconds, 1),
        raw_log=raw_log,
        fsync=fsync,
        acknowledged=sum(sent.acknowledged_s is not None for sent in book.messages.values()),
        attempts=book.attempts,
        windows=verdict.windows,
        triggers=verdict.triggers,
        repeated=repeated,
        cut=verdict.cut,
        taken_back=verdict.taken_back,
        lost=kinds["lost"],
        doubled=kinds["doubled"],
        same_as_twin=verdict.same,
        digest=verdict.digest,
        withheld=verdict.withheld,
        refused=verdict.refused,
        stored_without_consent=len(verdict.stored_without_consent),
        sent_without_consent=len(verdict.sent_without_consent),
        erasures=verdict.erasures.done,
        erasures_incomplete=len(verdict.erasures.incomplete),
        erasures_cut=verdict.erasures.cut,
        over_budget=sum(strike.budgeted and (strike.processing_s or 0) > BUDGET_S for strike in strikes),
        findings=[
            *verdict.findings,
            *(f"consent: {what}" for what in verdict.stored_without_consent[:SHOWN]),
            *(f"sent without consent: {what}" for what in verdict.sent_without_consent[:SHOWN]),
            *(f"erasure {what}" for what in verdict.erasures.incomplete[:SHOWN]),
        ],
        losses=verdict.losses[:SHOWN],
        skipped=skipped,
        faults=rows(strikes, verdict.losses, book),
    )


def shown(report: Report) -> RenderableType:
    """Return it as people read it."""
    title = "nothing lost, nothing doubled" if report.good else "NOT as it should be"
    table = Table(title=f"millrace chaos, seed {report.seed}: {title}", title_justify="left")
    table.add_column("fault")
    for name in ("times", "again after, median", "worst", "lost", "doubled"):
        table.add_column(name, justify="right")
    for row in report.faults:
        mark = "" if row.budgeted else " *"
        table.add_row(
            row.fault,
            str(row.times),
            _seconds(row.median_s, mark),
            _seconds(row.worst_s, mark),
            str(row.lost),
            str(row.doubled),
        )
    words = [
        f"{report.acknowledged:,} events acknowledged ({report.raw_log} raw log, fsync {report.fsync}) in "
        f"{report.attempts:,} requests, {report.windows:,} windows; {report.triggers:,} triggers, "
        f"{report.repeated:,} of them delivered again",
        f"the state {'equals' if report.same_as_twin else 'DIFFERS FROM'} "
        f"that of the undisturbed twin: {report.digest}",
        f"{report.withheld:,} events and {report.refused:,} triggers held back, as their customers want it; "
        f"stored without consent: {report.stored_without_consent}, sent: {report.sent_without_consent}; "
        f"{report.erasures} customers erased, {report.erasures_incomplete} not wholly",
        "* from the end of the trouble; else from the kill or the stop",
    ]
    if report.cut or report.taken_back:
        words.append(
            f"cut out of the log on purpose: {report.cut:,} acknowledged events, "
            f"{report.taken_back:,} delivered triggers"
        )
    if report.over_budget:
        words.append(f"{report.over_budget} times it took longer than {BUDGET_S:g} s")
    words += [f"not done: {reason}" for reason in report.skipped]
    words += [f"FOUND: {finding}" for finding in report.findings]
    words += [f"{loss.kind}: {loss.what} {loss.message}" for loss in report.losses]
    words += [f"logs and data are left in {report.left}"] if report.left else []
    return Group(table, Text("\n".join(words)))


def _seconds(value: float | None, mark: str) -> str:
    return "" if value is None else f"{value:.2f} s{mark}"
