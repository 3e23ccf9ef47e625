"""What a customer concern is: the verbs that it may have, and the cause that it is looked at for.

A new concern is one file with a subclass of `Facet`, and one line in `flows.logic.facets.all_facets`.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from flows.logic.profile.facet_figures import FacetFigure
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules, CompiledTrigger
from flows.logic.shard.state import Live, ShardState
from schemas.records.customer_profile import Profile
from schemas.wire.triggers import Receipt


class TriggerCause:
    """Why a customer is looked at now: the cause of what fires. `muted`: of history, which fires nothing."""

    __slots__ = (
        "cause",
        "changed",
        "crossed",
        "explain",
        "muted",
        "properties",
        "receipt",
        "root",
        "sooner",
        "subject",
    )

    def __init__(
        self,
        root: bytes,
        cause: str,
        subject: bytes,
        properties: dict[str, Any],
        receipt: Receipt,
        muted: bool = False,
    ) -> None:
        self.root = root
        self.cause = cause
        self.subject = subject
        self.properties = properties
        self.receipt = receipt
        self.muted = muted
        self.changed: tuple[CompiledTrigger, ...] = ()  # of a tag or segment that began or ended
        self.crossed: tuple[CompiledTrigger, ...] = ()  # of a threshold on a score
        self.sooner = False  # whether a timer may be due sooner than the index says
        self.explain: Callable[[str, list[float]], list[tuple[str, float]]] | None = None


def timer_cause(
    cause: str, subject: bytes, root: bytes, due: int, now: int, muted: bool = False
) -> TriggerCause:
    """Return the cause where no event is one."""
    return TriggerCause(root, cause, subject, {}, Receipt(due, due, due, now), muted)


class Facet(Protocol):
    """One customer concern. A verb that a facet does not define does nothing, and is never called.

    All facets are asked in the order of `flows.logic.facets.all_facets.FACETS`, verb by verb:

        at an event    before_event, derive, after_event, dues
        at a timer     before_timer, derive, after_timer, dues
        at a union     unite; derive, dues
        at a division  divide
        to a reader    show
        to rules       figures
    """

    def figures(self) -> tuple[FacetFigure, ...]:
        """Return what it keeps in each fragment for expressions to name; asked once."""
        return ()

    def before_event(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Do what an event ends. This comes first, for an event is not an outcome of what it leads to."""
        return

    def before_timer(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Close what is due."""
        return

    def derive(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Derive what follows from the figures as they are now, and from the facets before this one."""
        return

    def after_event(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Do what an event begins."""
        return

    def after_timer(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Do what a moment without an event begins."""
        return

    def dues(self, rules: CompiledRules, view: EvaluationContext) -> Iterable[int]:
        """Return when the customer must be looked at again, in Unix milliseconds. May be early, never
        late."""
        return ()

    def unite(self, state: ShardState, root: bytes, live: Live, theirs: Profile) -> None:
        """Take in what another customer brings, before the fragments of both are added up."""
        return

    def divide(self, united: Profile, staying: Profile, leaving: Profile) -> None:
        """Give each part of a customer who was united by mistake what is its own."""
        return

    def count(self, state: ShardState, profile: Profile, by: int) -> None:
        """Add a customer to the shard's counters, or take one out: `by` is 1 or -1."""
        return

    def show(self, rules: CompiledRules, view: EvaluationContext) -> dict[str, Any]:
        """Return what a reader is shown, by name."""
        return {}
