"""What the pages of the privacy centre ask for."""

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from connectors.centre.views import Asking, Denied, Erasure, Holding, Receipt, Request, Visit
from flows.logic.permissions.categories import Categories
from flows.logic.resolution.consents import ConsentRules
from flows.runtime.deployment import Deployment
from flows.services.centre import links
from flows.services.centre.choices import BY, Choosing
from flows.services.centre.holdings import holding
from flows.services.pages.subject_page import page
from flows.services.subjects import exporting, objecting, requests
from schemas.bilingual import Lang
from schemas.errors import ConfigError, Unusable
from schemas.records.privacy_requests import ENDS, STEPS, PrivacyRequest, Step

_REQUESTS_SHOWN_MAX: Final = 50


class CentreDesk:
    """A `connectors.centre.views.Centre`."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._rules = ConsentRules(deployment.config, _categories(deployment))
        choosing = Choosing(deployment, self._rules)
        self.choices, self.choose, self.switch = choosing.now, choosing.choose, choosing.switch
        self.confirm = choosing.confirm

    def look(self, token: str) -> Lang | Denied:
        return links.look(self._deployment, token)

    def enter(self, token: str) -> str | Denied:
        return links.enter(self._deployment, token)

    def visit(self, cookie: str, renew: bool = True) -> Visit | None:
        return links.visit(self._deployment, cookie, renew=renew)

    def speak(self, cookie: str, lang: Lang) -> None:
        links.change(self._deployment, cookie, lang=lang)

    def leave(self, cookie: str) -> None:
        links.leave(self._deployment, cookie)

    def holding(self, visit: Visit) -> Holding:
        return holding(self._deployment, self._rules, visit)

    def export(self, visit: Visit) -> bytes:
        return msgspec.json.encode(exporting.export(self._deployment, visit.customer))

    def export_page(self, visit: Visit) -> str:
        return page(exporting.export(self._deployment, visit.customer), visit.lang)

    def requests(self, visit: Visit) -> Sequence[Request]:
        newest = requests.of(self._deployment, visit.customer)[::-1][:_REQUESTS_SHOWN_MAX]
        return [self._shown(request) for request in newest]

    def ask(self, visit: Visit, right: Asking, text: str) -> None:
        objecting.ask(self._deployment, right, visit.customer, by=BY, text=text)

    def erase(self, visit: Visit) -> None:
        requests.erase(self._deployment, visit.customer, by=BY)

    def erasure(self, visit: Visit) -> Erasure | None:
        found = self._erasure(visit)
        if found is None:
            return None
        reached = STEPS.index(found.step)
        return Erasure(
            id=found.id,
            step=found.step,
            steps=[
                (step, found.times.get(step, found.asked_ms) if at <= reached else 0)
                for at, step in enumerate(STEPS)
            ],
            due_ms=found.due_ms,
            receivers=[(name, answer.said) for name, answer in found.answers.items()],
            receipt=bool(found.receipt),
            begins_ms=found.begins_ms if found.begins_ms > time.time() * 1000 else 0,
        )

    def keep(self, visit: Visit) -> None:
        found = self._erasure(visit)
        if found is None:
            raise Unusable("there is no erasure to take back")
        if found.begins_ms <= time.time() * 1000:
            raise Unusable(f"{found.id} cannot be taken back: it begins at once, or has begun")
        requests.cancel(self._deployment, found.id)

    def receipt(self, visit: Visit) -> Receipt:
        document = requests.receipt(self._deployment, visit.customer)
        return Receipt(document, self._deployment.receipt_signer.public)

    def _erasure(self, visit: Visit) -> PrivacyRequest | None:
        """Return the newest erasure of the customer; where another one has erased it, that one while it is
        kept."""
        if visit.state == "unknown":
            return None
        found = [one for one in requests.of(self._deployment, visit.customer) if _erases(one)]
        if not found:
            return None
        newest = found[-1]
        return requests.joined(self._deployment, newest) or newest

    def _shown(self, request: PrivacyRequest) -> Request:
        done = request.step in (Step.DONE, Step.REFUSED)
        return Request(
            id=request.id,
            right=request.right,
            step=request.step,
            asked_ms=request.asked_ms,
            due_ms=request.due_ms,
            text=requests.text_of(self._deployment, request),
            answer=request.note if done else "",
        )


def _erases(request: PrivacyRequest) -> bool:
    """Return whether the customer is erased by this one, or will be: not by one that was taken back, or that
    ended since the customer was heard of, nor by one of retention, which ends so until it has begun."""
    if request.right != "erase" or (request.unheard_since_ms and request.step == Step.ASKED):
        return False
    return request.step not in ENDS or bool(request.receipt or request.joined)


def _categories(deployment: Deployment) -> Categories:
    """Return the categories of data; without those of a tracking plan that cannot be used, which must not end
    the gateway."""
    try:
        return deployment.validator().categories
    except ConfigError:
        return deployment.validator(planned=False).categories
