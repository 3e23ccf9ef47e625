"""`millrace eval`: how well the models would have done on a history of your own, before anything goes live.

    churn       purchases: who will not come back?
    propensity  any table with a label that comes late
    anomaly     any table of transactions, few of which are bad
    bandit      which policy would have earned the most?
    identity    which rows are one person, or one company?
    table       reading CSV files
    judge       the figures
    baselines   what the models are compared with
    report      terminal and HTML

All of it runs on the real code path: fragments, features and trainers are those of the engine.
"""

from pathlib import Path
from typing import Annotated

import typer

from flows.evaluate.bandit import bandit

evaluation = typer.Typer(no_args_is_help=True, help="Measure the models on a history of your own.")

File = Annotated[Path, typer.Argument(metavar="FILE.csv", help="With a header; also gzipped.")]
Time = Annotated[str | None, typer.Option(metavar="COLUMN", help="When it happened: dates, or seconds.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]
Html = Annotated[Path | None, typer.Option("--html", metavar="REPORT.html", help="Also write a report with charts.")]


@evaluation.command("churn")
def eval_churn(
    file: File,
    customer: Annotated[str | None, typer.Option(metavar="COLUMN", help="Who bought.")] = None,
    time: Time = None,
    value: Annotated[str | None, typer.Option(metavar="COLUMN", help="What was paid.")] = None,
    horizon: Annotated[str | None, typer.Option(metavar="SPAN", help="How far ahead to look, such as 13w.")] = None,
    step: Annotated[str | None, typer.Option(metavar="SPAN", help="How often to ask, such as 1w.")] = None,
    as_json: AsJson = False,
    html: Html = None,
) -> int:
    """Who will not come back? From a list of purchases."""
    from flows.evaluate import report
    from flows.evaluate.churn import evaluate

    return report.present(evaluate(file, customer, time, value, horizon, step, report.progress), as_json, html)


Label = Annotated[str | None, typer.Option(metavar="COLUMN", help="What is to be foreseen: 0 or 1, no or yes.")]
Features = Annotated[
    str | None, typer.Option(metavar="A,B,C", help="Columns to learn from, numbers or words; without it all that say anything.")
]
LabelDelay = Annotated[str | None, typer.Option("--label-delay", metavar="SPAN", help="How late a label is known, such as 7d.")]


def _tabular(name: str, words: str, *, anomaly: bool) -> None:
    """A command on any table with a label: the two ask for the same."""

    @evaluation.command(name, help=words)
    def command(
        file: File,
        features: Features = None,
        label: Label = None,
        time: Time = None,
        label_delay: LabelDelay = None,
        as_json: AsJson = False,
        html: Html = None,
    ) -> int:
        from flows.evaluate import report
        from flows.evaluate.tabular import evaluate

        return report.present(evaluate(file, features, label, time, label_delay, report.progress, anomaly=anomaly), as_json, html)


_tabular("propensity", "How likely is a yes? From any table with a label that comes late.", anomaly=False)
_tabular("anomaly", "Which transactions are bad? Unsupervised at once, and supervised as labels come in.", anomaly=True)


@evaluation.command("identity")
def eval_identity(
    file: File,
    truth: Annotated[str, typer.Option(metavar="COLUMN", help="Who it really is.")],
    identifier: Annotated[
        list[str] | None, typer.Option("--id", metavar="COLUMN", help="Never evidence; may be given several times.")
    ] = None,
    fields: Annotated[
        list[str] | None, typer.Option("--map", metavar="COLUMN=FIELD", help="What a column means; without it its heading is guessed.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Random orders.")] = 3,
    redis: Annotated[
        str | None, typer.Option(metavar="URL", help="Keep the customers in this Redis, under a prefix that is removed.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Which rows are one person, or one company? One pass, in random order."""
    from flows.evaluate.identity import run

    return run(file, truth, identifier or [], fields or [], seeds, redis, as_json)


evaluation.command("bandit")(bandit)
