"""The shard as a state machine: log entries in, changed profiles, timers and outbox out. The same log gives the same state.

`ShardMachine` owns all shards of one worker. It is handed what a batch needs (profiles, timers that are due) and hands
back what a commit has to write; it reads no clock (`now` is the last tick of the shard's log) and no server.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final, Protocol

import msgspec

from flows.logic.fragments import ring_id, seen
from flows.logic.models.churn import features
from flows.logic.rules import CompiledRules, CompiledTrigger, View
from schemas.events import Fact
from schemas.identity import ID_BYTES, text_id
from schemas.log import Announced, LogEntry, Retire, Tick, unpack_facts
from schemas.profile import MICRO, Fragment, Head, Profile, Question, Sealed, Sensitive, Wait
from schemas.triggers import Absorb, Decision, Example, Receipt, Trigger

FRAGMENTS_MAX: Final = 32
WAITS_MAX: Final = 16
SEALED_MAX: Final = 64  # sensitive traits of one origin, first by name
DUE_MAX: Final = 500  # customers woken by one tick of one shard; the others by the next
REFRESH_MS: Final = 86_400_000  # figures over time windows are looked at again once a day ...
ASLEEP_MS: Final = 2 * REFRESH_MS  # ... while less than this lies behind the last boundary that can move

encode = msgspec.msgpack.Encoder().encode
decode_profile = msgspec.msgpack.Decoder(Profile).decode
decode_sensitive = msgspec.msgpack.Decoder(Sensitive).decode
_decode_fact = msgspec.msgpack.Decoder(Fact).decode
_decode_retire = msgspec.msgpack.Decoder(Retire).decode
_decode_absorb = msgspec.msgpack.Decoder(Absorb).decode
_decode_tick = msgspec.msgpack.Decoder(Tick).decode
_decode_announced = msgspec.msgpack.Decoder(Announced).decode


class Scorer(Protocol):
    def score(self, values: list[float]) -> float: ...

    def explain(self, values: list[float]) -> list[tuple[str, float]]: ...


class Live:
    """A profile in memory with the sum of its fragments (the fragment itself while there is only one)."""

    __slots__ = ("profile", "total")

    def __init__(self, profile: Profile, rules: CompiledRules) -> None:
        self.profile = profile
        self.total = _sum(profile, rules)


def _sum(profile: Profile, rules: CompiledRules) -> Fragment:
    fragments = list(profile.fragments.values())
    if len(fragments) == 1:
        return fragments[0]
    total = Fragment()
    for fragment in fragments:
        total = rules.fragments.merge(total, fragment)
    return total


class ShardState:
    """One shard between two commits: its head, its counters, and what this batch has changed so far."""

    __slots__ = (
        "applied",
        "counters",
        "deleted",
        "dirty",
        "due",
        "duplicates",
        "fired",
        "head",
        "live",
        "number",
        "outbox",
        "rules",
        "scorers",
        "sensitive",
        "sensitive_dirty",
        "settled",
        "timers",
    )

    def __init__(self, number: int, head: Head, counters: dict[str, int]) -> None:
        self.number = number
        self.head = head
        self.counters = counters
        self.rules: CompiledRules | None = None
        self.scorers: dict[str, tuple[Scorer, int]] = {}
        self.live: dict[bytes, Live | None] = {}  # cache; None = known to be absent
        self.clear()

    def clear(self) -> None:
        """After a commit."""
        self.dirty: set[bytes] = set()
        self.deleted: set[bytes] = set()
        self.sensitive_dirty: set[bytes] = set()
        self.sensitive: dict[bytes, Sensitive] = {}  # loaded for this batch
        self.due: list[tuple[int, bytes]] = []  # (due_ms, root) from the index, sorted
        self.timers: dict[bytes, int] = {}  # root -> due_ms, 0 = none
        self.outbox: list[tuple[str, int, bytes]] = []
        self.fired: list[tuple[str, int]] = []  # (rule, received_ms)
        self.applied = self.duplicates = 0
        self.settled = True

    @property
    def changed(self) -> bool:
        """Whether there is more to commit than the time."""
        return not self.settled or bool(self.dirty or self.deleted or self.outbox or self.timers)

    def count(self, name: str, by: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + by

    def emit(self, lane: str, message: Any) -> None:
        seq = self.head.outbox.get(lane, 0) + 1
        self.head.outbox[lane] = seq
        self.outbox.append((lane, seq, encode(message)))


class Needs(msgspec.Struct):
    """What a batch has to have in memory before it can be applied."""

    profiles: set[bytes]
    sensitive: set[bytes]
    tick_ms: int = 0  # the last tick in the batch
    ticks: int = 0


def needs_of(entries: Iterable[LogEntry]) -> Needs:
    """Which customers the entries of one shard touch."""
    needs = Needs(set(), set())
    for entry in entries:
        match entry.kind:
            case "e":
                for root, _origin, _payload in unpack_facts(entry.body):
                    needs.profiles.add(root)
            case "r":
                retired = _decode_retire(entry.body).retired
                needs.profiles.add(retired)
                needs.sensitive.add(retired)
            case "a":
                root = entry.body[:ID_BYTES]
                needs.profiles.add(root)
                needs.sensitive.add(root)
            case "t":
                needs.tick_ms = _decode_tick(entry.body).now_ms
                needs.ticks += 1
    return needs


class ShardMachine:
    """Applies log entries. `rules_of` and `scorer_of` load what was announced; both depend on their arguments only."""

    def __init__(self, rules_of: Callable[[int], CompiledRules], scorer_of: Callable[[str, int], Scorer | None]) -> None:
        self._rules_of = rules_of
        self._scorer_of = scorer_of

    def open(self, state: ShardState) -> None:
        """Bring a shard's rules and models back to what its head says."""
        if state.head.rules:
            state.rules = self._rules_of(state.head.rules)
        for sender, version in state.head.models.items():
            self._load_model(state, sender, version)

    def put(self, state: ShardState, root: bytes, packed: bytes | None) -> None:
        """Hand in a profile that was loaded."""
        state.live[root] = None if packed is None else Live(decode_profile(packed), _rules(state))

    def apply(self, state: ShardState, entries: Iterable[LogEntry]) -> None:
        """Apply the entries of one shard, in order."""
        for entry in entries:
            state.settled &= entry.kind == "t"
            match entry.kind:
                case "e":
                    for root, origin, payload in unpack_facts(entry.body):
                        self._fact(state, root, origin, _decode_fact(payload))
                case "r":
                    self._retire(state, _decode_retire(entry.body))
                case "a":
                    self._absorb(state, entry.body[:ID_BYTES], _decode_absorb(entry.body[ID_BYTES:]))
                case "t":
                    self._tick(state, _decode_tick(entry.body).now_ms)
                case "c":
                    announced = _decode_announced(entry.body)
                    state.head.rules = announced.version
                    state.rules = self._rules_of(announced.version)
                    for live in state.live.values():  # as if they were loaded just now
                        if live is not None:
                            live.total = _sum(live.profile, state.rules)
                case "m":
                    announced = _decode_announced(entry.body)
                    self._load_model(state, announced.sender, announced.version)
            state.head.offset = entry.seq

    def _load_model(self, state: ShardState, sender: str, version: int) -> None:
        scorer = self._scorer_of(sender, version)
        if scorer is None:  # its signature is broken: the last good one stays
            state.count("models_refused")
            return
        state.head.models[sender] = version
        state.scorers[sender.rpartition(":")[2]] = (scorer, version)

    # --- facts ------------------------------------------------------------------------------------------------------

    def _fact(self, state: ShardState, root: bytes, origin: bytes, fact: Fact) -> None:
        rules = _rules(state)
        now = state.head.clock_ms or fact.received_ms
        live = state.live.get(root)
        if live is None:
            live = state.live[root] = Live(Profile(), rules)
            state.count("profiles")
        profile = live.profile
        message = ring_id(fact.message)
        for fragment in profile.fragments.values():
            if seen(fragment.ring, message):
                state.count("duplicates")
                state.duplicates += 1
                return
        state.count("applied")
        state.applied += 1
        state.dirty.add(root)
        state.deleted.discard(root)
        home = profile.fragments.get(origin)
        if home is None:
            home = self._new_fragment(live, origin, rules)
        rules.fragments.add(home, fact, message)
        if live.total is not home:
            rules.fragments.add(live.total, fact, message)
        if fact.sealed:
            self._seal(state, root, origin, fact)

        view = View(rules.reads)
        view.p, view.f, view.now = profile, live.total, now
        view.event, view.type, view.channel, view.properties = fact.name, fact.type, fact.channel, fact.properties
        moment = _Moment(root, fact.message, fact.subject, fact.properties, Receipt(fact.time_ms, fact.received_ms, fact.resolved_ms, max(now, fact.resolved_ms)))
        if fact.time_ms - profile.woken_ms > rules.rules.lifecycle.lost and profile.stage == "lost":
            profile.returned_ms = now
        sooner = self._derive(state, rules, view, moment)
        key = fact.name if fact.type == "track" else fact.type
        for trigger in rules.on_event.get(key, ()):
            self._fire(state, trigger, view, moment)
        sooner |= self._start_waits(state, rules, view, moment, key)
        sooner |= self._ask(state, rules, view)
        if sooner or profile.indexed_ms == 0:
            self._schedule(state, rules, view, root)

    def _new_fragment(self, live: Live, origin: bytes, rules: CompiledRules) -> Fragment:
        fragments = live.profile.fragments
        if len(fragments) >= FRAGMENTS_MAX:  # the two that were quiet for longest fold together
            older, old = sorted(fragments, key=lambda key: (fragments[key].last_ms, key))[:2]
            rules.fragments.merge(fragments[old], fragments.pop(older))
        fragment = fragments[origin] = Fragment()
        if len(fragments) == 1:
            live.total = fragment
        elif len(fragments) == 2:  # the sum was the fragment itself until now
            live.total = _sum(live.profile, rules)
        return fragment

    def _seal(self, state: ShardState, root: bytes, origin: bytes, fact: Fact) -> None:
        fields = state.sensitive.setdefault(root, Sensitive()).origins.setdefault(origin, {})
        for name, value in fact.sealed.items():
            held = fields.get(name)
            if held is None or (fact.time_ms, value) > (held.time_ms, held.value):
                fields[name] = Sealed(fact.time_ms, value)
        while len(fields) > SEALED_MAX:
            del fields[max(fields)]
        state.sensitive_dirty.add(root)

    # --- what follows from the figures ------------------------------------------------------------------------------

    def _derive(self, state: ShardState, rules: CompiledRules, view: View, moment: "_Moment") -> bool:
        """Tags, segment, stage and scores, with the triggers on their changes. True if a timer may be due sooner."""
        profile, now, sooner = view.p, view.now, False
        changes: list[CompiledTrigger] = []
        for name, when, ttl in rules.tags:
            held = profile.tags.get(name)
            if when(view):
                profile.tags[name] = (held[0] if held else now, now + ttl if ttl else 0)
                if held is None:
                    sooner |= ttl > 0
                    state.count(f"tag:{name}")
                    changes += rules.on_tag.get((name, True), ())
            elif held is not None and held[1] <= now:
                del profile.tags[name]
                state.count(f"tag:{name}", -1)
                changes += rules.on_tag.get((name, False), ())
        segment = next((name for name, when in rules.segments if when(view)), "")
        if segment != profile.segment:
            left, profile.segment = profile.segment, segment
            if left:
                state.count(f"segment:{left}", -1)
                changes += rules.on_segment.get((left, False), ())
            if segment:
                state.count(f"segment:{segment}")
                changes += rules.on_segment.get((segment, True), ())
        stage = stage_of(rules, view.f, profile, now)
        if stage != profile.stage:
            if profile.stage:
                state.count(f"stage:{profile.stage}", -1)
            state.count(f"stage:{stage}")
            profile.stage = stage
        for trigger in changes:
            self._fire(state, trigger, view, moment)
        if "churn" in state.scorers:
            scorer, version = state.scorers["churn"]
            before = profile.scores.get("churn")
            score = scorer.score(_features(view))
            profile.scores["churn"] = (score, version)
            for model, threshold, above, trigger in rules.on_score:
                was = before is not None and (before[0] >= threshold if above else before[0] < threshold)
                if model == "churn" and not was and (score >= threshold if above else score < threshold):
                    moment.explain = scorer.explain
                    self._fire(state, trigger, view, moment)
        return sooner

    def _fire(self, state: ShardState, trigger: CompiledTrigger, view: View, moment: "_Moment") -> None:
        if not trigger.when(view):
            return
        rule, profile = trigger.rule, view.p
        if trigger.cooldown:
            if view.now < profile.cooldowns.get(rule.name, 0):
                state.emit("d", Decision(moment.root, rule.name, moment.cause, view.now, "cooldown"))
                state.count("decisions:cooldown")
                return
            profile.cooldowns[rule.name] = view.now + trigger.cooldown
        reasons: dict[str, Any] = {name: _plain(read(view)) for name, read in trigger.reasons.items()}
        if moment.explain is not None and (rule.on.score_above or rule.on.score_below):
            reasons |= {f"score.churn because of {name}": round(part, 4) for name, part in moment.explain(_features(view))[:3]}
        scores = {model: {"score": score, "version": version} for model, (score, version) in profile.scores.items()}
        state.emit(
            "t",
            Trigger(
                trigger_id(moment.cause, moment.subject, rule.name),
                text_id(moment.root),
                rule.name,
                trigger.action,
                rule.channel,
                rule.purpose,
                list(rule.to),
                moment.cause,
                reasons,
                scores,
                moment.properties,
                moment.receipt,
            ),
        )
        state.count(f"triggers:{rule.name}")
        state.fired.append((rule.name, moment.receipt.received_ms))

    # --- timers -----------------------------------------------------------------------------------------------------

    def _start_waits(self, state: ShardState, rules: CompiledRules, view: View, moment: "_Moment", key: str) -> bool:
        profile = view.p
        ended = rules.ends.get(key)
        if ended:
            profile.waits = [wait for wait in profile.waits if wait.rule not in ended]
        started = rules.starts.get(key, ())
        for trigger in started:
            name = trigger.rule.name
            due = view.now + int(trigger.rule.on.within or 0)
            profile.waits = [wait for wait in profile.waits if wait.rule != name][-WAITS_MAX + 1 :]
            profile.waits.append(Wait(name, due, moment.cause, moment.subject))
        return bool(started)

    def _ask(self, state: ShardState, rules: CompiledRules, view: View) -> bool:
        churn, profile = rules.rules.churn, view.p
        if not churn.enabled or profile.questions or (profile.asked_ms and view.now - profile.asked_ms < churn.every):
            return False
        score = profile.scores.get("churn")
        profile.asked_ms = view.now
        profile.questions.append(
            Question(
                "churn",
                view.now,
                view.now + int(churn.horizon),
                view.f.events,
                _pack_floats(_features(view)),
                score[0] if score else None,
                score[1] if score else 0,
            )
        )
        return True

    def _schedule(self, state: ShardState, rules: CompiledRules, view: View, root: bytes) -> None:
        """Put the profile into the timer index at its next due time. The index may be early, never late."""
        profile, now, lifecycle = view.p, view.now, rules.rules.lifecycle
        dues = [wait.due_ms for wait in profile.waits] + [question.due_ms for question in profile.questions]
        dues += [until for _since, until in profile.tags.values() if until]
        boundaries = (view.f.last_ms + lifecycle.slipping, view.f.last_ms + lifecycle.lost, view.f.first_ms + lifecycle.new)
        dues += [boundary for boundary in boundaries if boundary > now]
        if now < view.f.last_ms + lifecycle.lost + ASLEEP_MS:
            dues.append(now + REFRESH_MS)
        due = max(min(dues, default=0), now + 1) if dues else 0
        if due and (profile.indexed_ms == 0 or due < profile.indexed_ms):
            profile.indexed_ms = due
            state.timers[root] = due

    def _tick(self, state: ShardState, now: int) -> None:
        state.head.clock_ms = max(state.head.clock_ms, now)
        touched = state.timers
        due = [(at, root) for at, root in state.due if at <= now and root not in touched]
        due += [(at, root) for root, at in touched.items() if 0 < at <= now]
        if due:
            for at, root in sorted(due)[:DUE_MAX]:
                self._wake(state, root, at)

    def _wake(self, state: ShardState, root: bytes, due: int) -> None:
        rules, now = _rules(state), state.head.clock_ms
        state.timers[root] = 0
        live = state.live.get(root)
        if live is None:  # retired meanwhile
            return
        profile = live.profile
        state.dirty.add(root)
        profile.indexed_ms, profile.woken_ms = 0, now
        view = View(rules.reads)
        view.p, view.f, view.now = profile, live.total, now
        view.event = view.type = view.channel = ""
        view.properties = {}
        self._answer(state, view, root)
        self._derive(state, rules, view, _timer_moment(f"timer:wake:{due}", root, root, due, now))
        for wait in [wait for wait in profile.waits if wait.due_ms <= now]:
            profile.waits.remove(wait)
            trigger = rules.waits.get(wait.rule)
            if trigger is not None:
                cause = f"timer:{wait.rule}:{wait.due_ms}:{wait.cause}"
                self._fire(state, trigger, view, _timer_moment(cause, wait.subject, root, wait.due_ms, now))
        self._schedule(state, rules, view, root)

    def _answer(self, state: ShardState, view: View, root: bytes) -> None:
        profile = view.p
        for question in [question for question in profile.questions if question.due_ms <= view.now]:
            profile.questions.remove(question)
            label = 1.0 if view.f.events == question.events else 0.0
            state.emit(
                "x",
                Example(question.model, root, question.asked_ms, view.now, _unpack_floats(question.features), question.predicted, question.version, label),
            )

    # --- customers that become one ----------------------------------------------------------------------------------

    def _retire(self, state: ShardState, retire: Retire) -> None:
        live = state.live.get(retire.retired)
        if live is None:
            return
        sensitive = state.sensitive.pop(retire.retired, None)
        state.emit(
            "i",
            Absorb(retire.survivor, retire.retired, encode(live.profile), encode(sensitive) if sensitive and sensitive.origins else b""),
        )
        self._uncount(state, live.profile)
        state.live[retire.retired] = None
        state.dirty.discard(retire.retired)
        state.sensitive_dirty.discard(retire.retired)
        state.deleted.add(retire.retired)
        state.timers[retire.retired] = 0

    def _uncount(self, state: ShardState, profile: Profile) -> None:
        state.count("profiles", -1)
        for name in profile.tags:
            state.count(f"tag:{name}", -1)
        if profile.segment:
            state.count(f"segment:{profile.segment}", -1)
        if profile.stage:
            state.count(f"stage:{profile.stage}", -1)

    def _absorb(self, state: ShardState, root: bytes, message: Absorb) -> None:
        rules = _rules(state)
        live = state.live.get(root)
        if live is None:
            live = state.live[root] = Live(Profile(), rules)
            state.count("profiles")
        profile, theirs = live.profile, decode_profile(message.general)
        for origin, fragment in theirs.fragments.items():
            mine = profile.fragments.get(origin)
            profile.fragments[origin] = fragment if mine is None else rules.fragments.merge(mine, fragment)
        for name, (since, until) in theirs.tags.items():
            held = profile.tags.get(name)
            if held is None:
                state.count(f"tag:{name}")
            profile.tags[name] = (min(since, held[0]), max(until, held[1])) if held else (since, until)
        for rule, until in theirs.cooldowns.items():
            profile.cooldowns[rule] = max(until, profile.cooldowns.get(rule, 0))
        waiting = {wait.rule for wait in profile.waits}
        profile.waits += [wait for wait in theirs.waits if wait.rule not in waiting]
        profile.returned_ms = max(profile.returned_ms, theirs.returned_ms)
        live.total = _sum(profile, rules)
        if message.sensitive:
            held_fields = state.sensitive.setdefault(root, Sensitive()).origins
            for origin, fields in decode_sensitive(message.sensitive).origins.items():
                mine_fields = held_fields.setdefault(origin, {})
                for name, field in fields.items():
                    if name not in mine_fields or (field.time_ms, field.value) > (mine_fields[name].time_ms, mine_fields[name].value):
                        mine_fields[name] = field
            state.sensitive_dirty.add(root)
        state.count("absorbed")
        state.dirty.add(root)
        state.deleted.discard(root)
        now = state.head.clock_ms
        view = View(rules.reads)
        view.p, view.f, view.now = profile, live.total, now
        view.event = view.type = view.channel = ""
        view.properties = {}
        self._derive(state, rules, view, _timer_moment(f"absorb:{text_id(message.retired)}", message.retired, root, now, now))
        self._schedule(state, rules, view, root)


