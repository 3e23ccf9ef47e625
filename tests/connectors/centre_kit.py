"""A privacy centre in memory, with one of everything on its pages."""

import re
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec

from connectors.centre import centre_routes
from connectors.centre.routes import LINK, ROOT
from connectors.centre.views import (
    Asking,
    CategoryHeld,
    Choices,
    Denied,
    Erasure,
    FieldHeld,
    Holding,
    Kept,
    Noted,
    PurposeSwitch,
    Receipt,
    Recipient,
    Request,
    Spoken,
    Switch,
    Visit,
)
from schemas.bilingual import Lang
from schemas.config import Config
from schemas.config.centre_options import Centre as Options
from schemas.errors import Unusable
from schemas.records.privacy_requests import STEPS
from tests.connectors.gateway_kit import Client

GOOD = "good"
COOKIE = "c" * 43
NOW = 1_800_000_000_000
DENIED: dict[str, Denied] = {"forged": "forged", "expired": "expired", "used": "used"}
ANA = Visit("a" * 24, "there", "secret", "en")
RIGHTS: tuple[str, ...] = ("correct", "object", "restrict", "move", "complain", "erase", "export")
CONFIG = Config(centre=Options(holder="Lindenhof <Tea>", contact="privacy@lindenhof.example"))


class MemoryCentre:
    """A `Centre`. What is to be shown is set from outside; `done` is what was asked of it."""

    def __init__(self) -> None:
        self.seen: Visit | None = None
        self.done: list[tuple[Any, ...]] = []
        self.noted: Noted = "now"
        self.error: Exception | None = None
        self.found_erasure: Erasure | None = None
        self.mode = "basic"
        self.empty = False
        self.renewed = True  # by the last look

    def _asked(self, *what: Any) -> None:
        if self.error is not None:
            raise self.error
        self.done.append(what)

    def look(self, token: str) -> Lang | Denied:
        self._asked("look")
        return "en" if token == GOOD else DENIED.get(token, "forged")

    def enter(self, token: str) -> str | Denied:
        self._asked("enter")
        if token != GOOD:
            return DENIED.get(token, "forged")
        self.seen = ANA
        return COOKIE

    def visit(self, cookie: str, renew: bool = True) -> Visit | None:
        self.renewed = renew
        if isinstance(self.error, Unusable):
            return self.seen
        self._asked("visit")
        return self.seen if cookie == COOKIE else None

    def speak(self, cookie: str, lang: Lang) -> None:
        self._asked("speak", lang)
        assert self.seen is not None
        self.seen = msgspec.structs.replace(self.seen, lang=lang)

    def leave(self, cookie: str) -> None:
        self._asked("leave", cookie)
        self.seen = None

    def choices(self, visit: Visit) -> Choices:
        self._asked("choices")
        channels = [Switch("marketing.email", "email", True), Switch("marketing.sms", "sms", False, True)]
        categories = [Switch("marketing.location", "location", True)]
        purposes = [
            PurposeSwitch(Switch("service", "service", True), True, channels, categories),
            PurposeSwitch(Switch("marketing", "marketing", True, True), False, channels, categories),
            PurposeSwitch(Switch("sharing", "sharing", False), False, [], [], coded=True),
        ]
        words = [
            Spoken("marketing.sms", False, NOW, "$privacy", "centre-1", "p1"),
            Spoken("sharing", True, NOW, "web", "", "p2"),
        ]
        modes = ["basic", "basic+marketing", "basic+personalised"]
        return Choices(self.mode, modes, True, purposes, [] if self.empty else words)

    def choose(self, cookie: str, visit: Visit, mode: str) -> Noted:
        if mode not in ("basic", "basic+marketing"):
            raise ValueError(mode)
        self._asked("choose", mode)
        return self.noted

    def switch(self, cookie: str, visit: Visit, thing: str, on: bool) -> Noted:
        if not thing.startswith("marketing"):
            raise ValueError(thing)
        self._asked("switch", thing, on)
        return self.noted

    def confirm(self, cookie: str, visit: Visit, purpose: str, code: str) -> Noted | None:
        if purpose != "sharing":
            raise ValueError(purpose)
        self._asked("confirm", purpose, code)
        return "now" if code == "123456" else None

    def holding(self, visit: Visit) -> Holding:
        self._asked("holding")
        fields = [
            FieldHeld("email", "a***@example.org", True),
            FieldHeld("note", "<script>x</script>", False),
        ]
        categories = [CategoryHeld("", ["service"], fields), CategoryHeld("behaviour", [], [])]
        kept = [
            Kept("profile", "until_erased"),
            Kept("events", "until_read"),
            Kept("archive", "for_days", {"days": 30}),
            Kept("backup", "for_copies", {"copies": 7}),
            Kept("backup", "by_policy"),
            Kept("profile", "while_heard_of", {"days": 730}),
            Kept("requests", "for_days", {"days": 1095}),
        ]
        recipients = [Recipient("crm", "file", ["email"]), Recipient("x", "kafka", [])]
        return Holding(
            identifiers=[FieldHeld("user_id", "", True)],
            categories=categories,
            events=3,
            first_ms=NOW,
            last_ms=NOW,
            tags=[] if self.empty else ["vip"],
            segment="all",
            stage="new",
            scores=[("churn", 12)],
            recipients=[] if self.empty else recipients,
            kept=kept,
        )

    def export(self, visit: Visit) -> bytes:
        self._asked("export")
        return b'{"customer": "ana"}'

    def export_page(self, visit: Visit) -> str:
        self._asked("export_page")
        return "<!doctype html><title>ana</title>"

    def requests(self, visit: Visit) -> Sequence[Request]:
        self._asked("requests")
        steps = ("refused", "cancelled", *STEPS)
        return [
            Request(f"r{n}", RIGHTS[n % len(RIGHTS)], steps[n], NOW, NOW, "<i>words</i>", "done" if n else "")
            for n in range(0 if self.empty else len(steps))
        ]

    def ask(self, visit: Visit, right: Asking, text: str) -> None:
        self._asked("ask", right, text)

    def erase(self, visit: Visit) -> None:
        self._asked("erase")
        self.found_erasure = erasure("asked")

    def keep(self, visit: Visit) -> None:
        self._asked("keep")
        self.found_erasure = None

    def erasure(self, visit: Visit) -> Erasure | None:
        self._asked("erasure")
        return self.found_erasure

    def receipt(self, visit: Visit) -> Receipt:
        self._asked("receipt")
        if self.found_erasure is None or not self.found_erasure.receipt:
            raise Unusable("there is no receipt")
        return Receipt(b'{"receipt": {}}', "key")


