"""The pages of the privacy centre, and what a customer does on them.

A link lets one browser in, once. Its page shows a button, and only that uses it up: programs that look into
messages for people follow links, and press nothing. The browser then has a cookie that no script reads and no
other site makes it send, and the token is gone from the address. Everything that changes something is posted,
with a value that only our page knows, and answered with a redirect; so it works without JavaScript, and
going back or reloading does nothing twice. htmx saves the loading of a page, and nothing else.

The log says what was done, and of nobody.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from typing import Any, Final, ParamSpec, TypeVar, get_args
from unicodedata import category
from urllib.parse import quote

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from connectors.centre.views import Asking, Centre, Denied, Noted, Visit
from connectors.centre.words import CENTRE, called
from connectors.gateway.limits import Bucket
from connectors.gateway.refusals import Refused
from connectors.gateway.routes import Routes
from connectors.web.assets import asset_routes, assets
from connectors.web.catalogue import Catalogue
from connectors.web.forms import Form, is_ours, posted
from connectors.web.pages import SECURE, Pages, download, preferred, see_other
from connectors.web.words import WEB
from schemas.bilingual import Lang, Words
from schemas.config import Config
from schemas.errors import Damaged, LogFull, Unreachable, Unusable

log = structlog.get_logger()

ROOT: Final = "/privacy"
LINK: Final = f"{ROOT}/link"
_CODE_MAX: Final = 32  # characters
TEXT_MAX: Final = 2_000  # characters of a request
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_POLLING: Final = "erasing"  # the id of what asks again by itself
_FOLDER: Final = Path(__file__).parent / "templates"
_LANGS: Final[tuple[Lang, ...]] = get_args(Lang)
_ASKING: Final[tuple[str, ...]] = get_args(Asking)
_LOOKS_A_MINUTE: Final = 120  # of one browser
_ACTS_A_MINUTE: Final = 40
_EXPORTS_A_MINUTE: Final = 6
_EXPORTING_MAX: Final = 2  # at once, of all browsers
_EXPORT_S: Final = 10  # to wait where there are as many
_LINKS_A_MINUTE: Final = 60  # that let nobody in, from one address
_REMEMBERED_MAX: Final = 10_000  # browsers and addresses whose rate is watched
_DENIED_STATUS: Final[dict[Denied, int]] = {"forged": 404, "expired": 410, "used": 410}

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")
Inside = Callable[[Request, str, Visit], Awaitable[Response]]
Act = Callable[[Request, str, Visit, Form], Awaitable[Response]]


def centre_routes(config: Config, centre: Centre) -> Routes:
    """Return the routes of the centre, and of what its pages load."""
    pages = _Pages(config, centre)
    inside, act = pages.inside, pages.act
    return [
        ("GET", LINK + "/{token}", pages.link),
        ("POST", LINK + "/{token}", pages.enter),
        ("GET", ROOT, inside(pages.overview)),
        ("POST", f"{ROOT}/mode", act(pages.choose)),
        ("GET", f"{ROOT}/choices", inside(pages.choices)),
        ("POST", f"{ROOT}/choices", act(pages.switch)),
        ("GET", f"{ROOT}/choices/code", inside(pages.code)),
        ("POST", f"{ROOT}/choices/code", act(pages.confirm_code)),
        ("GET", f"{ROOT}/data", inside(pages.data)),
        ("GET", f"{ROOT}/download", inside(pages.download)),
        ("GET", f"{ROOT}/download/data.json", inside(pages.export, pages.exports)),
        ("GET", f"{ROOT}/download/data.html", inside(pages.export_page, pages.exports)),
        ("GET", f"{ROOT}/requests", inside(pages.requests)),
        ("POST", f"{ROOT}/requests", act(pages.ask)),
        ("GET", f"{ROOT}/erase", inside(pages.erase, erased=True)),
        ("GET", f"{ROOT}/erase/confirm", inside(pages.confirm)),
        ("POST", f"{ROOT}/erase", act(pages.erase_now)),
        ("POST", f"{ROOT}/erase/back", act(pages.keep)),
        ("GET", f"{ROOT}/erase/receipt.json", inside(pages.receipt, erased=True)),
        ("POST", f"{ROOT}/language", act(pages.speak, erased=True)),
        ("POST", f"{ROOT}/leave", act(pages.leave, erased=True)),
        ("GET", ROOT + "/{rest:path}", pages.nowhere),
        *asset_routes(pages.assets),
    ]


class _Rates:
    """How often each may, in memory: the ones seen last."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def wait_s(self, who: str, count: int = 1) -> float:
        bucket = self._buckets.get(who)
        if bucket is None:
            bucket = Bucket(self._per_minute / 60, monotonic(), burst=self._per_minute)
            self._buckets[who] = bucket
            if len(self._buckets) > _REMEMBERED_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(who)
        return bucket.take(count, monotonic())


