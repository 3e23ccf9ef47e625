"""The pages of the privacy centre over HTTP: who gets in, what is refused, what headers and log say."""

from collections.abc import Iterator
from typing import Literal

import msgspec
import pytest
from structlog.testing import capture_logs

from connectors.centre import centre_routes, routes
from connectors.centre.routes import LINK, ROOT, TEXT_MAX
from schemas.config import Gateway
from schemas.errors import LogFull, Unreachable, Unusable
from tests.connectors.centre_kit import (
    ANA,
    CONFIG,
    COOKIE,
    GOOD,
    NOW,
    Browser,
    MemoryCentre,
    erasure,
    text_of,
)

PAGES = ["", "choices", "data", "download", "requests", "erase", "erase/confirm"]
FILES = ["download/data.json", "download/data.html", "erase/receipt.json"]
ACTS = {
    "mode": {"mode": "basic"},
    "choices": {"switch": "marketing=no"},
    "choices/code": {"of": "sharing", "code": "123456"},
    "requests": {"right": "correct", "text": "my name has two n"},
    "erase": {"sure": "yes"},
    "erase/back": {},
    "language": {"lang": "zh", "here": ""},
    "leave": {},
}
CHANGES = ("choose", "switch", "confirm", "ask", "erase", "keep", "speak", "leave")


@pytest.fixture
def centre() -> MemoryCentre:
    return MemoryCentre()


@pytest.fixture
def outside(centre: MemoryCentre) -> Iterator[Browser]:
    browser = Browser(centre)
    yield browser
    browser.client.close()


@pytest.fixture
def browser(outside: Browser) -> Browser:
    return outside.come_in()


def changed(centre: MemoryCentre) -> list[str]:
    return [one[0] for one in centre.done if one[0] in CHANGES]


# --- who gets in


def test_a_link_that_is_looked_at_is_not_used_up(outside: Browser, centre: MemoryCentre) -> None:
    """Programs that look into messages for people follow links."""
    for _ in range(3):
        answer = outside.get(f"{LINK}/{GOOD}")
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
    assert ("enter",) not in centre.done


def test_the_cookie_is_for_no_script_and_no_other_site(outside: Browser) -> None:
    stated = outside.post(f"{LINK}/{GOOD}", {}).headers["set-cookie"]
    assert stated == f"millrace-centre={COOKIE}; HttpOnly; Path=/; SameSite=strict"


def test_behind_https_the_cookie_is_sent_by_https_alone(centre: MemoryCentre) -> None:
    config = msgspec.structs.replace(CONFIG, gateway=Gateway(public_url="https://data.example.com"))
    browser = Browser(centre, config)
    stated = browser.post(f"{LINK}/{GOOD}", {}).headers["set-cookie"]
    assert stated == f"__Host-millrace-centre={COOKIE}; HttpOnly; Path=/; SameSite=strict; Secure"
    assert browser.get("").status_code == 200
    browser.client.close()


