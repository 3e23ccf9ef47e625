"""The privacy centre on a real Redis: whose link it is, what is held and said, what an erasure leaves."""

import time
from pathlib import Path

import msgspec
import pytest

from connectors.centre.routes import LINK
from connectors.centre.views import Choices, Switch, Visit
from flows.logic.permissions.categories import KNOWN
from flows.services.centre import choices, links
from flows.services.centre.desk import CentreDesk
from flows.services.centre.holdings import kept_for
from flows.services.subjects import consenting, exporting, requests
from schemas.config import Config, Gateway, Retention
from schemas.config.toml import load
from schemas.errors import Unusable
from schemas.records.identity_graph import text_id
from schemas.records.privacy_requests import Step
from schemas.units import Duration
from state.history.key_snapshot import Copying
from tests.flows.services.test_consenting import allowed, resolve
from tests.subjects import Erased, ana, identify, lines, viewed

SHARING = ["sharing", "sharing.email", "sharing.sms", *(f"sharing.{name}" for name in KNOWN)]
CENTRE = """
[centre]
holder = "Lindenhof"
[[trigger]]
name = "by_sms"
on = {event = "Nothing"}
channel = "sms"
[[trigger]]
name = "by_mail"
on = {event = "Nothing"}
channel = "email"
"""


class Centred(Erased):
    """A deployment whose customers come into the centre."""

    def _configured(self, few: int) -> Config:
        super()._configured(few)
        self.file.write_text(self.file.read_text() + CENTRE)
        return load(self.file)

    def desk(self) -> CentreDesk:
        return CentreDesk(self.deployment)

    def token(self, who: str, **options: object) -> str:
        url = links.make(self.deployment, who, **options)  # type: ignore[arg-type]
        return url.partition(f"{LINK}/")[2]

    def come_in(self, who: str) -> tuple[CentreDesk, str, Visit]:
        desk = self.desk()
        cookie = desk.enter(self.token(who))
        assert len(cookie) > 20, cookie
        visit = desk.visit(cookie)
        assert visit is not None
        return desk, cookie, visit


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Centred:
    site = Centred(tmp_path, redis_url).start()
    assert isinstance(site, Centred)
    site.say(ana(type="identify", traits={"email": "ana@example.org", "city": "Hangzhou", "plan": "gold"}))
    site.say(viewed(userId="ana"), viewed(userId="ana"))
    site.settle()
    return site


# --- links


def test_a_link_lets_one_browser_in_once(site: Centred) -> None:
    token, desk = site.token("user_id:ana", lang="zh"), site.desk()
    assert desk.look(token) == desk.look(token) == "zh"
    cookie = desk.enter(token)
    visit = desk.visit(cookie)
    assert visit is not None
    assert (visit.state, visit.lang, visit.customer) == (
        "there",
        "zh",
        text_id(requests.customer(site.deployment, "user_id:ana")),
    )
    assert (desk.look(token), desk.enter(token)) == ("used", "used")
    desk.leave(cookie)
    assert desk.visit(cookie) is None
    assert desk.enter(token) == "used"


def test_a_link_of_another_deployment_is_none_of_ours(site: Centred, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Centred(tmp_path / "other", site.url, "other").start()
    other.say(ana(type="identify", traits={}))
    assert isinstance(other, Centred)
    assert site.desk().enter(other.token("user_id:ana")) == "forged"


def test_an_expired_link_lets_nobody_in(site: Centred, monkeypatch: pytest.MonkeyPatch) -> None:
    token, desk = site.token("user_id:ana", days=2), site.desk()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * 86_400 - 5)
    assert desk.look(token) == "en"
    monkeypatch.setattr(time, "time", lambda: now + 2 * 86_400 + 5)
    monkeypatch.setattr(time, "time_ns", lambda: int((now + 2 * 86_400 + 5) * 1e9))
    assert (desk.look(token), desk.enter(token)) == ("expired", "expired")


@pytest.mark.parametrize(
    ("who", "days", "said"),
    [
        ("user_id:nobody", 7, "nobody is known"),
        ("email:ana@example.org", 0, "1 to 90 days, got 0"),
        ("email:ana@example.org", 91, "1 to 90 days, got 91"),
        ("shoe:44", 7, "no namespace"),
    ],
)
def test_a_link_that_cannot_be_made_says_why(site: Centred, who: str, days: int, said: str) -> None:
    with pytest.raises(Unusable, match=said):
        links.make(site.deployment, who, days=days)


