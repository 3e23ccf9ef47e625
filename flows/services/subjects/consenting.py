"""What a customer allows: what counts now, and a new word of it, for whoever is known at all.

A word goes the way of all events: through the raw log, by a source of our own that no app can take. It names
an identifier of the customer by its hash, so a visitor of whom no plain value is known can decide as well.
"""

import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from flows.logic import consent
from flows.logic.fields.identifiers import NAMED_BY_HASH, PRIVACY
from flows.logic.fields.stated import stated_ms
from flows.logic.permissions.statements import (
    CONFIRMED,
    SWITCHED,
    VERSION,
    VERSION_MAX,
    WORDS_MAX,
    stated,
    words_of,
)
from flows.logic.resolution.consents import ConsentRules
from flows.runtime.deployment import Deployment
from flows.services.steward.access import steward
from flows.services.steward.orders import put_now
from flows.services.subjects import requests
from schemas.config import Config
from schemas.errors import Unusable
from schemas.records.consents import Standing, unpacked
from schemas.wire.events import RawEvent
from state.redis.client import reported

POLL_S: Final = 0.05
_LETTERS: Final = str.maketrans("0123456789", "ghijklmnop")  # no digits: nothing takes it for a number
# What `consent.mode` is called, by which of the purposes that it switches are allowed.
MODES: Final = {
    frozenset[str](): "basic",
    frozenset(("marketing", "sales")): "basic+marketing",
    frozenset(("personalisation",)): "basic+personalised",
    frozenset(SWITCHED): "basic+marketing+personalised",
}


class Spoken(msgspec.Struct, frozen=True):
    """One word, as it was stated at one origin of the customer."""

    thing: str
    granted: bool
    at_ms: int
    channel: str
    version: str
    proof: str  # the messageId of the event


class Allowed(msgspec.Struct, frozen=True):
    """What may be done for one purpose."""

    purpose: str
    required: bool  # it is the service itself, and is not asked for
    allowed: bool  # at all
    channels: dict[str, bool]  # those that rules name
    categories: dict[str, bool]  # those that the purpose uses


class Said(msgspec.Struct, frozen=True):
    """What counts now of a customer's words."""

    customer: str
    mode: str  # `basic` and the like; "" where the purposes are switched otherwise
    country: str
    purposes: list[Allowed]
    words: list[Spoken]  # the newest first


def said(deployment: Deployment, who: str) -> Said:
    """Return what a customer allows now. Raises `Unusable` where nobody is known so, `Unreachable`."""
    rules = ConsentRules(deployment.config, deployment.validator().categories)
    return judged(deployment, rules, who)


def judged(deployment: Deployment, rules: ConsentRules, who: str) -> Said:
    """Return the same, for who has the rules at hand."""
    config = deployment.config
    with reported():
        root = known(deployment, who)
        [standing] = deployment.directory.standings([root])
    words = words_of(standing)
    may, channels = rules.permissions, channels_of(config)
    purposes = [
        Allowed(
            purpose=purpose.name,
            required=purpose.required,
            allowed=may.serves(words, purpose.name),
            channels={channel: may.may_contact(words, purpose.name, channel) for channel in channels},
            categories={
                category: may.may_use(words, purpose.name, category)
                for category in purpose.data or rules.categories.names
            },
        )
        for purpose in config.consent.purpose
    ]
    allowed = frozenset(one.purpose for one in purposes if one.allowed and one.purpose in SWITCHED)
    return Said(root.hex(), MODES.get(allowed, ""), words.country, purposes, _spoken(standing))


def say(
    deployment: Deployment,
    who: str,
    words: Mapping[str, bool | str],
    *,
    by: str,
    version: str = "",
    confirmed: bool = False,
) -> str:
    """Put a customer's words into the raw log, such as `{"marketing.sms": False}` or `{"mode": "basic"}`, and
    return the messageId, which is the proof of them. They hold as soon as `resolve` comes to them.

    `by`: who has taken them down: kept with the event. `version`: of the text that was agreed to.
    `confirmed`: the customer itself has said so, and how is known: a yes to a purpose that needs it counts.
    Raises `Unusable` for words that say nothing and where nobody is known so, `Unreachable`.
    """
    traits = statement(words)
    if version:
        traits[VERSION] = version[:VERSION_MAX]
    with reported():
        root = known(deployment, who)
        people = steward(deployment).people
        named = next((one for one in people.identifiers(root, {}) if not one.suspended_ms), None)
    if named is None:
        raise Unusable(f"{who} has no identifier that counts: nothing can be said for this customer")
    message = "consent-" + secrets.token_hex(12).translate(_LETTERS)
    identifier = {"namespace": named.namespace, "hash": named.identifier}
    event = {
        "type": "identify",
        "messageId": message,
        "traits": traits,
        "context": {NAMED_BY_HASH: identifier, "by": by, CONFIRMED: confirmed},
    }
    raw = RawEvent(msgspec.json.encode(event), time.time_ns() // 1_000_000, PRIVACY)
    put_now(deployment.raw_writer, [raw])
    return message


def holds(deployment: Deployment, who: str, words: Mapping[str, bool | str], *, wait_s: float) -> bool:
    """Return whether these words are what counts, once they are or `wait_s` has passed. Raises as `say`."""
    wanted, until = stated(statement(words)), time.monotonic() + wait_s
    while True:
        with reported():
            [standing] = deployment.directory.standings([known(deployment, who)])
        now = words_of(standing).said
        if all(now.get(thing) is granted for thing, granted in wanted.items()):
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(POLL_S)


def statement(words: Mapping[str, bool | str]) -> dict[str, Any]:
    """Return words as traits. Raises `Unusable` for those that say nothing; it repeats none of them, which
    may be anything."""
    traits: dict[str, Any] = {f"{consent.NAME}.{thing}": word for thing, word in words.items()}
    for at, (name, word) in enumerate(traits.items()):
        if not stated({name: word}):
            raise Unusable(f"words[{at}]: expected yes or no for a thing, or for `mode` one such as `basic`")
    if not 0 < len(traits) <= WORDS_MAX:
        raise Unusable(f"expected 1 to {WORDS_MAX} words, got {len(traits)}")
    return traits


def channels_of(config: Config) -> list[str]:
    """Return the channels that rules name."""
    named = [rule.channel for rule in config.trigger] + [action.channel for action in config.action]
    return sorted({channel for channel in named if channel})


def optional(config: Config) -> list[str]:
    """Return the purposes that customers are asked for."""
    return [purpose.name for purpose in config.consent.purpose if not purpose.required]


def known(deployment: Deployment, who: str) -> bytes:
    """Return the root of a customer who can say something. Raises `Unusable`."""
    root = requests.customer(deployment, who)
    if deployment.directory.erased([root])[0]:
        raise Unusable(f"{who} was erased, or is being erased: nothing can be said for this customer")
    return root


def _spoken(standing: Standing) -> list[Spoken]:
    found = [
        Spoken(thing, word.granted, stated_ms(word.moment), word.source, word.version, word.proof)
        for record in standing.records.values()
        for thing, word in unpacked(record).words.items()
    ]
    return sorted(found, key=lambda one: (-one.at_ms, one.thing, one.proof))
