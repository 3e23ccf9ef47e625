"""What events would do in a deployment that knows nobody yet. Nothing has to run.

They go the way of all events, through the same code: `resolve` and `profile` on the twins in memory. What
clients of other dialects send is translated by the gateway, which is not asked here: an event is as Segment's
specification has it.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from flows.logic.facets.vocabulary import compile_rules
from flows.logic.message import Checked
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.machine import ShardMachine
from flows.logic.shard.state import Live, decode_profile
from flows.logic.shard.view import mask as masked
from flows.logic.shard.view import own, present
from flows.profile import Worker
from flows.resolve import Resolver
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop
from flows.runtime.rules_in_force import RULES, announce
from flows.runtime.windows import Window
from flows.services.importing.job import NO_KEY
from schemas.config import Config
from schemas.config.toml import rules_from
from schemas.errors import Unusable
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogKind, unpack_facts
from schemas.wire.events import Fact, RawEvent
from schemas.wire.triggers import Decision, Trigger
from state.directory.layout import Layout
from state.directory.policy import Policy
from state.keys import LogSeal
from state.memory.memory_directory import MemoryDirectory
from state.memory.memory_shards import MemoryShards
from state.open_keys import OpenKeys

EVENTS_MAX = 1_000
_SHOWN = ("stage", "segment", "tags", "aggregates", "attributes", "traits")
_fact = msgspec.msgpack.Decoder(Fact).decode
_trigger = msgspec.msgpack.Decoder(Trigger).decode
_decision = msgspec.msgpack.Decoder(Decision).decode


@dataclass
class Outlook:
    """What one event would do: `lines` of what and how. `refused`: why; then nothing else."""

    refused: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)


def events_of(path: Path) -> list[bytes]:
    """Return the events of a file: one, a list or a `batch` of them, or one a line. Raises `Unusable`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{path} cannot be read as UTF-8: {error}") from None
    whole = _parsed(text)
    if whole is None:
        found = [_as_sent(line) for line in text.splitlines() if line.strip()]
    else:
        each = whole.get("batch", whole) if isinstance(whole, dict) else whole
        found = (
            [_as_sent(json.dumps(event)) for event in each] if isinstance(each, list) else [_as_sent(text)]
        )
    if not 0 < len(found) <= EVENTS_MAX:
        raise Unusable(f"{path}: expected from 1 to {EVENTS_MAX:,} events as JSON, got {len(found):,}")
    return found


def foresee(config: Config, events: Iterable[bytes], now_ms: int) -> Iterator[Outlook]:
    """Yield what each of these would do, in their order. Raises `ConfigError`."""
    foresight = Foresight(config, now_ms)
    for event in events:
        yield foresight.see(event)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _as_sent(text: str) -> bytes:
    """An event that says `event` and no `type` is what `/v1/track` takes, whose path says it."""
    event = _parsed(text)
    return (
        json.dumps({"type": "track", **event}).encode()
        if isinstance(event, dict) and "event" in event
        else text.strip().encode()
    )


