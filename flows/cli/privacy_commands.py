"""The commands `millrace privacy ...`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import AsJson, ConfigFile
from flows.cli.subject_commands import Who
from schemas import bilingual
from schemas.config.toml import load

privacy = typer.Typer(no_args_is_help=True, help="What is done with personal data (docs/privacy.md).")


@privacy.callback()
def group() -> None:
    """What is done with personal data: a report, and the pages where customers rule over their own."""


@privacy.command("report")
def privacy_report(
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page instead of printing.")
    ] = None,
    as_json: AsJson = False,
    lang: Annotated[bilingual.Lang, typer.Option(help="The language of the page.")] = "en",
    config: ConfigFile = None,
) -> int:
    """Report consents, requests and their clocks, erasures, receivers, retention and keys; names nobody. 1 if
    a request is overdue, or what is too old is not removed."""
    from flows.cli.privacy_screen import report

    return report(load(config, secrets=False), html, lang, as_json=as_json)


@privacy.command("link")
def privacy_link(
    who: Who,
    days: Annotated[int, typer.Option(min=1, max=90, help="How long it is good for.")] = 7,
    lang: Annotated[bilingual.Lang, typer.Option(help="The language that it opens in.")] = "en",
    config: ConfigFile = None,
) -> int:
    """Print a link that lets a customer into the privacy centre, once. Hand it to nobody else."""
    from flows.cli.privacy_screen import link

    return link(load(config, secrets=False), who, days, lang)
