"""The report on personal data: what customers said, what they asked for, who is told, and what ends when.

Counts and settings alone: nobody is named in it, by whatever name. It is for whoever runs the deployment, so
small counts stand in it as they are.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Final

import msgspec

from flows.logic.permissions.permissions import Permissions
from flows.logic.permissions.statements import SWITCHED, Words, words_of
from flows.logic.resolution.consents import ConsentRules
from flows.runtime.deployment import Deployment
from flows.services import data_keys
from flows.services.retention.classes import DataClass, classes
from flows.services.retention.progress import is_behind
from flows.services.subjects.consenting import MODES
from schemas import bilingual
from schemas.config import Config, Purpose
from schemas.errors import Foreign
from schemas.records.privacy_requests import ENDS, PrivacyRequest, Step
from schemas.records.retention import Sweep, Swept
from state.receipts import verified
from state.redis.client import reported

BUCKETS: Final = 200  # of the directory, in one step
SOON_MS: Final = 7 * 86_400_000  # before a request is due
OTHERWISE: Final = "other"  # purposes are switched in no way that has a name
_DAY_MS: Final = 86_400_000


class PurposeSaid(msgspec.Struct, frozen=True):
    """What customers said of one purpose."""

    name: str
    required: bool  # it is the service itself, and not asked for
    before: str  # what holds before any word: opt_in or opt_out; "" where it is not asked for
    yes: int
    no: int
    categories: tuple[str, ...]  # of data that it uses; none: all
    used_by: tuple[str, ...]  # rules of this configuration: `trigger welcome`


class Consents(msgspec.Struct, frozen=True):
    """What customers said."""

    customers: int  # who have said anything
    modes: dict[str, int]  # of them, by what of the three switches they left on
    purposes: list[PurposeSaid]
    regions: dict[str, str]  # country -> what holds before any word


class Clock(msgspec.Struct, frozen=True):
    """The requests under one regime, without those that retention made."""

    regime: str
    right: str
    in_time: int  # not closed yet
    soon: int  # of these: due within a week
    overdue: int
    done: int
    refused: int
    median_days: float | None  # from asked to closed; what was taken back does not count
    late: int  # closed after they were due; the same


class Erasures(msgspec.Struct, frozen=True):
    """What became of erasures."""

    asked_by_customers: int
    asked_by_retention: int  # of those that are still kept
    again: int  # of a past that came back
    under_way: int
    receipts: int
    genuine: int  # of these receipts
    nothing_done: int  # ended without one: heard of meanwhile, on hold, erased by another request
    suppressed: int  # identifiers whose events are dropped
    on_hold: int  # origins


class Recipient(msgspec.Struct, frozen=True):
    """One receiver."""

    name: str
    type: str
    enabled: bool
    knows: tuple[str, ...]  # personal data that it is given
    answers: dict[str, int]  # to requests to delete: taken, refused, off, waiting


class Kept(msgspec.Struct, frozen=True):
    """One class of data, and what ends it."""

    name: str
    what: bilingual.Words
    ends: str
    rule: bilingual.Words
    option: str
    swept: Swept | None  # by the last pass of the sweep, where it looks after it


class Retention(msgspec.Struct, frozen=True):
    """How long things are kept."""

    classes: list[Kept]
    without_end: list[str]
    last_pass_ms: int  # when it ended; 0: none has
    took_s: float
    customers: int  # it looked at
    unknown: int  # of these: without a profile, so nobody knows when they were heard of
    looking_at: int  # customers that the pass under way has looked at
    waits_until_ms: int  # nobody is erased before then; 0: one does not wait
    why: str
    behind: bool


class Keys(msgspec.Struct, frozen=True):
    """What personal data is sealed with."""

    provider: str
    newest: str
    versions: dict[str, int]  # key -> data keys that it wraps
    data_keys: int
    missing: list[str]


class Report(msgspec.Struct, frozen=True):
    """All of it."""

    deployment: str
    made_ms: int
    regime: str
    consents: Consents
    clocks: list[Clock]
    erasures: Erasures
    recipients: list[Recipient]
    retention: Retention
    keys: Keys
    categories: list[str]  # of data
    sensitive: int  # names of fields that are sealed whatever they hold
    attributes: list[str]  # that are derived before sealing


def report(deployment: Deployment, now_ms: int | None = None) -> Report:
    """Return what there is now. Looks at the words of all customers, and at all receipts. Raises
    `Unreachable`, `Foreign`, `ConfigError`, `KeysAway`."""
    config, now = deployment.config, int(time.time() * 1000) if now_ms is None else now_ms
    rules = ConsentRules(config, deployment.validator().categories)
    with reported():
        deployment.check_data()
        requests = deployment.privacy_requests.everything()
        sweep = deployment.sweep_records.load()
        erasures = _erasures(deployment, requests)
        consents = _consents(deployment, rules.permissions)
    return Report(
        deployment=config.name,
        made_ms=now,
        regime=config.rights.regime,
        consents=consents,
        clocks=_clocks(requests, now),
        erasures=erasures,
        recipients=_recipients(config, requests),
        retention=_retention(config, sweep, now),
        keys=_keys(deployment),
        categories=list(rules.categories.names),
        sensitive=len(config.privacy.sensitive),
        attributes=list(config.privacy.attributes),
    )


# --- consents


def _consents(deployment: Deployment, permissions: Permissions) -> Consents:
    config = deployment.config
    modes, yes, no = Counter[str](), Counter[str](), Counter[str]()
    customers = 0
    for words in _said(deployment):
        customers += 1
        if mode := _mode(words):
            modes[mode] += 1
        for purpose in config.consent.purpose:
            if not {purpose.name, *purpose.stated_by}.isdisjoint(words.said):
                (yes if permissions.serves(words, purpose.name) else no)[purpose.name] += 1
    return Consents(
        customers=customers,
        modes=dict(sorted(modes.items())),
        purposes=[
            PurposeSaid(
                name=purpose.name,
                required=purpose.required,
                before="" if purpose.required else purpose.before or config.consent.before,
                yes=yes[purpose.name],
                no=no[purpose.name],
                categories=purpose.data,
                used_by=tuple(_used_by(config, purpose)),
            )
            for purpose in config.consent.purpose
        ],
        regions=dict(config.consent.regions),
    )


def _said(deployment: Deployment) -> Iterator[Words]:
    """Yield the words of each customer who has said anything, each once: at the first origin that has."""
    tables, directory = deployment.tables, deployment.directory
    if not directory.has_consents():
        return
    for first in range(0, tables.buckets, BUCKETS):
        origins = [*tables.consents(first, BUCKETS)]
        if not origins:
            continue
        for origin, standing in zip(origins, directory.standings(origins), strict=True):
            if standing.records and origin == min(standing.records):
                yield words_of(standing)


def _mode(words: Words) -> str:
    """Return how the customer left the three switches; empty where it has not touched all of them."""
    if any(purpose not in words.said for purpose in SWITCHED):
        return ""
    return MODES.get(frozenset(one for one in SWITCHED if words.said[one]), OTHERWISE)


def _used_by(config: Config, purpose: Purpose) -> Iterator[str]:
    for kind, rules in (("trigger", config.trigger), ("action", config.action), ("model", config.model)):
        for rule in rules:
            if getattr(rule, "purpose", "") == purpose.name:
                yield f"{kind} {rule.name}"
    for kind, limited in (("aggregate", config.aggregate), ("tag", config.tag), ("segment", config.segment)):
        for one in limited:
            if purpose.name in one.purposes:
                yield f"{kind} {one.name}"


# --- requests


def _clocks(requests: Sequence[PrivacyRequest], now_ms: int) -> list[Clock]:
    by_kind: dict[tuple[str, str], list[PrivacyRequest]] = {}
    for request in requests:
        if not request.unheard_since_ms and not request.again:
            by_kind.setdefault((request.regime, request.right), []).append(request)
    return [_clock(regime, right, those, now_ms) for (regime, right), those in sorted(by_kind.items())]


def _clock(regime: str, right: str, requests: Sequence[PrivacyRequest], now_ms: int) -> Clock:
    open_ms = [one.due_ms - now_ms for one in requests if not _closed_ms(one)]
    closed = [(one, closed_ms) for one in requests if (closed_ms := _closed_ms(one))]
    answered = [(one, closed_ms) for one, closed_ms in closed if one.step != Step.CANCELLED]
    days = [(closed_ms - one.asked_ms) / _DAY_MS for one, closed_ms in answered]
    return Clock(
        regime=regime,
        right=right,
        in_time=sum(left >= 0 for left in open_ms),
        soon=sum(0 <= left < SOON_MS for left in open_ms),
        overdue=sum(left < 0 for left in open_ms),
        done=sum(one.step == Step.DONE for one, _ in closed),
        refused=sum(one.step == Step.REFUSED for one, _ in closed),
        median_days=round(median(days), 2) if days else None,
        late=sum(closed_ms > one.due_ms for one, closed_ms in answered),
    )


def _closed_ms(request: PrivacyRequest) -> int:
    """Return when it was closed; 0: it is open."""
    return request.times.get(request.step, 0) if request.step in ENDS else 0


def _erasures(deployment: Deployment, requests: Sequence[PrivacyRequest]) -> Erasures:
    erasures = [one for one in requests if one.right == "erase"]
    done = [one for one in erasures if one.step == Step.DONE]
    receipts = [one.receipt for one in done if one.receipt]
    public = deployment.receipt_signer.public
    return Erasures(
        asked_by_customers=sum(not one.unheard_since_ms and not one.again for one in erasures),
        asked_by_retention=sum(bool(one.unheard_since_ms) for one in erasures),
        again=sum(one.again for one in erasures),
        under_way=sum(one.step not in ENDS for one in erasures),
        receipts=len(receipts),
        genuine=sum(_is_genuine(receipt, public) for receipt in receipts),
        nothing_done=len(done) - len(receipts),
        suppressed=len(deployment.directory.suppressed()),
        on_hold=len(deployment.sweep_records.holds()),
    )


def _is_genuine(receipt: bytes, public: str) -> bool:
    try:
        verified(receipt, public)
    except Foreign:
        return False
    return True


def _recipients(config: Config, requests: Sequence[PrivacyRequest]) -> list[Recipient]:
    said: dict[str, Counter[str]] = {one.name: Counter() for one in config.connector}
    for request in requests:
        for name, answer in request.answers.items():
            said.setdefault(name, Counter())[answer.said] += 1
    known = {one.name: one for one in config.connector}
    return [
        Recipient(
            name=name,
            type=known[name].type if name in known else "",
            enabled=name in known and known[name].enabled,
            knows=tuple(known[name].identify) if name in known else (),
            answers=dict(sorted(answers.items())),
        )
        for name, answers in said.items()
    ]


# --- what is kept


def _retention(config: Config, sweep: Sweep, now_ms: int) -> Retention:
    found = classes(config)
    swept = sweep.last | {"profiles": sweep.last["customers"]} if "customers" in sweep.last else sweep.last
    return Retention(
        classes=[_kept(one, swept.get(one.name)) for one in found],
        without_end=[one.name for one in found if one.ends == "none"],
        last_pass_ms=sweep.ended_ms,
        took_s=round(sweep.took_ms / 1000, 1),
        customers=sweep.last_looked,
        unknown=sweep.last_unknown,
        looking_at=sweep.looked if sweep.began_ms else 0,
        waits_until_ms=sweep.waits_until_ms if sweep.rule_ms and now_ms < sweep.waits_until_ms else 0,
        why=sweep.why,
        behind=is_behind(sweep, now_ms),
    )


def _kept(one: DataClass, swept: Swept | None) -> Kept:
    return Kept(one.name, one.what, one.ends, one.rule, one.option, swept)


def _keys(deployment: Deployment) -> Keys:
    found = data_keys.standing(deployment)
    return Keys(
        provider=found.provider,
        newest=found.newest,
        versions={version.key: version.uses for version in found.versions},
        data_keys=found.data_keys,
        missing=found.missing,
    )


def plain(found: Report) -> dict[str, Any]:
    """Return it for programs."""
    made: dict[str, Any] = msgspec.to_builtins(found)
    return made
