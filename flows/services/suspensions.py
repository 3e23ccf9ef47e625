"""Which sources are suspended, and the word to go on (see `flows.runtime.limits`)."""

import time
from typing import Literal

import msgspec

from flows.runtime.deployment import Deployment
from schemas.config import Config
from state.redis.client import reported
from state.suspended import Suspension

# What becomes of a source's events until somebody says to go on: the gateway answers 429, they wait in their
# topic, or (the gateway writes into that topic as well) they go on and the bad ones to the dead letters.
Meanwhile = Literal["refused", "waiting", "read"]


class Held(msgspec.Struct, frozen=True):
    """A source that is suspended."""

    source: str
    suspension: Suspension
    meanwhile: Meanwhile


def held(deployment: Deployment) -> list[Held]:
    """Return those that are suspended now, by name. Raises `Unreachable`."""
    with reported():
        found = sorted(deployment.sources.all().items())
    return [
        Held(source, suspension, _meanwhile(deployment.config, source))
        for source, suspension in found
        if suspension.holds
    ]


def resume(deployment: Deployment, source: str) -> bool:
    """Go on with it. Return False if it is not suspended. Raises `LogFull`, `Unreachable`."""
    with reported():
        return deployment.sources.resume(source, time.time_ns() // 1_000_000)


def _meanwhile(config: Config, source: str) -> Meanwhile:
    if config.raw.log != "kafka" or source not in config.kafka.topics:
        return "refused"
    return "read" if source == config.kafka.topics[0] else "waiting"
