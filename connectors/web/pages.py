"""Pages from templates, and the headers that each answer with one has.

Templates are escaped always, and a value that is missing is an error. No page holds a script or a style of
its own: the policy forbids them, so that a text that got through as markup could still do nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from connectors.web.assets import HTMX, Asset
from connectors.web.catalogue import Catalogue
from schemas.bilingual import Lang

_OURS: Final = Path(__file__).parent / "templates"
_TAGS: Final[Mapping[Lang, str]] = {"en": "en", "zh": "zh-CN"}
SECURE: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}


class Pages:
    """The pages of one folder of templates."""

    def __init__(
        self,
        folder: Path,
        catalogue: Catalogue,
        found: Mapping[str, Asset],
        filters: Mapping[str, Callable[..., object]] = {},  # never written to
        **always: object,
    ) -> None:
        """`always`: values that every template has."""
        self._catalogue = catalogue
        self._templates = Environment(
            loader=FileSystemLoader([folder, _OURS]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {"assets": found, "htmx": found[HTMX], **always}
        self._templates.filters |= filters

    def render(self, name: str, lang: Lang, **values: Any) -> str:
        """Return the text of a template."""

        def text(key: str, **inner: object) -> str:
            return self._catalogue.text(key, lang, **inner)

        def in_language(key: str, other: Lang) -> str:
            return self._catalogue.text(key, other)

        template = self._templates.get_template(name)
        return template.render(
            t=text, t_in=in_language, lang=lang, lang_tag=_TAGS[lang], lang_tags=_TAGS, **values
        )

    def answer(self, name: str, lang: Lang, status: int = 200, **values: Any) -> Response:
        """Return a page as an answer."""
        headers = {**SECURE, "Content-Language": _TAGS[lang], "Vary": "Cookie, HX-Request"}
        return Response(self.render(name, lang, **values), status, headers, "text/html")


def see_other(where: str) -> Response:
    """Return an answer that sends the browser to one of our pages, with GET."""
    return Response(status_code=303, headers={**SECURE, "Location": where})


def download(body: bytes | str, name: str, media_type: str) -> Response:
    """Return a file that a browser keeps, and does not show."""
    headers = {**SECURE, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(body, headers=headers, media_type=media_type)


def preferred(header: str, offered: Sequence[Lang]) -> Lang:
    """Return the language of an Accept-Language header that we speak; the first one where it asks for none
    of ours. Weights are not looked at: browsers name the best one first."""
    for part in header.split(",")[:16]:
        asked = part.partition(";")[0].strip().lower()
        for lang in offered:
            if asked == lang or asked.startswith(f"{lang}-"):
                return lang
    return offered[0]
