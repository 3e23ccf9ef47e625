"""What of a customer lies in queues and among dead letters: found, and removed.

Queues hold what the shards said before they forgot the customer, and dead letters what failed before. A dead
event names nobody: it is opened, and whatever in it hashes to an identifier of the customer gives it away.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from flows.logic.fields.identifiers import Identifiers
from flows.match import pieces
from flows.runtime.deployment import Deployment
from schemas.errors import Foreign
from schemas.records.identity_graph import ID_MAX
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Absorb, Decision, Example, Trigger
from state.dead_letter_logs import DeadDelivery, DeadEvent, DeadExample, DeadFact
from state.directory.matches import PARTITION as MATCHING
from state.shards.shard_protocols import Outbox, OutboxEntry

PAGE: Final = 500
_DEPTH_MAX: Final = 32
_trigger = msgspec.msgpack.Decoder(Trigger).decode
_absorb = msgspec.msgpack.Decoder(Absorb).decode
_example = msgspec.msgpack.Decoder(Example).decode
_decision = msgspec.msgpack.Decoder(Decision).decode
Origins = Collection[bytes]
Dead = TypeVar("Dead")


class Wanted(NamedTuple):
    """What is looked for of one customer."""

    origins: Origins
    identifiers: Origins


def queued(outbox: Outbox, lane: str, shards: Collection[int], origins: Origins) -> Iterator[tuple[int, int]]:
    """Yield (shard, sequence) of what lies in a lane about one of these."""
    return ((entry.shard, entry.seq) for entry in entries(outbox, lane, shards, origins))


def entries(outbox: Outbox, lane: str, shards: Collection[int], origins: Origins) -> Iterator[OutboxEntry]:
    """Yield what lies in a lane about one of these."""
    about = _ABOUT[lane]
    after = dict.fromkeys(shards, 0)
    while after and (found := outbox.read(lane, after, PAGE, 0)):
        for entry in found:
            after[entry.shard] = entry.seq
            if about(entry.body, origins):
                yield entry


def sweep_lanes(
    outbox: Outbox, shards: Collection[int], every: int, wanted: Mapping[str, Origins]
) -> dict[str, Counter[str]]:
    """Remove what lies in the lanes of these shards about any of these customers, and return how much of each
    kind it was, by customer. All that there is has to be read, so many at once cost no more than one.

    `every`: how many shards there are. Decisions are looked for in all of them: where unions were undone
    whose other side was erased before, the ledger does not say any more in which."""
    removed: dict[str, Counter[str]] = {name: Counter() for name in wanted}
    anybody = frozenset[bytes]().union(*wanted.values())
    for lane, kind in _NAMES.items():
        by_shard: dict[int, list[int]] = {}
        where = range(every) if lane == Lane.DECISIONS else shards
        for entry in entries(outbox, lane, where, anybody):
            by_shard.setdefault(entry.shard, []).append(entry.seq)
            for name, origins in wanted.items():
                removed[name][kind] += _ABOUT[lane](entry.body, origins)
        for shard, seqs in by_shard.items():
            outbox.drop(lane, shard, seqs)
    return {name: +counts for name, counts in removed.items()}


def sweep_dead_letters(deployment: Deployment, wanted: Mapping[str, Wanted]) -> dict[str, Counter[str]]:
    """Remove the dead letters of these customers, and return how many of each kind, by customer."""
    removed: dict[str, Counter[str]] = {name: Counter() for name in wanted}
    names = [namespace.name for namespace in deployment.config.identity.namespace]
    letters = _Letters(deployment.log_seal.open, deployment.identifiers, names)
    anybody = Wanted(
        frozenset[bytes]().union(*(one.origins for one in wanted.values())),
        frozenset[bytes]().union(*(one.identifiers for one in wanted.values())),
    )

    def found(kind: str, dead: Iterable[Dead], is_of: Callable[[Dead, Wanted], bool]) -> Iterator[Dead]:
        for one in dead:
            if is_of(one, anybody):
                for name, theirs in wanted.items():
                    removed[name][kind] += is_of(one, theirs)
                yield one

    log = deployment.dead_deliveries
    log.drop([dead.id for dead in found("dead_deliveries", log.oldest(), _is_delivery_of)])
    for dead in found("dead_facts", deployment.dead_facts.oldest(), _is_fact_of):
        deployment.dead_facts.drop(dead)
    examples = deployment.dead_examples
    examples.drop([dead.id for dead in found("dead_examples", examples.oldest(), _is_dead_example_of)])
    events = deployment.dead_events
    events.drop([dead.id for dead in found("dead_events", events.oldest(), letters.is_of)])
    return {name: +counts for name, counts in removed.items()}


class _Letters:
    """Tells whose a dead event is."""

    def __init__(
        self, unseal: Callable[[bytes], bytes], hashes: Identifiers, namespaces: Collection[str]
    ) -> None:
        self._unseal = unseal
        self._hashes = hashes
        self._namespaces = namespaces

    def is_of(self, dead: DeadEvent, wanted: Wanted) -> bool:
        """Return whether it is about one of these origins, or holds one of these identifiers."""
        try:
            body = self._unseal(dead.letter.sealed)
            if dead.letter.partition == MATCHING:
                return _is_record_of(body, wanted.origins)
            document = msgspec.json.decode(body)
        except (Foreign, ValueError, RecursionError):  # of another key, no JSON, or too deep
            return False
        return any(
            self._hashes.hash(namespace, value) in wanted.identifiers
            for value in dict.fromkeys(_texts(document, _DEPTH_MAX))
            for namespace in self._namespaces
        )


def _texts(value: Any, depth: int) -> Iterator[str]:
    """Yield what may be an identifier: texts and whole numbers, of whatever field."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        text = str(value)
        if 0 < len(text) <= ID_MAX:
            yield text
    elif depth and isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner, depth - 1)