class _Pages:
    """What each route answers."""

    def __init__(self, config: Config, centre: Centre) -> None:
        self._centre = centre
        self.assets = assets()
        self._catalogue = Catalogue(WEB, CENTRE)
        self._secure = config.gateway.public_url.startswith("https://")
        # with the prefix no page of a sister domain can set it
        self._cookie = "__Host-millrace-centre" if self._secure else "millrace-centre"
        self._looks, self._acts = _Rates(_LOOKS_A_MINUTE), _Rates(_ACTS_A_MINUTE)
        self._exporting = 0  # exports under way
        self.exports, self._links = _Rates(_EXPORTS_A_MINUTE), _Rates(_LINKS_A_MINUTE)
        call = partial(_call, called(config))
        self._pages = Pages(
            _FOLDER,
            self._catalogue,
            self.assets,
            filters={"called_in": call},
            root=ROOT,
            holder=config.centre.holder or config.name,
            contact=config.centre.contact,
            asking=_ASKING,
            text_max=TEXT_MAX,
            called=call,
            thing_called=partial(_call_thing, call),
            day=_day,
            moment=_moment,
        )

    # --- the way in

    async def link(self, request: Request) -> Response:
        lang = self._preferred(request)
        found = await self._tried(request, self._centre.look)
        if isinstance(found, Response):
            return found
        return self._pages.answer("enter.html", found if found in _LANGS else lang, action=request.url.path)

    async def enter(self, request: Request) -> Response:
        try:
            await posted(request)
        except Refused as refused:
            return self._sorry(request, refused.response().status_code, "sorry_form")
        found = await self._tried(request, self._centre.enter)
        if isinstance(found, Response):
            return found
        if former := request.cookies.get(self._cookie):
            with suppress(Unreachable):  # the link is used up by now, and the former visit ends by itself
                await run_in_threadpool(self._centre.leave, former)
        log.info("centre_entered")
        response = see_other(ROOT)
        response.set_cookie(
            self._cookie, found, path="/", secure=self._secure, httponly=True, samesite="strict"
        )
        return response

    async def _tried(self, request: Request, tried: Callable[[str], Answer]) -> Answer | Response:
        """Return what a link leads to; a page where it lets nobody in."""
        address = request.client.host if request.client else ""
        if wait_s := self._links.wait_s(address, 0):
            return self._later(request, wait_s)
        try:
            found = await run_in_threadpool(tried, request.path_params["token"])
        except (Unreachable, LogFull):
            return self._sorry(request, 503, "sorry_away")
        if found in _DENIED_STATUS:
            self._links.wait_s(address)
            log.info("centre_refused", reason=found)
            return self._sorry(request, _DENIED_STATUS[found], f"sorry_{found}")
        return found

    def inside(
        self, page: Inside, rates: _Rates | None = None, *, erased: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return a page for who is in. `rates`: how often, where not as often as pages; `erased`: also for
        who was erased."""
        asked = self._looks if rates is None else rates

        async def answered(request: Request) -> Response:
            cookie = request.cookies.get(self._cookie, "")
            try:
                if cookie and (wait_s := asked.wait_s(_name_of(cookie))):
                    return self._later(request, wait_s)
                renew = not _is_poll(request)
                visit = await run_in_threadpool(self._centre.visit, cookie, renew) if cookie else None
                if visit is None:
                    return self._outside(request)
                if visit.state != "there" and not erased:
                    return _gone(request)
                return await page(request, cookie, visit)
            except Refused as refused:
                return self._sorry(request, refused.response().status_code, "sorry_form")
            except Unusable:
                return await self._unusable(request, cookie)
            except (Unreachable, LogFull):
                return self._sorry(request, 503, "sorry_away")
            except Damaged as damaged:
                log.error("state_damaged", reason=str(damaged))
                return self._sorry(request, 503, "sorry_away")

        return answered

    def act(self, act: Act, *, erased: bool = False) -> Callable[[Request], Awaitable[Response]]:
        """Return what takes a form of who is in."""

        async def page(request: Request, cookie: str, visit: Visit) -> Response:
            form = await posted(request)
            if not is_ours(form, visit.csrf):
                raise Refused("form_invalid", "the form does not carry what its page put into it")
            return await act(request, cookie, visit, form)

        return self.inside(page, self._acts, erased=erased)

    # --- pages

    async def overview(self, request: Request, _: str, visit: Visit) -> Response:
        found = await run_in_threadpool(self._centre.choices, visit)
        return self._page("overview.html", visit, here="", choices=found, saved=_saved(request))

    async def choices(self, request: Request, _: str, visit: Visit) -> Response:
        found = await run_in_threadpool(self._centre.choices, visit)
        saved, opened = _saved(request), request.query_params.get("opened", "")
        return self._page("choices.html", visit, here="choices", choices=found, saved=saved, opened=opened)

    async def data(self, _: Request, __: str, visit: Visit) -> Response:
        found = await run_in_threadpool(self._centre.holding, visit)
        return self._page("data.html", visit, here="data", held=found)

    async def download(self, _: Request, __: str, visit: Visit) -> Response:
        return self._page("download.html", visit, here="download")

    async def requests(self, request: Request, _: str, visit: Visit) -> Response:
        return await self._requests(visit, saved=_saved(request))

    async def erase(self, _: Request, __: str, visit: Visit) -> Response:
        found = await run_in_threadpool(self._centre.erasure, visit)
        if found is not None:
            return self._page("erasing.html", visit, here="erase", erasure=found)
        name = "erase.html" if visit.state == "there" else "nobody.html"
        return self._page(name, visit, here="erase")

    async def confirm(self, _: Request, __: str, visit: Visit) -> Response:
        if await run_in_threadpool(self._centre.erasure, visit) is not None:
            return see_other(f"{ROOT}/erase")
        return self._page("confirm.html", visit, here="erase", unsure=False)

    async def nowhere(self, request: Request) -> Response:
        path = request.url.path
        if path.endswith("/"):  # the same page, as people type it
            return see_other(quote(path.rstrip("/")))
        return self._sorry(request, 404, "sorry_nowhere")

    # --- files

    async def export(self, request: Request, __: str, visit: Visit) -> Response:
        found = await self._exported(self._centre.export, visit)
        if found is None:
            return self._later(request, _EXPORT_S)
        log.info("centre_exported", form="json")
        return download(found, "my-data.json", "application/json")

    async def export_page(self, request: Request, __: str, visit: Visit) -> Response:
        found = await self._exported(self._centre.export_page, visit)
        if found is None:
            return self._later(request, _EXPORT_S)
        log.info("centre_exported", form="html")
        return download(found, "my-data.html", "text/html")

    async def _exported(self, export: Callable[[Visit], Answer], visit: Visit) -> Answer | None:
        """Return what is exported; None while enough others are at it: each may read the whole archive."""
        if self._exporting >= _EXPORTING_MAX:
            return None
        self._exporting += 1
        try:
            return await run_in_threadpool(export, visit)
        finally:
            self._exporting -= 1

    async def receipt(self, request: Request, _: str, visit: Visit) -> Response:
        try:
            found = await run_in_threadpool(self._centre.receipt, visit)
        except Unusable:
            return self._sorry(request, 404, "sorry_nowhere")
        response = download(found.document, "erasure-receipt.json", "application/json")
        response.headers["X-Receipt-Key"] = found.key
        return response

    # --- acts

    async def choose(self, request: Request, cookie: str, visit: Visit, form: Form) -> Response:
        mode = form.get("mode", "")
        saved = await _noted(self._centre.choose, cookie, visit, mode)
        log.info("centre_chose", mode=mode, noted=saved)
        if not _is_partial(request):
            return see_other(f"{ROOT}?saved={saved}")
        return await self._choices("overview.html", cookie, request, here="", saved=saved)

    async def switch(self, request: Request, cookie: str, visit: Visit, form: Form) -> Response:
        thing, _, word = form.get("switch", "").rpartition("=")
        if word not in ("yes", "no"):
            raise Refused("form_invalid", "expected a switch, and yes or no")
        saved = await _noted(self._centre.switch, cookie, visit, thing, word == "yes")
        log.info("centre_chose", thing=thing, on=word == "yes", noted=saved)
        purpose = thing.partition(".")[0]
        if saved == "code":
            return _elsewhere(request, f"{ROOT}/choices/code?of={quote(thing)}")
        if not _is_partial(request):
            return see_other(_back_to(thing, saved))
        return await self._choices(
            "choices.html", cookie, request, here="choices", saved=saved, opened=purpose
        )

    async def code(self, request: Request, _: str, visit: Visit) -> Response:
        return await self._code(request, visit, request.query_params.get("of", ""))

    async def confirm_code(self, request: Request, cookie: str, visit: Visit, form: Form) -> Response:
        purpose, code = form.get("of", ""), form.get("code", "").strip()[:_CODE_MAX]
        try:
            saved = await run_in_threadpool(self._centre.confirm, cookie, visit, purpose, code)
        except ValueError:
            raise Refused("form_invalid", "there is no such choice") from None
        log.info("centre_confirmed", thing=purpose, noted=saved or "wrong")
        if saved is None:
            return await self._code(request, visit, purpose, wrong=True)
        return see_other(_back_to(purpose, saved))

    async def _code(self, request: Request, visit: Visit, purpose: str, wrong: bool = False) -> Response:
        found = await run_in_threadpool(self._centre.choices, visit)
        if all(not one.coded or one.switch.thing != purpose for one in found.purposes):
            return self._sorry(request, 404, "sorry_nowhere")
        status = 422 if wrong else 200
        return self._page("code.html", visit, status, here="choices", of=purpose, wrong=wrong)

    async def _choices(self, name: str, cookie: str, request: Request, **values: Any) -> Response:
        """The page as it is after a choice."""
        visit = await run_in_threadpool(self._centre.visit, cookie)
        if visit is None:
            return self._outside(request)
        found = await run_in_threadpool(self._centre.choices, visit)
        return self._page(name, visit, choices=found, **values)

    async def ask(self, _: Request, __: str, visit: Visit, form: Form) -> Response:
        right, text = form.get("right", ""), _clean(form.get("text", ""))
        if right not in _ASKING or not text or len(text) > TEXT_MAX:
            wrong = "right" if right not in _ASKING else "text" if not text else "long"
            return await self._requests(visit, status=422, wrong=wrong, right=right, text=text)
        await run_in_threadpool(self._centre.ask, visit, right, text)  # type: ignore[arg-type]
        log.info("centre_asked", right=right)
        return see_other(f"{ROOT}/requests?saved=now")

    async def erase_now(self, _: Request, __: str, visit: Visit, form: Form) -> Response:
        if form.get("sure") != "yes":
            return self._page("confirm.html", visit, status=422, here="erase", unsure=True)
        await run_in_threadpool(self._centre.erase, visit)
        log.info("centre_erase")
        return see_other(f"{ROOT}/erase")

    async def keep(self, _: Request, __: str, visit: Visit, ___: Form) -> Response:
        await run_in_threadpool(self._centre.keep, visit)
        log.info("centre_erase_back")
        return see_other(f"{ROOT}/erase")

    async def speak(self, _: Request, cookie: str, __: Visit, form: Form) -> Response:
        for lang in _LANGS:
            if form.get("lang") == lang:
                await run_in_threadpool(self._centre.speak, cookie, lang)
        here = form.get("here", "")
        known = {"", "choices", "data", "download", "requests", "erase"}
        return see_other(f"{ROOT}/{here}".rstrip("/") if here in known else ROOT)

    async def leave(self, _: Request, cookie: str, visit: Visit, __: Form) -> Response:
        await run_in_threadpool(self._centre.leave, cookie)
        response = self._pages.answer("left.html", visit.lang)
        response.delete_cookie(self._cookie, path="/", secure=self._secure, httponly=True, samesite="strict")
        return response

    # --- how it is said

    def _page(self, name: str, visit: Visit, status: int = 200, **values: Any) -> Response:
        return self._pages.answer(name, visit.lang, status, visit=visit, **values)

    async def _requests(
        self,
        visit: Visit,
        status: int = 200,
        saved: str = "",
        wrong: str = "",
        right: str = "",
        text: str = "",
    ) -> Response:
        found = await run_in_threadpool(self._centre.requests, visit)
        values = {"found": found, "saved": saved, "wrong": wrong, "right": right, "text": text}
        return self._page("requests.html", visit, status, here="requests", **values)

    def _outside(self, request: Request) -> Response:
        response = self._sorry(request, 401, "sorry_outside")
        if _is_partial(request):
            response.headers["HX-Refresh"] = "true"  # the whole page, which says the same
        return response

    async def _unusable(self, request: Request, cookie: str) -> Response:
        """What is said where something cannot be done: the customer was erased a moment ago, or nothing is
        left by which it could be named."""
        visit = await run_in_threadpool(self._centre.visit, cookie)
        if visit is not None and visit.state != "there" and request.url.path != f"{ROOT}/erase":
            return _gone(request)
        return self._sorry(request, 409, "sorry_cannot")

    def _sorry(self, request: Request, status: int, key: str) -> Response:
        """What is said to who may be anybody is said in both languages, theirs first."""
        first = self._preferred(request)
        langs = sorted(_LANGS, key=lambda lang: lang != first)
        return self._pages.answer("sorry.html", first, status, key=key, langs=langs)

    def _later(self, request: Request, wait_s: float) -> Response:
        response = self._sorry(request, 429, "sorry_often")
        response.headers["Retry-After"] = str(max(1, round(wait_s)))
        return response

    def _preferred(self, request: Request) -> Lang:
        return preferred(request.headers.get("accept-language", ""), _LANGS)


def _gone(request: Request) -> Response:
    """Return what leads to the page about an erasure."""
    return _elsewhere(request, f"{ROOT}/erase")


def _elsewhere(request: Request, where: str) -> Response:
    """Return what leads to another page, as a whole."""
    if _is_partial(request):
        return Response(headers={**SECURE, "HX-Redirect": where})
    return see_other(where)


def _back_to(thing: str, saved: Noted) -> str:
    """Return where a switch stands on its page."""
    return f"{ROOT}/choices?saved={saved}&opened={quote(thing.partition('.')[0])}#s-{quote(thing)}"


async def _noted(say: Callable[Asked, Noted], *args: Asked.args, **options: Asked.kwargs) -> Noted:
    """Return what became of a choice. Raises `Refused` for one that there is not."""
    try:
        return await run_in_threadpool(say, *args, **options)
    except ValueError:
        raise Refused("form_invalid", "there is no such choice") from None


def _is_partial(request: Request) -> bool:
    """Return whether htmx asks, which takes a part of the page and no redirect."""
    return request.headers.get("hx-request") == "true"


def _is_poll(request: Request) -> bool:
    """Return whether a page asks by itself how an erasure goes on, and nobody has clicked."""
    asked = request.method == "GET" and _is_partial(request)
    return asked and request.headers.get("hx-trigger") == _POLLING


def _name_of(cookie: str) -> str:
    """What a cookie is called in memory."""
    return blake2b(cookie.encode(), digest_size=16).hexdigest()


def _call(names: Mapping[str, Words], name: str, lang: Lang) -> str:
    return names[name].of(lang) if name in names else name


def _call_thing(call: Callable[[str, Lang], str], thing: str, lang: Lang) -> str:
    """`marketing.sms` as people read it."""
    return " · ".join(call(part, lang) for part in thing.split("."))


def _saved(request: Request) -> str:
    saved = request.query_params.get("saved", "")
    return saved if saved in ("now", "soon") else ""


def _clean(text: str) -> str:
    """What people type, without what only programs do. A space of any kind is one; what joins letters and
    parts of emoji stays, what turns the direction of a text does not. Empty where nothing can be
    seen of it."""
    cleaned = "".join(map(_typed, text.replace("\r\n", "\n").strip())).strip()
    return cleaned if any(letter.isprintable() and letter != " " for letter in cleaned) else ""


def _typed(letter: str) -> str:
    if letter == "\n" or letter.isprintable():
        return letter
    if letter.isspace():
        return " "
    return letter if category(letter) == "Cf" and letter not in _TURNING else ""


def _day(at_ms: int, lang: Lang) -> str:
    day = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{day.year}年{day.month}月{day.day}日" if lang == "zh" else f"{day.day} {day:%B %Y}"


def _moment(at_ms: int, lang: Lang) -> str:
    return f"{_day(at_ms, lang)} {datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M} UTC"