@pytest.mark.parametrize(
    ("token", "status"), [("forged", 404), ("expired", 410), ("used", 410), ("x" * 9_000, 404)]
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_link_that_lets_nobody_in_says_why_in_both_languages(
    outside: Browser, method: str, token: str, status: int
) -> None:
    path = f"{LINK}/{token}"
    answer = outside.get(path) if method == "get" else outside.post(path, {})
    assert answer.status_code == status
    assert "set-cookie" not in answer.headers
    assert "Ask for" in text_of(answer) or "ask for" in text_of(answer)
    assert "链接" in text_of(answer)
    chinese = outside.get(path, accept_language="fr, zh-CN;q=0.9, en;q=0.1")
    assert text_of(chinese).index("链接") < text_of(chinese).index("link")
    assert '<html lang="zh-CN">' in chinese.text


@pytest.mark.parametrize("page", [*PAGES, *FILES])
@pytest.mark.parametrize("cookie", ["", "millrace-centre=", "millrace-centre=wrong", f"other={COOKIE}"])
def test_without_a_session_nothing_is_told(
    outside: Browser, centre: MemoryCentre, page: str, cookie: str
) -> None:
    centre.seen = ANA
    answer = outside.get(page, **({"cookie": cookie} if cookie else {}))
    assert answer.status_code == 401
    assert "example.org" not in answer.text
    assert {one[0] for one in centre.done} <= {"visit"}


@pytest.mark.parametrize("act", ACTS)
def test_without_a_session_nothing_is_done(outside: Browser, centre: MemoryCentre, act: str) -> None:
    centre.seen = ANA
    assert outside.post(act, ACTS[act]).status_code == 401
    assert changed(centre) == []


def test_who_comes_in_by_another_link_leaves_the_former_visit(browser: Browser, centre: MemoryCentre) -> None:
    browser.come_in()
    browser.post(f"{LINK}/{GOOD}", {})
    assert ("leave", COOKIE) in centre.done


def test_who_has_used_a_link_up_is_in_though_the_former_visit_cannot_be_ended(
    browser: Browser, centre: MemoryCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: str) -> None:
        raise Unreachable("away")

    monkeypatch.setattr(centre, "leave", away)
    browser.come_in()
    assert browser.get("").status_code == 200


# --- forms


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("csrf", ["", "wrong", "secret ", "秘密"])
def test_a_form_without_what_its_page_put_into_it_changes_nothing(
    browser: Browser, centre: MemoryCentre, act: str, csrf: str
) -> None:
    answer = browser.post(act, ACTS[act] | {"csrf": csrf})
    assert answer.status_code == 400
    assert "Nothing was changed" in text_of(answer)
    assert changed(centre) == []


@pytest.mark.parametrize("act", [*ACTS, f"{LINK}/{GOOD}"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_form_that_another_site_sent_changes_nothing(
    browser: Browser, centre: MemoryCentre, act: str, site: str
) -> None:
    answer = browser.post(act, ACTS.get(act, {}), sec_fetch_site=site)
    assert answer.status_code == 403
    assert changed(centre) == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"x" * 40_000, "application/x-www-form-urlencoded", 413),
        (b"a=1&" * 40, "application/x-www-form-urlencoded", 400),
        (b"csrf=\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b'{"csrf": "secret"}', "application/json", 400),
        (b"csrf=secret&sure=yes", "text/plain", 400),
        (b"", "", 400),
    ],
)
def test_what_no_browser_of_ours_sends_is_refused(
    browser: Browser, centre: MemoryCentre, body: bytes, kind: str, status: int
) -> None:
    answer = browser.post("erase", body, content_type=kind)
    assert answer.status_code == status
    assert changed(centre) == []


def test_acts_are_not_done_by_a_link(browser: Browser, centre: MemoryCentre) -> None:
    for act, form in ACTS.items():
        query = "&".join(f"{name}={value}" for name, value in (form | {"csrf": ANA.csrf}).items())
        browser.get(f"{ROOT}/{act}?{query}")
    assert changed(centre) == []


# --- what is done


@pytest.mark.parametrize("saved", ["now", "soon"])
def test_choices_are_redirected_to_a_page_that_says_whether_they_hold(
    browser: Browser, centre: MemoryCentre, saved: Literal["now", "soon"]
) -> None:
    centre.noted = saved
    said = {"now": "Saved.", "soon": "takes effect within seconds"}[saved]
    answer = browser.post("mode", {"mode": "basic+marketing"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{ROOT}?saved={saved}")
    assert said in text_of(browser.get(answer.headers["location"]))
    answer = browser.post("choices", {"switch": "marketing.sms=no"})
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{ROOT}/choices?saved={saved}&opened=marketing#s-marketing.sms"
    assert [one for one in centre.done if one[0] in CHANGES] == [
        ("choose", "basic+marketing"),
        ("switch", "marketing.sms", False),
    ]


@pytest.mark.parametrize("form", [{"mode": "all"}, {}, {"mode": "<b>"}])
def test_a_mode_that_is_none(browser: Browser, centre: MemoryCentre, form: dict[str, str]) -> None:
    assert browser.post("mode", form).status_code == 400
    assert changed(centre) == []


@pytest.mark.parametrize("switch", ["service=no", "marketing", "marketing=perhaps", "=yes", ""])
def test_a_switch_that_is_none(browser: Browser, centre: MemoryCentre, switch: str) -> None:
    assert browser.post("choices", {"switch": switch}).status_code == 400
    assert changed(centre) == []


def test_a_switch_that_needs_a_code_leads_to_where_it_is_entered(
    browser: Browser, centre: MemoryCentre
) -> None:
    centre.noted = "code"
    where = f"{ROOT}/choices/code?of=marketing"
    assert browser.post("choices", {"switch": "marketing=yes"}).headers["location"] == where
    partial = browser.post("choices", {"switch": "marketing=yes"}, hx_request="true")
    assert partial.headers["hx-redirect"] == where
    assert "Confirm that it is you" in text_of(browser.get("choices/code?of=sharing"))
    for purpose in ("nothing", "service", "marketing"):  # the last one takes no code: none was sent
        assert browser.get(f"choices/code?of={purpose}").status_code == 404
    wrong = browser.post("choices/code", {"of": "sharing", "code": "000000"})
    assert wrong.status_code == 422
    assert "Nothing was changed" in text_of(wrong)
    assert browser.post("choices/code", {"of": "marketing", "code": "123456"}).status_code == 400
    right = browser.post("choices/code", {"of": "sharing", "code": " 123456 "})
    assert right.headers["location"] == f"{ROOT}/choices?saved=now&opened=sharing#s-sharing"


def test_htmx_gets_the_page_instead_of_a_redirect(browser: Browser) -> None:
    answer = browser.post("choices", {"switch": "marketing=no"}, hx_request="true")
    assert answer.status_code == 200
    assert 'id="f-2"' in answer.text
    assert "Saved." in answer.text


def test_a_request_is_passed_on_as_it_was_written(browser: Browser, centre: MemoryCentre) -> None:
    text = "我的名字是 <b>李安娜</b>\r\nline two\x00\x07"
    answer = browser.post("requests", {"right": "correct", "text": text})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{ROOT}/requests?saved=now")
    assert ("ask", "correct", "我的名字是 <b>李安娜</b>\nline two") in centre.done


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("李\u3000安娜", "李 安娜"),
        ("10\u00a0kg\tnow\u2028then", "10 kg now then"),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\u202eb\u2066c\u2069d\x00\x1b", "abcd"),
    ],
)
def test_what_belongs_to_a_script_stays_as_it_was_typed(
    browser: Browser, centre: MemoryCentre, typed: str, kept: str
) -> None:
    browser.post("requests", {"right": "correct", "text": typed})
    assert ("ask", "correct", kept) in centre.done


def test_a_request_of_which_nothing_can_be_seen_is_none(browser: Browser, centre: MemoryCentre) -> None:
    answer = browser.post("requests", {"right": "correct", "text": "\u200b\u3000\u200d"})
    assert (answer.status_code, changed(centre)) == (422, [])


@pytest.mark.parametrize("letter", ["数", "🍵"])
def test_a_request_may_be_as_long_in_every_script(
    browser: Browser, centre: MemoryCentre, letter: str
) -> None:
    answer = browser.post("requests", {"right": "correct", "text": letter * TEXT_MAX})
    assert answer.status_code == 303
    assert ("ask", "correct", letter * TEXT_MAX) in centre.done


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"right": "erase", "text": "x"}, "Choose what you ask for."),
        ({"text": "kept words"}, "Choose what you ask for."),
        ({"right": "move", "text": " \n "}, "Write what it is about."),
        ({"right": "move", "text": "x" * (TEXT_MAX + 1)}, "Write at most 2,000 characters."),
    ],
)
def test_a_request_that_lacks_something_says_what(
    browser: Browser, centre: MemoryCentre, form: dict[str, str], said: str
) -> None:
    answer = browser.post("requests", form)
    assert answer.status_code == 422
    assert said in text_of(answer)
    assert form["text"].strip() in answer.text  # nobody has to write it again
    assert changed(centre) == []


