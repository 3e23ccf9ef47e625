"""The texts of the pages: both languages say everything, and nothing lies there that no page says."""

import re
from base64 import b64encode
from hashlib import sha384
from pathlib import Path
from string import Formatter
from typing import ClassVar, get_args

import msgspec
import pytest

from connectors.centre.routes import LINK
from connectors.centre.views import Denied, Kept
from connectors.centre.words import CENTRE, KNOWN, called
from connectors.web.assets import FOLDER, HTMX
from connectors.web.catalogue import Catalogue
from connectors.web.pages import preferred
from connectors.web.words import WEB
from schemas.bilingual import Words
from schemas.config import Consent
from schemas.config.toml import read
from schemas.errors import LogFull, Unusable
from tests.connectors.centre_kit import ANA, GOOD, NOW, Browser, MemoryCentre, erasure

ALL = {**WEB, **CENTRE}
HAN = re.compile(r"[\u4e00-\u9fff]")
HALF_WIDTH = re.compile(r"[\u4e00-\u9fff][,;:!?]|[,;:!?][\u4e00-\u9fff]")


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("key", ALL)
def test_both_languages_say_it(key: str) -> None:
    words = ALL[key]
    assert words.en.strip() == words.en != ""
    assert words.zh.strip() == words.zh != ""
    assert places(words.en) == places(words.zh)
    assert not HAN.search(words.en)
    assert HAN.search(words.zh) or places(words.zh)
    assert not HALF_WIDTH.search(words.zh)


@pytest.mark.parametrize("name", KNOWN)
def test_what_things_are_called_is_said_in_both_too(name: str) -> None:
    assert HAN.search(KNOWN[name].zh)
    assert KNOWN[name].en
    assert not HAN.search(KNOWN[name].en)


def test_what_customers_decide_about_by_default_is_called_something() -> None:
    from flows.logic.permissions.categories import KNOWN as CATEGORIES

    assert {purpose.name for purpose in Consent().purpose} <= KNOWN.keys()
    assert CATEGORIES.keys() <= KNOWN.keys()


class Heard(Catalogue):
    """Remembers which texts were said."""

    heard: ClassVar[set[str]] = set()

    def text(self, key: str, lang: str, **values: object) -> str:
        self.heard.add(key)
        return super().text(key, lang, **values)


def test_every_text_is_said_on_some_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.centre.routes.Catalogue", Heard)
    heard = Heard.heard = set()
    walk()
    assert ALL.keys() - heard == set()
    assert heard <= ALL.keys()


def walk() -> None:
    """Every page in every state."""
    centre = MemoryCentre()
    browser = Browser(centre)
    for token in (GOOD, *get_args(Denied)):
        browser.get(f"{LINK}/{token}")
    browser.get("")
    browser.come_in()
    for centre.empty in (False, True):
        for page in ("", "choices", "data", "download", "requests", "erase", "erase/confirm", "nowhere"):
            browser.get(page)
    centre.mode = ""
    browser.get("/privacy?saved=now")
    browser.get("/privacy?saved=soon")
    browser.get("/privacy/requests?saved=now")
    for form in ({}, {"right": "move", "text": ""}, {"right": "move", "text": "x" * 3_000}):
        browser.post("requests", form)
    browser.post("choices/code", {"of": "sharing", "code": "1"})
    browser.post("erase", {})
    browser.post("mode", {"csrf": "wrong"})
    for found in (erasure("asked"), erasure("asked", NOW), erasure("done")):
        centre.found_erasure = found
        browser.get("erase")
    for error in (LogFull("full"), Unusable("none")):
        centre.error = error
        browser.get("data")
    centre.error = centre.found_erasure = None
    centre.seen = msgspec.structs.replace(ANA, state="unknown")
    browser.get("erase")
    centre.seen = ANA
    for _ in range(8):
        browser.get("download/data.json")
    browser.post("leave", {})
    browser.client.close()


def test_how_long_things_are_kept_has_a_text_for_each() -> None:
    kinds = msgspec.inspect.type_info(Kept).fields  # type: ignore[attr-defined]
    for field in kinds[:2]:
        assert {f"kept_{value}" for value in field.type.values} <= CENTRE.keys()


def test_a_configuration_calls_things_by_its_own_names() -> None:
    reading = read('[[centre.called]]\nname = "marketing"\nen = "Offers"\nzh = "优惠"\n')
    assert reading.problems == []
    assert called(reading.config)["marketing"] == Words("Offers", "优惠")
    assert called(reading.config)["service"] == KNOWN["service"]


def test_no_text_is_said_twice_by_one_name() -> None:
    with pytest.raises(ValueError, match="web_on"):
        Catalogue(WEB, {"web_on": Words("a", "b")})


@pytest.mark.parametrize(
    ("header", "lang"),
    [
        ("zh-CN,zh;q=0.9", "zh"),
        ("zh", "zh"),
        ("fr, zh-TW;q=0.8", "zh"),
        ("en-GB,zh;q=0.5", "en"),
        ("zhx", "en"),
        ("", "en"),
        ("," * 10_000 + "zh", "en"),
    ],
)
def test_the_language_that_a_browser_asks_for(header: str, lang: str) -> None:
    assert preferred(header, ("en", "zh")) == lang


def test_htmx_is_the_file_that_its_authors_published() -> None:
    """As npm has it: htmx.org 2.0.11, dist/htmx.min.js."""
    found = b64encode(sha384((FOLDER / HTMX).read_bytes()).digest()).decode()
    assert found == "2OatzQy1H+Zd/IIrjr1TcuDGqLXeHhbooAyJY1KdQMKnr4LZ22k31GBLdYKHmVjg"
    assert "Zero-Clause BSD" in (FOLDER / HTMX.replace(".min.js", ".LICENSE")).read_text()


def test_everything_that_pages_need_is_packaged() -> None:
    import tomllib

    root = Path(__file__).parents[2]
    packaged = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package in ("connectors.web", "connectors.centre"):
        folder = root / package.replace(".", "/")
        listed = {file for pattern in packaged[package] for file in folder.glob(pattern)}
        assert {
            file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")
        } == listed
