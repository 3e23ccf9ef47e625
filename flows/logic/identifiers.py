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
_NOTHING: Final = re.compile(r"[0\-+:\s.]*")  # all zeros, an empty UUID, blanks, a phone number without digits
_NOT_DIGITS: Final = re.compile(r"[^\d+]")

Normalise = Callable[[str], str]
_NORMALISE: Final[dict[str, Normalise]] = {
    "exact": str.strip,
    "lower": lambda value: value.strip().lower(),
    "digits": lambda value: _NOT_DIGITS.sub("", value),
}
_FIELDS: Final = {"userId": "user_id", "anonymousId": "anonymous_id"}


class _Namespace:
    """One namespace, resolved once. Hashes are cached: the same customers come again and again."""

    __slots__ = ("blocked", "cache", "config", "key", "normalise", "strength")

    def __init__(self, config: Namespace, strength: int, blocked: frozenset[str], key: bytes) -> None:
        self.config = config
        self.strength = strength
        self.blocked = blocked
        self.key = key
        self.normalise = _NORMALISE[config.normalize]
        self.cache: dict[str, Identifier | None] = {}

    def identifier(self, value: str) -> Identifier | None:
        """None for a blocked value."""
        if value in self.cache:
            return self.cache[value]
        normal = self.normalise(value)
        identifier = None
        if normal.lower() not in self.blocked and not _NOTHING.fullmatch(normal):
            hashed = blake2b(f"{self.config.name}\0{normal}".encode("utf-8", "surrogatepass"), digest_size=ID_BYTES, key=self.key)
            identifier = Identifier(self.strength, hashed.digest())
        if len(self.cache) >= CACHE_MAX:
            self.cache.clear()
        self.cache[value] = identifier
        return identifier


class _Place:
    """Where a namespace's value may stand: an attribute of the message, or a path inside one of its objects."""

    __slots__ = ("attribute", "namespace", "path", "steps", "unique")

    def __init__(self, namespace: _Namespace, path: str) -> None:
        first, *steps = path.split(".")
        self.namespace = namespace
        self.path = path
        self.attribute = _FIELDS.get(first, first)
        self.steps = tuple(steps)
        self.unique = namespace.config.limit == 1  # one value is enough, and two would contradict each other


class Identifiers:
    """The identifiers of a message, under one configuration and hash key."""

    def __init__(self, config: IdentityConfig, hash_key: bytes) -> None:
        blocked = frozenset(value.lower() for value in config.blocked)
        namespaces = [_Namespace(namespace, strength, blocked, hash_key) for strength, namespace in enumerate(config.namespace)]
        self._places = [_Place(namespace, path) for namespace in namespaces for path in namespace.config.paths]
        self._by_name = {namespace.config.name: namespace for namespace in namespaces}
        self._previous = next((place.namespace for place in self._places if place.path == "anonymousId"), None)

    def hash(self, namespace: str, value: str) -> bytes | None:
        """The keyed hash of a plain value; None for an unknown namespace or a blocked value."""
        known = self._by_name.get(namespace)
        identifier = known.identifier(value) if known else None
        return identifier.hash if identifier else None

    def of(self, message: Any) -> list[Identifier] | Reject:
        """Distinct, strongest first."""
        found: list[Identifier] = []
        blocked = False
        for place in self._places:
            value = getattr(message, place.attribute, None)
            for step in place.steps:
                value = value.get(step) if type(value) is dict else None
            if value is None:
                continue
            if type(value) is int:
                value = str(value)
            elif type(value) is not str or len(value) > ID_MAX:
                return Reject("id_invalid", f"expected `{place.path}` to be text of at most {ID_MAX} characters")
            namespace = place.namespace
            identifier = namespace.cache.get(value) or namespace.identifier(value)
            if identifier is None:
                blocked = True
            elif identifier not in found and not (place.unique and found and found[-1].strength == identifier.strength):
                found.append(identifier)
        if message.previousId is not None and self._previous is not None:
            previous = self._previous.identifier(str(message.previousId)[:ID_MAX])
            if previous is not None and previous not in found:
                found.append(previous)
                found.sort(key=lambda identifier: identifier.strength)
        if not found:
            return (
                Reject("id_blocked", "only blocked identifiers") if blocked else Reject("id_missing", "expected `userId` or `anonymousId`")
            )
        return found
