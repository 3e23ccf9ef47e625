"""The commands that look at a deployment: `status`, `customer`, `digest` and `quality`."""

from typing import Annotated

import typer

from flows.cli.options import AsJson, ConfigFile
from schemas import bilingual
from schemas.config.toml import load

Personal = Annotated[
    bool, typer.Option("--personal", help="Where data looks personal in fields that nobody listed.")
]


def status(config: ConfigFile = None) -> None:
    """Print one screen: what the deployment holds, and how far each part is."""
    from flows.cli.status_screen import show

    show(load(config, secrets=False))


def customer(
    who: Annotated[
        str, typer.Argument(metavar="ID", help="Such as email:ana@example.org, or a customer's hex id.")
    ],
    config: ConfigFile = None,
) -> int:
    """Print all that is held of a customer on one screen, contact details masked."""
    from flows.cli.customer_screen import show

    return show(load(config, secrets=False), who)


def why(
    who: Annotated[
        str, typer.Argument(metavar="ID", help="Such as email:ana@example.org, or a customer's hex id.")
    ],
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many, the newest first.")] = 50,
    lang: Annotated[bilingual.Lang, typer.Option(help="The language of the reasons.")] = "en",
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Print what was not sent to a customer and why, and which actions were chosen."""
    from flows.cli.decision_screen import run

    return run(load(config, secrets=False), who, limit, lang, as_json)


def digest(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Print one hash for each shard, for the directory and for the whole: equal digests are equal systems."""
    from flows.cli.digest_screen import run

    return run(load(config), as_json)


def quality(personal: Personal = False, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Print by source and field how many records state it, validly, or against what was held."""
    from flows.cli.quality_screen import run, run_personal

    return (run_personal if personal else run)(load(config), as_json)
