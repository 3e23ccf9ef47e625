"""What models are asked about a customer, and what comes of it: at most one open question of each model.

A model that can do without answers is about single purchases: it is told of each, and where one is much more
suspect than the one that its open question is about, the question is about this one from now on. For what
turns out to be fraud is seldom the first purchase.

A question ends in one of two ways, and leaves as an example with the features as they were when it was asked:

- its horizon passes: the answer is what was heard until then, else no (for churn: yes if there was no event
  at all)
- an outcome is heard, and the model has events for yes *and* for no: then at once

What is heard counts only if it happened after the question, within its horizon, and is the first. All else is
counted as `answers:<model>:<why>`: `unasked` (no question is open), `before` (it happened before it was
asked), `late`, `repeated`.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from flows.logic.facets.facet import Facet, TriggerCause
from flows.logic.profile import sparse
from flows.logic.profile.aggregates import amount_of
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledModel, CompiledRules
from flows.logic.shard.state import Live, ShardState
from schemas.records.customer_profile import MICRO, Profile, Question
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import UNANSWERED, Example

_LANE: Final = Lane.EXAMPLES
_MORE: Final = 4.0  # times the odds
_SUSPECT_LEAST: Final = 0.001  # below it nothing is
Unheard = Literal["unasked", "before", "late", "repeated"]


class Questions(Facet):
    """The open questions, and when each model was asked last."""

    def before_timer(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Answer the questions whose horizon has passed."""
        for question in [question for question in view.p.questions if question.due_ms <= view.now]:
            _answer(state, rules, view, cause.root, question)

    def after_event(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Hear whether the event is an outcome, then ask."""
        # in this order: no event answers what is asked because of it
        if view.key in rules.outcomes:
            _hear(state, rules, view, cause.root, cause.receipt.event_ms)
        if _ask_all(state, rules, view, cause.root):
            cause.sooner = True

    def after_timer(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Ask in quiet times too, or the models would know nobody who has been away for a while."""
        if view.p.stage != "lost":
            _ask_all(state, rules, view, cause.root)

    def dues(self, rules: CompiledRules, view: EvaluationContext) -> Iterable[int]:
        """Return when horizons pass."""
        return [question.due_ms for question in view.p.questions]

    def unite(self, state: ShardState, root: bytes, live: Live, theirs: Profile) -> None:
        """Go on with the later question of each model; what the other did so far answers nothing."""
        profile, events = live.profile, live.total.events
        their_events = sum(fragment.events for fragment in theirs.fragments.values())
        asked = [_having_seen(question, their_events) for question in profile.questions]
        asked += [_having_seen(question, events) for question in theirs.questions]
        asked.sort(key=lambda question: (question.asked_ms, question.features))
        latest = {question.model: question for question in asked}
        profile.questions = [latest[model] for model in sorted(latest)]
        for model, asked_ms in theirs.asked.items():
            profile.asked[model] = max(asked_ms, profile.asked.get(model, 0))


def _having_seen(question: Question, more: int) -> Question:
    """Return a question that was asked when there were `more` events."""
    return msgspec.structs.replace(question, events=question.events + more)


def _ask_all(state: ShardState, rules: CompiledRules, view: EvaluationContext, root: bytes) -> bool:
    """Ask what it is time to ask. Return True if a question begins."""
    profile, begun = view.p, False
    for model in rules.models_at(view.key):
        asks = (
            _open(profile, model.name) is None
            and view.now - profile.asked.get(model.name, -model.every) >= model.every
        )
        if model.unsupervised:
            asks = asks or _withdraws(profile, model.name)
            if asks or view.key in rules.fragments.orders:
                _tell(state, model, view, root)
        if asks:
            _ask(model, view)
            begun = True
    return begun


def _withdraws(profile: Profile, model: str) -> bool:
    """Withdraw the open question where the odds are much higher than when it was asked, and say whether. As
    they must be four times as high, this can happen a few times only: no question is put off for ever."""
    question = _open(profile, model)
    if question is None or question.outcome is not None:
        return False
    score, _ = profile.scores.get(model, (0.0, 0))
    before = max(question.predicted or 0.0, _SUSPECT_LEAST)
    withdrawn = score * (1.0 - before) > _MORE * before * (1.0 - score)
    if withdrawn:
        profile.questions.remove(question)
    return withdrawn


def _ask(model: CompiledModel, view: EvaluationContext) -> None:
    profile, name, now = view.p, model.name, view.now
    profile.asked.pop(name, None)
    predicted, version = profile.scores.get(name, (None, 0))
    features = sparse.pack(model.features(view.features()))
    question = Question(
        model=name,
        asked_ms=now,
        due_ms=now + model.horizon,
        events=view.f.events,
        features=features,
        predicted=predicted,
        version=version,
    )
    profile.questions.append(question)


def _tell(state: ShardState, model: CompiledModel, view: EvaluationContext, root: bytes) -> None:
    """It learns what is usual from all, without waiting for answers."""
    predicted, version = view.p.scores.get(model.name, (None, 0))
    features = list(model.features(view.features()))
    example = Example(
        model=model.name,
        customer=root,
        asked_ms=view.now,
        answered_ms=view.now,
        features=features,
        predicted=predicted,
        version=version,
        label=UNANSWERED,
    )
    state.emit(_LANE, example)


def _hear(
    state: ShardState, rules: CompiledRules, view: EvaluationContext, root: bytes, time_ms: int
) -> None:
    """An event may be the outcome that questions wait for."""
    for model, label in rules.outcomes.get(view.key, ()):
        if label and not model.when(view):
            continue
        question = _open(view.p, model.name)
        unheard = _unheard(view, model, question, time_ms)
        if unheard is not None or question is None:
            state.count(f"answers:{model.name}:{unheard}")
            continue
        question.outcome = label
        question.amount = (amount_of(view.properties.get(rules.fragments.amount)) or 0) / MICRO
        if model.at_once:
            _answer(state, rules, view, root, question)


def _unheard(
    view: EvaluationContext, model: CompiledModel, question: Question | None, time_ms: int
) -> Unheard | None:
    """Why an outcome answers nothing."""
    if question is None:
        asked_ms = view.p.asked.get(model.name)
        return "unasked" if asked_ms is None or time_ms > asked_ms + model.horizon else "repeated"
    if question.outcome is not None:
        return "repeated"
    if time_ms < question.asked_ms:
        return "before"
    return "late" if time_ms > question.due_ms else None


def _answer(
    state: ShardState, rules: CompiledRules, view: EvaluationContext, root: bytes, question: Question
) -> None:
    """It leaves; when it was asked is kept for as long as that silences the next one, or tells a second
    outcome from an unknown one."""
    profile, name, now = view.p, question.model, view.now
    profile.questions.remove(question)
    model = next((model for model in rules.models if model.name == name), None)
    if model is not None and now - question.asked_ms < max(model.every, model.horizon):
        profile.asked[name] = question.asked_ms
    label = question.outcome
    if label is None:
        label = float(name == "churn" and view.f.events == question.events)
    example = Example(
        model=name,
        customer=root,
        asked_ms=question.asked_ms,
        answered_ms=now,
        features=sparse.unpack(question.features),
        predicted=question.predicted,
        version=question.version,
        label=label,
        amount=question.amount,
    )
    state.emit(_LANE, example)


def _open(profile: Profile, model: str) -> Question | None:
    for question in profile.questions:
        if question.model == model:
            return question
    return None