def test_no_link_is_made_where_the_centre_is_off(site: Centred) -> None:
    centre = msgspec.structs.replace(site.config.centre, enabled=False)
    site.config = msgspec.structs.replace(site.config, centre=centre)
    with pytest.raises(Unusable, match=r"centre\.enabled"):
        links.make(site.deployment, "user_id:ana")


@pytest.mark.parametrize(
    ("gateway", "url"),
    [
        (Gateway(), "http://127.0.0.1:8080"),
        (Gateway(listen="0.0.0.0:80"), "http://127.0.0.1:80"),
        (Gateway(listen="[::]:80"), "http://[::1]:80"),
        (Gateway(public_url="https://data.example.com/"), "https://data.example.com"),
    ],
)
def test_where_links_lead(gateway: Gateway, url: str) -> None:
    assert links.public_url(gateway) == url


def test_who_was_united_with_somebody_since_is_found_there(site: Centred) -> None:
    site.say({"anonymousId": "tablet", "event": "Product Viewed"})
    site.settle()
    visitor = text_id(requests.customer(site.deployment, "anonymous:tablet"))
    token = site.token(visitor)
    site.say({"type": "identify", "userId": "ana", "anonymousId": "tablet", "traits": {}})
    site.settle()
    desk = site.desk()
    visit = desk.visit(desk.enter(token))
    assert visit is not None
    assert visit.customer == text_id(requests.customer(site.deployment, "user_id:ana")) != visitor
    assert [one.name for one in desk.holding(visit).identifiers].count("user_id") == 1


# --- what is held


def test_what_is_held_stands_beside_the_purposes_that_may_use_it(site: Centred) -> None:
    desk, _, visit = site.come_in("user_id:ana")
    held = desk.holding(visit)
    by_category = {one.name: one for one in held.categories}
    assert [(one.name, one.value) for one in by_category["location"].fields] == [("city", "Hangzhou")]
    assert by_category["location"].purposes == ["marketing", "personalisation"]
    assert [(one.name, one.value) for one in by_category[""].fields] == [("plan", "gold")]
    assert by_category[""].purposes == ["service", "security"]
    assert [one.value for one in by_category["contact"].fields] == ["a***@example.org"]
    assert held.events == 3
    assert held.segment == "all"
    assert [(one.name, one.knows) for one in held.recipients] == [("crm", ["user_id", "email"])]
    assert "ana@example.org" not in repr(held)


def test_a_no_takes_its_purpose_off_what_is_shown(site: Centred) -> None:
    site.say(identify("ana", "ana@example.org", traits={"consent.marketing": False}))
    site.settle()
    desk, _, visit = site.come_in("user_id:ana")
    by_category = {one.name: one.purposes for one in desk.holding(visit).categories}
    assert by_category["location"] == ["personalisation"]


# --- choices


def test_a_choice_holds_once_it_is_resolved_and_is_shown_as_noted_before(
    site: Centred, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "WAIT_S", 0.0)
    desk, cookie, visit = site.come_in("user_id:ana")
    assert (desk.choices(visit).mode, desk.choices(visit).pending) == ("", False)
    assert desk.choose(cookie, visit, "basic") == "soon"
    noted = visit_of(desk, cookie)
    assert (desk.choices(noted).mode, desk.choices(noted).pending) == ("basic", True)
    assert switch_of(desk.choices(noted), "marketing") == (False, True)
    assert allowed(site, "user_id:ana")["marketing"] is True  # it does not hold yet, and the page says so
    resolve(site)
    held = desk.choices(visit_of(desk, cookie))
    assert (held.mode, held.pending) == ("basic", False)
    assert allowed(site, "user_id:ana") == {
        "service": True,
        "security": True,
        "marketing": False,
        "sales": False,
        "personalisation": False,
        "sharing": False,
    }
    assert {(word.version, word.channel) for word in held.words} == {("centre-1", "$privacy")}


def test_a_choice_that_never_holds_is_not_shown_for_ever(
    site: Centred, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "WAIT_S", 0.0)
    desk, cookie, visit = site.come_in("user_id:ana")
    desk.choose(cookie, visit, "basic")
    later = time.time_ns() + (links.PENDING_MS + 1_000) * 1_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert (desk.choices(visit_of(desk, cookie)).mode, visit_of(desk, cookie).pending) == ("", {})


