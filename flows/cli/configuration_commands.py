"""The commands about a configuration file: `init` and `check`."""

from pathlib import Path
from typing import Annotated

import typer


def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    event: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="EVENTS",
            help="Say what this event (JSON; or one a line) would do instead.",
        ),
    ] = None,
) -> int:
    """Print every error of a configuration file, or what is active; or what an event would do."""
    if event is None:
        from flows.cli.configuration_screen import check

        return check(file)
    from flows.cli.what_if_screen import show
    from flows.services.configuration_check import sound

    return show(sound(file), event)


def init(file: Annotated[Path, typer.Argument(dir_okay=False)] = Path("millrace.toml")) -> None:
    """Write a short configuration to begin with, every line explained."""
    from flows.services.first_configuration import init

    init(file)
    print(f"{file} is written. Next:\n  millrace check {file}\n  millrace run -c {file}")
