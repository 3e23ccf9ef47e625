"""The command `millrace`. Each command calls one function of another module, imported when it is needed.

Wrong usage, every `MillraceError` and a full disk are one clear line on stderr and a non-zero exit: 2 for
usage, 1 for the rest; a worker of a flow (`--worker`) also 75 if nothing is wrong with it, and a server was
away (`schemas.errors`).
"""

import errno
import sys
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

import typer
from typer.exceptions import TyperException

from flows.cli.model_commands import model
from flows.cli.options import AsJson, ConfigFile
from flows.cli.steward_commands import identity, review
from flows.cli.upkeep_commands import backup, dead, repair, source
from flows.lab.evaluate import evaluation
from flows.services.processes import FLOWS, SINGLE, everything, one, several
from schemas.config import Config
from schemas.errors import MillraceError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A real-time customer engine.",
)
app.add_typer(dead, name="dead")
app.add_typer(source, name="source")
app.add_typer(repair, name="repair")
app.add_typer(backup, name="backup")
app.add_typer(identity, name="identity")
app.add_typer(review, name="review")
app.add_typer(evaluation, name="eval")
app.add_typer(model, name="model")

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)


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
def run(
    what: Annotated[
        str,
        typer.Argument(metavar=f"[all|{'|'.join(FLOWS)}]", help="Everything on this machine, or one flow."),
    ] = "all",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes of resolve and profile each, or of the one flow."),
    ] = None,
    worker: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Be worker K (from 0) of N of one flow, in this process."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Run millrace: under a supervisor, or as one worker of many."""
    flow = next((flow for flow in FLOWS if flow == what), None)
    if flow is None and what != "all":
        raise typer.BadParameter(f"{what!r} is none of all, {', '.join(FLOWS)}")
    if worker is not None and workers is not None:
        raise typer.BadParameter("--worker is for one of many workers, --workers for all of them: give one")
    if flow in SINGLE and workers not in (None, 1):
        raise typer.BadParameter(f"{flow} has one process: --workers is for resolve, profile and deliver")
    if flow is None:
        if worker is not None:
            raise typer.BadParameter(
                "--worker goes with one flow, such as `millrace run resolve --worker 0/4`"
            )
        everything(_started(config), config, workers, lambda: _reload(config))
    elif worker is None:
        several(flow, _started(config), config, workers or 1, lambda: _reload(config))
    else:
        k, n = _k_of_n(worker)
        if flow in SINGLE and n != 1:
            raise typer.BadParameter(f"{flow} has one process: --worker 0/1")
        try:
            one(flow, _load(config), k, n)
        except (MillraceError, OSError) as error:  # its line stands among those of others
            code = _fail(f"millrace {flow} {worker}", error)
            raise SystemExit(error.exit_code if isinstance(error, MillraceError) else code) from None


@app.command()
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
    """Print every error of a configuration file, or what is active; or what an event would do, with nothing
    running."""
    if event is None:
        from flows.services.configuration_check import check

        return check(file)
    from flows.services.configuration_check import sound
    from flows.services.what_if import show

    return show(sound(file), event)


@app.command()
def init(file: Annotated[Path, typer.Argument(dir_okay=False)] = Path("millrace.toml")) -> None:
    """Write a short configuration to begin with, every line explained."""
    from flows.cli.init import init

    init(file)
    print(f"{file} is written. Next:\n  millrace check {file}\n  millrace run -c {file}")


@app.command()
def customer(
    who: Annotated[
        str, typer.Argument(metavar="ID", help="Such as email:ana@example.org, or a customer's hex id.")
    ],
    config: ConfigFile = None,
) -> int:
    """Print all that is held of a customer on one screen, contact details masked."""
    from flows.cli.customer import show

    return show(_load(config, secrets=False), who)


@app.command()
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


@app.command()
def status(config: ConfigFile = None) -> None:
    """Print one screen: what the deployment holds, and how far each part is."""
    from flows.services.status import show

    show(_load(config, secrets=False))


