"""The commands `millrace model ...`: what models there are, and an operator's word on them. What they do
stands in `flows.services.model_registry`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import AsJson, ConfigFile
from schemas.config.toml import load

model = typer.Typer(
    no_args_is_help=True, help="The models that learn: look at them, and decide which version is in force."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="One of those that `list` names.")]
Version = Annotated[
    int | None, typer.Option("--to", metavar="VERSION", min=1, help="Which; without it as the command says.")
]


@model.command("list")
def model_list(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """List the models: examples, versions, how good they are, who is champion, what has drifted."""
    from flows.cli.model_screen import listing

    return listing(load(config), as_json)


@model.command("show")
def model_show(name: Name, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Show one with its last versions, its learners side by side, and the weights of the last version."""
    from flows.cli.model_screen import show

    return show(load(config), name, as_json)


@model.command("rollback")
def model_rollback(name: Name, to: Version = None, config: ConfigFile = None) -> int:
    """Score with an older version (the one before the last) until the next one is learnt."""
    from flows.cli.model_screen import rollback

    return rollback(load(config), name, to)


@model.command("pin")
def model_pin(name: Name, to: Version = None, config: ConfigFile = None) -> int:
    """Score with one version (the last) until it is unpinned; learning goes on."""
    from flows.cli.model_screen import pin

    return pin(load(config), name, to)


@model.command("unpin")
def model_unpin(name: Name, config: ConfigFile = None) -> int:
    """Score with the last version again, and with all that follow."""
    from flows.cli.model_screen import unpin

    return unpin(load(config), name)


@model.command("promote")
def model_promote(
    name: Name,
    learner: Annotated[
        str, typer.Argument(metavar="LEARNER", help="One of those that `show` lists side by side.")
    ],
    config: ConfigFile = None,
) -> int:
    """Make a challenger (of best_action another policy) the champion, once more examples are learnt."""
    from flows.cli.model_screen import promote

    return promote(load(config), name, learner)


@model.command("export")
def model_export(
    name: Name,
    to: Version = None,
    out: Annotated[Path | None, typer.Option("--out", help="A file; without it standard output.")] = None,
    config: ConfigFile = None,
) -> int:
    """Write a version (the last) as plain JSON: all that shards use of it."""
    from flows.cli.model_screen import export

    return export(load(config), name, to, out)


@model.command("report")
def model_report(
    name: Name,
    html: Annotated[Path, typer.Option("--html", help="The file to write.")],
    config: ConfigFile = None,
) -> int:
    """Write a page with charts: reliability, log-loss as learnt, label delay, contest of the learners."""
    from flows.cli.model_screen import report

    return report(load(config), name, html)
