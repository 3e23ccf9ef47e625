"""What is too old, of all but customers: found and removed, a page at a time.

Each class of data has one function, which looks at one page and says what it did and where the next one
begins. A page that is looked at twice, since somebody died in between, changes nothing the second time.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from flows.runtime.deployment import Deployment
from flows.services.subjects.erasing import PARTITION, Erasing
from schemas.config import Retention
from schemas.records.identity_graph import Order
from schemas.records.outbox_lanes import Lane
from schemas.records.privacy_requests import ENDS, PrivacyRequest

PAGE: Final = 500
DAY_MS: Final = 86_400_000
# Of erasures that retention began: nobody asked for these receipts, and there are as many as customers.
RECEIPT_MS: Final = 30 * DAY_MS
WITHDRAWN_MS: Final = DAY_MS  # of those that came to nothing
END: Final = -1


class Page(NamedTuple):
    """What was done to one page."""

    removed: int
    oldest_ms: int  # of what is left of it; 0: nothing is
    cursor: int  # where the next page begins; `END`: there is none


Look = Callable[[int, int], Page]  # now_ms, cursor


def upkeep(deployment: Deployment, erasing: Erasing) -> Mapping[str, Look]:
    """Return what looks after each class of data of this deployment that has a time to live."""
    rules, found = deployment.config.retention, dict[str, Look]()
    if rules.requests is not None:
        found["requests"] = _requests(deployment)
        found["mandates"] = _mandates(deployment, rules.requests)
    if rules.decisions is not None:
        found["decisions"] = _lane(deployment, Lane.DECISIONS, rules.decisions)
    if rules.dead_letters is not None:
        found["dead_letters"] = _dead_letters(deployment, rules.dead_letters)
    if rules.reviews is not None:
        found["reviews"] = _reviews(deployment, erasing, rules.reviews)
    return found


def kept_ms(rules: Retention, request: PrivacyRequest) -> int | None:
    """Return how long a request is kept once it is closed; None for one that is open, or kept for ever."""
    if request.step not in ENDS or rules.requests is None:
        return None
    if not request.unheard_since_ms:
        return rules.requests
    return min(rules.requests, RECEIPT_MS if request.receipt else WITHDRAWN_MS)


def _requests(deployment: Deployment) -> Look:
    requests, rules = deployment.privacy_requests, deployment.config.retention
    named: list[frozenset[str]] = []  # by requests that stay: looked up once in a pass, if at all

    def look(now_ms: int, cursor: int) -> Page:
        if not cursor:
            named.clear()
        after, found = requests.page(cursor, PAGE)
        closed = {one.id: max(one.times.values()) for one in found if kept_ms(rules, one) is not None}
        gone = [one.id for one in found if one.id in closed and _is_over(rules, one, now_ms)]
        if gone and not named:
            stay = (one for one in requests.everything() if not _is_over(rules, one, now_ms))
            named.append(frozenset(one.joined for one in stay))
        gone = [name for name in gone if name not in named[0]]  # its receipt is theirs
        requests.forget(gone)
        left = [closed_ms for name, closed_ms in closed.items() if name not in gone]
        return Page(len(gone), min(left, default=0), after or END)

    return look


def _mandates(deployment: Deployment, kept: int) -> Look:
    """Of what other systems asked: what is ended, and told."""
    mandates = deployment.mandates

    def look(now_ms: int, cursor: int) -> Page:
        after, found = mandates.page(cursor, PAGE)
        closed = {
            one.id: max(one.times.values())
            for one in found
            if one.state in ("completed", "cancelled") and not one.notices
        }
        gone = [name for name, closed_ms in closed.items() if closed_ms < now_ms - kept]
        mandates.forget(gone)
        left = [closed_ms for name, closed_ms in closed.items() if name not in gone]
        return Page(len(gone), min(left, default=0), after or END)

    return look


def _is_over(rules: Retention, request: PrivacyRequest, now_ms: int) -> bool:
    kept = kept_ms(rules, request)
    return kept is not None and max(request.times.values()) < now_ms - kept


def _lane(deployment: Deployment, lane: str, kept: int) -> Look:
    """Of a lane, shard by shard: the cursor is the shard."""
    outbox, count = deployment.outbox, deployment.config.shards.count

    def look(now_ms: int, cursor: int) -> Page:
        found = outbox.read(lane, {cursor: 0}, PAGE, 0)
        gone = [entry.seq for entry in found if entry.stamp_ms < now_ms - kept]
        outbox.drop(lane, cursor, gone)
        left = [entry.stamp_ms for entry in found[len(gone) :]]
        after = cursor + (len(gone) < PAGE)
        return Page(len(gone), min(left, default=0), after if after < count else END)

    return look


def _dead_letters(deployment: Deployment, kept: int) -> Look:
    """Of each kind in turn; facts that our own logic raised on lie in a lane of each shard."""
    logs = (deployment.dead_events, deployment.dead_deliveries, deployment.dead_examples)
    facts = _lane(deployment, Lane.QUARANTINE, kept)

    def look(now_ms: int, cursor: int) -> Page:
        if cursor >= len(logs):
            page = facts(now_ms, cursor - len(logs))
            return page._replace(cursor=END if page.cursor == END else page.cursor + len(logs))
        log = logs[cursor]
        gone = log.older(now_ms - kept, PAGE)
        log.drop(gone)
        return Page(len(gone), log.since_ms(), cursor + (len(gone) < PAGE))

    return look


def _reviews(deployment: Deployment, erasing: Erasing, kept: int) -> Look:
    """Pairs that no steward has decided: they leave the queue, as if one could not say."""
    ledger = deployment.ledger

    def look(now_ms: int, _cursor: int) -> Page:
        found = ledger.reviews()
        gone = [pair for pair in found if pair.time_ms < now_ms - kept][:PAGE]
        if gone:
            erasing.order([Order("unsure", pair.a, pair.b, by=PARTITION, origins=True) for pair in gone])
        left = [pair.time_ms for pair in found if pair not in gone]
        return Page(len(gone), min(left, default=0), END)

    return look
