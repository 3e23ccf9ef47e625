"""A yes that has to come from the customer, from the code to what counts, on a real Redis."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flows.runtime.deployment import Deployment
from flows.services.subjects import confirming, consenting
from schemas.config import Config
from schemas.config.toml import load
from schemas.errors import CodeSent, ConfigError, Unusable
from state.confirmations import TRIES
from tests.flows.services.test_consenting import resolve
from tests.subjects import Erased, identify, lines

SMS = """
[consent]
confirm_to = ["sms", "crm"]
[[connector]]
name = "sms"
type = "file"
path = "PATH/sms.jsonl"
identify = ["email"]
[[gateway.write_keys]]
key = "web-key"
source = "web"
[[gateway.write_keys]]
key = "app-key"
source = "app"
confirms = true
"""


class Confirmed(Erased):
    def _configured(self, few: int) -> Config:
        super()._configured(few)
        self.file.write_text(self.file.read_text() + SMS.replace("PATH", str(self.folder)))
        return load(self.file)


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Confirmed:
    made = Confirmed(tmp_path, redis_url, archive=False)
    made.start()
    made.say(identify("ana", "ana@example.org"), identify("bea", "bea@example.org"))
    made.settle()
    return made


def sharing(site: Confirmed, who: str = "user_id:ana") -> bool:
    return next(o.allowed for o in consenting.said(site.deployment, who).purposes if o.purpose == "sharing")


def code_of(site: Confirmed) -> str:
    return str([*lines(site.folder / "sms.jsonl")][-1]["data"]["properties"]["code"])


def test_a_code_confirms_and_is_its_own_proof(site: Confirmed) -> None:
    sent = confirming.ask(site.deployment, "user_id:ana", "sharing")
    assert sent.to == {"sms": "taken", "crm": "taken"}
    told = [*lines(site.folder / "sms.jsonl")][-1]["data"]
    assert (told["action"], told["purpose"], told["identity"]) == (
        "confirm", "service", {"email": "ana@example.org"},
    )  # fmt: skip
    proof = confirming.confirm(site.deployment, "user_id:ana", "sharing", code_of(site), by="desk")
    assert sharing(site) is False
    [event] = resolve(site)
    assert (json.loads(event)["messageId"], sharing(site), sharing(site, "user_id:bea")) == (
        proof,
        True,
        False,
    )
    assert [word.proof for word in consenting.said(site.deployment, "user_id:ana").words] == [proof]
    with pytest.raises(Unusable, match="there is no code"):
        confirming.confirm(site.deployment, "user_id:ana", "sharing", code_of(site), by="desk")


def test_a_yes_that_nobody_confirmed_counts_for_nothing_and_a_no_at_once(site: Confirmed) -> None:
    site.say(identify("ana", "ana@example.org", traits={"consent.sharing": True}))
    banner = {"consent": {"categoryPreferences": {"sale_or_sharing": True, "sharing.sms": True}}}
    site.say({"event": "Product Viewed", "userId": "ana", "context": banner})
    consenting.say(site.deployment, "user_id:ana", {"sharing": True}, by="desk")
    resolve(site)
    assert sharing(site) is False
    assert consenting.said(site.deployment, "user_id:ana").words == []
    confirming.ask(site.deployment, "user_id:ana", "sharing")
    confirming.confirm(site.deployment, "user_id:ana", "sharing", code_of(site), by="desk")
    resolve(site)
    assert sharing(site) is True
    consenting.say(site.deployment, "user_id:ana", {"sharing": False}, by="desk")
    resolve(site)
    assert sharing(site) is False


@pytest.mark.parametrize(("source", "counts"), [("app", True), ("web", False)])
def test_an_app_that_has_asked_the_customer_confirms(site: Confirmed, source: str, counts: bool) -> None:
    site.say(identify("ana", "ana@example.org", traits={"consent.sharing": True}), source=source)
    assert sharing(site) is counts


def test_who_says_that_it_is_confirmed_is_not_believed(site: Confirmed) -> None:
    said = {"traits": {"consent.sharing": True}, "context": {"confirmed": True}}
    site.say(identify("ana", "ana@example.org", **said))
    assert sharing(site) is False


def test_a_wrong_code_is_refused_and_after_a_few_the_right_one_too(site: Confirmed) -> None:
    confirming.ask(site.deployment, "user_id:ana", "sharing")
    right = code_of(site)
    wrong = f"{(int(right) + 1) % 1_000_000:06}"

    def said(code: str, who: str = "user_id:ana") -> str:
        with pytest.raises(Unusable) as raised:
            confirming.confirm(site.deployment, who, "sharing", code, by="desk")
        return str(raised.value)

    assert "there is no code" in said(right, "user_id:bea")
    assert ["this is not" in said(wrong) for _ in range(TRIES)] == [True] * TRIES
    assert "there is no code" in said(right)
    with pytest.raises(CodeSent):  # the minute is not over
        confirming.ask(site.deployment, "user_id:ana", "sharing")


def test_a_code_that_was_used_is_followed_by_no_other_one_at_once(site: Confirmed) -> None:
    confirming.ask(site.deployment, "user_id:ana", "sharing")
    confirming.confirm(site.deployment, "user_id:ana", "sharing", code_of(site), by="desk")
    with pytest.raises(CodeSent):
        confirming.ask(site.deployment, "user_id:ana", "sharing")
    with pytest.raises(Unusable, match="there is no code"):
        confirming.confirm(site.deployment, "user_id:ana", "sharing", code_of(site), by="desk")


def test_of_several_who_ask_at_once_one_is_sent_a_code(site: Confirmed) -> None:
    made = [site.deployment for _ in range(8)]
    roots = {consenting.known(one, "user_id:ana") for one in made}  # all are connected before they begin
    assert len(roots) == 1
    together = threading.Barrier(len(made))

    def ask(deployment: Deployment) -> bool:
        together.wait()
        try:
            confirming.ask(deployment, "user_id:ana", "sharing")
        except CodeSent:
            return False
        return True

    with ThreadPoolExecutor(len(made)) as pool:
        assert sum(pool.map(ask, made)) == 1
    assert len([*lines(site.folder / "sms.jsonl")]) == 1
    confirming.confirm(site.deployment, "user_id:ana", "sharing", code_of(site), by="desk")


def test_a_code_expires_and_one_a_minute_is_sent(site: Confirmed) -> None:
    confirming.ask(site.deployment, "user_id:ana", "sharing")
    with pytest.raises(Unusable, match="a code was sent"):
        confirming.ask(site.deployment, "user_id:ana", "sharing")
    [key] = [*site.client.scan_iter(match="*:code:*")]
    assert 890 <= site.client.ttl(key) <= 900  # type: ignore[operator]
    assert code_of(site).encode() not in site.client.hgetall(key).values()  # type: ignore[union-attr]
    site.client.expire(key, 800)  # as if some time had gone by
    confirming.ask(site.deployment, "user_id:ana", "sharing")
    site.client.delete(key)
    with pytest.raises(Unusable, match="there is no code"):
        confirming.confirm(site.deployment, "user_id:ana", "sharing", code_of(site), by="desk")


def test_what_cannot_be_confirmed_is_said(site: Confirmed, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"expected a purpose that needs a confirmation \(sharing\)"):
        confirming.ask(site.deployment, "user_id:ana", "marketing")
    with pytest.raises(Unusable, match="nobody is known"):
        confirming.ask(site.deployment, "user_id:zoe", "sharing")
    for name in ("sms", "crm"):
        (site.folder / f"{name}.jsonl").unlink(missing_ok=True)
        (site.folder / f"{name}.jsonl").mkdir()
    with pytest.raises(Unusable, match="no code was sent: crm: file"):
        confirming.ask(site.deployment, "user_id:ana", "sharing")
    assert [*site.client.scan_iter(match="*:code:*")] == []
    file = tmp_path / "x.toml"
    file.write_text(f'[data]\nfolder = "{tmp_path}"\n[consent]\nconfirm_to = ["pigeon"]\n')
    with pytest.raises(ConfigError, match=r"consent.confirm_to\[0\]"):
        load(file)


def test_a_yes_beside_one_that_needs_a_confirmation_counts(site: Confirmed) -> None:
    words: dict[str, Any] = {"consent.sharing": True, "consent.marketing": True}
    site.say(identify("ana", "ana@example.org", traits=words))
    assert [word.thing for word in consenting.said(site.deployment, "user_id:ana").words] == ["marketing"]