@pytest.mark.parametrize("part", ["sms", "email", "location"])
def test_one_switch_changes_one_thing(site: Centred, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(choices, "WAIT_S", 0.0)
    desk, cookie, visit = site.come_in("user_id:ana")
    desk.switch(cookie, visit, f"marketing.{part}", False)
    resolve(site)
    shown = desk.choices(visit_of(desk, cookie))
    assert [one.thing for one in every(shown) if not one.on] == [f"marketing.{part}", *SHARING]
    desk.switch(cookie, visit, f"marketing.{part}", True)
    resolve(site)
    shown = desk.choices(visit_of(desk, cookie))
    assert [one.thing for one in every(shown) if not one.on] == [*SHARING]


def test_a_no_to_a_channel_of_an_app_is_taken_back_for_one_purpose_alone(
    site: Centred, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "WAIT_S", 0.0)
    site.say(identify("ana", "ana@example.org", traits={"consent.sms": False}))
    desk, cookie, visit = site.come_in("user_id:ana")
    desk.switch(cookie, visit, "marketing.sms", True)
    resolve(site)
    shown = desk.choices(visit_of(desk, cookie))
    off = [one.thing for one in every(shown) if not one.on and one.thing not in SHARING]
    assert off == ["sales.sms", "personalisation.sms"]


@pytest.mark.parametrize(
    "thing", ["service", "service.sms", "nothing", "marketing.nothing", "", "sales.location"]
)
def test_a_switch_that_there_is_not(site: Centred, thing: str) -> None:
    desk, cookie, visit = site.come_in("user_id:ana")
    with pytest.raises(ValueError, match="no switch"):
        desk.switch(cookie, visit, thing, False)
    with pytest.raises(ValueError, match="no mode"):
        desk.choose(cookie, visit, "everything")


def test_a_yes_that_has_to_come_from_the_customer_is_confirmed_by_being_said_here(
    site: Centred, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "WAIT_S", 0.0)
    desk, cookie, visit = site.come_in("user_id:ana")
    assert desk.switch(cookie, visit, "sharing", True) == "soon"
    resolve(site)
    assert allowed(site, "user_id:ana")["sharing"] is True


def test_where_a_code_has_a_way_to_the_customer_it_is_asked_for(
    site: Centred, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "WAIT_S", 0.0)
    site.say(identify("ana", "ana@example.org", traits={"consent.sale_or_sharing": False}))
    consent = msgspec.structs.replace(site.config.consent, confirm_to=("crm",))
    site.config = msgspec.structs.replace(site.config, consent=consent)
    desk, cookie, visit = site.come_in("user_id:ana")
    with pytest.raises(ValueError, match="off"):  # no way round it
        desk.switch(cookie, visit, "sharing.location", True)
    assert desk.switch(cookie, visit, "sharing", True) == "code"
    assert desk.switch(cookie, visit, "sharing", True) == "code"  # a moment later no other one is sent
    assert [one.switch.thing for one in desk.choices(visit).purposes if one.coded] == ["sharing"]
    [told] = [*lines(site.folder / "crm.jsonl")]
    code = told["data"]["properties"]["code"]
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    assert desk.confirm(cookie, visit, "sharing", wrong) is None
    resolve(site)
    assert allowed(site, "user_id:ana")["sharing"] is False
    with pytest.raises(ValueError, match="no code"):
        desk.confirm(cookie, visit, "marketing", code)
    with monkeypatch.context() as patch:  # the code is right, and something else is not
        patch.setattr(consenting, "say", cannot)
        with pytest.raises(Unusable, match="no identifier"):
            desk.confirm(cookie, visit, "sharing", code)
    assert desk.confirm(cookie, visit, "sharing", code) == "soon"
    resolve(site)
    assert allowed(site, "user_id:ana")["sharing"] is True  # what a banner refused is taken back as well
    assert desk.confirm(cookie, visit, "sharing", code) is None  # it was used
    assert desk.switch(cookie, visit, "sharing", False) == "soon"
    resolve(site)
    assert allowed(site, "user_id:ana")["sharing"] is False


def test_a_visitor_without_a_name_decides_as_well(site: Centred, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "WAIT_S", 0.0)
    site.say(viewed(anonymousId="tablet"))
    site.settle()
    desk, cookie, visit = site.come_in("anonymous:tablet")
    desk.choose(cookie, visit, "basic+personalised")
    resolve(site)
    assert allowed(site, "anonymous:tablet")["marketing"] is False
    assert allowed(site, "anonymous:tablet")["personalisation"] is True
    assert allowed(site, "user_id:ana")["marketing"] is True


def cannot(*_: object, **__: object) -> str:
    raise Unusable("there is no identifier that counts")


def visit_of(desk: CentreDesk, cookie: str) -> Visit:
    visit = desk.visit(cookie)
    assert visit is not None
    return visit


def every(shown: Choices) -> list[Switch]:
    asked = [purpose for purpose in shown.purposes if not purpose.required]
    return [one for purpose in asked for one in (purpose.switch, *purpose.channels, *purpose.categories)]


def switch_of(shown: Choices, thing: str) -> tuple[bool, bool]:
    [found] = [one for one in every(shown) if one.thing == thing]
    return found.on, found.pending


# --- requests


def test_what_a_customer_writes_is_sealed_and_gone_with_the_customer(site: Centred) -> None:
    desk, _, visit = site.come_in("user_id:ana")
    text = "My name is Annabel Leeward, born 1990-02-03"
    desk.ask(visit, "correct", text)
    [asked] = desk.requests(visit)
    assert (asked.right, asked.step, asked.text, asked.answer) == ("correct", "asked", text, "")
    assert asked.due_ms > asked.asked_ms
    assert site.keys_with(b"Annabel", b"1990-02-03") == []
    [found] = exporting.export(site.deployment, "user_id:ana")["requests"]
    assert found["text"] == text
    requests.close(site.deployment, asked.id, done=True, note="spelled with two n now")
    [closed] = desk.requests(visit)
    assert (closed.step, closed.answer) == ("done", "spelled with two n now")
    site.erase("user_id:ana")
    [kept] = [one for one in requests.everything(site.deployment, unfinished=False) if one.right == "correct"]
    assert kept.text
    assert requests.text_of(site.deployment, kept) == ""


def test_nothing_is_written_for_who_is_being_erased(site: Centred) -> None:
    desk, _, visit = site.come_in("user_id:ana")
    site.erase("user_id:ana")
    with pytest.raises(Unusable, match="erased"):
        desk.ask(visit, "correct", "too late")


# --- erasure


def test_an_erasure_is_shown_step_by_step_and_ends_with_the_receipt(site: Centred) -> None:
    desk, cookie, visit = site.come_in("user_id:ana")
    assert desk.erasure(visit) is None
    desk.erase(visit)
    begun = desk.erasure(visit)
    assert begun is not None
    assert (begun.step, begun.receipt) == ("asked", False)
    assert [step for step, at_ms in begun.steps if at_ms] == ["asked"]
    [request] = requests.of(site.deployment, visit.customer)
    site.carry_on(request)
    now = desk.visit(cookie)
    assert now is not None
    assert now.state == "erased"
    done = desk.erasure(now)
    assert done is not None
    assert (done.step, done.receipt, done.receivers) == ("done", True, [("crm", "taken")])
    assert all(at_ms for _, at_ms in done.steps)
    assert b'"receipt"' in desk.receipt(now).document
    with pytest.raises(Unusable):
        desk.choices(now)
    with pytest.raises(Unusable):
        desk.holding(now)
    with pytest.raises(Unusable):
        desk.export(now)


def test_a_link_from_before_leads_to_the_erasure(site: Centred) -> None:
    before = site.token("user_id:ana")
    site.erase("user_id:ana")
    desk = site.desk()
    visit = desk.visit(desk.enter(before))
    assert visit is not None
    assert visit.state == "erased"
    found = desk.erasure(visit)
    assert found is not None
    assert found.receipt


def test_a_link_of_who_was_part_of_an_erased_customer_leads_there_too(site: Centred) -> None:
    site.say({"anonymousId": "tablet", "event": "Product Viewed"})
    site.settle()
    token = site.token(text_id(requests.customer(site.deployment, "anonymous:tablet")))
    site.say({"type": "identify", "userId": "ana", "anonymousId": "tablet", "traits": {}})
    site.settle()
    site.erase("user_id:ana")
    desk = site.desk()
    visit = desk.visit(desk.enter(token))
    assert visit is not None
    assert visit.state == "erased"
    found = desk.erasure(visit)
    assert found is not None
    assert found.receipt


def test_what_retention_asked_is_no_erasure_of_the_customer_until_it_has_begun(site: Centred) -> None:
    desk, _, visit = site.come_in("user_id:ana")
    root = requests.customer(site.deployment, "user_id:ana")
    [asked] = requests.erasures(site.deployment, [root], by="retention")
    asked = msgspec.structs.replace(asked, id="retention-1", unheard_since_ms=1)
    site.deployment.privacy_requests.add(asked)
    assert desk.erasure(visit) is None
    with pytest.raises(Unusable, match="no erasure"):
        desk.keep(visit)
    begun = msgspec.structs.replace(asked, step=Step.DETACHED)
    assert site.deployment.privacy_requests.save(asked, begun)
    assert desk.erasure(visit) is not None


def test_an_erasure_that_joined_one_which_is_kept_no_longer_is_shown_itself(site: Centred) -> None:
    desk, _, visit = site.come_in("user_id:ana")
    root = requests.customer(site.deployment, "user_id:ana")
    [asked] = requests.erasures(site.deployment, [root], by="test")
    site.deployment.privacy_requests.add(
        msgspec.structs.replace(asked, step=Step.DONE, joined="erase-that-is-gone")
    )
    found = desk.erasure(visit)
    assert found is not None
    assert (found.id, found.receipt) == (asked.id, False)
    with pytest.raises(Unusable, match="there is no receipt"):
        desk.receipt(visit)


def test_an_erasure_without_grace_is_not_taken_back(site: Centred) -> None:
    desk, _, visit = site.come_in("user_id:ana")
    desk.erase(visit)
    with pytest.raises(Unusable, match="cannot be taken back"):
        desk.keep(visit)
    assert [one.step for one in desk.requests(visit)] == [Step.ASKED]


def test_a_backup_holds_no_session(site: Centred) -> None:
    site.come_in("user_id:ana")
    assert len(site.client.keys("mr:{centre}:*")) == 2
    kept: list[bytes] = []
    deployment = site.deployment
    Copying(deployment.client, deployment.names, "test", lambda one: kept.append(one.key)).run(4)
    assert kept
    assert [key for key in kept if key.startswith(b"{centre}")] == []


def test_how_long_a_profile_is_kept_is_what_retention_says() -> None:
    config = Config(retention=Retention(customers=Duration.parse("730d"), requests=None))
    said = {one.what: (one.until, one.values) for one in kept_for(config)}
    assert said["profile"] == ("while_heard_of", {"days": 730})
    assert said["requests"] == ("by_policy", {})
    said = {one.what: (one.until, one.values) for one in kept_for(Config())}
    assert said["profile"] == ("until_erased", {})
    assert said["requests"] == ("for_days", {"days": 1095})


def test_an_erasure_is_taken_back_before_it_begins_and_what_was_is_no_erasure(
    tmp_path: Path, redis_url: str
) -> None:
    site = Erased(tmp_path, redis_url, archive=False)
    site.file.write_text(site.file.read_text() + '[rights]\ngrace = "3d"\n')
    site.config = load(site.file)
    site.start()
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    desk = CentreDesk(site.deployment)
    [root] = site.directory.lookup([site.deployment.identifiers.hash("user_id", "ana") or b""])
    visit = Visit(text_id(root or b""), "csrf", "en", "there")
    with pytest.raises(Unusable, match="no erasure"):
        desk.keep(visit)
    desk.erase(visit)
    found = desk.erasure(visit)
    assert found is not None
    assert found.begins_ms > time.time() * 1000 + 2 * 86_400_000
    desk.keep(visit)
    assert desk.erasure(visit) is None
    assert [one.step for one in desk.requests(visit)] == ["cancelled"]
    desk.erase(visit)
    assert desk.erasure(visit) is not None


def test_what_somebody_writes_with_an_objection_is_answered_by_somebody(
    tmp_path: Path, redis_url: str
) -> None:
    site = Erased(tmp_path, redis_url, archive=False)
    site.start()
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    desk = CentreDesk(site.deployment)
    [root] = site.directory.lookup([site.deployment.identifiers.hash("user_id", "ana") or b""])
    visit = Visit(text_id(root or b""), "csrf", "en", "there")
    desk.ask(visit, "object", "no letters, please")
    resolve(site)
    assert not any(allowed(site, "user_id:ana")[one] for one in ("marketing", "sales", "personalisation"))
    [asked] = desk.requests(visit)
    assert (asked.right, asked.step, asked.text) == ("object", "asked", "no letters, please")
