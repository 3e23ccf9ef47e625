"""The commands `millrace dead ...`, `source ...` and `repair ...`.

Each calls one function of another module, imported when it is needed.
"""

from typing import Annotated

import typer

from flows.cli.options import ConfigFile
from schemas.config.toml import load

dead = typer.Typer(
    no_args_is_help=True, help="Events and deliveries that failed: look at them, send them again."
)
source = typer.Typer(
    no_args_is_help=True, help="Sources that were suspended because too many of their events were rejected."
)
repair = typer.Typer(no_args_is_help=True, help="Go on after a server lost what another still has.")


@dead.command("list")
def dead_list(
    reason: Annotated[str | None, typer.Option(help="Only these, such as `not_json`.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    config: ConfigFile = None,
) -> int:
    """List what failed, the newest first, each with the id that `show` and `replay` take."""
    from flows.cli.dead_letter_screen import listing

    return listing(load(config, secrets=False), reason, limit)


@dead.command("show")
def dead_show(entry: Annotated[str, typer.Argument(metavar="ID")], config: ConfigFile = None) -> int:
    """Show one with its original bytes."""
    from flows.cli.dead_letter_screen import show

    return show(load(config, secrets=False), entry)


@dead.command("replay")
def dead_replay(
    entries: Annotated[list[str] | None, typer.Argument(metavar="ID")] = None,
    reason: Annotated[str | None, typer.Option(help="All that failed for this reason.")] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    config: ConfigFile = None,
) -> int:
    """Send them again: events into the raw log, triggers to their receiver with their old ids."""
    if sum((bool(entries), reason is not None, all_of_them)) != 1:
        raise typer.BadParameter("give ids, or --reason, or --all")
    from flows.cli.dead_letter_screen import replay

    return replay(load(config, secrets=False), entries or [], reason)


@source.command("list")
def source_list(config: ConfigFile = None) -> int:
    """List the sources that are suspended: since when, for what, and how to go on."""
    from flows.cli.suspension_screen import listing

    return listing(load(config, secrets=False))


@source.command("resume")
def source_resume(name: Annotated[str, typer.Argument(metavar="NAME")], config: ConfigFile = None) -> int:
    """Take the events of a source again; what was received until now counts towards no new suspension."""
    from flows.cli.suspension_screen import resume

    return resume(load(config), name)


@repair.command("shard")
def repair_shard(
    number: Annotated[int, typer.Argument(metavar="N", min=0)], config: ConfigFile = None
) -> int:
    """Have a shard that is ahead of its log read on from the log's end."""
    from flows.cli.repair_screen import shard

    return shard(load(config), number)


@repair.command("customer")
def repair_customer(ident: Annotated[str, typer.Argument(metavar="ID")], config: ConfigFile = None) -> int:
    """Give up what is kept of a customer whose profile is gone or cannot be read."""
    from flows.cli.repair_screen import customer

    return customer(load(config), ident)
