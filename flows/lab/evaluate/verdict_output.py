"""A verdict on the terminal, as JSON, and as one HTML file that needs nothing else."""

import sys
from pathlib import Path

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from flows.lab.evaluate.advice import Advice, advice
from flows.lab.evaluate.judge import Figures, Verdict
from flows.lab.evaluate.verdict_page import page
from schemas.bilingual import Lang, Words
from schemas.errors import Unusable

_COLUMNS = ("auc", "log_loss", "brier", "ece")
_WIDE = 100
_COUNTED = Words("{count:,} predictions, {rate:.1%} true", "{count:,} 次预测，{rate:.1%} 为“是”")
_COLON = Words(": ", "：")


def progress(line: str) -> None:
    """Show how far it is, in place, for a person who waits."""
    if sys.stderr.isatty():
        print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)


def wide() -> Console:
    """Return a console as wide as the terminal; text that goes elsewhere is never cut."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)


def write(html: Path | None, page: str) -> None:
    """Write the report, if one is wanted; its path is told where it is not in the way of `--json`, which
    comes last. Raises `Unusable`."""
    if html is None:
        return
    try:
        html.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Unusable(f"{html} cannot be written: {error.strerror}") from None
    print(f"report: {html}", file=sys.stderr, flush=True)


def present(verdict: Verdict, as_json: bool, html: Path | None, lang: Lang) -> int:
    progress("")
    write(html, page(verdict, lang) if html else "")
    if as_json:
        print(msgspec.json.encode(verdict.flat()).decode())
    else:
        console = wide()
        tell(advice(verdict), lang, console)
        console.print(_whole(verdict, lang))
        console.print(_periods(verdict))
        for note in verdict.notes:
            console.print(note.of(lang), markup=False, style="dim")
    return 0


def tell(advice: Advice, lang: Lang, console: Console) -> None:
    """Print the verdict in words."""
    console.print(advice.headline.of(lang), style="bold", markup=False)
    for point, text in advice.points:
        asked, colon = point.of(lang), _COLON.of(lang)
        console.print(f"{asked}{' ' if asked.endswith(('?', '？')) else colon}{text.of(lang)}", markup=False)
    console.print()


def _whole(verdict: Verdict, lang: Lang) -> Table:
    counted = _COUNTED.of(lang).format(count=verdict.count, rate=verdict.base_rate)
    table = Table(title=f"{verdict.title.of(lang)}\n{counted}", title_justify="left")
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
    table = Table(
        title="by period: AUC of millrace, and log-loss of all",
        title_justify="left",
        box=SIMPLE,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in ("since", "count", "auc", "millrace", *verdict.baselines):
        table.add_column(name, justify="left" if name == "since" else "right", no_wrap=True)
    for period in verdict.periods:
        losses = [f"{period.figures[who]['log_loss']:.4f}" for who in ("model", *verdict.baselines)]
        table.add_row(period.since, f"{period.count:,}", *_cells(period.figures["model"], ("auc",)), *losses)
    return table


def _cells(figures: Figures, names: tuple[str, ...] = _COLUMNS) -> list[str]:
    return [f"{figures[name]:.4f}" if name in figures else "-" for name in names]
