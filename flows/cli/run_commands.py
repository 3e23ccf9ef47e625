"""The commands that start millrace and tell it of new rules: `run` and `reload`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import ConfigFile
from flows.cli.trouble import fail
from flows.services.processes import FLOWS, SINGLE, everything, one, several
from schemas.config import Config
from schemas.config.toml import load
from schemas.errors import ConfigError, Losing, MillraceError


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
            one(flow, load(config), k, n)
        except (MillraceError, OSError) as error:  # its line stands among those of others
            code = fail(f"millrace {flow} {worker}", error)
            raise SystemExit(error.exit_code if isinstance(error, MillraceError) else code) from None


def reload(
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Also if figures, tags or most triggers go with it.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Announce the rules of the configuration file to the running deployment (as SIGHUP does to `run`)."""
    print(_reload(config, yes))


def _started(path: Path | None) -> Config:
    from flows.services.configuration_changes import remember

    config = load(path)
    _say_unsound(path)
    remember(config, path)
    return config


def _say_unsound(path: Path | None) -> None:
    """What `check` finds and loading does not, in its words. Ends nothing: a release that looks closer must
    not keep a gateway down."""
    from flows.services.configuration_check import sound

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
    """Return in words what came into force, and what waits for a restart."""
    from flows.services import reloading

    try:
        done = reloading.reload(path, agreed=yes)
    except Losing as error:
        raise Losing(f"{error}\nThe rules in force stay. If this is meant: `millrace reload --yes`") from None
    if done.version:
        lines = [f"the rules are in force as version {done.version}"]
    else:
        lines = ["these rules are in force already"]
    lines += [f"  {change}" for change in done.changes]
    if done.waiting:
        lines.append(f"waits until `millrace run` is started again: {', '.join(done.waiting)}")
    return "\n".join(lines)


def _k_of_n(text: str) -> tuple[int, int]:
    """`3/16` as (3, 16)."""
    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit() and int(k) < int(n)):
        raise typer.BadParameter(f"--worker {text}: expected K/N with K from 0 to N-1, such as 3/16")
    return int(k), int(n)
