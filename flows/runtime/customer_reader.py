"""Reading a customer as it is now: the profile, and the sealed contact details that may still be opened."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from flows.logic.fields.identifiers import Identifiers
from flows.logic.models.features import NAMES
from flows.logic.models.recommendation_index import NAME as SHELF
from flows.logic.models.recommendation_index import RecommendationIndex
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledModel, CompiledRules
from flows.logic.shard.state import Live, Loaded, decode_profile, decode_sensitive
from flows.logic.shard.view import newest, present
from flows.runtime.rules_in_force import RULES
from flows.runtime.snapshots import sender
from schemas.records.customer_profile import Sensitive
from schemas.records.identity_graph import shard_of
from state.damage import CHANGED, GONE, UNREADABLE, of_customer
from state.directory.directory_protocol import Directory
from state.keys import DataKeys
from state.redis.client import reported
from state.shards.shard_protocols import Shards

# (field, when, value), each as it was ever stated
Stated = list[tuple[str, int, str]]


class ContactReader:
    """Opens what is sealed of customers."""

    def __init__(
        self, directory: Callable[[], Directory], shards: Shards, data_keys: DataKeys, count: int
    ) -> None:
        """`directory` is asked for when somebody has moved; `count`: of shards."""
        self._directory = directory
        self._shards = shards
        self._data_keys = data_keys
        self._count = count

    def identify(self, customers: list[str], fields: tuple[str, ...]) -> list[dict[str, str]]:
        """Return the plain values by which a receiver may know these customers (hex ids)."""
        if not fields:
            return [{} for _ in customers]
        roots = [bytes.fromhex(customer) for customer in customers]
        found = self.contacts([*dict.fromkeys(roots)], fields)
        missing = [root for root in roots if not found.get(root)]
        if missing:  # united with another customer since
            directory = self._directory()
            moved = {root: directory.root(root) for root in dict.fromkeys(missing)}
            later = self.contacts([*dict.fromkeys(moved.values())], fields)
            found |= {root: later.get(now, {}) for root, now in moved.items()}
        return [found.get(root, {}) for root in roots]

    def contacts(self, roots: Sequence[bytes], fields: Sequence[str]) -> dict[bytes, dict[str, str]]:
        """Return the newest value of each field of each customer. No `fields`: all."""
        return {root: newest(stated) for root, stated in self.opened(roots, fields).items()}

    def opened(self, roots: Sequence[bytes], fields: Sequence[str]) -> dict[bytes, Stated]:
        """Return what was ever sealed of each customer and can be opened. No `fields`: all. Raises
        `CustomerDamaged`."""
        records = self._records(roots)
        keys = self._data_keys.of(origin for record in records.values() for origin in record.origins)
        stated: dict[bytes, Stated] = {root: [] for root in records}
        for root, record in records.items():
            for origin, sealed in record.origins.items():
                key = keys.get(origin)
                if key is None:
                    continue
                for field, entry in sealed.items():
                    plain = key.open(field, entry.value) if not fields or field in fields else None
                    if plain is not None:
                        stated[root].append((field, entry.moment, _text(msgspec.json.decode(plain))))
        return stated

    def _records(self, roots: Sequence[bytes]) -> dict[bytes, Sensitive]:
        by_shard: dict[int, list[bytes]] = {}
        for root in roots:
            by_shard.setdefault(shard_of(root, self._count), []).append(root)
        ordered = [root for found in by_shard.values() for root in found]
        records = {}
        for root, packed in zip(ordered, self._shards.load_many({}, by_shard)[1], strict=True):
            try:
                if packed:
                    records[root] = decode_sensitive(packed)
            except UNREADABLE as error:
                shard = shard_of(root, self._count)
                place = self._shards.key("xs", shard, root)
                raise of_customer(place, shard, root, f"{CHANGED} ({error})") from error
        return records


class ProfileReader:
    """Reads one customer as a person, or the profile API, sees it."""

    def __init__(
        self,
        directory: Directory,
        shards: Shards,
        contacts: ContactReader,
        hashes: Identifiers,
        rules_of: Callable[[int], CompiledRules],
        scorer_of: Callable[[str, int], Loaded | None],
        count: int,
    ) -> None:
        """`count`: of shards."""
        self._directory = directory
        self._shards = shards
        self._contacts = contacts
        self._hashes = hashes
        self._rules_of = rules_of
        self._scorer_of = scorer_of
        self._count = count

    def __call__(self, namespace: str, value: str) -> dict[str, Any] | None:
        """Return the customer of a plain identifier, or None if it is unknown. Namespace `customer` takes the
        hex id. Raises `CustomerDamaged`, `Unreachable`."""
        with reported():
            root = self._root(namespace, value)
            return None if root is None else self._profile(root)

    def reasons(self, root: bytes) -> dict[str, dict[str, dict[str, float]]]:
        """Return for each model that scores this customer what it looks at now, and what each of these adds
        to the logit of the score against a customer who is average in it, the largest effect first. Raises
        `CustomerDamaged`, `Unreachable`."""
        with reported():
            rules = self._rules_of(self._directory.sent(RULES))
            live = self._live(root, rules)
            if live is None:
                return {}
            view = EvaluationContext(rules.reads, None, rules.rules.recommendation.k)
            view.p, view.f, view.now = live.profile, live.total, int(time.time() * 1000)
            return {
                model.name: self._because(model, view)
                for model in rules.models
                if model.name in live.profile.scores
            }

    def _because(self, model: CompiledModel, view: EvaluationContext) -> dict[str, dict[str, float]]:
        name = sender(model.name)
        scorer = self._scorer_of(name, self._directory.sent(name))
        if not hasattr(scorer, "explain"):
            return {}
        looked_at = [float(value) for value in model.features(view.features())]
        values = dict(zip(model.features(NAMES), looked_at, strict=True))
        return {
            feature: {"value": values.get(feature, 0.0), "adds": round(added, 6)}
            for feature, added in scorer.explain(looked_at)  # type: ignore[union-attr]  # it has one
        }

    def _live(self, root: bytes, rules: CompiledRules) -> Live | None:
        shard = shard_of(root, self._count)
        packed = self._packed(shard, root)
        if packed is None:
            return None
        try:
            return Live(decode_profile(packed), rules)
        except UNREADABLE as error:
            place = self._shards.key("p", shard, root)
            raise of_customer(place, shard, root, f"{CHANGED} ({error})") from error

    def _profile(self, root: bytes) -> dict[str, Any] | None:
        rules = self._rules_of(self._directory.sent(RULES))
        live = self._live(root, rules)
        if live is None:
            return None
        contact = self._contacts.contacts([root], ()).get(root, {})
        now_ms = int(time.time() * 1000)
        return present(root, live.profile, live.total, rules, now_ms, contact, self._shelf())

    def _packed(self, shard: int, root: bytes) -> bytes | None:
        """Return the profile; None for a customer that the shard does not have, or not yet. Raises
        `CustomerDamaged` where only the profile is missing.

        Profile and traces are two reads, and a worker may found or retire the customer between them: so both
        are asked twice.
        """
        for _ in range(2):
            packed = self._shards.load(shard, [root])[root]
            if packed is not None:
                return packed
            if not self._shards.traces({shard: [root]}):
                return None
        raise of_customer(self._shards.key("p", shard, root), shard, root, GONE)

    def _shelf(self) -> RecommendationIndex | None:
        version = self._directory.sent(sender(SHELF))
        found = self._scorer_of(sender(SHELF), version) if version else None
        return found if isinstance(found, RecommendationIndex) else None

    def _root(self, namespace: str, value: str) -> bytes | None:
        if namespace == "customer":
            try:
                return self._directory.root(bytes.fromhex(value))
            except ValueError:
                return None
        hashed = self._hashes.hash(namespace, value)
        return None if hashed is None else self._directory.lookup([hashed])[0]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
