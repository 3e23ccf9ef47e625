"""Identifiers of a message: taken from the configured places, normalised, checked against blocked values,
hashed.

A value that does not hold (a phone number or mail address that cannot be one) identifies nobody.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final, cast

from msgspec.structs import replace

from flows.logic.fields.check import Countries, Normalise, Unborn, checks, key_of, unborn
from flows.logic.fields.placeholders import Placeholders
from flows.logic.fields.values import Check, is_rounded
from schemas.config import Entry as EntryConfig
from schemas.config import FieldKind, Namespace
from schemas.config import Identity as IdentityConfig
from schemas.records.identity_graph import ID_BYTES, ID_MAX, Identifier
from schemas.wire.events import Reject

CACHE_MAX: Final = 200_000
_NOT_DIGITS: Final = re.compile(r"[^\d+]")

_NORMALISE: Final[dict[str, Callable[[str], str]]] = {
    "exact": str.strip,
    "lower": lambda value: value.strip().lower(),
    "digits": lambda value: _NOT_DIGITS.sub("", value),
}
Checks = Mapping[FieldKind, Check]
_FIELDS: Final = {"userId": "user_id", "anonymousId": "anonymous_id"}
# The source of what a customer said to us, and not to an app; no write key or topic can have this name. Its
# events may name an identifier by its hash: `"context": {"identifier": {"namespace": ..., "hash": ...}}`.
PRIVACY: Final = "$privacy"
NAMED_BY_HASH: Final = "identifier"


class _Namespace:
    """One namespace, resolved once. Hashes are cached: the same customers come again and again."""

    __slots__ = ("blocked", "cache", "config", "key", "local", "normalise", "strength", "unborn")

    def __init__(
        self,
        config: Namespace,
        strength: int,
        blocked: Callable[[str], bool],
        key: bytes,
        normalise: Normalise,
        unborn: Unborn | None,
    ) -> None:
        self.config = config
        self.strength = strength
        self.blocked = blocked
        self.key = key
        self.normalise = normalise
        self.unborn = unborn  # the one thing that depends on when it is asked, so that no cache holds it
        self.local = config.normalize == "phone"  # what it says depends on the country
        self.cache: dict[str | tuple[str, tuple[str, ...]], Identifier | None] = {}

    def identifier(self, value: str, countries: tuple[str, ...] = ()) -> Identifier | None:
        """Return the identifier; None for a value that is blocked, or does not hold. `countries`: for a
        number without one; the likeliest first."""
        known = (value, countries) if countries else value
        if known in self.cache:
            return self.cache[known]
        normal = None if is_rounded(value) else self.normalise(value, countries)
        identifier = None
        if normal is not None and not self.blocked(normal):
            hashed = blake2b(
                f"{self.config.name}\0{normal}".encode("utf-8", "surrogatepass"),
                digest_size=ID_BYTES,
                key=self.key,
            )
            identifier = Identifier(self.strength, hashed.digest())
        if len(self.cache) >= CACHE_MAX:
            self.cache.clear()
        self.cache[known] = identifier
        return identifier

    def holds(self, value: str, countries: tuple[str, ...], now_ms: int) -> bool:
        """Return whether it is a value of its kind at all."""
        if self.unborn is not None and self.unborn(value, now_ms):
            return False
        return not is_rounded(value) and self.normalise(value, countries) is not None


class _Place:
    """Where a namespace's value may stand: an attribute of the message, or a path inside one of its
    objects."""

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

    def __init__(
        self,
        config: IdentityConfig,
        hash_key: bytes,
        entry: EntryConfig | None = None,
        made: Checks | None = None,
    ) -> None:
        """`entry`: how phone numbers and mail addresses are checked; `made`: its checks, where another has
        them already."""
        self.placeholders, entry = Placeholders(config), entry or EntryConfig()
        blocked = self.placeholders.says_nothing
        made = made or checks(replace(entry, complete=False))
        namespaces = [
            _Namespace(
                config=namespace,
                strength=strength,
                blocked=blocked,
                key=hash_key,
                normalise=_normalise(namespace, entry, made),
                unborn=_unborn(namespace, made),
            )
            for strength, namespace in enumerate(config.namespace)
        ]
        self._countries = Countries(entry.country)
        self._places = [
            _Place(namespace, path) for namespace in namespaces for path in namespace.config.paths
        ]
        self._by_name = {namespace.config.name: namespace for namespace in namespaces}
        self._previous = self._namespace_of("anonymousId")
        self._user = self._namespace_of("userId")

    def previous(self, message: Any) -> tuple[bytes, bytes] | None:
        """Return whom the `previousId` of an alias names, as a user and as a visitor; None where the alias
        itself names no other user."""
        if (
            message.previousId is None
            or message.user_id is None
            or self._user is None
            or self._previous is None
        ):
            return None
        value = str(message.previousId)
        user, visitor, now = (
            self._user.identifier(value),
            self._previous.identifier(value),
            self._user.identifier(str(message.user_id)),
        )
        return (user.hash, visitor.hash) if user and visitor and now and now != user else None

    def _namespace_of(self, path: str) -> _Namespace | None:
        return next((place.namespace for place in self._places if place.path == path), None)

    def hash(self, namespace: str, value: str) -> bytes | None:
        """Return the keyed hash of a plain value; None for an unknown namespace or a blocked value."""
        known = self._by_name.get(namespace)
        if known is None:
            return None
        identifier = known.identifier(value, self._countries.default if known.local else ())
        return identifier.hash if identifier else None

    def named_by_hash(self, message: Any) -> list[Identifier] | Reject:
        """Return the one identifier that an event of `PRIVACY` names."""
        named: Any = (message.context or {}).get(NAMED_BY_HASH)
        try:
            namespace = self._by_name[named["namespace"]]
            hashed = bytes.fromhex(named["hash"])
        except (KeyError, TypeError, ValueError):
            hashed = b""
        if len(hashed) != ID_BYTES:
            return Reject("id_invalid", f"expected `context.{NAMED_BY_HASH}` with `namespace` and `hash`")
        return [Identifier(namespace.strength, hashed)]

    def of(self, message: Any, now_ms: int) -> list[Identifier] | Reject:
        """Return distinct identifiers, strongest first. `now_ms`: when it was received; nobody is born
        later."""
        found: list[Identifier] = []
        refused: list[tuple[_Namespace, str, tuple[str, ...]]] = []
        malformed = ""
        for place in self._places:
            value = getattr(message, place.attribute, None)
            for step in place.steps:
                value = value.get(step) if type(value) is dict else None
            if value is None:
                continue
            if type(value) is int:
                value = str(value)
            elif type(value) is not str or len(value) > ID_MAX:
                if place.namespace.strength == 0:  # no weaker one may say whose event it is
                    return _malformed(place.path)
                malformed = malformed or place.path
                continue
            namespace = place.namespace
            local = namespace.local and value[0:1] != "+"
            countries = self._countries.of(message.traits, message.context) if local else ()
            identifier = None if countries else namespace.cache.get(value)
            identifier = identifier or namespace.identifier(value, countries)
            if identifier is None or (namespace.unborn is not None and namespace.unborn(value, now_ms)):
                refused.append((namespace, value, countries))
            elif identifier not in found and not (
                place.unique and found and found[-1].strength == identifier.strength
            ):
                found.append(identifier)
        if message.previousId is not None and self._previous is not None:
            if len(str(message.previousId)) > ID_MAX:
                return _malformed("previousId")
            _insert(self._previous.identifier(str(message.previousId)), found)
        if found:
            return found
        return _malformed(malformed) if malformed else _nobody(refused, now_ms)


def _normalise(config: Namespace, entry: EntryConfig, made: Checks) -> Normalise:
    if config.normalize not in _NORMALISE:
        return key_of(cast(FieldKind, config.normalize), entry, made)
    plainly = _NORMALISE[config.normalize]
    return lambda value, _countries: plainly(value)


def _insert(identifier: Identifier | None, found: list[Identifier]) -> None:
    """Add an identifier at its place, if it is new."""
    if identifier is not None and identifier not in found:
        found.append(identifier)
        found.sort(key=lambda each: each.strength)


def _malformed(path: str) -> Reject:
    return Reject("id_invalid", f"expected `{path}` to be text of at most {ID_MAX} characters")


def _unborn(config: Namespace, made: Checks) -> Unborn | None:
    return None if config.normalize in _NORMALISE else unborn(cast(FieldKind, config.normalize), made)


def _nobody(refused: list[tuple[_Namespace, str, tuple[str, ...]]], now_ms: int) -> Reject:
    if not refused:
        return Reject("id_missing", "expected `userId` or `anonymousId`")
    if any(namespace.holds(value, countries, now_ms) for namespace, value, countries in refused):
        return Reject("id_blocked", "only blocked identifiers")
    if any(is_rounded(value) for _, value, _ in refused):
        return Reject(
            "id_invalid",
            "a number of which a spreadsheet has kept the first digits alone: send the column as text",
        )
    names = sorted({namespace.config.name for namespace, _, _ in refused})
    return Reject("id_invalid", f"expected {' or '.join(names)} to hold its check")
