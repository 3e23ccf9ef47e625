"""Segment's regulations on a real Redis, over the gateway's routes: lists of people, what becomes of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import msgspec
import pytest

from flows.privacy import a_round
from flows.runtime.deployment import Deployment
from flows.runtime.windows import Window
from flows.services import rebuild, switching
from flows.services.retention import holds
from flows.services.subjects import regulations, requests
from flows.services.subjects.mandates import Carrying, Parts, carrying_of
from flows.services.subjects.notifying import Notifying
from flows.services.subjects.over_http import RegulationDesk
from schemas.config import Secret
from schemas.errors import Unusable
from schemas.records.privacy_requests import Step
from schemas.wire.events import RawEvent
from tests.connectors.gateway_kit import CONFIG, Client, gateway
from tests.flows.services.test_erasure import archived
from tests.subjects import Erased, ana, identify, lines, viewed

TOKEN = {"authorization": "Bearer privacy"}
WITH = msgspec.structs.replace(CONFIG, privacy_tokens=(Secret("privacy"),))
PEOPLE = 5_000
HOUR_MS = 3_600_000


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Erased:
    return Erased(tmp_path, redis_url).start()  # type: ignore[return-value]


@pytest.fixture
def client(site: Erased) -> Iterator[Client]:
    with gateway(WITH, regulations=RegulationDesk(site.deployment)) as client:
        yield client


def regulate(client: Client, kind: str, *ids: str, subject: str = "USER_ID", **more: str) -> httpx.Response:
    body = {"regulationType": kind, "subjectType": subject, "subjectIds": list(ids)}
    return client.post(f"/regulations{more.get('path', '')}", body, key="privacy")


def regulated(client: Client, kind: str, *ids: str, **more: str) -> str:
    answer = regulate(client, kind, *ids, **more)
    assert answer.status_code == 200, answer.text
    name: str = answer.json()["data"]["regulateId"]
    return name


def status(client: Client, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/regulations/{name}", headers=TOKEN).json()["data"]["regulation"]
    return found


def privacy(site: Erased, rounds: int = 12, between: Callable[[], None] | None = None) -> None:
    """What the process `privacy` does, until nothing waits."""
    deployment, erasing = site.deployment, site.erasing()
    carried = deployment.mandates, carrying_of(deployment, erasing), Notifying(deployment)
    for _ in range(rounds):
        if not a_round(deployment.privacy_requests, erasing, carried):
            return
        (between or site.settle)()
    raise AssertionError("something still waits")


def known(site: Erased, user: str) -> bool:
    return site.deployment.profile_reader("user_id", user) is not None


def test_who_is_suppressed_with_delete_is_erased_and_stays_unknown(site: Erased, client: Client) -> None:
    site.say(identify("ana", "ana@example.org"), viewed(**ana()), viewed(userId="bea"))
    site.settle()
    name = regulated(client, "SUPPRESS_WITH_DELETE", "ana", "nobody-yet")
    assert status(client, name)["overallStatus"] == "INITIALIZED"
    privacy(site)
    found = status(client, name)
    assert found["overallStatus"] == "FINISHED"
    [stream] = found["streamStatus"]
    [crm] = stream["destinationStatus"]
    assert (crm["id"], crm["name"], crm["status"]) == ("crm", "file", "FINISHED")
    assert crm["finishedAt"]
    assert [told["data"]["action"] for told in lines(site.folder / "crm.jsonl")] == ["delete"]
    site.say(viewed(userId="bea"))  # each worker hears of it with its next window
    site.say(viewed(userId="ana"), viewed(userId="nobody-yet"), viewed(anonymousId="ana-phone"))
    site.settle()
    assert [known(site, user) for user in ("ana", "nobody-yet", "bea")] == [False, False, True]
    assert site.deployment.profile_reader("anonymous", "ana-phone") is not None  # only whom it names
    name = regulated(client, "UNSUPPRESS", "ana", "nobody-yet", "never-suppressed")
    privacy(site)
    assert status(client, name)["overallStatus"] == "FINISHED"
    site.say(viewed(userId="bea"))
    site.say(viewed(userId="ana"), viewed(userId="nobody-yet"))
    site.settle()
    assert known(site, "ana")
    assert known(site, "nobody-yet")


def test_a_window_that_was_judged_before_is_judged_again(site: Erased, client: Client) -> None:
    """While one waits for its commit, those behind it are judged already."""
    windows = [window(site, partition, viewed(userId=user)) for partition, user in ((0, "bea"), (1, "ana"))]
    judged = [site.resolver.judge(one) for one in windows]
    regulated(client, "SUPPRESS_ONLY", "ana")
    privacy(site)
    for one in judged:
        assert site.resolver.commit(one) is not None
    site.settle()
    assert [known(site, user) for user in ("ana", "bea")] == [False, True]


def window(site: Erased, partition: int, event: dict[str, Any]) -> Window:
    body = msgspec.json.encode({"type": "track", "messageId": f"w{partition}"} | event)
    raw = RawEvent(body, site.now_s * 1000, "web")
    return Window(f"more/{partition}", -1, 0, [raw], [0], opened=0.0)


def test_suppress_only_keeps_what_is_held(site: Erased, client: Client) -> None:
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    regulated(client, "SUPPRESS_ONLY", "ana")
    privacy(site)
    assert known(site, "ana")
    site.say(viewed(userId="bea"))
    site.say(viewed(userId="ana"))
    site.settle()
    profile = site.deployment.profile_reader("user_id", "ana")
    assert profile is not None
    assert profile["events"] == 1
    listed = client.get("/suppressions", headers=TOKEN).json()["data"]
    [one] = listed["suppressed"]
    assert listed["pagination"] == {"current": "", "totalEntries": 1}
    assert requests.unsuppress(site.deployment, one["subjectIds"][0])  # named by its hash


@pytest.mark.parametrize("kind", ["DELETE_INTERNAL", "SUPPRESS_WITH_DELETE_INTERNAL"])
def test_an_internal_deletion_asks_no_receiver(site: Erased, client: Client, kind: str) -> None:
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    name = regulated(client, kind, "ana")
    privacy(site)
    found = status(client, name)
    assert found["overallStatus"] == "FINISHED"
    assert found["streamStatus"][0]["destinationStatus"][0]["status"] == "NOT_SUPPORTED"
    assert not (site.folder / "crm.jsonl").exists()
    [request] = site.deployment.privacy_requests.everything()
    assert (request.step, request.internal, request.answers["crm"].said) == (Step.DONE, True, "off")
    assert len(site.deployment.directory.suppressed()) == (kind != "DELETE_INTERNAL")


def test_who_is_on_hold_is_erased_once_released(site: Erased, client: Client) -> None:
    site.say(identify("ana", "ana@example.org"), identify("bea", "bea@example.org"))
    site.settle()
    holds.hold(site.deployment, "user_id:ana", by="desk")
    name = regulated(client, "SUPPRESS_WITH_DELETE", "ana", "bea")
    with pytest.raises(AssertionError, match="something still waits"):
        privacy(site, rounds=6)
    assert (known(site, "ana"), known(site, "bea")) == (True, False)
    assert status(client, name)["overallStatus"] == "RUNNING"
    holds.release(site.deployment, "user_id:ana")
    privacy(site)
    assert not known(site, "ana")
    assert status(client, name)["overallStatus"] == "FINISHED"


def test_an_erasure_that_waits_for_a_release_keeps_the_process_from_nothing(site: Erased) -> None:
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    request = requests.erase(site.deployment, "user_id:ana", by="test").request
    holds.hold(site.deployment, "user_id:ana", by="desk")
    made = 0
    erasing = site.erasing()
    drain = erasing._parts.drain

    def counted() -> Any:
        nonlocal made
        made += 1
        return drain()

    erasing._parts = replace(erasing._parts, drain=counted)
    erasing._drains._make = counted
    for _ in range(5):
        assert not a_round(site.deployment.privacy_requests, erasing)  # it may rest
    assert made == 0
    holds.release(site.deployment, "user_id:ana")
    assert a_round(site.deployment.privacy_requests, erasing) or made
    assert made in (1, 2)  # before its origins are noted, and after
    assert site.carry_on(requests.get(site.deployment, request.id)).receipt


def test_what_came_in_before_is_deleted_too(site: Erased, client: Client) -> None:
    """Who is named may lie in the raw log only."""
    name = regulated(client, "DELETE_ONLY", "ana")
    deployment, erasing = site.deployment, site.erasing()
    carrying = carrying_of(deployment, erasing)
    [mandate] = deployment.mandates.unfinished()
    waiting = _Drain()
    carrying._drains._open[name] = waiting
    assert carrying.advance(mandate).state == "in_progress"
    site.say(identify("ana", "ana@example.org"))
    waiting.is_past = True
    site.settle()
    privacy(site)
    assert not known(site, "ana")


class _Drain:
    is_past = False

    def passed(self) -> bool:
        return self.is_past

    def close(self) -> None: ...


def test_anonymous_ids_and_a_source_that_is_the_only_one(site: Erased, client: Client) -> None:
    site.say(viewed(anonymousId="ana-phone"))
    site.settle()
    regulated(client, "DELETE_ONLY", "ana-phone", subject="ANONYMOUS_ID", path="/sources/web")
    privacy(site)
    assert site.deployment.profile_reader("anonymous", "ana-phone") is None


@pytest.mark.parametrize(
    ("kind", "subject", "ids", "path", "told"),
    [
        ("FORGET", "USER_ID", ["ana"], "", "regulationType: expected one of SUPPRESS_ONLY"),
        ("DELETE_ONLY", "OBJECT_ID", ["ana"], "", "cloud sources are not kept here"),
        ("DELETE_ONLY", "EMAIL", ["ana"], "", "expected USER_ID or ANONYMOUS_ID"),
        ("DELETE_ONLY", "USER_ID", [], "", "expected 1 to 5000 ids"),
        ("DELETE_ONLY", "USER_ID", [str(n) for n in range(PEOPLE + 1)], "", "got 5001"),
        ("DELETE_ONLY", "USER_ID", ["ana", "null"], "", "subjectIds[1]"),
        ("DELETE_ONLY", "USER_ID", ["a" * 257], "", "subjectIds[0]"),
        ("DELETE_ONLY", "USER_ID", ["ana"], "/sources/fax", "there is no such source"),
        ("DELETE_ONLY", "USER_ID", ["ana"], "/cloudsources/crm", "cloud sources are not kept here"),
    ],
)
def test_what_cannot_be_done_is_refused_whole(
    site: Erased, client: Client, kind: str, subject: str, ids: list[str], path: str, told: str
) -> None:
    answer = regulate(client, kind, *ids, subject=subject, path=path)
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["type"]) == (422, "regulation_invalid")
    assert told in error["message"]
    assert site.deployment.mandates.everything() == []


def test_who_may_not_is_told_so_in_the_words_of_the_dialect(client: Client) -> None:
    answer = client.post("/regulations", {}, key="reader")
    assert (answer.status_code, answer.json()["errors"][0]["type"]) == (401, "token_invalid")
    bad = client.post("/regulations", {"regulationType": "DELETE_ONLY"}, key="privacy")
    assert (bad.status_code, "subjectType" in bad.json()["errors"][0]["message"]) == (422, True)
    assert client.get("/regulations/none", headers=TOKEN).status_code == 404


def test_one_that_has_not_begun_can_be_deleted(site: Erased, client: Client) -> None:
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    name = regulated(client, "DELETE_ONLY", "ana")
    deleted = client.request("DELETE", f"/regulations/{name}", headers=TOKEN)
    assert (deleted.status_code, deleted.json()) == (200, {"data": {"status": "SUCCESS"}})
    privacy(site)
    assert known(site, "ana")
    assert client.get(f"/regulations/{name}", headers=TOKEN).status_code == 404
    assert client.get("/regulations", headers=TOKEN).json()["data"]["regulations"] == []
    name = regulated(client, "DELETE_ONLY", "ana")
    privacy(site)
    late = client.request("DELETE", f"/regulations/{name}", headers=TOKEN)
    assert late.status_code == 422
    assert "is FINISHED" in late.json()["errors"][0]["message"]


def test_an_erasure_in_its_grace_begins_with_the_regulation_and_is_taken_back_no_more(
    site: Erased, client: Client
) -> None:
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    asked = requests.erase(site.deployment, "user_id:ana", by="ana").request
    store = site.deployment.privacy_requests
    assert store.save(asked, msgspec.structs.replace(asked, begins_ms=asked.asked_ms + HOUR_MS))
    name = regulated(client, "DELETE_ONLY", "ana")
    site.settle()
    [mandate] = site.deployment.mandates.unfinished()
    assert carrying_of(site.deployment, site.erasing()).advance(mandate).requests == [asked.id]
    with pytest.raises(Unusable, match="it has begun"):
        requests.cancel(site.deployment, asked.id)
    privacy(site)
    assert not known(site, "ana")
    assert status(client, name)["overallStatus"] == "FINISHED"


def test_what_a_regulation_waits_for_is_asked_for_again_where_it_was_taken_back(
    site: Erased, client: Client
) -> None:
    site.say(identify("ana", "ana@example.org"), identify("bea", "bea@example.org"))
    site.settle()
    name = regulated(client, "DELETE_ONLY", "ana", "bea")
    carrying = carrying_of(site.deployment, site.erasing())
    [mandate] = site.deployment.mandates.unfinished()
    taken_back, other = carrying.advance(mandate).requests
    store = site.deployment.privacy_requests
    held = requests.get(site.deployment, taken_back)
    assert store.save(held, msgspec.structs.replace(held, step=Step.CANCELLED), finished=True)
    privacy(site)
    assert (known(site, "ana"), known(site, "bea")) == (False, False)
    assert status(client, name)["overallStatus"] == "FINISHED"
    [mandate] = site.deployment.mandates.everything()
    assert mandate.requests == [other, f"{taken_back}-2"]


def test_lists_come_in_pages_however_a_client_asks(site: Erased, client: Client) -> None:
    names = [regulated(client, kind, "ana") for kind in ("SUPPRESS_ONLY", "DELETE_ONLY", "UNSUPPRESS")]
    for query in ("pagination[count]=2", "pagination.count=2", 'pagination={"count":2}'):
        page = client.get(f"/regulations?{query}", headers=TOKEN).json()["data"]
        assert len(page["regulations"]) == 2
        assert page["pagination"]["totalEntries"] == 3
        following = f"pagination[count]=2&pagination[cursor]={page['pagination']['next']}"
        rest = client.get(f"/regulations?{following}", headers=TOKEN).json()["data"]
        assert "next" not in rest["pagination"]
        listed = [one["id"] for one in page["regulations"] + rest["regulations"]]
        assert sorted(listed) == sorted(names)
    one = client.get("/regulations?regulationTypes[0]=DELETE_ONLY", headers=TOKEN).json()["data"]
    assert [entry["regulationType"] for entry in one["regulations"]] == ["DELETE_ONLY"]
    privacy(site)
    open_ = client.get("/regulations?status=INITIALIZED", headers=TOKEN).json()["data"]
    assert open_["regulations"] == []
    assert client.get("/regulations?pagination[count]=-1", headers=TOKEN).status_code == 422


def test_only_what_stands_on_a_page_is_written_out(
    site: Erased, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        regulated(client, "SUPPRESS_ONLY", "ana")
    written: list[str] = []
    entry = regulations._entry
    monkeypatch.setattr(regulations, "_entry", lambda one: (written.append(one.id), entry(one))[1])
    page = client.get("/regulations?pagination[count]=1", headers=TOKEN).json()["data"]
    assert written == [one["id"] for one in page["regulations"]]
    assert page["pagination"]["totalEntries"] == 4


def test_five_thousand_are_one_list_and_few_round_trips(site: Erased, client: Client) -> None:
    site.client.config_resetstat()
    begun = perf_counter()
    name = regulated(client, "SUPPRESS_WITH_DELETE", *(f"person-{n}" for n in range(PEOPLE)))
    answered_s = perf_counter() - begun
    privacy(site)
    done_s = perf_counter() - begun
    scripts = site.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    print(f"answered in {answered_s:.2f} s, {PEOPLE} suppressed in {done_s:.2f} s, {scripts} scripts")
    assert status(client, name)["overallStatus"] == "FINISHED"
    assert len(site.deployment.directory.suppressed()) == PEOPLE
    assert scripts <= 24  # commits of the directory, and steps of the regulation
    assert done_s < 10


class Died(Exception):
    """The process is killed here."""


class Deadly:
    """Parts of `Carrying` that die before or behind the call with a number."""

    def __init__(self, at: int, behind: bool) -> None:
        self.at, self.behind, self.calls = at, behind, 0

    def wrap(self, parts: Parts) -> Parts:
        names = ("order", "ask", "lookup", "ended", "taken_back")
        calls = {name: self._wrapped(getattr(parts, name)) for name in names}
        return replace(parts, store=_Store(parts.store, self._wrapped), **calls)

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def deadly(*given: Any, **more: Any) -> Any:
            self.calls += 1
            if self.calls == self.at and not self.behind:
                raise Died
            answer = call(*given, **more)
            if self.calls == self.at:
                raise Died
            return answer

        return deadly


class _Store:
    def __init__(self, store: Any, wrapped: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self.save = wrapped(store.save)
        self.get, self.unfinished = store.get, store.unfinished


@pytest.mark.parametrize("behind", [False, True])
def test_whoever_dies_in_the_midst_is_followed_by_one_that_goes_on(
    tmp_path: Path, redis_url: str, behind: bool
) -> None:
    deaths = 0
    for at in range(1, 30):
        site = Erased(tmp_path, redis_url, f"d{at}{int(behind)}", archive=False)
        site.start()
        site.say(identify("ana", "ana@example.org"), viewed(userId="bea"))
        site.settle()
        with gateway(WITH, regulations=RegulationDesk(site.deployment)) as client:
            name = regulated(client, "SUPPRESS_WITH_DELETE", "ana", "nobody-yet")
            deadly, deployment = Deadly(at, behind), site.deployment
            carrying = Carrying(deadly.wrap(carrying_of(deployment, site.erasing())._parts))
            died = False
            try:
                for _ in range(10):
                    for mandate in deployment.mandates.unfinished():
                        carrying.advance(mandate)
                    for request in deployment.privacy_requests.unfinished():
                        site.erasing().advance(request)
                    site.settle()
            except Died:
                died = True
            privacy(site)
            found = status(client, name)
            assert (found["overallStatus"], died, known(site, "ana")) == ("FINISHED", died, False)
            [request] = deployment.privacy_requests.everything()
            [mandate] = deployment.mandates.everything()
            assert (mandate.requests, request.step) == ([request.id], Step.DONE)
            assert len(deployment.directory.suppressed()) == 2
        deaths += died
        if not died:
            break
    assert deaths >= 8


def test_a_rebuild_knows_who_is_to_stay_unknown_and_who_is_taken_again(
    tmp_path: Path, redis_url: str
) -> None:
    site = Erased(tmp_path, redis_url)
    site.start()
    archiver = site.archiver()
    site.say(identify("ana", "ana@example.org"), viewed(userId="bea"))
    site.settle()
    with gateway(WITH, regulations=RegulationDesk(site.deployment)) as client:
        regulated(client, "SUPPRESS_ONLY", "ana", "bea", "never-seen")
        privacy(site)
    assert requests.unsuppress(site.deployment, "user_id:bea")
    site.say(viewed(userId="cleo"))  # each worker hears of it with its next window
    site.say(viewed(userId="ana"), viewed(userId="bea"), viewed(userId="never-seen"))
    site.settle()
    archived(site, archiver)
    built = rebuild.build(site.deployment, deliver=False, step=lambda: None)
    there = Deployment(switching.at(site.config, built.run_id))
    assert there.directory.suppressed() == site.deployment.directory.suppressed()
    assert len(there.directory.suppressed()) == 2
    found = {user: there.profile_reader("user_id", user) for user in ("ana", "bea", "never-seen")}
    assert {user: one["events"] for user, one in found.items() if one} == {"ana": 1, "bea": 2}
