"""Who is meant by `email:ana@example.org`, and which plain values are known of a customer's identifiers.

The directory holds keyed hashes. A plain value is known where it was also sealed as a trait (or is the user
id): then it is opened, hashed again, and compared.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from flows.logic.fields.identifiers import Identifiers
from flows.logic.shard.view import newest, own
from schemas.errors import Unusable
from schemas.records.identity_graph import ID_BYTES, ID_MAX, text_id
from state.directory.directory_protocol import Directory
from state.directory.ledger import Ledger

# Root -> field, when, value of all that was sealed.
Opened = Callable[[Sequence[bytes]], Mapping[bytes, Sequence[tuple[str, int, str]]]]


class Named(msgspec.Struct, frozen=True):
    """An identifier as people read it."""

    namespace: str
    value: str | None  # None: nobody knows it any more
    identifier: str  # keyed hash, 24 hex digits
    suspended_ms: int = 0  # since when it is evidence no longer; 0: it is


class People:
    """Reads only. Raises `Unreachable` as its parts do."""

    def __init__(
        self,
        namespaces: Sequence[str],
        hashes: Identifiers,
        directory: Directory,
        ledger: Ledger,
        opened: Opened,
    ) -> None:
        self._namespaces = namespaces
        self._hashes = hashes
        self.directory = directory
        self.ledger = ledger
        self._opened = opened

    def find(self, named: str) -> bytes | None:
        """Return the customer now. `namespace:value`, `customer:hex`, or `identifier:hex`. Raises `Unusable`
        for what names nobody."""
        kind, value = apart(named)
        if kind == "customer":
            root = self.directory.root(hexadecimal(value))
            return root if self.ledger.members(root)[0] else None
        return self.directory.lookup([self.hashed(named)])[0]

    def hashed(self, named: str) -> bytes:
        """Return the identifier. Raises `Unusable`."""
        kind, value = apart(named)
        if kind == "identifier":
            return hexadecimal(value)
        if kind not in self._namespaces:
            raise Unusable(
                f"there is no namespace {kind!r}: expected customer, identifier, "
                f"{', '.join(self._namespaces)}"
            )
        found = self._hashes.hash(kind, value)
        if found is None:
            raise Unusable(f"{value!r} is no {kind}, or is blocked: it identifies nobody")
        return found

    def plain(self, roots: Sequence[bytes]) -> dict[bytes, str]:
        """Return the plain values that are known of these customers' identifiers."""
        known: dict[bytes, str] = {}
        stated = self._opened(list(dict.fromkeys(roots)))
        for value in dict.fromkeys(
            value for found in stated.values() for _, _, value in found if len(value) <= ID_MAX
        ):
            for namespace in self._namespaces:
                hashed = self._hashes.hash(namespace, value)
                if hashed is not None:
                    known.setdefault(hashed, value)
        return known

    def newest(self, root: bytes) -> dict[str, str]:
        """Return what was last stated of each sealed field; not what entry noted about it."""
        return own(newest(self._opened([root]).get(root, ())))

    def identifiers(self, root: bytes, plain: Mapping[bytes, str]) -> list[Named]:
        """Return them, the strongest namespace first, in each the oldest first."""
        suspended = self.directory.suspended()
        held = sorted(self.ledger.members(root)[1], key=lambda identifier: identifier.strength)
        return [
            Named(
                self.namespace(one.strength),
                plain.get(one.hash),
                text_id(one.hash),
                1000 * suspended.get(one.hash, 0),
            )
            for one in held
        ]

    def namespace(self, strength: int) -> str:
        return self._namespaces[strength] if strength < len(self._namespaces) else "identifier"

    def caller(self, plain: Mapping[bytes, str]) -> Callable[[int, bytes], str]:
        """Return what people call an identifier: its value, or the beginning of its hash."""
        return lambda strength, identifier: (
            f"{self.namespace(strength)} {plain.get(identifier) or '#' + text_id(identifier)[:8]}"
        )


def apart(named: str) -> tuple[str, str]:
    """Return `email:a@b.c` as its namespace and its value. Raises `Unusable`."""
    namespace, colon, value = named.partition(":")
    if not (namespace and colon and value):
        raise Unusable(
            f"expected NAMESPACE:VALUE, such as email:ana@example.org, or customer:HEX; got {named!r}"
        )
    return namespace, value


def hexadecimal(text: str) -> bytes:
    """Return a customer's id or an identifier's hash. Raises `Unusable`."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != ID_BYTES:
        raise Unusable(f"expected {2 * ID_BYTES} hex digits, got {text!r}")
    return found
