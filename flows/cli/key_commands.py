"""The commands `millrace keys ...`."""

import typer

from flows.cli.options import AsJson, ConfigFile
from schemas.config.toml import load

keys = typer.Typer(
    no_args_is_help=True, help="The keys that customers' data keys are wrapped with (docs/keys.md)."
)


@keys.command("status")
def keys_status(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Show which there are, and how many data keys each wraps. 1 if one is missing."""
    from flows.cli.key_screen import status

    return status(load(config), as_json)


@keys.command("rotate")
def keys_rotate(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Make another one and wrap every data key with it, while everything runs; or finish doing so. 1 if some
    are left."""
    from flows.cli.key_screen import rotate

    return rotate(load(config), as_json)


@keys.command("new")
def keys_new() -> int:
    """Print new keys for a variable of the environment (`keys.variable`). Whoever reads them has them."""
    from flows.cli.key_screen import new

    return new()