@app.command()
def digest(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Print one hash for each shard, for the directory and for the whole: equal digests are equal systems."""
    from flows.cli.digests import run

    return run(_load(config), as_json)


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, metavar="FILE", help="A .csv, .xlsx, .jsonl, .avro or .parquet file."
        ),
    ],
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="COL=FIELD",
            help="Once for each column that is to be sent; without any, all are, as what they are called.",
        ),
    ] = None,
    kind: Annotated[
        str, typer.Option("--type", metavar="identify|track", help="What a row is.")
    ] = "identify",
    event: Annotated[
        str | None,
        typer.Option(help="The event's name, where rows are tracks and no column is mapped to `event`."),
    ] = None,
    source: Annotated[str, typer.Option(help="The channel that profiles and rules see.")] = "import",
    sheet: Annotated[str | None, typer.Option(help="Of an Excel file; without it the first.")] = None,
    encoding: Annotated[
        str | None,
        typer.Option(help="Of a text file, such as gb18030; without it UTF-8 or what looks like it."),
    ] = None,
    quote: Annotated[
        str,
        typer.Option(
            metavar="double|none",
            help='Of a CSV file: what " does at the beginning of a cell; none: it is a letter.',
        ),
    ] = "double",
    zone: Annotated[str, typer.Option(help="Of times that come without one, such as Asia/Shanghai.")] = "UTC",
    backfill: Annotated[
        bool,
        typer.Option(
            "--backfill/--live",
            help="Rows are history, no trigger is sent because of them; or as if they happened now.",
        ),
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Send nothing: what would be rejected, and who would be new or become one."
        ),
    ] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Send the rows of a file as events. Killed and started again, it goes on where it was: no row is lost,
    none counts twice."""
    if kind not in ("identify", "track"):
        raise typer.BadParameter(f"--type {kind}: expected identify or track")
    if event is not None and kind != "track":
        raise typer.BadParameter("--event goes with --type track")
    if quote not in ("double", "none"):
        raise typer.BadParameter(f"--quote {quote}: expected double or none")
    if zone not in available_timezones():
        raise typer.BadParameter(
            f"--zone {zone}: there is no such time zone; expected one such as Asia/Shanghai"
        )
    from flows.services.importing import Job, run

    what: Literal["track", "identify"] = "track" if kind == "track" else "identify"
    job = Job(
        file,
        tuple(pairs or ()),
        what,
        event,
        source,
        sheet,
        encoding,
        quoted=quote == "double",
        zone=zone,
        backfill=backfill,
    )
    return run(_load(config), job, dry_run, as_json)


@app.command()
def quality(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Print by source and field how many records state it, how many of those are valid, and how many
    contradict what was held."""
    from flows.services.data_quality import run

    return run(_load(config), as_json)


@app.command()
def simulate(
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 1_000,
    first: Annotated[
        int,
        typer.Option(
            min=0, help="The first one; a seed that failed is replayed by `--first SEED --seeds 1`."
        ),
    ] = 0,
    as_json: AsJson = False,
) -> int:
    """Run the engine on twins in memory while everything goes wrong that can, and prove that nothing is lost
    or doubled."""
    from flows.lab.simulate import run

    return run(seeds, first, as_json)


@app.command()
def bench(as_json: AsJson = False) -> int:
    """Measure the whole path on this machine."""
    from flows.cli.bench import run

    return run(as_json)


@app.command()
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
    """Break a deployment of its own in every way there is under a known load, and count what was lost or
    doubled."""
    from flows.lab.chaos import run

    return run(seconds, seed, kafka, as_json, only)


@app.command()
def reload(
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Also if figures, tags or most triggers go with it.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Announce the rules of the configuration file to every shard of the running deployment (as SIGHUP does
    to `run`)."""
    print(_reload(config, yes))


@app.command()
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
    from flows.services.restore import run

    return run(_load(config), to, source)


@app.command()
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
    """Build everything anew from the archive, with this configuration, beside what runs."""
    from flows.services.rebuild import run

    return run(_load(config), deliver, switching)


@app.command()
def switch(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove what lies beside under this id instead.")
    ] = False,
    config: ConfigFile = None,
) -> int:
    """Make what was rebuilt the one that runs, or finish doing so; what was there is put aside. The flows
    must be stopped."""
    from flows.services import switching

    return (switching.remove if remove else switching.run)(_load(config), run_id)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as version_of  # slow to import, and every worker is this command

    print(f"millrace {version_of('millrace')}")


def main() -> int:
    """The console script. Returns the exit code."""
    try:
        code = app(prog_name="millrace", standalone_mode=False)
    except TyperException as wrong:
        if message := wrong.format_message():  # none after a help text
            print(f"millrace: {' '.join(message.split())}", file=sys.stderr)
        return wrong.exit_code
    except (MillraceError, OSError) as error:
        return _fail("millrace", error)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    return code or 0


def _fail(who: str, error: MillraceError | OSError) -> int:
    """Say it in one line. Another trouble of the system's than with the disk is a defect, and raised
    again."""
    line = str(error)
    if isinstance(error, OSError):
        if error.errno not in _DISK and not (error.filename and error.errno in _NO_FOLDER):
            raise error
        line = f"{error.filename or 'the data folder'} cannot be written: {error.strerror}"
    print(f"{who}: {line}", file=sys.stderr, flush=True)
    return 1


def _load(path: Path | None, *, secrets: bool = True) -> Config:
    """`secrets`: those of receivers and senders are needed."""
    from schemas.config.toml import load

    return load(path, secrets=secrets)


def _started(path: Path | None) -> Config:
    from flows.services.configuration_changes import remember

    config = _load(path)
    _say_unsound(path)
    remember(config, path)
    return config


def _say_unsound(path: Path | None) -> None:
    """What `check` finds and loading does not, in its words. Ends nothing: a release that looks closer must
    not keep a gateway down."""
    from flows.services.configuration_check import sound
    from schemas.errors import ConfigError

    try:
        if path is not None:
            sound(path)
    except ConfigError as error:
        print(
            f"{error}\nmillrace: starts all the same; `check` and `reload` refuse this until it is mended",
            file=sys.stderr,
            flush=True,
        )


def _reload(path: Path | None, yes: bool = False) -> str:
    """What came into force, and what waits for a restart."""
    from flows.runtime.deployment import Deployment
    from flows.runtime.rules_in_force import settled
    from flows.services.configuration_changes import of_rules, waiting
    from schemas.errors import Losing

    config = settled(path)
    deployment = Deployment(config)
    try:
        version = deployment.prepare(agreed=yes)
    except Losing as error:
        raise Losing(f"{error}\nThe rules in force stay. If this is meant: `millrace reload --yes`") from None
    lines = [
        f"the rules are in force as version {version}" if version else "these rules are in force already"
    ]
    if before := deployment.announced(version - 1):
        lines += [f"  {change}" for change in of_rules(before, config)]
    if waits := waiting(config, path):
        lines.append(f"waits until `millrace run` is started again: {', '.join(waits)}")
    return "\n".join(lines)


def _k_of_n(text: str) -> tuple[int, int]:
    """`3/16` as (3, 16)."""
    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit() and int(k) < int(n)):
        raise typer.BadParameter(f"--worker {text}: expected K/N with K from 0 to N-1, such as 3/16")
    return int(k), int(n)
