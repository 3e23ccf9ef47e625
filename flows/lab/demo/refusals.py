"""What fired and was refused at the door of the demo's receiver, as the decision records say it."""

import threading
from typing import Final

import msgspec

from flows.lab.demo.stack import CONNECTOR
from flows.runtime.deployment import Deployment
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Decision
from state.redis.client import reported

_PAGE: Final = 500
_decision = msgspec.msgpack.Decoder(Decision).decode


class Refusals:
    """Reads on from where it was, and from the end of what was there at first. May be asked by any thread."""

    def __init__(self, deployment: Deployment) -> None:
        """Begin. Raises `Unreachable`."""
        self._lock = threading.Lock()
        self._outbox = deployment.outbox
        with reported():
            heads = deployment.shards.heads()
        every = range(deployment.config.shards.count)
        self._after = {shard: heads[shard].outbox.get(Lane.DECISIONS, 0) for shard in every}
        self._found: dict[str, Decision] = {}  # by the trigger's id

    def all(self) -> list[Decision]:
        """Return those that there are by now, one for each trigger. Raises `Unreachable`."""
        with self._lock:
            with reported():
                while entries := self._outbox.read(Lane.DECISIONS, self._after, _PAGE, 0):
                    for entry in entries:
                        self._after[entry.shard] = entry.seq
                        found = _decision(entry.body)
                        if found.id and CONNECTOR in found.withheld:
                            self._found[found.id] = found
            return list(self._found.values())
