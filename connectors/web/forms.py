"""What a browser posts: small, in the form that browsers have, and sent by a page of ours."""

import hmac
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from connectors.gateway.intake import read
from connectors.gateway.refusals import Refused

BYTES_MAX: Final = 32 * 1024  # 2,000 characters take 24,000 bytes where each is sent as %F0%9F%8D%B5
_FIELDS_MAX: Final = 32
_ENCODED: Final = "application/x-www-form-urlencoded"
CSRF: Final = "csrf"
_HERE: Final = ("same-origin", "none")  # what browsers say of a request that no other site made

Form = dict[str, str]


async def posted(request: Request) -> Form:
    """Return the fields; of one that comes twice the last. Raises `Refused`."""
    if is_foreign(request):
        raise Refused("form_foreign", "this form was sent by another site")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _ENCODED:
        raise Refused("form_invalid", f"expected a form as browsers send it ({_ENCODED})")
    body = await read(request, BYTES_MAX)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS_MAX))
    except ValueError:  # not UTF-8, or too many
        raise Refused("form_invalid", f"expected at most {_FIELDS_MAX} fields in UTF-8") from None


def is_foreign(request: Request) -> bool:
    """Return whether the browser says that another site made this request."""
    return request.headers.get("sec-fetch-site", "none") not in _HERE


def is_ours(form: Form, expected: str) -> bool:
    """Return whether a form carries what the page put into it."""
    return hmac.compare_digest(form.get(CSRF, "").encode(), expected.encode())
