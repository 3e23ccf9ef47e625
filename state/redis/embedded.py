"""The redis-server of the embedded mode: millrace starts it itself, in the data folder, for this machine
only.

It listens on a unix socket, never on a port. The folder is held by a lock that the server process itself
keeps, so it goes free in the instant that the server dies, however it dies. Works with Redis 6.2 and
everything later, Valkey included; `state.redis.servers` says which one it is.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import redis

from schemas.config import Config
from schemas.errors import Unreachable
from state.redis.servers import find_server, needed_for, refusal, server_at
from state.redis.torn import is_torn

SOCKET_PATH_MAX = 103  # bytes; the kernel's limit is 107 on Linux and 103 on macOS
LOCK_WAIT_S = 5.0  # a server whose supervisor was killed needs a moment to close its files
ANSWER_WAIT_S = 20.0
DISK_MIN = 8 << 20  # bytes; one that writes through ends when the disk is full
LOADING_WAIT_S = 600.0  # an append-only file of some gigabytes

_CONFIG = """\
# Written again at each start of millrace: changes here are lost.
port 0
unixsocket {socket}
unixsocketperm 700
dir {folder}
logfile {logfile}
daemonize no
save ""
appendonly yes
appendfsync {fsync}
maxmemory {max_memory}
maxmemory-policy noeviction
# Buckets of identifiers and of sealed records stay one flat allocation. (The old names of these settings are
# the only ones that every release knows.)
hash-max-ziplist-entries 160
hash-max-ziplist-value 1024
"""


def url(config: Config) -> str:
    """Return the Redis URL that every process of this deployment uses; for the embedded mode the socket in
    the data folder."""
    return embedded(config).url if config.redis.url == "embedded" else str(config.redis.url)


def embedded(config: Config) -> "Embedded":
    return Embedded(Path(config.data.folder) / "redis", config.redis.fsync, config.redis.max_memory)


@dataclass(frozen=True)
class Embedded:
    """One private redis-server: where it lives, how it is started, how one knows that it is up."""

    folder: Path
    fsync: Literal["always", "everysec", "no"] = "always"
    max_memory: int = 4 << 30  # bytes
    program: Path | None = None  # else the first of `find_server`

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def logfile(self) -> Path:
        return self._home / "redis.log"

    @property
    def socket(self) -> Path:
        """Return its socket: in the folder; where that path is too long for a socket, in a short one that
        a file in the folder names."""
        beside = self._home / "redis.sock"
        if len(os.fsencode(beside)) <= SOCKET_PATH_MAX:
            return beside
        named = self._home / "socket.path"
        if named.exists():
            return Path(named.read_text())
        digest = blake2b(os.fsencode(self._home), digest_size=8).hexdigest()
        return Path(tempfile.gettempdir()) / f"millrace-{digest}" / "redis.sock"

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server, in a process group of its own; it dies with the caller. Raises `Unreachable`,
        `Foreign`."""
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if (free := shutil.disk_usage(self._home).free) < DISK_MIN:
            needed, there = DISK_MIN >> 20, free >> 20
            raise Unreachable(
                f"the disk of {self._home} is full: {there} MB are free, Redis is started with {needed} MB;"
                " make room"
            )
        program = self._program()
        lock = self._lock()
        try:
            self._make_room_for_socket()
            if is_torn(self._home):
                self._mend(program, lock)
            return self._start(program, lock, self.socket)
        finally:
            os.close(lock)  # the server has its own copy, and with it the lock

    def _start(self, program: Path, lock: int, socket: Path) -> subprocess.Popen[bytes]:
        settings = self._home / "redis.conf"
        settings.write_text(self._settings(socket))
        with self.logfile.open("ab") as output:  # what it says before it has opened its log
            process = subprocess.Popen(
                [str(program), str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[lock],
                process_group=0,  # Ctrl-C is for the supervisor: the server goes last
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(process.pid).encode(), 0)
        return process

    def _mend(self, program: Path, lock: int) -> None:
        """A start that nobody can write to, which cuts off what is torn (see `state.redis.torn`). Why it
        failed is said by the next one."""
        aside = self.socket.with_name("mend.sock")
        process = self._start(program, lock, aside)
        try:
            with suppress(Unreachable):
                self._wait(process, aside)
        finally:
            process.kill()
            process.wait()
            aside.unlink(missing_ok=True)

    def ready(self) -> bool:
        """Return whether it answers, and has loaded its data."""
        return _answers(self.socket)

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it is `ready`. Raises `Unreachable` if it ends first, or takes too long."""
        self._wait(process, self.socket)

    def _wait(self, process: subprocess.Popen[bytes], socket: Path) -> None:
        started = time.monotonic()
        while not _answers(socket):
            if process.poll() is not None:
                raise Unreachable(
                    f"{_name(process)} ended with code {process.returncode}: {self._last_words()}"
                )
            waited = time.monotonic() - started
            if waited > (LOADING_WAIT_S if socket.exists() else ANSWER_WAIT_S):
                raise Unreachable(
                    f"{_name(process)} does not answer after {waited:.0f} s: {self._last_words()}"
                )
            time.sleep(0.02)

    @contextmanager
    def running(self) -> Iterator[str]:
        """Run a server for the length of a `with`; give its URL."""
        process = self.spawn()
        try:
            self.wait(process)
            yield self.url
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @cached_property
    def _home(self) -> Path:
        return self.folder.resolve()

    def _settings(self, socket: Path) -> str:
        paths = {"socket": socket, "folder": self._home, "logfile": self.logfile}
        return _CONFIG.format(
            fsync=self.fsync,
            max_memory=int(self.max_memory),
            **{name: _quoted(path) for name, path in paths.items()},
        )

    def _lock(self) -> int:
        """A locked file descriptor. The lock belongs to the open file: whoever inherits it keeps it."""
        lock = os.open(self._home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                holder = os.pread(lock, 20, 0).decode() or "unknown"
                os.close(lock)
                raise Unreachable(
                    f"the data folder {self._home} is in use: a server with process id {holder} runs in it"
                ) from None
            return lock

    def _make_room_for_socket(self) -> None:
        socket = self.socket
        if socket.parent == self._home:
            return
        socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if socket.parent.stat().st_uid != os.getuid():
            raise Unreachable(
                f"{socket.parent} belongs to another user; the socket of the Redis in {self._home} cannot be"
                " put there"
            )
        (self._home / "socket.path").write_text(str(socket))

    def _program(self) -> Path:
        """One that can read the data. Raises `Foreign`, `Unreachable`."""
        if self.program is None:
            return find_server(self._home)
        server, needed = server_at(self.program), needed_for(self._home)
        if not server.suits(needed):
            raise refusal(self._home, needed, server)
        return self.program

    def _last_words(self) -> str:
        """Its log speaks in several lines when something is wrong: the last three, as one."""
        lines = [
            line.strip() for line in self.logfile.read_text(errors="replace").splitlines() if line.strip()
        ]
        return "; ".join(lines[-3:]) or f"nothing in {self.logfile}"


def _answers(socket: Path) -> bool:
    try:
        with redis.Redis.from_url(f"unix://{socket}", socket_timeout=2) as client:
            return bool(client.ping())
    except (
        redis.exceptions.ConnectionError,
        redis.exceptions.TimeoutError,
    ):  # BusyLoadingError is one of the first
        return False
    except redis.exceptions.ResponseError:  # MISCONF: its disk is full, and it takes no writes
        return False


def die_with_parent(how: signal.Signals) -> Callable[[], None]:
    """Ask the kernel, in `preexec_fn`, to send `how` to the new process when the one that started it dies
    (Linux; nothing elsewhere)."""
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)

    def arm() -> None:
        libc.prctl(set_parent_death_signal, int(how))
        if os.getppid() != parent:  # died before we could ask
            os.kill(os.getpid(), how)

    return arm


def _name(process: "subprocess.Popen[bytes]") -> str:
    return Path(process.args[0]).name  # type: ignore[index, arg-type]  # what `spawn` gave it: a list


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