def _is_record_of(body: bytes, origins: Origins) -> bool:
    return any(origin in origins for origin, _ in pieces(chr(body[0]), body[1:]))


def _is_fact_of(dead: DeadFact, wanted: Wanted) -> bool:
    return dead.quarantined.root in wanted.origins or dead.quarantined.origin in wanted.origins


def _is_dead_example_of(dead: DeadExample, wanted: Wanted) -> bool:
    return _is_example_of(dead.unlearnt.body, wanted.origins)


def _is_delivery_of(dead: DeadDelivery, wanted: Wanted) -> bool:
    trigger = dead.trigger
    if trigger is not None:
        return _is_customer(trigger.customer, wanted.origins)
    try:
        return _is_absorb_of(dead.body, wanted.origins)
    except (ValueError, RecursionError):  # the outbox entry was broken
        return False


def _is_customer(customer: str, origins: Origins) -> bool:
    try:
        return bytes.fromhex(customer) in origins
    except ValueError:  # of a broken entry
        return False


def _is_trigger_of(body: bytes, origins: Origins) -> bool:
    return _is_customer(_trigger(body).customer, origins)


def _is_absorb_of(body: bytes, origins: Origins) -> bool:
    """Return whether it hands over one of these: not where it only lends a ring of message ids to others."""
    absorb = _absorb(body)
    return absorb.survivor in origins or (not absorb.identifier and absorb.retired in origins)


def _is_example_of(body: bytes, origins: Origins) -> bool:
    return _example(body).customer in origins


def _is_decision_of(body: bytes, origins: Origins) -> bool:
    return _decision(body).customer in origins


_ABOUT: Final[dict[str, Callable[[bytes, Origins], bool]]] = {
    Lane.TRIGGERS: _is_trigger_of,
    Lane.ABSORBS: _is_absorb_of,
    Lane.EXAMPLES: _is_example_of,
    Lane.DECISIONS: _is_decision_of,
}
_NAMES: Final = {
    Lane.TRIGGERS: "triggers",
    Lane.ABSORBS: "hand_overs",
    Lane.EXAMPLES: "examples",
    Lane.DECISIONS: "decisions",
}
