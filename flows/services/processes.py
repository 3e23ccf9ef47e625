"""What `millrace run` does: one flow in this process, or several under a supervisor.

one process for each of    gateway deliver learn privacy match archive (the last two where they, or a daily
                           backup, are switched on)
several workers of         resolve profile (worker k of n takes the partitions or shards at k modulo n)
and, where `redis.url` is "embedded", a redis-server below them
"""

import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from shutil import disk_usage
from socket import gethostname
from typing import IO, TYPE_CHECKING, Literal, NoReturn, get_args

import structlog

from flows.runtime.ready import SUFFIX
from schemas.config import Config
from schemas.errors import Losing, MillraceError, Refused, Unreachable

if TYPE_CHECKING:  # each process imports what it needs when it knows what it is
    from flows.runtime.deployment import Deployment
    from flows.runtime.supervisor import Child

log = structlog.get_logger()

Flow = Literal["gateway", "resolve", "profile", "deliver", "learn", "match", "privacy", "archive"]
FLOWS: tuple[Flow, ...] = get_args(Flow)

# What feeds is stopped before what is fed.
_STAGE: dict[Flow, int] = {
    "gateway": 0,
    "resolve": 1,
    "profile": 2,
    "deliver": 3,
    "learn": 3,
    "match": 3,
    "privacy": 3,
    "archive": 4,
}
_STAGE_REDIS = 5
DISK_MIN = 32 << 20
METRICS_PORTS = 16  # that lone flows of one machine may take, from that of `metrics.listen` on
SINGLE: tuple[Flow, ...] = (
    "gateway",
    "learn",
    "match",
    "privacy",
    "archive",
)  # one door, one trainer of each model, one writer of an index or a folder, one driver of requests
VITAL: tuple[Flow, ...] = (
    "gateway",
)  # of `run all`: where others do not run events are still taken in, and wait
SEVERAL: tuple[Flow, ...] = ("resolve", "profile")


def workers_of_this_machine(flow: Flow) -> int:
    """Return how many workers of a flow suit this machine.

    `profile` has twice the work of `resolve`; together about one process for each core, for each waits for
    Redis now and then.
    """
    cores = os.cpu_count() or 1
    return {"resolve": ceil(cores / 3), "profile": ceil(2 * cores / 3)}.get(flow, 1)


def one(flow: Flow, config: Config, worker: int, workers: int) -> None:
    """Be worker `worker` of `workers` of a flow, until a signal ends this process. Raises `Fatal`."""
    from flows.runtime import logs

    logs.configure(config.log, flow, f"{worker}/{workers}")
    check_disk(Path(config.data.folder))
    from flows.runtime.deployment import Deployment
    from state.redis.client import introduce, reported, stay_with_server, warn_if_it_forgets

    deployment = Deployment(config)
    introduce(deployment.client, config.redis.prefix, f"{flow}-{worker}")
    stay_with_server(deployment.client)
    deployment.prepare_if_new()
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:  # no supervisor above us
        if deployment.key_provider.file is not None:
            _watch_keys(deployment.key_provider.file)
        warn_if_it_forgets(deployment.client)
        if flow != "gateway":
            _serve_metrics(config.metrics.listen)
    try:
        with reported():
            _run_flow(flow, deployment, worker, workers)
    except Refused as refused:
        if "WRONGTYPE" not in str(refused):
            raise
        from state.damage import of_another_type

        raise next(of_another_type(deployment.client, deployment.names), refused) from refused


def _run_flow(flow: Flow, deployment: "Deployment", worker: int, workers: int) -> None:
    match flow:
        case "gateway":
            from flows import gateway

            gateway.run(deployment)
        case "resolve":
            from flows import resolve

            resolve.run(deployment, worker, workers)
        case "profile":
            from flows import profile

            profile.run(deployment, worker, workers)
        case "deliver":
            from flows import deliver

            deliver.run(deployment, worker, workers)
        case "learn":
            from flows import learn

            learn.run(deployment)
        case "match":
            from flows import match

            match.run(deployment)
        case "privacy":
            from flows import privacy

            privacy.run(deployment)
        case "archive":
            from flows import archive

            archive.run(deployment)


def everything(
    config: Config, path: Path | None, workers: int | None, reload: Callable[[], object]
) -> NoReturn:
    """Run the whole of millrace on this machine. Ends with `SystemExit(0)` on a signal. Raises `Fatal`.

    `workers` of resolve and profile each; None: as suits the machine.
    """
    from flows.runtime import logs

    logs.configure(config.log, "supervisor")
    metrics = _metrics_folder(config, "all")
    from connectors.listening import listen
    from flows.runtime.deployment import Deployment
    from flows.runtime.key_watch import KeyWatch
    from flows.runtime.ready import Ready
    from flows.runtime.supervisor import Child, Supervisor
    from state.redis.client import warn_if_it_forgets
    from state.redis.embedded import embedded

    deployment = Deployment(config)
    tell = _telling(config, "all")
    with Supervisor(reload=reload, tell=tell) as supervisor:
        redis = None
        if config.redis.url == "embedded":
            server = embedded(config)
            redis = Child("redis", _STAGE_REDIS, server.spawn, ready=server.ready)
            server.wait(supervisor.start(redis))
        _empty(
            metrics
        )  # not before the data folder is ours: a second start must not take the first one's figures
        try:
            deployment.prepare()
        except (
            Losing
        ) as error:  # what runs on the rules in force loses nothing; what does not start loses events
            log.error(
                "rules_not_announced", error=str(error), remedy="mend the file, or `millrace reload --yes`"
            )
        tell(())  # what was said here before is over
        warn_if_it_forgets(deployment.client)
        deployment.check_raw_log()  # here it is one line; in the workers it would be one of each, five times
        listen(config.gateway.listen).close()  # as above
        for flow in FLOWS:
            if flow == "archive" and not (config.archive.enabled or config.backup.daily):
                continue
            if flow == "match" and not config.matching.enabled:
                continue
            count = workers if workers and flow in SEVERAL else workers_of_this_machine(flow)
            for worker in range(count):
                supervisor.start(_child(flow, path, worker, count, redis, vital=flow in VITAL))
        file = deployment.key_provider.file
        keys = KeyWatch(file) if file else None
        ready = Ready(metrics, lambda: supervisor.pids(but=redis), f"ready at http://{config.gateway.listen}")

        def beside() -> None:
            if keys is not None:
                keys()
            ready()

        supervisor.beside = beside
        supervisor.watch()


