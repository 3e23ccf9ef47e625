"""Requests of customers: asked for, looked up, listed."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from flows.logic.fields.free_text import without_personal
from flows.runtime.deployment import Deployment
from flows.services.steward.access import steward
from flows.services.subjects.clocks import due_ms
from flows.services.subjects.erasing import PARTITION, erasing_of
from flows.services.subjects.receipts import moment
from schemas.errors import Unusable
from schemas.records.identity_graph import Order, text_id
from schemas.records.privacy_requests import PrivacyRequest, Right, Step
from state.receipts import verified
from state.redis.client import reported

POLL_S: Final = 0.1
NOTE_MAX: Final = 256  # characters
TEXT_MAX: Final = 2_000
_TEXT: Final = "$request"  # what it is sealed as; no field of a customer can have this name


class Asked(msgspec.Struct, frozen=True):
    """A request, and whether it was there before: then nothing new was asked."""

    request: PrivacyRequest
    already: bool


def erase(deployment: Deployment, who: str, *, by: str, note: str = "", suppress: bool = False) -> Asked:
    """Ask for the erasure of `NAMESPACE:VALUE`, or of a customer's id. Whoever is being erased has one
    request. `suppress`: events that name an identifier of the customer are dropped from then on. Raises
    `Unusable` where nobody is known so, `Unreachable`."""
    with reported():
        root = customer(deployment, who)
        if deployment.directory.erased([root])[0]:
            found = _about(deployment, root)
            if not found:
                raise Unusable(f"{who} was erased before; no request is kept of it")
            return Asked(found[-1], already=True)
        request = _request(deployment, f"erase-{text_id(root)}", "erase", root, by, note)
        return _add(deployment, msgspec.structs.replace(request, suppress=suppress))


def unsuppress(deployment: Deployment, named: str) -> bool:
    """Take events that name this identifier again, and return whether they were dropped. Raises `Unusable`
    for what names nobody, `Unreachable`."""
    with reported():
        hashed = steward(deployment).people.hashed(named)
        if hashed not in deployment.directory.suppressed():
            return False
        erasing_of(deployment).order([Order("unsuppress", hashed, by=PARTITION)])
        return True


def ask(deployment: Deployment, right: Right, who: str, *, by: str, note: str = "", text: str = "") -> Asked:
    """Ask for what people do by hand: a correction, a restriction, an objection, a move of the data, or a
    complaint. The request has a date by which it is due. `text`: the customer's own words, personal data and
    all: they are sealed, and unreadable once the customer is erased. Raises `Unusable` where nobody is known
    so, `Unreachable`."""
    with reported():
        root = customer(deployment, who)
        name = f"{right}-{text_id(root)}-{time.time_ns() // 1_000_000}"
        request = _request(deployment, name, right, root, by, note)
        if text:
            deployment.data_keys.of([root], create=True)
            [key] = deployment.data_keys.current([root])
            if key is None:
                raise Unusable(f"{who} was erased, or is being erased: nothing can be asked any more")
            sealed = key.seal(_TEXT, text[:TEXT_MAX].encode())
            request = msgspec.structs.replace(request, text=sealed)
        return _add(deployment, request)


def text_of(deployment: Deployment, request: PrivacyRequest) -> str:
    """Return what the customer wrote; nothing where nothing was written, or the customer was erased since.
    Raises `Unreachable`."""
    if not request.text:
        return ""
    with reported():
        [key] = deployment.data_keys.current([request.customer])
    plain = key.open(_TEXT, request.text) if key is not None else None
    return "" if plain is None else plain.decode()


def close(deployment: Deployment, name: str, *, done: bool, note: str) -> PrivacyRequest:
    """Close a request that people did by hand, or refused, and return it. Raises `Unusable` for one that
    closes by itself, or is closed already, `Unreachable`."""
    request = get(deployment, name)
    if request.right == "erase":
        raise Unusable(f"{name} is an erasure: it ends by itself, with a receipt")
    if request.step != Step.ASKED:
        raise Unusable(f"{name} was closed before: {request.step}")
    step = Step.DONE if done else Step.REFUSED
    times = request.times | {step: time.time_ns() // 1_000_000}
    closed = msgspec.structs.replace(request, step=step, times=times, note=_kept(note) or request.note)
    with reported():
        if not deployment.privacy_requests.save(request, closed, finished=True):
            raise Unusable(f"{name} was changed by somebody else just now: look at it again")
    return closed


def customer(deployment: Deployment, who: str) -> bytes:
    """Return the root of who is meant; of who was erased the origin. Raises `Unusable`."""
    named = who if ":" in who else f"customer:{who}"
    people = steward(deployment).people
    root = people.find(named)
    if root is not None:
        return root
    if named.startswith("customer:"):
        origin = bytes.fromhex(named.partition(":")[2])  # `find` has checked it
        if deployment.directory.erased([origin])[0]:
            return origin
    raise Unusable(f"nobody is known as {who}: expected NAMESPACE:VALUE, or the id of a customer")


def _kept(note: str) -> str:
    """What people write about a customer is kept when the customer is gone."""
    return without_personal(note, int(time.time() * 1000))[:NOTE_MAX]


def _request(
    deployment: Deployment, name: str, right: Right, root: bytes, by: str, note: str
) -> PrivacyRequest:
    rights, now = deployment.config.rights, datetime.now(UTC)
    return PrivacyRequest(
        id=name,
        right=right,
        customer=root,
        regime=rights.regime,
        asked_ms=int(now.timestamp() * 1000),
        due_ms=due_ms(rights, now),
        by=by,
        times={Step.ASKED: int(now.timestamp() * 1000)},
        note=_kept(note),
    )


def _add(deployment: Deployment, request: PrivacyRequest) -> Asked:
    if deployment.privacy_requests.add(request):
        return Asked(request, already=False)
    found = deployment.privacy_requests.get(request.id)
    assert found is not None, "it was there a moment ago, and none is ever removed"
    return Asked(found, already=True)


def wait(
    deployment: Deployment, name: str, wait_s: float, told: Callable[[PrivacyRequest], None]
) -> PrivacyRequest:
    """Wait until a request is done, `wait_s` at most, and return it as it is then. `told` hears of each
    step. Raises `Unusable`, `Unreachable`."""
    until, step = time.monotonic() + wait_s, ""
    while True:
        request = get(deployment, name)
        if request.step != step:
            step = request.step
            told(request)
        if step == Step.DONE or time.monotonic() >= until:
            return request
        time.sleep(POLL_S)


def get(deployment: Deployment, name: str) -> PrivacyRequest:
    """Return a request by its id. Raises `Unusable`, `Unreachable`."""
    with reported():
        found = deployment.privacy_requests.get(name)
    if found is None:
        raise Unusable(f"there is no request {name!r}: `millrace subject list` shows all")
    return found


def of(deployment: Deployment, named: str) -> list[PrivacyRequest]:
    """Return the requests of a customer, or the one with this id, the oldest first. Raises `Unusable`,
    `Unreachable`."""
    with reported():
        found = deployment.privacy_requests.get(named)
        if found is not None:
            return [found]
        return _about(deployment, customer(deployment, named))


def _about(deployment: Deployment, root: bytes) -> list[PrivacyRequest]:
    return [
        request
        for request in deployment.privacy_requests.everything()
        if root == request.customer or root in request.origins
    ]


def everything(deployment: Deployment, *, unfinished: bool) -> list[PrivacyRequest]:
    """Return all requests, or those that are not done, the oldest first. Raises `Unreachable`."""
    with reported():
        requests = deployment.privacy_requests
        return requests.unfinished() if unfinished else requests.everything()


def opened(deployment: Deployment, request: PrivacyRequest) -> dict[str, Any]:
    """Return `plain` with what the customer wrote. Raises `Unreachable`."""
    text = text_of(deployment, request)
    return {**plain(request), "text": text} if text else plain(request)


def plain(request: PrivacyRequest) -> dict[str, Any]:
    """Return a request as people and programs read it."""
    return {
        "id": request.id,
        "right": request.right,
        "customer": text_id(request.customer),
        "step": request.step,
        "asked": moment(request.asked_ms),
        "due": moment(request.due_ms),
        "regime": request.regime,
        "by": request.by,
        "steps": {step: moment(at_ms) for step, at_ms in request.times.items()},
        "removed": request.counts,
        "receivers": {
            name: {"said": answer.said, "detail": answer.detail, "attempts": answer.attempts}
            for name, answer in request.answers.items()
        },
        "joined": request.joined,
        "again": request.again,
        "suppress": request.suppress,
        "note": request.note,
        "receipt": bool(request.receipt),
    }


def receipt(deployment: Deployment, named: str) -> bytes:
    """Return the signed receipt of an erasure, by its request or its customer. Raises `Unusable` where there
    is none yet, `Unreachable`."""
    found = of(deployment, named)
    done = [one for one in found if one.receipt]
    if not done and found and found[-1].joined:
        return receipt(deployment, found[-1].joined)
    if not done:
        state = found[-1].step if found else "nothing was asked"
        raise Unusable(f"there is no receipt for {named}: {state}")
    return done[-1].receipt


def verify(deployment: Deployment | None, document: bytes, public: str | None) -> dict[str, Any]:
    """Return what a receipt says. `public`: the key that must have signed it; by default the deployment's.
    Raises `Foreign` where it is not genuine."""
    if public is None:
        assert deployment is not None, "one of them is given"
        public = deployment.receipt_signer.public
    return verified(document, public)
