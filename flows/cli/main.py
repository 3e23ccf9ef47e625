"""The command `millrace`: all commands together, and how they end.

Wrong usage, every `MillraceError` and a full disk are one clear line on stderr and a non-zero exit: 2 for
usage, 1 for the rest; a worker of a flow (`--worker`) also 75 if nothing is wrong with it, and a server was
away (`schemas.errors`).

Every worker is this command as well: what only some commands need is imported inside of these.
"""

import sys
from collections.abc import Callable
from typing import Annotated

import typer
from typer.exceptions import TyperException

from flows.cli.configuration_commands import check, init
from flows.cli.history_commands import backup, rebuild, restore, switch
from flows.cli.import_command import import_
from flows.cli.inspection_commands import customer, digest, quality, status, why
from flows.cli.key_commands import keys
from flows.cli.lab_commands import bench, chaos, demo, prove, simulate
from flows.cli.model_commands import model
from flows.cli.privacy_commands import privacy
from flows.cli.run_commands import reload, run
from flows.cli.steward_commands import identity, review
from flows.cli.subject_commands import subject
from flows.cli.trouble import fail
from flows.cli.upkeep_commands import dead, repair, source
from flows.lab.evaluate import evaluation
from schemas.errors import MillraceError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A real-time customer engine.",
)
# In the order in which `millrace --help` lists them.
_COMMANDS: dict[str, Callable[..., int | None]] = {
    "run": run,
    "check": check,
    "init": init,
    "customer": customer,
    "why": why,
    "demo": demo,
    "status": status,
    "digest": digest,
    "import": import_,
    "quality": quality,
    "simulate": simulate,
    "bench": bench,
    "chaos": chaos,
    "reload": reload,
    "restore": restore,
    "rebuild": rebuild,
    "switch": switch,
}
for name, command in _COMMANDS.items():
    app.command(name)(command)
app.add_typer(dead, name="dead")
app.add_typer(source, name="source")
app.add_typer(repair, name="repair")
app.add_typer(backup, name="backup")
app.add_typer(keys, name="keys")
app.add_typer(identity, name="identity")
app.add_typer(review, name="review")
app.add_typer(subject, name="subject")
app.add_typer(privacy, name="privacy")
app.add_typer(evaluation, name="eval")
app.add_typer(model, name="model")
app.add_typer(prove, name="prove")


def _version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    _wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A real-time customer engine."""


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as version_of  # slow to import, and every worker is this command

    print(f"millrace {version_of('millrace')}")


def main() -> int:
    """Run the console script, and return the exit code."""
    try:
        code = app(prog_name="millrace", standalone_mode=False)
    except TyperException as wrong:
        if message := wrong.format_message():  # none after a help text
            print(f"millrace: {' '.join(message.split())}", file=sys.stderr)
        return wrong.exit_code
    except (MillraceError, OSError) as error:
        return fail("millrace", error)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    return code or 0
