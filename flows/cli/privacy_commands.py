"""The commands `millrace privacy ...`: the pages where customers rule over their own data."""

from typing import Annotated

import typer

from flows.cli.options import ConfigFile
from flows.cli.subject_commands import Who
from schemas import bilingual
from schemas.config.toml import load

privacy = typer.Typer(no_args_is_help=True, help="The privacy centre (docs/centre.md).")


@privacy.callback()
def group() -> None:
    """The privacy centre: pages where customers rule over their own data."""


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
