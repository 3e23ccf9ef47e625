"""Controllers are told of each state that their requests come to: signed, tried again, and given up after
`deliver.attempts`.

A message is sent when the state has been reached, so a callback may be told after a question about the status
has said the same. Of one callback the messages come in their order.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
import structlog

from connectors.callbacks import CONCURRENT, Message, send
from flows.logic.delivery import Backoff
from flows.runtime.deployment import Deployment
from flows.services.subjects import mandates, opendsr
from schemas.errors import ConfigError
from schemas.records.mandates import Mandate, Notice

log = structlog.get_logger()

ENDED: Final = ("completed", "cancelled")
_replace = msgspec.structs.replace


class _Due(NamedTuple):
    mandate: Mandate
    notice: Notice
    message: Message


class Notifying:
    """Sends what is due, a few at a time: they are waited for."""

    def __init__(
        self,
        deployment: Deployment,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        deliver = deployment.config.deliver
        self._deployment = deployment
        self._clock_ms = clock_ms
        self._is_told = False
        self._attempts_max = deliver.attempts
        self._backoff = Backoff(deliver.backoff, deliver.backoff_max)

    def a_round(self, unfinished: Sequence[Mandate]) -> None:
        """Send what is due of these. Raises `Unreachable`, `LogFull`."""
        if not any(mandate.notices for mandate in unfinished) or not self._can_sign():
            return
        due: list[_Due] = []
        for mandate in unfinished:
            if mandate.notices and len(due) < CONCURRENT:
                due += self._due(mandate)
        due = due[:CONCURRENT]
        said = send([one.message for one in due], allow_private=self._deployment.config.opendsr.allow_private)
        for one, why in zip(due, said, strict=True):
            self._note(one, why)

    def _can_sign(self) -> bool:
        if not self._deployment.config.opendsr.url:
            return False
        try:
            return bool(self._deployment.dsr_signer)
        except ConfigError as error:
            if not self._is_told:
                log.error("opendsr_unusable", error=str(error), meanwhile="callbacks wait")
            self._is_told = True
            return False

    def _due(self, mandate: Mandate) -> Iterator[_Due]:
        """Yield the oldest message to each callback that is to be sent now."""
        callbacks, seen = mandates.callbacks_of(self._deployment, mandate), set[int]()
        for notice in mandate.notices:
            if notice.to in seen:
                continue
            seen.add(notice.to)
            if notice.again_ms <= self._clock_ms():
                yield _Due(mandate, notice, self._message(mandate, notice, callbacks[notice.to]))

    def _message(self, mandate: Mandate, notice: Notice, url: str) -> Message:
        status = opendsr.status_of(self._deployment, mandate, notice.state)
        body = msgspec.json.encode(status | {"status_callback_url": url})
        signed = opendsr.headers(self._deployment, body)
        return Message(url, body, {"content-type": "application/json", "user-agent": "millrace", **signed})

    def _note(self, due: _Due, why: str) -> None:
        """Write down what became of one."""
        store = self._deployment.mandates
        while True:
            before = store.get(due.mandate.id)
            if before is None or due.notice not in before.notices:
                return
            after = self._after(before, due.notice, why)
            if store.save(before, after, finished=not after.notices and after.state in ENDED):
                return

    def _after(self, mandate: Mandate, notice: Notice, why: str) -> Mandate:
        attempts, at = notice.attempts + 1, mandate.notices.index(notice)
        rest = [one for one in mandate.notices if one != notice]
        given_up = mandate.given_up
        if why and attempts < self._attempts_max:
            pause_ms = self._backoff.delay_ms(attempts, random.random())
            again = _replace(notice, attempts=attempts, again_ms=self._clock_ms() + int(pause_ms) + 1)
            rest.insert(at, again)
        elif why:
            given_up += 1
            log.warning(
                "callback_given_up", mandate=mandate.id, state=notice.state, attempts=attempts, reason=why
            )
        is_over = not rest and mandate.state in ENDED
        callbacks = b"" if is_over else mandate.callbacks
        return _replace(mandate, notices=rest, given_up=given_up, callbacks=callbacks)
