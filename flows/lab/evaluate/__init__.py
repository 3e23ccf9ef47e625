"""`millrace eval`: how well the models would have done on a history of your own, before anything goes live.

    churn       purchases: who will not come back?
    propensity  any table with a label that comes late
    anomaly     any table of transactions, few of which are bad
    bandit      which policy would have earned the most?
    identity    which rows are one person, or one company?
    input_table reading files; `headings`: how columns are called, `spans`: times as people say them
    judge       the figures, and `tops` what acting on the first tenth brings
    baselines   what the models are compared with
    advice      the verdict in words
    verdict_output  terminal, JSON and HTML; `verdict_page` is the page of churn and of tables with a label

All of it runs on the real code path: fragments, features and trainers are those of the engine.
"""

from typing import Annotated

import typer

from flows.lab.evaluate.bandit import bandit
from flows.lab.evaluate.eval_options import AsJson, Encoding, File, Html, Lang, Time

evaluation = typer.Typer(no_args_is_help=True, help="Measure the models on a history of your own.")


@evaluation.command("churn")
def eval_churn(
    file: File,
    customer: Annotated[str | None, typer.Option(metavar="COLUMN", help="Who bought.")] = None,
    time: Time = None,
    value: Annotated[str | None, typer.Option(metavar="COLUMN", help="What was paid.")] = None,
    quantity: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="How many; not above 0: a return.")
    ] = None,
    horizon: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How far ahead to look, such as 13w.")
    ] = None,
    step: Annotated[str | None, typer.Option(metavar="SPAN", help="How often to ask, such as 1w.")] = None,
    encoding: Encoding = None,
    lang: Lang = "en",
    as_json: AsJson = False,
    html: Html = None,
) -> int:
    """Who will not come back? From a list of purchases."""
    from flows.lab.evaluate import verdict_output
    from flows.lab.evaluate.churn_replay import evaluate

    verdict = evaluate(
        file, customer, time, value, quantity, horizon, step, encoding, verdict_output.progress
    )
    return verdict_output.present(verdict, as_json, html, lang)


Label = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="What is to be foreseen: 0 or 1, no or yes.")
]
Features = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,C", help="Columns to learn from, numbers or words; without it all that say anything."
    ),
]
LabelDelay = Annotated[
    str | None, typer.Option("--label-delay", metavar="SPAN", help="How late a label is known, such as 7d.")
]
FileOrder = Annotated[
    bool,
    typer.Option(
        "--file-order",
        help="There is no time: take the rows as they stand. --label-delay is then a number of rows.",
    ),
]


def _tabular(name: str, words: str, *, anomaly: bool) -> None:
    """A command on any table with a label: the two ask for the same."""

    @evaluation.command(name, help=words)
    def command(
        file: File,
        features: Features = None,
        label: Label = None,
        time: Time = None,
        label_delay: LabelDelay = None,
        file_order: FileOrder = False,
        encoding: Encoding = None,
        lang: Lang = "en",
        as_json: AsJson = False,
        html: Html = None,
    ) -> int:
        from flows.lab.evaluate import verdict_output
        from flows.lab.evaluate.tabular import evaluate

        verdict = evaluate(
            *(file, features, label, time, label_delay, encoding, verdict_output.progress),
            anomaly=anomaly,
            file_order=file_order,
        )
        return verdict_output.present(verdict, as_json, html, lang)


_tabular("propensity", "How likely is a yes? From any table with a label that comes late.", anomaly=False)
_tabular(
    "anomaly",
    "Which transactions are bad? Unsupervised at once, and supervised as labels come in.",
    anomaly=True,
)


@evaluation.command("identity")
def eval_identity(
    file: File,
    truth: Annotated[str, typer.Option(metavar="COLUMN", help="Who it really is.")],
    identifier: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="COLUMN", help="Never evidence; may be given several times."),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="COLUMN=FIELD", help="What a column means; without it its heading is guessed."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Random orders.")] = 3,
    redis: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Keep the customers in this Redis, under a prefix that is removed."),
    ] = None,
    encoding: Encoding = None,
    lang: Lang = "en",
    as_json: AsJson = False,
    html: Html = None,
) -> int:
    """Which rows are one person, or one company? One pass, in random order."""
    from flows.lab.evaluate.identity_command import run

    return run(file, truth, identifier or [], fields or [], seeds, redis, encoding, lang, as_json, html)


evaluation.command("bandit")(bandit)
