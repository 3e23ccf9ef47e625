"""Requests of customers: asked for, looked up, listed."""

import secrets
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

import msgspec

from flows.logic.fields.free_text import without_personal
from flows.runtime.deployment import Deployment
from flows.services.steward.access import steward
from flows.services.subjects.clocks import due_ms
from flows.services.subjects.erasing import ORDERED, PARTITION, erasing_of
from flows.services.subjects.receipts import moment
from schemas.errors import Fenced, Unusable
from schemas.records.identity_graph import Order, text_id
from schemas.records.privacy_requests import ENDS, PrivacyRequest, Right, Step
from state.privacy_requests import PrivacyRequests
from state.receipts import verified
from state.redis.client import reported

POLL_S: Final = 0.1
NOTE_MAX: Final = 256  # characters
TEXT_MAX: Final = 2_000
_ALONE_BYTES: Final = 4
_TEXT: Final = "$request"  # what it is sealed as; no field of a customer can have this name


class Asked(msgspec.Struct, frozen=True):
    """A request, and whether it was there before: then nothing new was asked."""

    request: PrivacyRequest
    already: bool


def erase(deployment: Deployment, who: str, *, by: str, note: str = "", suppress: bool = False) -> Asked:
    """Ask for the erasure of `NAMESPACE:VALUE`, or of a customer's id. Whoever is being erased has one
    request, also where it was asked before a union. It begins after `rights.grace`. `suppress`: events that
    name an identifier of the customer are dropped from then on. Raises `Unusable` where nobody is known so,
    or the customer is on hold, `Unreachable`."""
    with reported():
        root = customer(deployment, who)
        if deployment.directory.erased([root])[0]:
            found = _about(deployment, root)
            if not found:
                raise Unusable(f"{who} was erased before; no request is kept of it")
            return Asked(found[-1], already=True)
        members, _ = deployment.ledger.members(root)
        if not deployment.sweep_records.holds().keys().isdisjoint(members):
            raise Unusable(f"{who} is on hold: `millrace subject release` it first, if nothing forbids that")
        if under_way := _under_way(deployment, {root, *members}):
            return Asked(under_way, already=True)
        [request] = erasures(deployment, [root], by=by, note=note, suppress=suppress)
        if grace := deployment.config.rights.grace:
            request = msgspec.structs.replace(request, begins_ms=request.asked_ms + grace)
        return _add(deployment, request)


def _under_way(deployment: Deployment, members: Collection[bytes]) -> PrivacyRequest | None:
    """Return the erasure of one of these that somebody waits for."""
    return next(
        (
            request
            for request in deployment.privacy_requests.unfinished()
            if request.right == "erase" and not request.unheard_since_ms and _names(request, members)
        ),
        None,
    )


def _names(request: PrivacyRequest, members: Collection[bytes]) -> bool:
    return request.customer in members or not set(request.origins).isdisjoint(members)


def erasures(
    deployment: Deployment,
    roots: Sequence[bytes],
    *,
    by: str,
    note: str = "",
    suppress: bool = False,
    internal: bool = False,
) -> list[PrivacyRequest]:
    """Return a request for the erasure of each of these, as it is or would be; none is kept yet."""
    requests = deployment.privacy_requests
    names = {root: f"erase-{text_id(root)}" for root in roots}
    found = {root: one for root, one in zip(roots, requests.get_all([*names.values()]), strict=True) if one}
    for number in count(2):  # one that was taken back is as if it had never been asked
        again = [root for root, one in found.items() if one.step == Step.CANCELLED]
        if not again:
            break
        names |= {root: f"erase-{text_id(root)}-{number}" for root in again}
        asked = requests.get_all([names[root] for root in again])
        found = {root: one for root, one in zip(again, asked, strict=True) if one}
    now = datetime.now(UTC)
    due, note = due_ms(deployment.config.rights, now), kept(note)
    return [
        PrivacyRequest(
            id=name,
            right="erase",
            customer=root,
            regime=deployment.config.rights.regime,
            asked_ms=int(now.timestamp() * 1000),
            due_ms=due,
            by=by,
            times={Step.ASKED: int(now.timestamp() * 1000)},
            suppress=suppress,
            note=note,
            internal=internal,
        )
        for root, name in names.items()
    ]


def cancel(deployment: Deployment, name: str) -> PrivacyRequest:
    """Take a request back that has not begun, an erasure within its grace, and return it. Raises `Unusable`
    for any other, and for one that a past that came back has led to, `Unreachable`."""
    request, now_ms = get(deployment, name), time.time_ns() // 1_000_000
    if request.again:
        raise Unusable(f"{name} cannot be taken back: the customer was erased before, and came back")
    has_begun = request.right == "erase" and request.begins_ms <= now_ms
    if request.step != Step.ASKED or request.origins or has_begun:
        raise Unusable(f"{name} cannot be taken back: it has begun ({request.step})")
    times = request.times | {Step.CANCELLED: now_ms}
    cancelled = msgspec.structs.replace(request, step=Step.CANCELLED, times=times)
    with reported():
        if not deployment.privacy_requests.save(request, cancelled, finished=True):
            raise Unusable(f"{name} was changed by somebody else just now: look at it again")
    return cancelled


