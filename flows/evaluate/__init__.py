"""`millrace eval`: the models on a history of the user's own, on the code that runs live."""

import typer

from flows.evaluate.bandit import bandit

app = typer.Typer(no_args_is_help=True, help="Measure the models on a history of your own.")
app.command("bandit")(bandit)


@app.callback()
def _evaluate() -> None:
    """A callback keeps `bandit` a command of its own while it is the only one."""
