"""What a gateway does about what stands still behind it: one source is turned away, no other; and it says
so."""

import httpx
import pytest

from connectors.gateway import Standing, standing
from schemas.errors import Unreachable
from tests.connectors.gateway_server import served, wait_for

TRACK = {"type": "track", "event": "Paid", "userId": "u1", "messageId": "m1"}


class Told:
    """What is said behind the gateway."""

    def __init__(self, now: Standing) -> None:
        self.now = now
        self.away = False

    def __call__(self) -> Standing:
        if self.away:
            raise Unreachable("no state")
        return self.now


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "ASK_EVERY_S", 0.05)


def test_a_suspended_source_is_turned_away_and_no_other() -> None:
    told = Told(Standing(suspended=frozenset({"web"})))
    with served(standing=told) as gateway:

        def sent(key: str, path: str = "/v1/track", body: object = TRACK) -> httpx.Response:
            return httpx.post(gateway.url + path, json=body, auth=(key, ""))

        for path, body in (
            ("/v1/track", TRACK),
            ("/v1/batch", {"batch": [TRACK]}),
            (
                "/v1/events",
                {"specversion": "1.0", "id": "1", "source": "s", "type": "Paid", "data": {"userId": "u1"}},
            ),
        ):
            refused = sent("demo", path, body)
            assert (refused.status_code, refused.json()["code"]) == (429, "source_suspended")
            assert refused.headers["Retry-After"] == refused.headers["X-RateLimit-Reset"] == "60"
        assert sent("till").status_code == 200
        assert [event.source for _, event in gateway.writer.stored] == ["store"]
        told.away = True  # where nobody answers, what was said last holds
        wait_for(lambda: sent("demo").status_code == 200, 0.5)
        assert sent("demo").status_code == 429
        told.away, told.now = False, Standing()
        wait_for(lambda: sent("demo").status_code == 200, 10)
        assert sent("demo").status_code == 200


def test_health_says_what_was_given_up_and_stays_good() -> None:
    told = Told(Standing(given_up=("match-0", "resolve-1")))
    with served(standing=told) as gateway:
        for path, status in (("/healthz", "alive"), ("/readyz", "ready")):
            found = httpx.get(gateway.url + path)
            assert (found.status_code, found.json()) == (
                200,
                {"status": status, "given_up": ["match-0", "resolve-1"]},
            )
        told.now = Standing()
        wait_for(lambda: "given_up" not in httpx.get(gateway.url + "/readyz").json(), 10)
        assert httpx.get(gateway.url + "/readyz").json() == {"status": "ready"}
