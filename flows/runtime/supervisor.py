"""Runs processes: starts again what dies, gives up on what dies at once again and again, and ends all of them
in order. A process that ends with the exit code `TRY_AGAIN` says that a server was away: it is started again
for as long as that lasts.

What is given up is tried again now and then, and the rest goes on. Only where nothing works without it, and
it has never worked, all ends.

It knows nothing of flows; `flows.services.processes` says which processes there are. It lives in the main
thread of its own process, because the kernel ends the children when the thread that started them ends (see
`state.redis.embedded.die_with_parent`).
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import FrameType, TracebackType
from typing import NoReturn, Self

import structlog

from schemas.errors import TRY_AGAIN, Fatal, MillraceError
from state.redis.embedded import die_with_parent

log = structlog.get_logger()

LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Patience:
    """When to start again, and when to give up. Seconds."""

    quick_s: float = 10.0  # a death sooner than this after the start is a quick one
    quick_deaths_max: int = 5  # so many in a row are a fault that comes back at once
    backoff_s: float = (
        0.2  # after a quick death; doubles with each in a row. After another what died is started at once
    )
    backoff_s_max: float = 10.0
    away_s_max: float = 2.0  # the same while a server is away, for all wait for it
    rest_s: float = 30.0  # between two attempts at what was given up
    stop_s: float = 5.0  # for a process to end by itself, then it is killed


@dataclass(frozen=True)
class Child:
    """One process that should always run."""

    name: str
    stage: int  # they are stopped by rising stage, those of one stage together
    spawn: Callable[[], subprocess.Popen[bytes]]
    needs: "Child | None" = (
        None  # while that one is not ready, this one is not started again, and its deaths are not its fault
    )
    ready: Callable[[], bool] = lambda: True
    vital: bool = True  # all end where it has never worked


@dataclass
class _State:
    child: Child
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    quick_deaths: int = 0
    absences: int = 0  # of a server, in a row
    # has once lived for longer than `quick_s`: what ends it at once now may pass, and is no reason to end all
    proven: bool = False
    start_at: float = 0.0
    given_up: bool = False


class Supervisor:
    """A context: leaving it ends every child. SIGTERM and SIGINT leave it with `SystemExit(0)`, SIGHUP calls
    `reload`."""

    def __init__(
        self,
        *,
        reload: Callable[[], object] | None = None,
        tell: Callable[[Sequence[str]], None] = lambda _names: None,
        patience: Patience = Patience(),  # frozen
    ) -> None:
        """`tell` hears which children are given up, when that changes and again with each attempt at one of
        them."""
        self.beside: Callable[[], None] | None = None  # called with every look
        self._reload = reload
        self._tell = tell
        self._reload_asked = False
        self._patience = patience
        self._states: list[_State] = []
        self._handlers_before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        handlers = {
            signal.SIGTERM: self._on_stop,
            signal.SIGINT: self._on_stop,
            signal.SIGHUP: self._on_reload,
        }
        self._handlers_before = {
            number: signal.signal(number, handler) for number, handler in handlers.items()
        }
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ignore_stops()
        self.stop()
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)

    def start(self, child: Child) -> subprocess.Popen[bytes]:
        """Start a child for the first time; its errors are the caller's."""
        state = _State(child, child.spawn(), time.monotonic())
        self._states.append(state)
        log.info("worker_started", child=child.name, pid=_running(state).pid)
        return _running(state)

    def pids(self, *, but: Child | None = None) -> list[int | None]:
        """Return those of all children except `but`; None where one does not run."""
        return [
            state.process.pid if state.process else None for state in self._states if state.child is not but
        ]

    def watch(self) -> NoReturn:
        """Look again and again, until a signal ends it. Raises `Fatal` when a vital child, or the last one
        that was not given up, has never worked."""
        while True:
            self.look()
            time.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Look once at every child, and at whether a reload was asked for. Raises `Fatal` as `watch` does."""
        if self.beside is not None:
            self.beside()
        if self._reload_asked:
            self._reload_asked = False
            self._run_reload()
        for state in self._states:
            if state.process is not None and state.process.poll() is not None:
                self._note_death(
                    state, how=_how(state.process.returncode), away=state.process.returncode == TRY_AGAIN
                )
            if state.process is None and time.monotonic() >= state.start_at and self._may_start(state.child):
                self._start_again(state)
            if (
                state.given_up
                and state.process is not None
                and time.monotonic() - state.started >= self._patience.quick_s
            ):
                self._recover(state)

    def stop(self) -> None:
        """Send SIGTERM to each stage in turn, and SIGKILL to what has not ended after `stop_s` seconds."""
        by_stage = sorted(self._states, key=lambda state: state.child.stage)
        for _, states in groupby(by_stage, key=lambda state: state.child.stage):
            self._stop_together(
                [(state.child.name, state.process) for state in states if state.process is not None]
            )
        self._states.clear()

    def _stop_together(self, processes: Sequence[tuple[str, subprocess.Popen[bytes]]]) -> None:
        for _, process in processes:
            process.terminate()
        deadline = time.monotonic() + self._patience.stop_s
        for name, process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("worker_killed", child=name, waited_s=self._patience.stop_s)
                process.kill()
                process.wait()

    def _note_death(self, state: _State, how: str, *, away: bool) -> None:
        """Note a death (or a failed start), and when to start again. `away`: it waits for something that is
        no fault of its own."""
        quick = time.monotonic() - state.started < self._patience.quick_s
        if state.process is not None:
            _forget_metrics(state.process.pid)
        state.process = None
        before = state.absences if quick else 0
        state.absences = before + 1 if away else 0
        if away:
            state.quick_deaths = 0
        elif self._may_start(state.child):
            state.quick_deaths = state.quick_deaths + 1 if quick else 1
        state.proven = state.proven or not quick
        if (
            quick
            and state.quick_deaths >= self._patience.quick_deaths_max
            and not (state.proven and state.child.vital)
        ):
            self._give_up(state, how)
            return
        times, most = (
            (state.absences, self._patience.away_s_max)
            if away
            else (state.quick_deaths, self._patience.backoff_s_max)
        )
        delay = min(most, self._patience.backoff_s * 2 ** min(10, max(0, times - 1))) if quick else 0.0
        state.start_at = time.monotonic() + delay
        log.error("worker_died", child=state.child.name, how=how, restart_in_s=delay)

    def _give_up(self, state: _State, how: str) -> None:
        """Give a child up for a while. Raises `Fatal` if nothing could go on without it."""
        state.given_up = True
        if not state.proven and (state.child.vital or all(other.given_up for other in self._states)):
            raise Fatal(
                f"{state.child.name} ended {state.quick_deaths} times in a row within "
                f"{self._patience.quick_s:g} s of its start"
                f" (last: {how}): giving up; its own last line says why"
            )
        state.start_at = time.monotonic() + self._patience.rest_s
        log.critical(
            "worker_given_up",
            child=state.child.name,
            how=how,
            deaths=state.quick_deaths,
            again_in_s=self._patience.rest_s,
            meanwhile="all others go on, and what it should do waits; its own last line says why it ends",
        )
        _show_given_up(state.child.name, 1)
        self._tell(self._given_up())

    def _recover(self, state: _State) -> None:
        state.given_up, state.quick_deaths = False, 0
        log.info("worker_recovered", child=state.child.name)
        _show_given_up(state.child.name, 0)
        self._tell(self._given_up())

    def _given_up(self) -> list[str]:
        return [state.child.name for state in self._states if state.given_up]

    def _start_again(self, state: _State) -> None:
        state.started = time.monotonic()
        try:
            state.process = state.child.spawn()
        except (MillraceError, OSError) as error:  # the latter for a full disk
            self._note_death(
                state, how=str(error), away=isinstance(error, MillraceError) and error.exit_code == TRY_AGAIN
            )
            return
        _count_restart(state.child.name)
        log.info("worker_restarted", child=state.child.name, pid=state.process.pid)

    def _may_start(self, child: Child) -> bool:
        if child.needs is None:
            return True
        return (
            any(state.child is child.needs and state.process is not None for state in self._states)
            and child.needs.ready()
        )

    def _run_reload(self) -> None:
        if self._reload is None:
            return
        try:
            said = self._reload()
        except MillraceError as error:  # a mistake in a file that is being edited must not end what runs
            log.error("reload_refused", error=str(error))
        else:
            log.info("reloaded", said=str(said).splitlines())

    def _on_stop(self, number: int, _frame: FrameType | None) -> NoReturn:
        self._ignore_stops()
        log.info("stopping", signal=signal.Signals(number).name)
        raise SystemExit(0)

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload_asked = True

    def _ignore_stops(self) -> None:
        """Ignore a second Ctrl-C: it must not break into an orderly end, which is bounded anyway."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)


def command(argv: Sequence[str]) -> Callable[[], subprocess.Popen[bytes]]:
    """Return a `spawn` for a command line: in a process group of its own, killed when the supervisor dies."""

    def spawn() -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_child_setup())

    return spawn


def _child_setup() -> Callable[[], None]:
    die = die_with_parent(signal.SIGKILL)

    def setup() -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        die()

    return setup


def _running(state: _State) -> subprocess.Popen[bytes]:
    assert state.process is not None
    return state.process


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


# The metrics library decides at import where its figures go: after `flows.services.processes` has set
# PROMETHEUS_MULTIPROC_DIR, so not at the top.


def _count_restart(name: str) -> None:
    from schemas.metrics import WORKER_RESTARTS

    WORKER_RESTARTS.labels(worker=name).inc()


def _show_given_up(name: str, value: int) -> None:
    from schemas.metrics import WORKER_GIVEN_UP

    WORKER_GIVEN_UP.labels(worker=name).set(value)


def _forget_metrics(pid: int) -> None:
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid)  # type: ignore[no-untyped-call]  # untyped in the library