def erasure(step: str, begins_ms: int = 0) -> Erasure:
    """How an erasure looks that has come so far."""
    at = STEPS.index(step)
    steps = [(one, NOW if place <= at else 0) for place, one in enumerate(STEPS)]
    receivers = [("crm", "taken"), ("a", "refused"), ("b", "off"), ("c", "waiting")]
    return Erasure("erase-1", step, steps, NOW, receivers, step == "done", begins_ms)


class Browser:
    """Keeps the cookie, follows nothing."""

    def __init__(self, centre: MemoryCentre, config: Config = CONFIG) -> None:
        self.centre = centre
        self.client = Client(pages=centre_routes(config, centre))
        self.cookie = ""

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self._send("GET", path, None, headers)

    def post(self, path: str, form: dict[str, str] | bytes, **headers: str) -> httpx.Response:
        """`form` gets what its page would put into it, unless it is bytes."""
        return self._send(
            "POST", path, form if isinstance(form, bytes) else {"csrf": ANA.csrf} | form, headers
        )

    def _send(
        self, method: str, path: str, form: dict[str, str] | bytes | None, headers: dict[str, str]
    ) -> httpx.Response:
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            said.setdefault("cookie", self.cookie)
        body: dict[str, Any] = {"content": form} if isinstance(form, bytes) else {"data": form}
        path = path if path.startswith("/") else f"{ROOT}/{path}".rstrip("/")
        answer = self.client.request(method, path, headers=said, **(body if form is not None else {}))
        if stated := answer.headers.get("set-cookie"):
            self.cookie = stated.partition(";")[0]
        return answer

    def come_in(self) -> "Browser":
        answer = self.post(f"{LINK}/{GOOD}", {})
        assert (answer.status_code, answer.headers["location"]) == (303, ROOT)
        self.centre.done.clear()
        return self


def text_of(answer: httpx.Response) -> str:
    """What a person reads of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", answer.text.partition("<body>")[2]).split())