class _Moment:
    """Why rules are looked at now: the cause of what fires."""

    __slots__ = ("cause", "explain", "properties", "receipt", "root", "subject")

    def __init__(self, root: bytes, cause: str, subject: bytes, properties: dict[str, Any], receipt: Receipt) -> None:
        self.root = root
        self.cause = cause
        self.subject = subject
        self.properties = properties
        self.receipt = receipt
        self.explain: Callable[[list[float]], list[tuple[str, float]]] | None = None


def _timer_moment(cause: str, subject: bytes, root: bytes, due: int, now: int) -> _Moment:
    return _Moment(root, cause, subject, {}, Receipt(due, due, due, now))


def trigger_id(cause: str, subject: bytes, rule: str) -> str:
    """Stable for ever: from what caused it, whom the cause was about, and the rule; never from a position or a clock."""
    hashed = blake2b(cause.encode("utf-8", "surrogatepass"), digest_size=16, key=subject)
    hashed.update(b"\0" + rule.encode())
    return "trg_" + hashed.hexdigest()


def stage_of(rules: CompiledRules, total: Fragment, profile: Profile, now: int) -> str:
    """The life-cycle stage by inactivity."""
    lifecycle, quiet = rules.rules.lifecycle, now - total.last_ms
    if quiet >= lifecycle.lost:
        return "lost"
    if quiet >= lifecycle.slipping:
        return "slipping"
    if profile.returned_ms and now - profile.returned_ms < lifecycle.won_back:
        return "won_back"
    return "new" if now - total.first_ms < lifecycle.new else "active"


def _features(view: View) -> list[float]:
    total = view.f
    return features(
        (view.now - total.last_ms) / REFRESH_MS,
        (view.now - total.first_ms) / REFRESH_MS,
        total.events,
        total.orders,
        total.spent / MICRO,
        len(total.sessions) // 2,
        len(total.channels),
    )


def _pack_floats(values: list[float]) -> bytes:
    return struct.pack(f">{len(values)}f", *values)


def _unpack_floats(packed: bytes) -> list[float]:
    return list(struct.unpack(f">{len(packed) // 4}f", packed))


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, (dict, set)) else value


def _rules(state: ShardState) -> CompiledRules:
    assert state.rules is not None, f"shard {state.number} has a fact before its first rules: `prepare` announces them before any flow starts"
    return state.rules


def sums(state: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counters of several shards, added up."""
    total: dict[str, int] = {}
    for counters in state:
        for name, n in counters.items():
            total[name] = total.get(name, 0) + n
    return total
