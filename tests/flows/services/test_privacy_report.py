"""The report on personal data: it counts what is there, on a real Redis, and names nobody."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli.main import app
from flows.services.pages.privacy_page import page
from flows.services.privacy_report import plain, report
from flows.services.retention import holds
from flows.services.retention.classes import classes
from flows.services.subjects import requests
from schemas.config import Config
from schemas.records.privacy_requests import Step
from tests.flows.services.test_retention import Kept
from tests.subjects import identify, viewed

DAY_MS = 86_400_000
NAMES = ("ana", "bea", "cho", "dan", "eve")


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Kept:
    made = Kept(tmp_path, redis_url, 'customers = "30d"\ngrace = "1ms"', archive=False)
    made.start()
    made.say(*(identify(name, f"{name}@example.org", anonymousId=f"{name}-phone") for name in NAMES))
    made.settle()
    return made


def says(user: str, **words: object) -> dict[str, object]:
    return {
        "type": "identify",
        "userId": user,
        "traits": {f"consent.{thing.replace('__', '.')}": word for thing, word in words.items()},
    }


def test_each_customer_counts_once_by_what_counts_now(site: Kept) -> None:
    site.say(says("ana", mode="basic"), says("bea", marketing=True), says("cho", marketing=True))
    site.say(says("bea", marketing=False), says("dan", mode="basic+marketing"))
    # two origins of one customer have both said something
    site.say(
        viewed(anonymousId="dans-tablet") | {"context": {"consent": {"categoryPreferences": {"sms": False}}}}
    )
    site.say(viewed(userId="dan", anonymousId="dans-tablet"))
    site.settle()
    found = report(site.deployment).consents
    counted = {one.name: (one.yes, one.no) for one in found.purposes}
    assert found.customers == 4
    assert counted["marketing"] == (2, 2)
    assert counted["personalisation"] == (0, 2)
    assert counted["sharing"] == (0, 0)
    assert found.modes == {"basic": 1, "basic+marketing": 1}
    [marketing] = [one for one in found.purposes if one.name == "marketing"]
    assert (marketing.before, marketing.required) == ("opt_out", False)
    assert "trigger viewed" in marketing.used_by


def test_clocks_say_what_is_late_and_how_long_it_took(site: Kept) -> None:
    deployment = site.deployment
    first = requests.ask(deployment, "correct", "user_id:ana", by="test").request
    second = requests.ask(deployment, "correct", "user_id:bea", by="test").request
    requests.ask(deployment, "complain", "user_id:cho", by="test")
    store = deployment.privacy_requests
    done = msgspec.structs.replace(
        first, step=Step.DONE, times=first.times | {Step.DONE: first.due_ms + DAY_MS}
    )
    assert store.save(first, done, finished=True)
    [complaint, correction] = report(deployment, second.due_ms - DAY_MS).clocks
    assert (correction.in_time, correction.soon, correction.overdue) == (1, 1, 0)
    assert (correction.done, correction.late) == (1, 1)
    assert correction.median_days == pytest.approx((first.due_ms - first.asked_ms) / DAY_MS + 1, abs=0.01)
    assert complaint.median_days is None
    [complaint, correction] = report(deployment, second.due_ms + 1_000).clocks
    assert (complaint.overdue, correction.overdue, correction.in_time) == (1, 1, 0)


def test_what_was_taken_back_is_closed_and_counts_as_no_answer(site: Kept) -> None:
    deployment, store = site.deployment, site.deployment.privacy_requests
    for asked in (
        requests.ask(deployment, "correct", "user_id:ana", by="test").request,
        requests.erase(deployment, "user_id:bea", by="test").request,
    ):
        times = asked.times | {Step.CANCELLED: asked.due_ms + DAY_MS}
        cancelled = msgspec.structs.replace(asked, step=Step.CANCELLED, times=times)
        assert store.save(asked, cancelled, finished=True)
        found = report(deployment, asked.due_ms + 2 * DAY_MS)
        [clock] = [one for one in found.clocks if one.right == asked.right]
        assert (clock.in_time, clock.overdue, clock.done, clock.late) == (0, 0, 0, 0)
        assert clock.median_days is None
    assert found.erasures.under_way == 0


def test_erasures_are_counted_by_who_asked_and_their_receipts_verified(site: Kept) -> None:
    done = site.erase("user_id:ana")
    site.pass_days(31)
    site.sweep()
    site.carry_all_on()
    holds_before = report(site.deployment).erasures
    assert (holds_before.asked_by_customers, holds_before.asked_by_retention) == (1, 4)
    assert (holds_before.receipts, holds_before.genuine, holds_before.under_way) == (5, 5, 0)
    [crm] = report(site.deployment).recipients
    assert (crm.name, crm.knows, crm.answers) == ("crm", ("user_id", "email"), {"taken": 5})
    forged = msgspec.structs.replace(done, receipt=done.receipt.replace(b'"deployment"', b'"Deployment"'))
    assert forged.receipt != done.receipt
    assert site.deployment.privacy_requests.save(done, forged)
    found = report(site.deployment)
    assert (found.erasures.receipts, found.erasures.genuine) == (5, 4)
    assert "Receipts that do not verify: 1" in page(found, "en")


def test_it_says_what_has_no_end_and_what_the_last_sweep_did(site: Kept) -> None:
    found = report(site.deployment).retention
    assert (found.last_pass_ms, found.behind) == (0, False)
    site.pass_days(31)
    site.sweep()
    kept = report(site.deployment).retention
    [profiles] = [one for one in kept.classes if one.name == "profiles"]
    assert profiles.swept is not None
    assert (profiles.swept.removed, profiles.ends, kept.customers) == (5, "age", 5)
    assert kept.without_end == ["marks", "machinery"]
    without = {one.name for one in classes(Config()) if one.ends == "none"}
    assert without == {"profiles", "marks", "machinery"}


def test_it_names_nobody_in_any_form(site: Kept) -> None:
    site.say(says("ana", mode="basic"), {"userId": "ana", "messageId": "bad"})
    site.settle()
    holds.hold(site.deployment, "user_id:cho", by="test", note="Cho called")
    requests.ask(site.deployment, "complain", "user_id:bea", by="test", note="bea@example.org rang")
    site.erase("user_id:ana")
    site.pass_days(31)
    site.sweep()
    site.carry_all_on()
    deployment = site.deployment
    found = report(deployment)
    shown = "".join(
        (page(found, "en"), page(found, "zh"), msgspec.json.encode(plain(found)).decode())
    ).lower()
    hashed = [
        deployment.identifiers.hash(namespace, value)
        for name in NAMES
        for namespace, value in (
            ("user_id", name),
            ("email", f"{name}@example.org"),
            ("anonymous", f"{name}-phone"),
        )
    ]
    origins = [origin for one in deployment.privacy_requests.everything() for origin in one.origins]
    for name in NAMES:
        assert f"{name}@" not in shown
        assert f"{name}-phone" not in shown
        assert f'"{name}"' not in shown
        assert f">{name}<" not in shown
    for one in filter(None, (*hashed, *origins)):
        assert one.hex() not in shown
    assert "cho called" not in shown
    assert "rang" not in shown.replace("range", "")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_is_in_one_language_and_escapes_what_the_configuration_says(site: Kept, lang: str) -> None:
    config = site.file.read_text()
    assert 'identify = ["user_id", "email"]' in config
    odd = config.replace('"email"]', '"email", "<b>odd</b>"]')
    site.file.write_text(odd + '\n[privacy]\nsensitive = ["email", "<b>odd</b>"]\n')
    written = site.folder / "page.html"
    ran = CliRunner().invoke(
        app, ["privacy", "report", "--html", str(written), "--lang", lang, "-c", str(site.file)]
    )
    assert ran.exit_code == 0, ran.output
    text = written.read_text()
    assert f'<html lang="{lang}">' in text
    assert "<b>odd" not in text
    assert "&lt;b&gt;odd&lt;/b&gt;" in text
    wanted = {"en": "How long things are kept", "zh": "保存期限"}
    assert wanted[lang] in text
    assert wanted["zh" if lang == "en" else "en"] not in text


def test_the_command_prints_it_and_ends_with_1_where_something_is_late(site: Kept) -> None:
    def run(*more: str) -> Result:
        return CliRunner().invoke(
            app, ["privacy", "report", *more, "-c", str(site.file)], standalone_mode=False
        )

    ran = run()
    assert ran.return_value == 0, ran.output
    assert "no sweep has come to its end yet" in ran.output
    asked = requests.ask(site.deployment, "correct", "user_id:ana", by="test").request
    late = msgspec.structs.replace(asked, due_ms=asked.asked_ms - 1)
    assert site.deployment.privacy_requests.save(asked, late)
    ran = run("--json")
    assert ran.return_value == 1
    found = msgspec.json.decode(ran.output)
    assert [one["overdue"] for one in found["clocks"]] == [1]


def test_each_key_in_redis_is_of_one_class(
    tmp_path: Path, redis_url: str, everything: Callable[[Kept], None]
) -> None:
    made = Kept(tmp_path, redis_url, 'customers = "30d"', archive=True)
    made.start()
    everything(made)
    prefixes = {begin: one.name for one in classes(made.config) for begin in one.keys}
    shards = [f"{{s{number:02d}}}:" for number in range(made.config.shards.count)]
    lost, seen = [], set[str]()
    for key in made.client.scan_iter(match="mr:*", count=1_000):
        name = key[3:].decode("latin-1")
        for shard in shards:
            name = name.replace(shard, "{s}:", 1)
        found = [
            begin for begin in prefixes if name == begin or (begin.endswith(":") and name.startswith(begin))
        ]
        # the longest is meant
        if not found:
            lost.append(name)
        else:
            seen.add(prefixes[max(found, key=len)])
    assert lost == []
    assert {"profiles", "sealed", "identities", "consents", "requests", "holds", "dead_letters"} <= seen


@pytest.fixture
def everything() -> Callable[[Kept], None]:
    """Has much of what a deployment can have done."""

    def do(site: Kept) -> None:
        site.say(*(identify(name, f"{name}@example.org") for name in NAMES), says("bea", mode="basic"))
        site.say(viewed(anonymousId="phone"), {"userId": "ana", "messageId": "bad"})
        site.say(viewed(anonymousId="phone", userId="bea"), viewed(userId="cho"))
        site.tick()
        site.settle()
        holds.hold(site.deployment, "user_id:cho", by="test")
        site.erase("user_id:ana")
        requests.ask(site.deployment, "complain", "user_id:bea", by="test")
        site.window(20)
        site.settle()
        site.sweep()

    return do
