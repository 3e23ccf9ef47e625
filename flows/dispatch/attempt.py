"""One attempt at a receiver. Whatever its sink raises or answers becomes an outcome, so that one connector's
trouble stays its own."""

from collections.abc import Sequence

import structlog

from connectors.sinks.sink import Delivered, Delivery, Disable, Failed, Outcome, Retry, Sink
from flows.logic.shard.quarantine import places
from schemas.errors import MillraceError

log = structlog.get_logger()


class Raised(Retry, frozen=True):
    """The sink raised, or gave no outcomes: nothing is known of any of the batch, so each is tried alone from
    here on."""


async def attempt(sink: Sink, batch: Sequence[Delivery], connector: str) -> list[Outcome]:
    """Try each delivery once: one outcome for each, in order. Raises `MemoryError` only."""
    try:
        outcomes = await sink.deliver(batch)
    except MemoryError:
        raise
    except MillraceError as error:  # its message is ours
        return _raised(batch, connector, str(error), type(error).__name__)
    except Exception as error:  # noqa: BLE001  # an exception's own words may be a receiver's, or personal data
        where = f"{type(error).__name__} at {places(error)[-1]}"
        return _raised(batch, connector, f"the sink raised {where}", where)
    if len(outcomes) != len(batch) or not all(
        isinstance(outcome, Delivered | Retry | Failed | Disable) for outcome in outcomes
    ):
        return _raised(batch, connector, "the sink did not give one outcome for each delivery", "outcomes")
    return outcomes


def _raised(batch: Sequence[Delivery], connector: str, reason: str, where: str) -> list[Outcome]:
    log.error(
        "sink_raised",
        connector=connector,
        where=where,
        deliveries=len(batch),
        then="tried again, in the end a dead letter",
    )
    return [Raised(reason)] * len(batch)
