"""Identifiers of a message: taken from the configured places, normalised, checked against blocked values, hashed."""

import re
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

from schemas.config import Identity as IdentityConfig
from schemas.config import Namespace
from schemas.events import Reject
from schemas.identity import ID_BYTES, Identifier

ID_MAX: Final = 256
CACHE_MAX: Final = 200_000
_NOTHING: Final = re.compile(r"[0\-:\s.]*")  # all zeros, an empty UUID, blanks
_NOT_DIGITS: Final = re.compile(r"[^\d+]")

Normalise = Callable[[str], str]
_NORMALISE: Final[dict[str, Normalise]] = {
    "exact": str.strip,
    "lower": lambda value: value.strip().lower(),
    "digits": lambda value: _NOT_DIGITS.sub("", value),
}
_FIELDS: Final = {"userId": "user_id", "anonymousId": "anonymous_id"}


class Identifiers:
    """`of` one message. Hashes are cached: the same customers come again and again."""

    def __init__(self, config: IdentityConfig, hash_key: bytes) -> None:
        self._namespaces = [
            (strength, namespace, [tuple(path.split(".")) for path in namespace.paths], _NORMALISE[namespace.normalize])
            for strength, namespace in enumerate(config.namespace)
        ]
        self._alias = next((s for s, _, paths, _ in self._namespaces if ("anonymousId",) in paths), None)
        self._blocked = frozenset(value.lower() for value in config.blocked)
        self._key = hash_key
        self._cache: dict[tuple[int, Any], Identifier | None] = {}

    def hash(self, namespace: str, value: str) -> bytes | None:
        """The keyed hash of a plain value; None for an unknown namespace or a blocked value."""
        for strength, known, _paths, _normalise in self._namespaces:
            if known.name == namespace:
                identifier = self._identifier(strength, known, value)
                return identifier.hash if identifier else None
        return None

    def of(self, message: Any) -> list[Identifier] | Reject:
        """Distinct, strongest first."""
        found: list[Identifier] = []
        blocked = False
        for strength, namespace, paths, _normalise in self._namespaces:
            for path in paths:
                value = _at(message, path)
                if value is None:
                    continue
                if type(value) is int:
                    value = str(value)
                elif type(value) is not str or len(value) > ID_MAX:
                    return Reject("id_invalid", f"expected `{'.'.join(path)}` to be text of at most {ID_MAX} characters")
                key = (strength, value)
                identifier = self._cache.get(key, ...)
                if identifier is ...:
                    identifier = self._identifier(strength, namespace, value)
                if identifier is None:
                    blocked = True
                elif identifier not in found:
                    found.append(identifier)
                if namespace.limit == 1 and found and found[-1].strength == strength:
                    break  # one value is enough, and two would contradict each other
        if message.previousId is not None and self._alias is not None:
            previous = self._identifier(self._alias, self._namespaces[self._alias][1], str(message.previousId)[:ID_MAX])
            if previous is not None and previous not in found:
                found.append(previous)
        if not found:
            return Reject("id_blocked", "only blocked identifiers") if blocked else Reject("id_missing", "expected `userId` or `anonymousId`")
        return found

    def _identifier(self, strength: int, namespace: Namespace, value: str) -> Identifier | None:
        key = (strength, value)
        if key in self._cache:
            return self._cache[key]
        normal = _NORMALISE[namespace.normalize](value)
        identifier = None
        if normal.lower() not in self._blocked and not _NOTHING.fullmatch(normal):
            hashed = blake2b(f"{namespace.name}\0{normal}".encode("utf-8", "surrogatepass"), digest_size=ID_BYTES, key=self._key)
            identifier = Identifier(strength, hashed.digest())
        if len(self._cache) >= CACHE_MAX:
            self._cache.clear()
        self._cache[key] = identifier
        return identifier


def _at(message: Any, path: tuple[str, ...]) -> Any:
    first = path[0]
    value = getattr(message, _FIELDS.get(first, first), None)
    for step in path[1:]:
        if type(value) is not dict:
            return None
        value = value.get(step)
    return value
