"""Consent for purpose and channel, as it is when a trigger is about to be sent."""

from collections.abc import Sequence

from flows.dispatch.verdicts import Dropped
from flows.logic.permissions.permissions import Permissions
from flows.logic.permissions.statements import Words, words_of
from flows.runtime.deployment import Deployment
from schemas.wire.triggers import Trigger
from state.directory.directory_protocol import Directory

CODE = "consent"
_SAID_NOTHING = Words({})


class ConsentGate:
    """Asks the directory anew each time: a customer who has just said no gets nothing from memory."""

    def __init__(self, directory: Directory, permissions: Permissions) -> None:
        self._directory = directory
        self._permissions = permissions

    def __call__(self, triggers: Sequence[Trigger]) -> list[Dropped | None]:
        """Return why each may not be sent; None where its customer allows it."""
        words = self._words([*dict.fromkeys(trigger.customer for trigger in triggers)])
        found: list[Dropped | None] = []
        for trigger in triggers:
            said = words.get(trigger.customer, _SAID_NOTHING)
            why = self._permissions.refusal(said, trigger.purpose, trigger.channel)
            found.append(None if why is None else Dropped(why, CODE))
        return found

    def _words(self, customers: Sequence[str]) -> dict[str, Words]:
        if not self._directory.has_consents():
            return {}
        standings = self._directory.standings([bytes.fromhex(customer) for customer in customers])
        return dict(zip(customers, map(words_of, standings), strict=True))


def consent_gate(deployment: Deployment) -> ConsentGate:
    """Return the gate of a deployment."""
    return ConsentGate(deployment.directory, Permissions(deployment.config.consent, ()))