class Foresight:
    """A deployment in memory."""

    def __init__(self, config: Config, now_ms: int) -> None:
        self._config = config = replace(config, archive=replace(config.archive, enabled=False))
        self._now_ms = now_ms
        self._names = [namespace.name for namespace in config.identity.namespace]
        limits = [namespace.limit for namespace in config.identity.namespace]
        policy = Policy.of(config.identity, config.matching)
        count = config.shards.count
        self._directory = MemoryDirectory(
            Layout.of(config.name, count, EVENTS_MAX, limits, policy=policy), lambda: now_ms
        )
        announce(self._directory, config)
        self._directory.tick()
        self._store = MemoryShards(count)
        self._rules = self._rules_of(self._directory.sent(RULES))
        validator = Deployment(config).validator(NO_KEY)
        keys: Any = OpenKeys()
        self._resolver = Resolver(
            config, validator, self._directory, keys, LogSeal(NO_KEY), Stop(), clock=lambda: now_ms / 1000
        )
        machine = ShardMachine(self._rules_of, lambda _sender, _version: None)
        self._worker = Worker(
            range(count),
            self._directory,
            self._store,
            machine,
            cache=EVENTS_MAX,
            outbox_max=1_000_000,
            clock_ms=lambda: now_ms,
        )
        self._source = next((key.source for key in config.gateway.write_keys if key.enabled), "")
        self._position = 0
        self._settle()

    def see(self, value: bytes) -> Outlook:
        """Take this event in, and say what came of it."""
        raw = RawEvent(value, self._now_ms, self._source)
        before, self._position = self._position or -1, self._position + 1
        judged = self._resolver.judge(
            Window(
                partition="check",
                before=before,
                after=self._position,
                events=[raw],
                positions=[self._position],
                opened=0.0,
            )
        )
        if judged.rejects:
            [(_, reject)] = judged.rejects
            self._resolver.commit(judged)
            return Outlook(f"{reject.reason}{reject.detail and f': {reject.detail}'}")
        if judged.orders:
            return Outlook(
                lines=[
                    ("steward", "an order about identities, which only a deployment that runs can carry out")
                ]
            )
        ends = self._directory.heads()
        lanes = {shard: dict(head.outbox) for shard, head in self._store.heads().items()}
        known = self._profiles()
        self._resolver.commit(judged)
        outlook = Outlook()
        for entry in self._directory.read(ends, 100, 0):
            for root, _origin, payload in unpack_facts(entry.body) if entry.kind == LogKind.EVENTS else ():
                self._say_fact(outlook, _fact(payload), judged.checked[0], known=root in known)
        self._settle()
        self._say_changes(outlook, known)
        self._say_sent(outlook, lanes)
        return outlook

    def _rules_of(self, version: int) -> CompiledRules:
        body = self._directory.body(LogKind.CONFIG, RULES, version)
        assert body is not None
        return compile_rules(rules_from(body), version, self._config.shards.dedupe, self._config.shards.count)

    def _settle(self) -> None:
        while entries := self._worker.read():
            self._worker.commit(self._worker.apply(entries))

    def _profiles(self) -> dict[bytes, dict[str, Any]]:
        found = {}
        for table in self._store.profiles.values():
            for root, packed in table.items():
                live = Live(decode_profile(packed), self._rules)
                found[root] = present(root, live.profile, live.total, self._rules, self._now_ms, {})
        return found

    def _say_fact(self, outlook: Outlook, fact: Fact, checked: Checked, *, known: bool) -> None:
        when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(fact.time_ms / 1000))
        names = [self._names[one.strength] for one in checked.identifiers]
        outlook.lines += [
            ("is", f"{fact.type} {fact.name}".strip()),
            ("happened", when),
            ("known by", ", ".join(names)),
        ]
        said = {"user_id": checked.user_id or "", **checked.sensitive}
        outlook.lines += [
            ("sealed", f"{name}: {masked(str(value))}") for name, value in own(said).items() if value
        ]
        outlook.lines += [
            ("taken out", f"personal data ({name}), {count}") for name, count in checked.removed.items()
        ]
        outlook.lines += [("property", f"{name}: {value}") for name, value in fact.properties.items()]
        outlook.lines.append(("customer", "known from an event before" if known else "new"))

    def _say_changes(self, outlook: Outlook, before: Mapping[bytes, Mapping[str, Any]]) -> None:
        for root, after in self._profiles().items():
            old = before.get(root, {})
            for part in _SHOWN:
                outlook.lines += _changes(part, old.get(part), after[part])

    def _say_sent(self, outlook: Outlook, lanes: Mapping[int, Mapping[str, int]]) -> None:
        for shard in range(self._config.shards.count):
            done = lanes[shard]
            for one in self._store.read(Lane.TRIGGERS, {shard: done.get(Lane.TRIGGERS, 0)}, 100, 0):
                trigger = _trigger(one.body)
                outlook.lines.append(("trigger", f"{trigger.rule} -> {', '.join(trigger.to) or 'nowhere'}"))
            for one in self._store.read(Lane.DECISIONS, {shard: done.get(Lane.DECISIONS, 0)}, 100, 0):
                decision = _decision(one.body)
                outlook.lines.append(("held", f"{decision.rule}: {decision.reason}"))


def _changes(part: str, old: Any, new: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(new, Mapping):
        if old != new and new:
            yield part, f"{old or 'none'} -> {new}"
        return
    old = old or {}
    for name in [*new, *(name for name in old if name not in new)]:
        before, after = old.get(name), new.get(name)
        if part == "tags":
            if (name in old) != (name in new):
                yield "tag", f"{name} {'begins' if name in new else 'ends'}"
        elif before != after and not (before is None and not after):
            yield (
                part.removesuffix("s").replace("aggregate", "figure"),
                f"{name}: {after}" if before is None else f"{name}: {before} -> {after}",
            )
