"""What holders of a privacy token get over HTTP: the gateway's protocols, made of the services."""

from collections.abc import Mapping, Sequence
from typing import cast

from connectors.gateway.regulation_routes import Regulation, Wanted
from connectors.gateway.subject_routes import Ask, Close, Erase, Receipt, Say
from flows.runtime.deployment import Deployment
from flows.services.centre import links
from flows.services.subjects import consenting, exporting, hearing, objecting, opendsr, regulations, requests
from schemas.bilingual import Lang
from schemas.records.privacy_requests import Right
from state.redis.client import reported


class RightsDesk:
    """A `connectors.gateway.subject_routes.Rights`."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def known(self, who: str) -> None:
        with reported():
            requests.customer(self._deployment, who)

    def request(self, name: str) -> object:
        return requests.plain(requests.get(self._deployment, name))

    def erase(self, who: str, asked: Erase, token: str) -> tuple[object, bool]:
        found = requests.erase(
            self._deployment, who, by=_by(token), note=asked.reason, suppress=asked.suppress
        )
        return requests.plain(found.request), found.already

    def ask(self, who: str, right: str, asked: Ask, token: str) -> object:
        found = objecting.ask(
            self._deployment,
            cast(Right, right),
            who,
            by=_by(token),
            note=asked.reason,
            purposes=asked.purposes,
        )
        return requests.plain(found.request)

    def cancel(self, name: str) -> object:
        return requests.plain(requests.cancel(self._deployment, name))

    def close(self, name: str, answer: Close) -> object:
        done = not answer.refused
        return requests.plain(requests.close(self._deployment, name, done=done, note=answer.reason))

    def unsuppress(self, named: str) -> bool:
        return requests.unsuppress(self._deployment, named)

    def consent(self, who: str) -> object:
        return consenting.said(self._deployment, who)

    def say(self, who: str, said: Say, token: str) -> str:
        return consenting.say(self._deployment, who, said.words, by=_by(token), version=said.version)

    def listing(self, unfinished: bool) -> list[object]:
        return [requests.plain(one) for one in requests.everything(self._deployment, unfinished=unfinished)]

    def requests(self, named: str) -> list[object]:
        return [requests.opened(self._deployment, one) for one in requests.of(self._deployment, named)]

    def link(self, who: str, days: int, lang: Lang) -> str:
        return links.make(self._deployment, who, days=days, lang=lang)

    def receipt(self, named: str) -> Receipt:
        return Receipt(requests.receipt(self._deployment, named), self._deployment.receipt_signer.public)

    def export(self, who: str) -> object:
        return exporting.export(self._deployment, who)


class RegulationDesk:
    """A `connectors.gateway.regulation_routes.Regulations`."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def create(self, asked: Regulation, source: str, token: str) -> str:
        given = regulations.Asked(asked.regulationType, asked.subjectType, asked.subjectIds)
        return regulations.create(self._deployment, given, source=source, by=_by(token))

    def show(self, name: str) -> object:
        return regulations.show(self._deployment, name)

    def listing(self, wanted: Wanted, status: str, types: Sequence[str]) -> regulations.Page:
        return regulations.listing(
            self._deployment, status=status, types=types, after=wanted.after, count=wanted.entries
        )

    def cancel(self, name: str) -> None:
        regulations.cancel(self._deployment, name)

    def suppressed(self, wanted: Wanted) -> regulations.Page:
        return regulations.suppressed(self._deployment, after=wanted.after, count=wanted.entries)


class OpenDsrDesk:
    """A `connectors.gateway.opendsr_routes.OpenDsr`."""

    def __init__(self, deployment: Deployment) -> None:
        """Raises `ConfigError` where nothing can be signed."""
        self._deployment = deployment
        self._signer = deployment.dsr_signer

    def certificate(self) -> bytes:
        return self._signer.certificate

    def signed(self, body: bytes) -> Mapping[str, str]:
        return opendsr.headers(self._deployment, body)

    def discovery(self) -> object:
        return opendsr.discovery(self._deployment)

    def receive(self, body: bytes, token: str) -> object:
        return opendsr.receive(self._deployment, body, by=_by(token))

    def exists(self, name: str) -> bool:
        return opendsr.exists(self._deployment, name)

    def show(self, name: str) -> object:
        return opendsr.show(self._deployment, name)

    def cancel(self, name: str) -> object:
        return opendsr.cancel(self._deployment, name)

    def results(self, name: str) -> object:
        return opendsr.results(self._deployment, name)


class ProcessorDesk:
    """A `connectors.gateway.callback_routes.Processors`."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def heard(self, domain: str, signature: str, body: bytes) -> bool:
        return hearing.heard(self._deployment, domain, signature, body)


def _by(token: str) -> str:
    return f"token {token}"
