"""Who may come into the privacy centre: a link lets one browser in, once.

A link names an origin of the customer. Who was united with somebody since is found as the one that both are
now; who was erased is told so.
"""

import secrets
import time
from typing import Final

import msgspec

from connectors.centre.routes import LINK
from connectors.centre.views import Denied, State, Visit
from connectors.gateway.subject_routes import LINK_DAYS_MAX
from flows.runtime.deployment import Deployment
from flows.services.subjects import requests
from schemas.bilingual import Lang
from schemas.config import Gateway
from schemas.errors import Unusable
from schemas.records.centre_sessions import CentreSession
from schemas.records.identity_graph import text_id
from state.redis.client import reported

DAY_S: Final = 86_400
PENDING_MS: Final = 30_000  # a choice that does not hold by then is not shown as if it did
_CSRF_BYTES: Final = 24
_WHOLE_MS: Final = 12 * 3_600_000  # a session ends then, however busy it is
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # no address to go to


def make(deployment: Deployment, who: str, *, days: int = 7, lang: Lang = "en") -> str:
    """Return a link for `NAMESPACE:VALUE`, or a customer's id. Raises `Unusable` where nobody is known so, or
    the centre is off, `Unreachable`."""
    if not deployment.config.centre.enabled:
        raise Unusable("the privacy centre is off: set `centre.enabled = true`")
    if not 1 <= days <= LINK_DAYS_MAX:
        raise Unusable(f"expected a link for 1 to {LINK_DAYS_MAX} days, got {days}")
    with reported():
        customer = requests.customer(deployment, who)
    token = deployment.centre_links.make(customer, int(time.time()) + days * DAY_S, lang)
    return f"{public_url(deployment.config.gateway)}{LINK}/{token}"


def public_url(gateway: Gateway) -> str:
    """Return how browsers reach the gateway."""
    if gateway.public_url:
        return gateway.public_url.rstrip("/")
    host, _, port = gateway.listen.rpartition(":")
    return f"http://{_EVERYWHERE.get(host, host)}:{port}"


def look(deployment: Deployment, token: str) -> Lang | Denied:
    """Return the language of a link, or why it lets nobody in. Raises `Unreachable`."""
    link = deployment.centre_links.read(token, time.time())
    if not isinstance(link, str):
        with reported():
            return "used" if deployment.centre_sessions.is_used(link.nonce) else link.lang
    return link


def enter(deployment: Deployment, token: str) -> str | Denied:
    """Use a link up, and return the cookie of a new session; or why it lets nobody in. Raises
    `Unreachable`, `LogFull`."""
    now_ms = time.time_ns() // 1_000_000
    link = deployment.centre_links.read(token, now_ms / 1000)
    if isinstance(link, str):
        return link
    session = CentreSession(link.customer, secrets.token_urlsafe(_CSRF_BYTES), link.lang, now_ms + _WHOLE_MS)
    remembered_ms = link.expires_s * 1000 - now_ms + 1000  # a moment longer than it is good for
    with reported():
        cookie = deployment.centre_sessions.begin(link.nonce, remembered_ms, session, _idle_ms(deployment))
    return cookie or "used"


def session_of(deployment: Deployment, cookie: str, *, renew: bool = True) -> CentreSession | None:
    """Return the session of a cookie; None where it is over. `renew`: it lasts longer thereby. Raises
    `Unreachable`."""
    with reported():
        now_ms = time.time_ns() // 1_000_000
        return deployment.centre_sessions.visit(cookie, _idle_ms(deployment) if renew else None, now_ms)


def change(deployment: Deployment, cookie: str, **changes: object) -> None:
    """Change what a session remembers. Raises `Unreachable`, `LogFull`."""
    session = session_of(deployment, cookie)
    if session is not None:
        with reported():
            deployment.centre_sessions.save(cookie, msgspec.structs.replace(session, **changes))


def leave(deployment: Deployment, cookie: str) -> None:
    """End a session. Raises `Unreachable`."""
    with reported():
        deployment.centre_sessions.end(cookie)


def visit(deployment: Deployment, cookie: str, *, renew: bool = True) -> Visit | None:
    """Return who is in: the customer as it is now. `renew`: the session lasts longer thereby. Raises
    `Unreachable`."""
    session = session_of(deployment, cookie, renew=renew)
    if session is None:
        return None
    with reported():
        directory = deployment.directory
        root = directory.root(session.customer)
        state: State = "there"
        if any(directory.erased([session.customer, root])):
            state, root = "erased", session.customer
        elif not deployment.ledger.members(root)[0]:
            state = "unknown"
    fresh = time.time_ns() // 1_000_000 - session.pending_ms < PENDING_MS
    return Visit(
        customer=text_id(root),
        state=state,
        csrf=session.csrf,
        lang="zh" if session.lang == "zh" else "en",
        pending=session.pending if fresh else {},
    )


def _idle_ms(deployment: Deployment) -> int:
    return int(deployment.config.centre.session)
