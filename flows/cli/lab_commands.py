"""The commands that try millrace out: `demo`, `simulate`, `chaos`, `prove ...` and `bench`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import AsJson, ConfigFile

prove = typer.Typer(
    no_args_is_help=True, help="Put what is promised to the proof, on a deployment of its own."
)


def demo(
    headless: Annotated[bool, typer.Option("--headless", help="No live view.")] = False,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop after so long; without it at Ctrl-C.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Run everything on this machine with the life of a simulated shop, and watch it."""
    from flows.lab.demo import run

    return run(config, headless, seconds, as_json)


def simulate(
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 1_000,
    first: Annotated[
        int,
        typer.Option(
            min=0, help="The first one; a seed that failed is replayed by `--first SEED --seeds 1`."
        ),
    ] = 0,
    privacy: Annotated[
        bool,
        typer.Option(
            "--privacy",
            help="Customers say all the time what they allow; nothing is kept or sent against it.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Run the engine in memory while everything goes wrong; prove that nothing is lost or doubled."""
    from flows.lab.simulate import run

    return run(seeds, first, as_json, privacy=privacy)


def chaos(
    seconds: Annotated[float, typer.Option(min=1, help="How long things go wrong.")] = 120,
    seed: Annotated[int, typer.Option(help="Decides which faults come when.")] = 1,
    kafka: Annotated[
        bool, typer.Option("--kafka", help="The raw log in a Kafka broker, started and killed as well.")
    ] = False,
    only: Annotated[
        str | None, typer.Option(help="Only faults whose name contains this, such as `zombie`.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Break a deployment of its own in every way under a known load; count what was lost or doubled."""
    from flows.lab.chaos import run

    return run(seconds, seed, kafka, as_json, only)


@prove.command("sealed")
def prove_sealed(
    kafka: Annotated[
        bool, typer.Option("--kafka", help="The raw log in a Kafka broker, whose files are searched as well.")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", file_okay=False, help="Keep the deployment here; else it is gone afterwards."
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Send known personal values by every way there is; search all that is left for them."""
    from flows.lab.prove import run

    return run(kafka, keep, as_json)


def bench(as_json: AsJson = False) -> int:
    """Measure the whole path on this machine."""
    from flows.cli.bench import run

    return run(as_json)
