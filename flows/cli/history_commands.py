"""The commands about what was: `backup ...`, `restore`, `rebuild` and `switch`."""

from typing import Annotated

import typer

from flows.cli.options import ConfigFile
from schemas.config.toml import load

backup = typer.Typer(no_args_is_help=True, help="Full copies while the flows run.")


@backup.command("create")
def backup_create(config: ConfigFile = None) -> int:
    """Copy the directory and all shards, consistent and encrypted, into the backup folder."""
    from flows.cli.backup_screen import create

    return create(load(config))


@backup.command("list")
def backup_list(config: ConfigFile = None) -> int:
    """List them, the oldest first."""
    from flows.cli.backup_screen import listing

    return listing(load(config, secrets=False))


@backup.command("verify")
def backup_verify(
    name: Annotated[str | None, typer.Argument(metavar="BACKUP")] = None, config: ConfigFile = None
) -> int:
    """Read one (or all) and the archive behind it to the last byte."""
    from flows.cli.backup_screen import verify

    return verify(load(config), name)


@backup.command("prune")
def backup_prune(config: ConfigFile = None) -> int:
    """Remove all but the newest `backup.keep`, and what is older than `archive.keep` and not needed."""
    from flows.cli.backup_screen import prune

    return prune(load(config))


def restore(
    to: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="As it was then (2026-01-31T12:00:00Z); without it the latest."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="BACKUP", help="This one; without it the newest that fits."),
    ] = None,
    config: ConfigFile = None,
) -> int:
    """Fill an empty Redis from a backup and the archive behind it."""
    from flows.cli.restore_screen import run

    return run(load(config), to, source)


def rebuild(
    deliver: Annotated[
        bool,
        typer.Option("--deliver", help="Also deliver the triggers that it fires; each carries the run's id."),
    ] = False,
    switching: Annotated[
        bool,
        typer.Option("--switch", help="Then switch to it. The flows must be stopped, from before it begins."),
    ] = False,
    config: ConfigFile = None,
) -> int:
    """Build everything again from the archive, with this configuration, beside what runs."""
    from flows.cli.rebuild_screen import run

    return run(load(config), deliver, switching)


def switch(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove what lies beside under this id instead.")
    ] = False,
    config: ConfigFile = None,
) -> int:
    """Make what was rebuilt the one that runs, with the flows stopped; what was there is put aside."""
    from flows.cli import switching_screen

    return (switching_screen.remove if remove else switching_screen.run)(load(config), run_id)
