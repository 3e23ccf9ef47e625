"""A yes that has to come from the customer, such as to hand data on: it is confirmed by a code.

The code goes to the customer through the connectors of `consent.confirm_to`, and holds for
`consent.confirm_for`. Who says it has read what was sent to the customer, so its word is the customer's: the
event that carries it says so, and is the proof. Without it a yes to such a purpose counts for nothing.
"""

import asyncio
import hmac
import secrets
import time
from hashlib import blake2b
from typing import Final

import msgspec

from connectors.sinks.sink import Delivered
from flows.runtime.deployment import Deployment
from flows.services.subjects import consenting
from flows.services.subjects.telling import handed_over
from schemas.config import Purpose
from schemas.errors import CodeSent, CodeWrong, Unusable
from schemas.records.identity_graph import text_id
from schemas.wire.triggers import CONFIRMATION, Receipt, Trigger
from state.redis.client import reported

DIGITS: Final = 6
AGAIN_S: Final = 60  # not more than one code a minute
ACTION: Final = "confirm"


class Sent(msgspec.Struct, frozen=True):
    """What became of a code."""

    customer: str
    purpose: str
    until_ms: int
    to: dict[str, str]  # connector -> `taken`, or why not


def ask(deployment: Deployment, who: str, purpose: str) -> Sent:
    """Send the customer a code for this purpose. Raises `Unusable` where nobody is known so, where the
    purpose needs none, and where no connector took it; `CodeSent` where one was sent a moment ago;
    `Unreachable`, `LogFull`."""
    consent = deployment.config.consent
    asked = _purpose(deployment, purpose)
    with reported():
        root = consenting.known(deployment, who)
        for_s = int(consent.confirm_for) // 1000
        code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"
        hashed = _hashed(deployment, root, asked, code)
        age_s = deployment.confirmations.put(root, asked.name, hashed, for_s, AGAIN_S)
        if age_s is not None:
            raise CodeSent(f"a code was sent {age_s} s ago: expected {AGAIN_S} s between two")
        now_ms = time.time_ns() // 1_000_000
        until_ms = now_ms + 1000 * for_s
        told = _sent(deployment, root, _trigger(root, asked, code, now_ms, until_ms))
        if "taken" not in told.values():
            deployment.confirmations.drop(root, asked.name)
            why = "; ".join(f"{name}: {said}" for name, said in told.items()) or "consent.confirm_to is empty"
            raise Unusable(f"no code was sent: {why}")
    return Sent(text_id(root), asked.name, until_ms, told)


def confirm(deployment: Deployment, who: str, purpose: str, code: str, *, by: str, version: str = "") -> str:
    """Take the customer's yes to this purpose, and return its proof. Raises `CodeWrong` for a code that is
    not the one that was sent, or not any more; `Unusable` where nobody is known so, and as `consenting.say`;
    `Unreachable`, `LogFull`."""
    asked = _purpose(deployment, purpose)
    with reported():
        root = consenting.known(deployment, who)
        found = deployment.confirmations.tried(
            root, asked.name, _hashed(deployment, root, asked, code.strip())
        )
    if found == "none":
        raise CodeWrong(
            "there is no code to compare with: it was never sent, has expired, or was tried too often"
        )
    if found == "wrong":
        raise CodeWrong("this is not the code that was sent")
    proof = consenting.say(deployment, who, {asked.name: True}, by=by, version=version, confirmed=True)
    with reported():  # only now: whoever dies before can say it again
        deployment.confirmations.use_up(root, asked.name)
    return proof


def _purpose(deployment: Deployment, name: str) -> Purpose:
    needing = [purpose for purpose in deployment.config.consent.purpose if purpose.confirm]
    for purpose in needing:
        if purpose.name == name:
            return purpose
    known = ", ".join(purpose.name for purpose in needing) or "none does"
    raise Unusable(f"expected a purpose that needs a confirmation ({known}), got {name!r}")


def _hashed(deployment: Deployment, root: bytes, purpose: Purpose, code: str) -> bytes:
    key = blake2b(b"consent confirmation", key=deployment.keys.hash[:64], digest_size=32).digest()
    return hmac.digest(key, b"\0".join((root, purpose.name.encode(), code.encode())), "sha256")


def _sent(deployment: Deployment, root: bytes, trigger: Trigger) -> dict[str, str]:
    """Return what each connector says."""
    config = deployment.config
    connectors = [one for one in config.connector if one.name in config.consent.confirm_to and one.enabled]
    fields = tuple(dict.fromkeys(field for one in connectors for field in one.identify))
    names = deployment.contacts.contacts([root], fields).get(root, {}) if fields else {}
    told: dict[str, str] = {}
    for connector in connectors:
        trigger.to = [connector.name]
        outcome = asyncio.run(handed_over(deployment.sink, connector, trigger, names))
        told[connector.name] = "taken" if isinstance(outcome, Delivered) else outcome.reason
    return told


def _trigger(root: bytes, purpose: Purpose, code: str, now_ms: int, until_ms: int) -> Trigger:
    name = f"confirm-{text_id(root)}-{purpose.name}-{now_ms}"
    return Trigger(
        id=name,
        customer=text_id(root),
        rule=CONFIRMATION,
        action=ACTION,
        channel="",
        purpose="service",
        to=[],
        cause=name,
        reasons={},
        scores={},
        properties={"code": code, "purpose": purpose.name, "until_ms": until_ms},
        receipt=Receipt(now_ms, now_ms, now_ms, now_ms, now_ms),
    )