def test_an_erasure_takes_a_yes(browser: Browser, centre: MemoryCentre) -> None:
    answer = browser.post("erase", {})
    assert answer.status_code == 422
    assert "Nothing was erased" in text_of(answer)
    assert changed(centre) == []
    answer = browser.post("erase", {"sure": "yes"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{ROOT}/erase")
    assert changed(centre) == ["erase"]
    assert "goes on by itself" in text_of(browser.get("erase"))
    assert browser.get("erase/confirm").headers["location"] == f"{ROOT}/erase"


def test_who_was_erased_is_told_so_and_gets_the_receipt(browser: Browser, centre: MemoryCentre) -> None:
    centre.seen = msgspec.structs.replace(ANA, state="erased")
    centre.found_erasure = erasure("done")
    for page in ("", "choices", "data", "download", "requests", "download/data.json"):
        answer = browser.get(page)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{ROOT}/erase")
    assert browser.post("mode", {"mode": "basic"}).headers["location"] == f"{ROOT}/erase"
    assert changed(centre) == []
    assert "Your data was erased" in text_of(browser.get("erase"))
    receipt = browser.get("erase/receipt.json")
    assert (receipt.content, receipt.headers["x-receipt-key"]) == (b'{"receipt": {}}', "key")
    assert (
        browser.post("mode", {"mode": "basic"}, hx_request="true").headers["hx-redirect"] == f"{ROOT}/erase"
    )


def test_who_is_nobody_any_more_is_told_so(browser: Browser, centre: MemoryCentre) -> None:
    centre.seen = msgspec.structs.replace(ANA, state="unknown")
    assert browser.get("").headers["location"] == f"{ROOT}/erase"
    assert "Nothing is held about you" in text_of(browser.get("erase"))


def test_what_cannot_be_done_leads_round_in_no_circle(browser: Browser, centre: MemoryCentre) -> None:
    centre.error = Unusable("no identifier counts")
    for state in ("there", "erased", "unknown"):
        centre.seen = msgspec.structs.replace(ANA, state=state)
        assert browser.get("erase").status_code == 409
    centre.seen = ANA
    assert browser.post("mode", {"mode": "basic"}).status_code == 409


@pytest.mark.parametrize("error", [Unreachable("away"), LogFull("full")])
@pytest.mark.parametrize("page", ["", "data", f"{LINK}/{GOOD}"])
def test_a_state_that_is_away_is_said_so(
    browser: Browser, centre: MemoryCentre, page: str, error: Exception
) -> None:
    centre.error = error
    answer = browser.get(page)
    assert answer.status_code == 503
    assert "Try again in a moment" in text_of(answer)


def test_leaving_ends_the_visit(browser: Browser, centre: MemoryCentre) -> None:
    answer = browser.post("leave", {})
    assert "You have left" in text_of(answer)
    assert 'millrace-centre=""; expires=' in answer.headers["set-cookie"]
    assert ("leave", COOKIE) in centre.done


def test_the_language_is_remembered(browser: Browser, centre: MemoryCentre) -> None:
    answer = browser.post("language", {"lang": "zh", "here": "data"})
    assert answer.headers["location"] == f"{ROOT}/data"
    page = browser.get("data")
    assert '<html lang="zh-CN">' in page.text
    assert page.headers["content-language"] == "zh-CN"
    for here in ("//evil.example", "https://evil.example", "../x", "nowhere"):
        assert browser.post("language", {"lang": "en", "here": here}).headers["location"] == ROOT
    browser.post("language", {"lang": "fr"})
    assert ("speak", "fr") not in centre.done


# --- what every answer has


def test_every_answer_is_kept_by_nobody_and_shown_in_no_frame(browser: Browser, centre: MemoryCentre) -> None:
    centre.found_erasure = erasure("done")
    answers = [browser.get(page) for page in [*PAGES, *FILES, "nowhere", f"{LINK}/{GOOD}", f"{LINK}/x"]]
    answers += [browser.post(act, form) for act, form in ACTS.items()]
    answers.append(browser.get(""))
    browser.come_in()
    answers += [browser.post("erase", b"x" * 40_000), browser.post("mode", {"csrf": "x"})]
    assert {answer.status_code for answer in answers} >= {200, 303, 400, 401, 404}
    for answer in answers:
        said = answer.headers
        assert said["cache-control"] == "no-store"
        assert said["referrer-policy"] == "no-referrer"
        assert said["x-content-type-options"] == "nosniff"
        policy = dict(part.strip().split(" ", 1) for part in said["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert "unsafe" not in said["content-security-policy"]


def test_no_page_has_a_script_or_a_style_of_its_own(browser: Browser, centre: MemoryCentre) -> None:
    for page in [*PAGES, "nowhere"]:
        text = browser.get(page).text
        assert text.count("<script") == 1
        assert "></script>" in text
        for inline in ("<style", " style=", " onclick", " onload", "javascript:"):
            assert inline not in text


def test_what_is_held_is_never_markup(browser: Browser) -> None:
    data, requests = browser.get("data").text, browser.get("requests").text
    assert "<script>x" not in data
    assert "&lt;script&gt;x&lt;/script&gt;" in data
    assert "&lt;i&gt;words&lt;/i&gt;" in requests
    assert "Lindenhof &lt;Tea&gt;" in data
    opened = browser.get(f"{ROOT}/choices?opened=%22%3E%3Cscript%3E&saved=%3Cb%3E").text
    assert opened.count("<script") == 1


def test_no_other_page_reads_it_whatever_may_send_events(browser: Browser) -> None:
    for page in ("", "data", "download/data.json", "nowhere"):
        answer = browser.get(page, origin="https://shop.example")
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_files_are_downloaded_and_not_shown(browser: Browser) -> None:
    for page, name in (("download/data.json", "my-data.json"), ("download/data.html", "my-data.html")):
        assert browser.get(page).headers["content-disposition"] == f'attachment; filename="{name}"'


def test_a_slash_at_the_end_is_the_same_page(browser: Browser) -> None:
    for path in (f"{ROOT}/", f"{ROOT}/data/", f"{ROOT}/data//"):
        answer = browser.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, path.rstrip("/"))
    answer = browser.get(f"{ROOT}/数据 a/")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{ROOT}/%E6%95%B0%E6%8D%AE%20a")
    assert browser.get(f"{ROOT}/mode").status_code == 404


def test_what_a_page_loads_is_kept_for_ever_and_under_its_own_name(browser: Browser) -> None:
    import re

    for url in re.findall(r'(?:src|href)="(/assets/[^"]+)"', browser.get("").text):
        answer = browser.get(url)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert browser.get("/assets/000000000000/style.css").status_code == 404
    assert browser.get("/assets/000000000000/..%2f..%2fpages.py").status_code == 404


# --- limits, and the log


def test_who_asks_too_often_is_told_to_wait(browser: Browser) -> None:
    codes = [browser.get("download/data.json").status_code for _ in range(9)]
    assert (codes[:6], codes[-2:]) == ([200] * 6, [429] * 2)
    assert browser.get("").status_code == 200
    answers = [browser.post("choices", {"switch": "marketing=no"}) for _ in range(45)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_links_cannot_be_tried_by_the_hundred(outside: Browser) -> None:
    codes = [outside.get(f"{LINK}/wrong{n}").status_code for n in range(70)]
    assert codes[:60] == [404] * 60
    assert codes[-1] == 429


def test_few_exports_at_once(centre: MemoryCentre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_EXPORTING_MAX", 0)
    browser = Browser(centre).come_in()
    assert browser.get("download/data.json").status_code == 429
    browser.client.close()


def test_the_rates_of_many_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_REMEMBERED_MAX", 10)
    rates = routes._Rates(1)
    for n in range(100):
        rates.wait_s(str(n))
    assert [*rates._buckets] == [str(n) for n in range(90, 100)]
    assert rates.wait_s("99", 5) == 0
    assert rates.wait_s("99") > 0
    assert rates.wait_s("98") == 0


def test_the_log_says_what_was_done_and_of_nobody(browser: Browser, centre: MemoryCentre) -> None:
    with capture_logs() as logs:
        browser.get(f"{LINK}/expired")
        browser.post(f"{LINK}/{GOOD}", {})
        centre.seen = ANA
        for act, form in ACTS.items():
            browser.post(act, form)
            centre.seen = ANA
            browser.cookie = f"millrace-centre={COOKIE}"
        browser.get("download/data.json")
    assert [entry["event"] for entry in logs] == [
        "centre_refused",
        "centre_entered",
        "centre_chose",
        "centre_chose",
        "centre_confirmed",
        "centre_asked",
        "centre_erase",
        "centre_erase_back",
        "centre_exported",
    ]
    for secret in (ANA.customer, ANA.csrf, COOKIE, GOOD + "'", "two n", "123456"):
        assert secret not in str(logs)


def test_the_centre_has_no_route_where_it_is_off() -> None:
    from tests.connectors.gateway_kit import gateway

    with gateway() as client:
        assert client.get(ROOT).status_code == 404
    assert len(centre_routes(CONFIG, MemoryCentre())) > 10


def test_an_erasure_that_has_not_begun_can_be_taken_back(browser: Browser, centre: MemoryCentre) -> None:
    centre.found_erasure = erasure("asked")
    assert "/erase/back" not in browser.get("erase").text
    centre.found_erasure = erasure("asked", NOW)
    waiting = browser.get("erase").text
    assert "Take it back, keep my data" in waiting
    assert waiting.count("Your data will be erased") == 2  # its title, and its heading
    assert "is being erased" not in waiting
    assert browser.post("erase/back", {"csrf": "wrong"}).status_code == 400
    assert ("keep",) not in centre.done
    assert browser.post("erase/back", {}).headers["location"] == "/privacy/erase"
    assert ("keep",) in centre.done


def test_a_page_that_asks_by_itself_keeps_no_visit_alive(browser: Browser, centre: MemoryCentre) -> None:
    centre.found_erasure = erasure("settled")
    page = browser.get("erase").text
    assert 'id="erasing" hx-get="/privacy/erase" hx-trigger="every' in page
    assert centre.renewed
    browser.get("erase", hx_request="true", hx_trigger="erasing")
    assert not centre.renewed
    browser.get("erase")
    assert centre.renewed


def test_while_an_erasure_waits_to_begin_no_page_asks_by_itself(
    browser: Browser, centre: MemoryCentre
) -> None:
    centre.found_erasure = erasure("asked", NOW)
    assert "hx-trigger" not in browser.get("erase").text