def several(
    flow: Flow, config: Config, path: Path | None, workers: int, reload: Callable[[], object]
) -> NoReturn:
    """Run all workers of one flow. Ends with `SystemExit(0)` on a signal. Raises `Fatal`."""
    from flows.runtime import logs

    logs.configure(config.log, "supervisor")
    folder = _metrics_folder(config, flow)
    held = _hold(folder, flow)
    if flow != "gateway":
        _serve_metrics(config.metrics.listen)
    _empty(folder)  # not before the folder is ours, for the same reason as above
    from flows.runtime.supervisor import Supervisor

    with held, Supervisor(reload=reload, tell=_telling(config, flow)) as supervisor:
        for worker in range(workers):
            supervisor.start(_child(flow, path, worker, workers, None, vital=False))
        supervisor.watch()


def _telling(config: Config, what: str) -> Callable[[Sequence[str]], None]:
    """Return what notes in Redis which processes of this supervisor are given up, for the gateway and for
    `millrace status`."""
    supervisor = gethostname() if what == "all" else f"{gethostname()}/{what}"

    def tell(names: Sequence[str]) -> None:
        from flows.runtime.deployment import Deployment
        from state.redis.client import reported

        try:
            with reported():
                Deployment(config).given_up.say(supervisor, names)
        except MillraceError as error:  # the log has it all the same
            log.warning("given_up_not_noted", error=str(error))

    return tell


def _child(
    flow: Flow, path: Path | None, worker: int, workers: int, redis: "Child | None", *, vital: bool
) -> "Child":
    from flows.runtime.supervisor import Child, command

    # -P: a folder named `flows` where the user happens to stand is not ours
    argv = [sys.executable, "-P", "-m", _main(), "run", flow, "--worker", f"{worker}/{workers}"]
    argv += ["-c", str(path.resolve())] if path else []
    return Child(f"{flow}-{worker}", _STAGE[flow], command(argv), needs=redis, vital=vital)


def _main() -> str:
    """Return the module that this process was started with, where it is one of ours: a demo has one of its
    own."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return (
        spec.name.removesuffix(".__main__")
        if spec is not None and spec.name.startswith("flows.")
        else "flows.cli"
    )


def _metrics_folder(config: Config, what: str) -> Path:
    """Make and name the folder where the processes of one supervisor leave their figures; to be called before
    the metrics library is imported."""
    folder = Path(config.data.folder).resolve() / "metrics" / what
    folder.mkdir(parents=True, exist_ok=True)
    check_disk(folder)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    return folder


def _hold(folder: Path, flow: Flow) -> IO[bytes]:
    """Lock the folder until the file is closed, or this process ends. Raises `Unreachable` where somebody has
    it."""
    lock = (folder / "lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise Unreachable(
            f"{folder}: another `millrace run {flow}` of this data folder is running: stop it first"
        ) from None
    return lock


def check_disk(folder: Path) -> None:
    """Check that there is room: figures lie in mapped files, and on a full disk they would end the process
    with a bus error and no word. Raises `Unreachable`."""
    if folder.exists() and (free := disk_usage(folder).free) < DISK_MIN:
        raise Unreachable(
            f"the disk of {folder.resolve()} is full: {free >> 20} MB are free, we start with "
            f"{DISK_MIN >> 20} MB; make room"
        )


def _empty(folder: Path) -> None:
    """Remove what former processes left; our own file is open by now."""
    for file in (*folder.glob("*.db"), *folder.glob(f"*{SUFFIX}")):
        if not file.stem.endswith(f"_{os.getpid()}"):
            file.unlink()


def _watch_keys(file: Path) -> None:
    """Watch the key file in a thread, for a worker that stands alone."""
    from threading import Thread

    from flows.runtime.key_watch import LOOK_EVERY_S, KeyWatch

    look = KeyWatch(file)

    def watch() -> None:
        while True:
            time.sleep(LOOK_EVERY_S)
            look()

    Thread(target=watch, name="keys", daemon=True).start()


def _serve_metrics(listen: str) -> None:
    """Serve figures by Prometheus' own small server, in a thread. Raises `Unreachable` where the address
    cannot be had.

    Where another flow of this machine is there already, at one of the ports that follow: two lone flows may
    share a file.
    """
    from prometheus_client import start_http_server

    from schemas.metrics import registry

    host, _, port = listen.rpartition(":")
    for other in range(int(port), min(int(port) + METRICS_PORTS, 65_536)):
        try:
            start_http_server(other, host.strip("[]"), registry())
        except OSError as error:
            failed = error
            if error.errno != errno.EADDRINUSE:
                break
        else:
            if other != int(port):
                log.warning(
                    "metrics_elsewhere",
                    wanted=listen,
                    served=f"{host}:{other}",
                    cause="another process is there",
                )
            return
    raise Unreachable(f"metrics.listen: cannot serve on {listen}: {failed.strerror}")
