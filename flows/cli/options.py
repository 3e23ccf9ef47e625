"""Options that many commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--config",
        exists=True,
        dir_okay=False,
        help="The configuration file; without it deploy/millrace.toml.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]