def unsuppress(deployment: Deployment, named: str) -> bool:
    """Take events that name this identifier again, and return whether they were dropped. Raises `Unusable`
    for what names nobody, `Unreachable`."""
    with reported():
        hashed = steward(deployment).people.hashed(named)
        while hashed in deployment.directory.suppressed():
            with suppress(Fenced):  # somebody else has just ordered the same or another one
                order = Order("unsuppress", hashed, by=PARTITION)
                erasing_of(deployment).order([order], partition=ORDERED)
                return True
        return False


def ask(
    deployment: Deployment,
    right: Right,
    who: str,
    *,
    by: str,
    note: str = "",
    text: str = "",
    proof: str = "",
    done: bool = False,
) -> Asked:
    """Ask for what people do by hand: a correction, a restriction, an objection, a move of the data, or a
    complaint. The request has a date by which it is due. `text`: the customer's own words, personal data and
    all: they are sealed, and unreadable once the customer is erased. `proof`: the message id of what was said
    for it already; `done`: which is all of it. Raises `Unusable` where nobody is known so, `Unreachable`."""
    with reported():
        root = customer(deployment, who)
        alone = secrets.token_hex(_ALONE_BYTES)  # two in one millisecond are two
        name = f"{right}-{text_id(root)}-{time.time_ns() // 1_000_000}-{alone}"
        request = _request(deployment, name, right, root, by, note)
        if text:
            request = msgspec.structs.replace(request, text=_sealed(deployment, who, root, text))
        asked = _add(deployment, msgspec.structs.replace(request, proof=proof))
        if not done or asked.already:
            return asked
        return Asked(closed(deployment.privacy_requests, asked.request), already=False)


def closed(store: PrivacyRequests, request: PrivacyRequest) -> PrivacyRequest:
    """Close a request with which nothing is left to do, unless somebody has closed it before, and return it.
    Raises `LogFull`."""
    found: PrivacyRequest | None = request
    while found is not None and found.step not in ENDS:
        done = msgspec.structs.replace(
            found, step=Step.DONE, times=found.times | {Step.DONE: request.asked_ms}
        )
        if store.save(found, done, finished=True):
            return done
        found = store.get(request.id)
    return found or request


def _sealed(deployment: Deployment, who: str, root: bytes, text: str) -> bytes:
    deployment.data_keys.of([root], create=True)
    [key] = deployment.data_keys.current([root])
    if key is None:
        raise Unusable(f"{who} was erased, or is being erased: nothing can be asked any more")
    return key.seal(_TEXT, text[:TEXT_MAX].encode())


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
    after = msgspec.structs.replace(request, step=step, times=times, note=kept(note) or request.note)
    with reported():
        if not deployment.privacy_requests.save(request, after, finished=True):
            raise Unusable(f"{name} was changed by somebody else just now: look at it again")
    return after


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


def kept(note: str) -> str:
    """Return what people write about a customer without personal data: it is kept when the customer is
    gone."""
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
        note=kept(note),
    )


def _add(deployment: Deployment, request: PrivacyRequest) -> Asked:
    while not deployment.privacy_requests.add(request):
        found = deployment.privacy_requests.get(request.id)
        if found is not None:  # else it was closed long ago, and retention has just removed it
            return Asked(found, already=True)
    return Asked(request, already=False)


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
        if step in ENDS or time.monotonic() >= until:
            return request
        time.sleep(POLL_S)


def get(deployment: Deployment, name: str) -> PrivacyRequest:
    """Return a request by its id. Raises `Unusable`, `Unreachable`."""
    with reported():
        found = deployment.privacy_requests.get(name)
    if found is None:
        raise Unusable(f"there is no request {name!r}: `millrace subject list` shows all")
    return found


def joined(deployment: Deployment, request: PrivacyRequest) -> PrivacyRequest | None:
    """Return the request that has erased this one's customer; None where it is this one, or is not kept any
    more. Raises `Unreachable`."""
    if not request.joined:
        return None
    with reported():
        return deployment.privacy_requests.get(request.joined)


def of(deployment: Deployment, named: str) -> list[PrivacyRequest]:
    """Return the requests of a customer, or the one with this id, the oldest first. Raises `Unusable`,
    `Unreachable`."""
    with reported():
        found = deployment.privacy_requests.get(named)
        if found is not None:
            return [found]
        return _about(deployment, customer(deployment, named))


def _about(deployment: Deployment, root: bytes) -> list[PrivacyRequest]:
    """Return the requests of a customer, those of whom it was united with among them, the oldest first."""
    members = {root, *deployment.ledger.members(root)[0]}
    return [request for request in deployment.privacy_requests.everything() if _names(request, members)]


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
        "begins": moment(request.begins_ms) if request.begins_ms else "",
        "internal": request.internal,
        "proof": request.proof,
        "note": request.note,
        "receipt": bool(request.receipt),
    }


def receipt(deployment: Deployment, named: str) -> bytes:
    """Return the signed receipt of an erasure, by its request or its customer. Raises `Unusable` where there
    is none yet, `Unreachable`."""
    found = of(deployment, named)
    done = [one for one in found if one.receipt]
    if not done and found and (other := joined(deployment, found[-1])):
        return receipt(deployment, other.id)
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
