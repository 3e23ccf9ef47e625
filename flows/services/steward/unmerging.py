"""Which unions are to be undone, and undoing them: one, those of a customer, or all that fit."""

from collections.abc import Callable
from functools import cached_property

import msgspec

from flows.logic.resolution.identity_orders import document
from flows.runtime.deployment import Deployment
from flows.services.steward import access
from flows.services.steward.desk import Steward
from flows.services.steward.giving_orders import carry_out
from flows.services.steward.undoing import Outcome, Undoing, Wanted, collected, standing
from schemas.errors import Unusable
from schemas.wire.events import Reject
from state.redis.client import reported


class Choice(msgspec.Struct, frozen=True):
    """What is to be undone: one union, a customer, or which of all."""

    target: str | None = None  # a number in the ledger, or a customer
    rule: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    identifier: str | None = None  # all evidence of this one


class Plan(msgspec.Struct, frozen=True):
    """What would be done."""

    unions: list[int]  # numbers in the ledger, the newest first
    identifiers: list[bytes]  # that the culprit had collected: they become customers of their own
    culprit: bytes  # the identifier of which all is to be undone; empty: there is none
    is_held: bool  # the culprit, by a customer with others: who was first seen with it

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is left to do."""
        return not (self.unions or self.identifiers or self.is_held)


class Unmerging:
    """Unions undone as one chooses. All of it raises `Unreachable`."""

    def __init__(self, deployment: Deployment, choice: Choice) -> None:
        self._deployment = deployment
        self._choice = choice

    @cached_property
    def _steward(self) -> Steward:
        return access.steward(self._deployment)

    def plan(self) -> Plan:
        """Return what would be done now. Raises `Unusable` for what there is not."""
        deployment = self._deployment
        with reported():
            unions, culprit = self.selected(), self._culprit()
            others = collected(deployment.directory, deployment.ledger, culprit) if culprit else []
            return Plan(unions, others, culprit, self._is_held(culprit))

    def undo(self, plan: Plan, rate: int, said: Callable[[int], None]) -> Outcome:
        """Do it, `rate` a second. `said` is called with how many are done."""
        deployment, before = self._deployment, len(plan.unions)
        with reported():
            outcome = Outcome(0, 0, [])
            if plan.unions:
                outcome = self._run(rate, said).run(plan.unions, deployment.raw_writer)
            if plan.identifiers:
                run = self._run(rate, lambda done: said(before + done))
                parted = run.part(plan.culprit, plan.identifiers, deployment.raw_writer)
                refused = outcome.refused + len(plan.identifiers) - parted
                outcome = msgspec.structs.replace(outcome, parted=parted, refused=refused)
            if self._is_held(plan.culprit):
                ordered = document("unlink", *[("identifier", plan.culprit.hex())] * 2)
                outcome = msgspec.structs.replace(outcome, taken_out=carry_out(deployment, ordered).state)
        return outcome

    def _run(self, rate: int, said: Callable[[int], None]) -> Undoing:
        deployment = self._deployment
        return Undoing(
            steward=self._steward,
            directory=deployment.directory,
            ledger=deployment.ledger,
            shards=deployment.shards,
            rate=rate,
            said=said,
        )

    def selected(self) -> list[int]:
        """Return the numbers of the unions that stand and are chosen, the newest first. Raises `Unusable`."""
        choice, people = self._choice, self._steward.people
        ledger, desk = self._deployment.ledger, access.order_desk(self._deployment)
        if choice.target is None:
            wanted = Wanted(
                rule=choice.rule or "",
                since_ms=choice.since_ms or 0,
                until_ms=2**62 if choice.until_ms is None else choice.until_ms,
                identifier=people.hashed(choice.identifier) if choice.identifier else b"",
            )
            return standing(ledger, wanted)
        if choice.target.isdecimal():
            number = int(choice.target)
            read = desk.read(document("undo", union=number))
            if why := read.detail if isinstance(read, Reject) else desk.objection(read):
                raise Unusable(why)
            return [number]
        root = people.find(choice.target)
        if root is None:
            raise Unusable(f"nobody has {choice.target}")
        return sorted((seq for seq, _, _ in ledger.edges(root)), reverse=True)

    def _culprit(self) -> bytes:
        """The identifier of which all is to be undone: it is suspended, or nothing else is selected by.
        Empty: there is none."""
        choice = self._choice
        if choice.identifier is None:
            return b""
        people = self._steward.people
        identifier = people.hashed(choice.identifier)
        alone = choice.rule is None and choice.since_ms is None and choice.until_ms is None
        return identifier if alone or identifier in people.directory.suspended() else b""

    def _is_held(self, culprit: bytes) -> bool:
        """Whether a suspended identifier is still held by a customer with others: who was first seen with
        it."""
        people = self._steward.people
        if not culprit or culprit not in people.directory.suspended():
            return False
        [root] = people.directory.lookup([culprit])
        return root is not None and len(people.ledger.members(root)[1]) > 1
