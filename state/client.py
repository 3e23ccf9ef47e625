"""The connection to Redis, and what is said when there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from schemas.errors import Foreign, Unreachable

SOCKET_TIMEOUT_S = 10.0
WAIT_MS = 1_000


@lru_cache(maxsize=8)
def connect(url: str) -> redis.Redis:
    """This process's client of a server. It does not retry: a worker that lost its server ends, and is started again."""
    return redis.Redis.from_url(url, protocol=2, socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0))


def check_server(client: redis.Redis) -> None:
    """Refuse a server that would throw state away. Raises `Foreign`."""
    policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        raise Foreign(f"Redis has maxmemory-policy {policy}: customers would vanish; set it to noeviction")


def wait_for(client: redis.Redis, replicas: int) -> None:
    """Wait until so many replicas have what this thread wrote last (it gets its own connection back). Raises `Unreachable`."""
    if replicas and int(client.wait(replicas, WAIT_MS)) < replicas:
        raise Unreachable(f"expected {replicas} replicas to have the commit within {WAIT_MS} ms; check `redis.replicas` and the replicas")


@contextmanager
def reported() -> Iterator[None]:
    """A lost, refusing or full server as one clear line. Raises `Unreachable`."""
    try:
        yield
    except redis.AuthenticationError as error:
        raise Unreachable(f"Redis refuses the login: {error}; check redis.url") from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unreachable(f"Redis cannot be reached: {error}; is it running, and is redis.url right?") from None
    except redis.ResponseError as error:
        raise Unreachable(f"Redis refuses a command: {error}") from error
