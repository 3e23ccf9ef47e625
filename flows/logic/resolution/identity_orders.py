"""Orders about identities, as they come in like any event: from apps whose write key may give them, and from
stewards.

    {"type": "merge", "mergeProperties": [{"type": "user_id", "value": "u-1"}, {"type": "email", "value":
    "a@b.c"}]}
    {"type": "unmerge", "mergeProperties": [...]}            undo the last union that made these two one
    {"type": "identity", "order": "undo", "union": 17}       stewards only, as all that follows
    {"type": "identity", "order": "apart", "mergeProperties": [...]}
    {"type": "identity", "order": "release", "mergeProperties": [{"type": "device", "value": "d-1"}]}
    {"type": "identity", "order": "unsure", "mergeProperties": [...], "by": "review"}        taken off the
                                                                                             queue without an
                                                                                             answer

The namespace `customer` takes a customer's id; `identifier` (stewards only) the keyed hash of an identifier
whose plain value nobody knows. `forced` unites even two who are verified, and `by` is `review` where a pair
in the queue was decided, from which matching learns (stewards only).
"""

import re
from collections.abc import Collection
from typing import Any, Final, Literal

import msgspec

from flows.logic.fields.free_text import without_personal
from flows.logic.fields.identifiers import Identifiers
from schemas.records.identity_graph import ID_BYTES, Order, OrderKind, undo
from schemas.wire.events import RawEvent, Reject

STEWARD: Final = "$steward"  # the source of what a person decided; no write key or topic can have this name
_MAX: Final = 4_096
_WHAT_CAME: Final = re.compile(r""" (['"]).*\1(?= - at `|\Z)""", re.DOTALL)
_OURS: Final = frozenset(
    {"event", "match", "limit", "review", "steward", "undo"}
)  # in the ledger, but no app


class _Named(msgspec.Struct):
    type: str
    value: str | int


class _Message(msgspec.Struct):
    type: Literal["merge", "unmerge", "identity"]
    order: Literal["link", "unlink", "undo", "apart", "release", "unsure"] | None = None
    mergeProperties: list[_Named] = []
    union: int = 0
    forced: bool = False
    reason: str = ""
    by: Literal["steward", "review"] = "steward"


_KINDS: Final[dict[str, OrderKind]] = {"merge": "link", "unmerge": "unlink"}
_decode = msgspec.json.Decoder(_Message).decode


class OrderReader:
    """`sources`: whose write keys may unite customers."""

    def __init__(self, identifiers: Identifiers, sources: Collection[str]) -> None:
        self._identifiers = identifiers
        self._sources = frozenset(sources)

    def read(self, raw: RawEvent, refused: Reject) -> Order | Reject:
        """Return the order in an event that is none of the Segment spec's types; `refused` if it is not an
        order either."""
        if refused.reason != "type_unknown" or raw.fault is not None or len(raw.value) > _MAX:
            return refused
        try:
            message = _decode(raw.value)
        except msgspec.ValidationError as error:
            return Reject("field_invalid", _said(error)) if raw.source == STEWARD else refused
        except (ValueError, RecursionError):  # no JSON, no UTF-8, or too deep
            return refused
        steward = raw.source == STEWARD
        if not steward and (message.type == "identity" or raw.source not in self._sources):
            return Reject("order_forbidden", "expected a write key with `merges = true`")
        by: str = message.by
        if not steward:
            by = f"app {raw.source}" if raw.source in _OURS else raw.source
        kind = message.order if message.type == "identity" else _KINDS[message.type]
        if kind == "undo":
            return (
                undo(message.union, by)
                if 0 < message.union < 2**48
                else Reject("field_invalid", "expected `union`, a number in the ledger")
            )
        named = [self._found(one, steward) for one in message.mergeProperties]
        wanted = 1 if kind == "release" else 2
        if kind is None or len(named) != wanted:
            return Reject(
                "field_invalid",
                f"expected `mergeProperties` with {wanted} of {{type, value}}, got {len(named)}",
            )
        kinds = {one[0] for one in named if one is not None}
        if None in named or len(kinds) != 1:
            return Reject(
                "id_invalid",
                "expected two identifiers of known namespaces that are not blocked, or two customers",
            )
        [origins] = kinds
        first, second = (*(one[1] for one in named if one is not None), b"")[:2]
        reason = without_personal(message.reason, raw.received_ms)
        note = reason.encode()[:256]
        forced = message.forced and steward
        return Order(kind=kind, a=first, b=second, by=by, note=note, forced=forced, origins=origins)

    def _found(self, named: _Named, steward: bool) -> tuple[bool, bytes] | None:
        """Whether it is an origin, and its hash."""
        if named.type == "customer" or (named.type == "identifier" and steward):
            try:
                given = bytes.fromhex(str(named.value))
            except ValueError:
                return None
            return (named.type == "customer", given) if len(given) == ID_BYTES else None
        hashed = self._identifiers.hash(named.type, str(named.value))
        return (False, hashed) if hashed is not None else None


def _said(error: Exception) -> str:
    """Return what was expected, and where, without what came: that may be anything."""
    return _WHAT_CAME.sub("", str(error))[:200]


def document(order: str, *named: tuple[str, str], **more: Any) -> bytes:
    """Return an order as a steward gives it; `named`: (namespace, value) each."""
    message = {
        "type": "identity",
        "order": order,
        "mergeProperties": [{"type": kind, "value": value} for kind, value in named],
    }
    return msgspec.json.encode(message | more)
