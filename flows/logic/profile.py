"""The shard as a state machine: log entries in, changed profiles, timers and outbox out. The same log gives the same state.

`ShardMachine` owns all shards of one worker. It is handed what a batch needs (profiles, timers that are due) and hands
back what a commit has to write; it reads no clock (`now` is the last tick of the shard's log) and no server.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from math import inf
from typing import Any, Final, Protocol

import msgspec

from flows.logic import transit
from flows.logic.fragments import ring_id, seen
from flows.logic.models.churn import features
from flows.logic.rules import CompiledRules, CompiledTrigger, View
from flows.logic.transit import HELD_MAX, must_wait
from schemas.events import Fact
from schemas.identity import ID_BYTES, text_id
from schemas.log import Announced, Expect, Lend, LogEntry, Retire, Tick, unpack_facts
from schemas.profile import MICRO, Fragment, Head, Profile, Question, Sealed, Sensitive, Transit, Wait
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
decode_expect = msgspec.msgpack.Decoder(Expect).decode
decode_lend = msgspec.msgpack.Decoder(Lend).decode
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
            case "x":
                needs.profiles.add(decode_expect(entry.body).root)
            case "l":
                needs.profiles.add(decode_lend(entry.body).root)
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
                        self._fact(state, root, origin, payload)
                case "x":
                    self._expect(state, decode_expect(entry.body))
                case "l":
                    self._lend(state, decode_lend(entry.body))
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

    def _live(self, state: ShardState, root: bytes) -> Live:
        """The customer, made where it is new. It will be written."""
        live = state.live.get(root)
        if live is None:
            live = state.live[root] = Live(Profile(), _rules(state))
            state.count("profiles")
            state.deleted.discard(root)
        state.dirty.add(root)
        return live

    def _fact(self, state: ShardState, root: bytes, origin: bytes, payload: bytes) -> None:
        fact, live = _decode_fact(payload), self._live(state, root)
        coming = live.profile.transit
        if coming is not None and must_wait(coming, origin, fact.subject):
            if len(coming.held) < HELD_MAX:
                transit.hold(coming, origin, fact.subject, payload)
                return
            state.count("held_too_many")  # counted at once: better than lost, and only a repetition of it could count twice
        self._add(state, root, origin, fact, live)

    def _add(self, state: ShardState, root: bytes, origin: bytes, fact: Fact, live: Live) -> None:
        rules, profile = _rules(state), live.profile
        now = state.head.clock_ms or fact.received_ms
        message = ring_id(fact.message)
        if profile.transit is not None and seen(profile.transit.ring, message):
            state.count("duplicates")
            state.duplicates += 1
            return
        for fragment in profile.fragments.values():
            if seen(fragment.ring, message):
                state.count("duplicates")
                state.duplicates += 1
                return
        state.count("applied")
        state.applied += 1
        quiet_ms = fact.time_ms - live.total.last_ms if profile.fragments else 0
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
        if quiet_ms >= rules.rules.lifecycle.lost:
            profile.returned_ms = fact.time_ms
        sooner = self._derive(state, rules, view, moment)
        key = fact.name if fact.type == "track" else fact.type
        for trigger in rules.on_event.get(key, ()):
            self._fire(state, trigger, view, moment)
        sooner |= self._wait(rules, view, moment, key)
        sooner |= self._ask(state, rules, view)
        if sooner or profile.indexed_ms == 0:
            self._schedule(state, rules, view, root)

    def _new_fragment(self, live: Live, origin: bytes, rules: CompiledRules) -> Fragment:
        fragments = live.profile.fragments
        self._fold(fragments, FRAGMENTS_MAX - 1, rules)
        fragment = fragments[origin] = Fragment()
        if len(fragments) == 1:
            live.total = fragment
        elif len(fragments) == 2:  # the sum was the fragment itself until now
            live.total = _sum(live.profile, rules)
        return fragment

    def _fold(self, fragments: dict[bytes, Fragment], most: int, rules: CompiledRules) -> None:
        """The two that were quiet for longest fold together, until there are at most so many."""
        while len(fragments) > most:
            older, old = sorted(fragments, key=lambda key: (fragments[key].last_ms, key))[:2]
            rules.fragments.merge(fragments[old], fragments.pop(older))

    def _seal(self, state: ShardState, root: bytes, origin: bytes, fact: Fact) -> None:
        fields = {name: Sealed(fact.time_ms, value) for name, value in fact.sealed.items()}
        add_sensitive(state.sensitive.setdefault(root, Sensitive()), Sensitive({origin: fields}))
        state.sensitive_dirty.add(root)

    # --- what follows from the figures ------------------------------------------------------------------------------

    def _derive(self, state: ShardState, rules: CompiledRules, view: View, moment: "_Moment") -> bool:
        """Stage, scores, tags and segment (each may look at those before it), then the triggers on their changes.

        True if a timer may be due sooner.
        """
        profile, now, sooner = view.p, view.now, False
        stage = stage_of(rules, view.f, profile, now)
        if stage != profile.stage:
            if profile.stage:
                state.count(f"stage:{profile.stage}", -1)
            state.count(f"stage:{stage}")
            profile.stage = stage
        crossed = self._score(state, rules, view, moment)
        changes: list[CompiledTrigger] = []
        if not profile.tags.keys() <= rules.weights.keys():  # rules that are gone
            for name in profile.tags.keys() - rules.weights.keys():
                del profile.tags[name]
                state.count(f"tag:{name}", -1)
        for name, when, ttl in rules.tags:
            held = profile.tags.get(name)
            if when(view):
                profile.tags[name] = (held[0] if held else now, now + ttl if ttl else 0)
                sooner |= ttl > 0 and now + ttl < profile.indexed_ms
                if held is None:
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
        for trigger in changes + crossed:
            self._fire(state, trigger, view, moment)
        return sooner

    def _score(self, state: ShardState, rules: CompiledRules, view: View, moment: "_Moment") -> list[CompiledTrigger]:
        """The triggers whose threshold is crossed. A first score may be above one; only one that was higher falls below."""
        profile = view.p
        if not rules.rules.churn.enabled:
            profile.scores.pop("churn", None)
            return []
        if "churn" not in state.scorers:
            return []
        scorer, version = state.scorers["churn"]
        moment.explain = scorer.explain
        score = scorer.score(_features(view))
        before = profile.scores.get("churn", (-inf, 0))[0]
        profile.scores["churn"] = (score, version)
        return [
            trigger
            for model, threshold, above, trigger in rules.on_score
            if model == "churn" and (before < threshold <= score if above else score < threshold <= before)
        ]

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

    def _wait(self, rules: CompiledRules, view: View, moment: "_Moment", key: str) -> bool:
        """ "A, then no B": what counts is when both happened, for they may come in any order. True if a wait begins."""
        profile, time_ms = view.p, moment.receipt.event_ms
        begun = [trigger.rule for trigger in rules.starts.get(key, ()) if time_ms >= profile.ended.get(trigger.rule.name, 0)]
        ended = rules.ends.get(key, ())
        if ended:
            profile.ended |= {rule: max(time_ms, profile.ended.get(rule, 0)) for rule in ended}
            profile.waits = [wait for wait in profile.waits if wait.rule not in ended or wait.since_ms > time_ms]
        for rule in begun:
            others = [wait for wait in profile.waits if wait.rule != rule.name]
            wait = Wait(rule.name, view.now + int(rule.on.within or 0), moment.cause, moment.subject, time_ms)
            profile.waits = [*others[-WAITS_MAX + 1 :], wait]
        return bool(begun)

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
        last_ms, returned_ms = view.f.last_ms, profile.returned_ms
        boundaries = (last_ms + lifecycle.slipping, last_ms + lifecycle.lost, view.f.first_ms + lifecycle.new, returned_ms + lifecycle.won_back)
        dues += [boundary for boundary in boundaries if boundary > now]
        if now < view.f.last_ms + rules.settled_ms + ASLEEP_MS:
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
        profile.indexed_ms = 0
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
        if profile.stage != "lost":  # asked in quiet times too, or the model would know nobody who has been away for a while
            self._ask(state, rules, view)
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

    def _expect(self, state: ShardState, expect: Expect) -> None:
        profile = self._live(state, expect.root).profile
        profile.transit = profile.transit or Transit()
        transit.expect(profile.transit, expect.origins, [expect.identifier] if expect.identifier else [])

    def _lend(self, state: ShardState, lend: Lend) -> None:
        live = state.live.get(lend.root)
        if live is None:  # nothing was seen
            state.emit("i", Absorb(lend.to, lend.root, b"", b"", identifier=lend.identifier))
            return
        profile = live.profile
        profile.transit = profile.transit or Transit()
        transit.owe(profile.transit, lend.identifier, lend.origin, lend.to)
        state.dirty.add(lend.root)
        self._release(state, lend.root, live)

    def _release(self, state: ShardState, root: bytes, live: Live) -> None:
        """Count the facts and pay the debts that nothing holds up any longer."""
        profile = live.profile
        assert profile.transit is not None, "only called with one"
        facts, debts = transit.release(profile.transit)
        for held in facts:
            self._add(state, root, held.origin, _decode_fact(held.payload), live)
        for debt in debts:
            fragment = profile.fragments.get(debt.origin)
            ring = (fragment.ring if fragment else b"") + profile.transit.ring
            state.emit("i", Absorb(debt.to, root, b"", b"", identifier=debt.identifier, ring=ring))
        if transit.over(profile.transit):
            profile.transit = None

    def _retire(self, state: ShardState, retire: Retire) -> None:
        live = state.live.get(retire.retired)
        if live is None:  # nothing to hand over, but it is waited for
            state.emit("i", Absorb(retire.survivor, retire.retired, b"", b"", retire.origins))
            return
        sensitive = state.sensitive.pop(retire.retired, None)
        expected = live.profile.transit.origins if live.profile.transit else []
        state.emit(
            "i",
            Absorb(
                retire.survivor,
                retire.retired,
                encode(live.profile),
                encode(sensitive) if sensitive and sensitive.origins else b"",
                [origin for origin in retire.origins if origin not in expected],
            ),
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
        live = self._live(state, root)
        profile = live.profile
        profile.transit = profile.transit or Transit()
        transit.settle(profile.transit, message.origins)
        if message.identifier:
            transit.lent(profile.transit, message.identifier, message.ring)
        elif message.general:
            self._take_in(state, root, live, message)
        self._release(state, root, live)

    def _take_in(self, state: ShardState, root: bytes, live: Live, message: Absorb) -> None:
        rules, profile, theirs = _rules(state), live.profile, decode_profile(message.general)
        if profile.transit is not None and theirs.transit is not None:
            transit.join(profile.transit, theirs.transit)
        for origin, fragment in theirs.fragments.items():
            mine = profile.fragments.get(origin)
            profile.fragments[origin] = fragment if mine is None else rules.fragments.merge(mine, fragment)
        self._fold(profile.fragments, FRAGMENTS_MAX, rules)
        for name, (since, until) in theirs.tags.items():
            held = profile.tags.get(name)
            if held is None:
                state.count(f"tag:{name}")
            profile.tags[name] = (min(since, held[0]), max(until, held[1])) if held else (since, until)
        for rule, until in theirs.cooldowns.items():
            profile.cooldowns[rule] = max(until, profile.cooldowns.get(rule, 0))
        for rule, time_ms in theirs.ended.items():
            profile.ended[rule] = max(time_ms, profile.ended.get(rule, 0))
        waits: dict[str, Wait] = {}
        for wait in sorted(profile.waits + theirs.waits, key=lambda wait: (wait.since_ms, wait.due_ms, wait.cause)):
            if wait.since_ms >= profile.ended.get(wait.rule, 0):
                waits[wait.rule] = wait
        profile.waits = [*waits.values()][-WAITS_MAX:]
        profile.returned_ms = max(profile.returned_ms, theirs.returned_ms)
        live.total = _sum(profile, rules)
        if message.sensitive:
            add_sensitive(state.sensitive.setdefault(root, Sensitive()), decode_sensitive(message.sensitive))
            state.sensitive_dirty.add(root)
        state.count("absorbed")
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


def add_sensitive(record: Sensitive, newer: Sensitive) -> None:
    """The last writer of a field wins, by time and then by bytes. At most `SEALED_MAX` for each origin, first by name."""
    for origin, theirs in newer.origins.items():
        fields = record.origins.setdefault(origin, {})
        for name, sealed in theirs.items():
            held = fields.get(name)
            if held is None or (sealed.time_ms, sealed.value) > (held.time_ms, held.value):
                fields[name] = sealed
        while len(fields) > SEALED_MAX:
            del fields[max(fields)]


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
