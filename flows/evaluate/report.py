"""A verdict on the terminal, as JSON, and as one HTML file that needs nothing else."""

import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from flows.evaluate.html import page
from flows.evaluate.judge import Figures, Verdict
from schemas.errors import Unusable

_COLUMNS = ("auc", "log_loss", "brier", "ece")


def progress(line: str) -> None:
    """How far it is, in place, for a person who waits."""
    if sys.stderr.isatty():
        print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)


def present(verdict: Verdict, as_json: bool, html: Path | None) -> int:
    progress("")
    if html is not None:
        try:
            html.write_text(page(verdict), encoding="utf-8")
        except OSError as error:
            raise Unusable(f"{html} cannot be written: {error.strerror}") from None
    if as_json:
        print(msgspec.json.encode(verdict.flat()).decode())
        return 0
    console = Console(highlight=False)
    console.print(_whole(verdict))
    console.print(_periods(verdict))
    for note in verdict.notes:
        console.print(note)
    if html is not None:
        console.print(f"report: {html}")
    return 0


def _whole(verdict: Verdict) -> Table:
    table = Table(title=f"{verdict.title}\n{verdict.count:,} predictions, {verdict.base_rate:.1%} true", title_justify="left")
    table.add_column("")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    table.add_row("[bold]millrace[/bold]", *_cells(verdict.figures))
    for who, figures in verdict.baselines.items():
        table.add_row(who, *_cells(figures))
    table.add_section()
    for who, figures in verdict.learners.items():
        table.add_row(f"learner {who}", *_cells(figures))
    return table


def _periods(verdict: Verdict) -> Table:
    table = Table(title="by period: log-loss, and AUC of millrace", title_justify="left")
    for name in ("since", "count", "true", "auc", "ece", "millrace", *verdict.baselines):
        table.add_column(name, justify="left" if name == "since" else "right")
    for period in verdict.periods:
        own = period.figures["model"]
        losses = [f"{period.figures[who]['log_loss']:.4f}" for who in ("model", *verdict.baselines)]
        table.add_row(period.since, f"{period.count:,}", f"{period.base_rate:.1%}", *_cells(own, ("auc", "ece")), *losses)
    return table


def _cells(figures: Figures, names: tuple[str, ...] = _COLUMNS) -> list[str]:
    return [f"{figures[name]:.4f}" if name in figures else "-" for name in names]
