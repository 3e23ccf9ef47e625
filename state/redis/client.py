"""The connection to Redis, and what is said when there is none, or when it does not take what we write."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, cast

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from schemas.errors import Foreign, LogFull, MillraceError, Refused, Restarted, Unreachable

log = structlog.get_logger()

SOCKET_TIMEOUT_S = 10.0
WAIT_MS = 1_000
LOADING_WAIT_S = 60.0
ROOM_AGAIN_S = 1.0
INFRASTRUCTURE: Final = (
    MillraceError,
    MemoryError,
    OSError,
    redis.RedisError,
)  # nobody's data is to blame for these: a worker ends
Client = redis.Redis
Connect = Callable[[str], Client]
_OURS = "millrace:"  # begins the names of our connections
_WANTS_ROOM = (
    "when used memory >",
    "MISCONF",
    "NOREPLICAS",
)  # memory, disk, replicas: each comes back without us


@lru_cache(maxsize=8)
def connect(url: str) -> redis.Redis:
    """Return this process's client of a server. It does not retry: a worker that lost its server ends, and is
    started again."""
    return redis.Redis.from_url(
        url,
        protocol=2,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=5,
        retry=Retry(NoBackoff(), 0),
    )


@lru_cache(maxsize=8)
def connect_apart(url: str) -> redis.Redis:
    """Return a client that `introduce` and `stay_with_server` have nothing to do with."""
    return connect.__wrapped__(url)


def introduce(client: redis.Redis, prefix: str, flow: str) -> None:
    """Have every connection that this process opens from here on say whose it is, for `present`."""
    client.connection_pool.connection_kwargs["client_name"] = f"{_OURS}{prefix}:{flow}"


def present(client: redis.Redis, prefix: str) -> list[str]:
    """Return the flows of a deployment that have a connection, on whatever machine."""
    ours = f"{_OURS}{prefix}:"
    return sorted(
        {each["name"].removeprefix(ours) for each in client.client_list() if each["name"].startswith(ours)}
    )


def stay_with_server(client: redis.Redis) -> None:
    """See to it that from here on a connection to any other server than the one that answers first raises
    `Restarted`: for workers, which remember.

    A client connects again without a word, and what a process remembers (positions, keys that it made,
    versions that it compiled) may be younger than what a server that was started again, or a replica that
    took over, still has.
    """
    client.connection_pool.connection_kwargs["redis_connect_func"] = _SameServer()


class _SameServer:
    """Called with each new connection, once it is there. Costs one INFO."""

    def __init__(self) -> None:
        self._run_id: dict[str, bytes] = {}

    def __call__(self, connection: Any) -> None:  # untyped in the library
        connection.on_connect()
        connection.send_command("INFO", "server")
        told = dict(line.partition(b":")[::2] for line in connection.read_response().splitlines())
        found = told.get(b"run_id", b"")
        if self._run_id.setdefault("first", found) != found:  # one step, since threads connect too
            connection.disconnect()  # or the next caller would take it for a good one
            raise Restarted(
                "Redis was started again, or another one took its place: it may have come back older, so we"
                " begin anew"
            )


def wait_until_loaded(client: redis.Redis, seconds: float = LOADING_WAIT_S) -> None:
    """Wait while a server that has just been started reads its data. Raises `Unreachable` if that takes
    longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            client.ping()
        except redis.BusyLoadingError:
            if time.monotonic() >= deadline:
                raise Unreachable(
                    f"Redis has been loading its data for {seconds:g} s: it goes on, and so do we when it is"
                    " done"
                ) from None
            time.sleep(0.1)
        else:
            return


def check_server(client: redis.Redis) -> None:
    """Refuse a server that would throw state away, or that holds a part of it only. Raises `Foreign`."""
    if int(cast(dict[str, int], client.info("cluster")).get("cluster_enabled", 0)):
        raise Foreign(
            "redis.url names a node of a Redis Cluster: this release needs a server of its own, with or"
            " without replicas"
        )
    policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        raise Foreign(f"Redis has maxmemory-policy {policy}: customers would vanish; set it to noeviction")


def warn_if_it_forgets(client: redis.Redis) -> None:
    """Say what would be gone if the server ended without warning. For processes that have a log: others print
    what was asked of them."""
    if forgets := _forgets(client):
        log.warning("redis_forgets", reason=forgets, set="appendonly yes, appendfsync always (or everysec)")


def _forgets(client: redis.Redis) -> str:
    """What a server loses when it ends without warning, beyond a second's work; empty if nothing."""
    settings = client.config_get("append*") | client.config_get("save")
    if settings.get("appendonly") == "no" and not settings.get("save"):
        return "Redis has appendonly no, and makes no snapshots: when it ends, everything is gone"
    if settings.get("appendonly") == "no":
        return "Redis has appendonly no: when it is killed, all since its last snapshot is gone"
    if settings.get("appendfsync") == "no":
        return (
            "Redis has appendfsync no: after a power cut what the kernel had not yet written is gone, as"
            " a rule up to 30 s"
        )
    return ""


def wait_for(client: redis.Redis, replicas: int) -> None:
    """Wait until this many replicas have what this thread wrote last (it gets its own connection back).
    Raises `Unreachable`."""
    if replicas and int(client.wait(replicas, WAIT_MS)) < replicas:
        raise Unreachable(
            f"expected {replicas} replicas to have the commit within {WAIT_MS} ms; check `redis.replicas`"
            " and the replicas"
        )


@contextmanager
def writing() -> Iterator[None]:
    """Stand around a commit: a server without room (memory, disk, replicas) has written nothing, and is
    waited for. Raises `LogFull`."""
    try:
        yield
    except redis.ResponseError as error:
        if any(words in str(error) for words in _WANTS_ROOM):
            raise LogFull(f"Redis has no room: {error}", ROOM_AGAIN_S) from None
        raise


@contextmanager
def reported() -> Iterator[None]:
    """Report a lost, refusing or full server as one clear line. Raises `Unreachable`, `Refused`,
    `LogFull`."""
    try:
        with writing():
            yield
    except (redis.AuthenticationError, redis.exceptions.AuthorizationError) as error:
        raise Refused(f"Redis refuses the login: {error}; check redis.url") from None
    except redis.BusyLoadingError:
        raise Unreachable("Redis is loading its data") from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unreachable(
            f"Redis cannot be reached: {error}; is it running, and is redis.url right?"
        ) from None
    except redis.ResponseError as error:
        if "READONLY" in str(error) or isinstance(error, redis.ReadOnlyError):
            raise Unreachable(
                "Redis is a read-only replica: after a failover redis.url has to lead to the new primary"
            ) from None
        raise Refused(f"Redis refuses a command: {error}") from error
