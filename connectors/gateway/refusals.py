"""Every error that a whole request can be answered with: a stable code, its status, words for a person.

A refusal concerns the request; a single bad event in a batch is a fault of that event
(`schemas.wire.events.RejectReason`) instead.
"""

from collections.abc import Mapping
from math import ceil
from typing import Literal

import msgspec
from starlette.responses import Response

from schemas.errors import MillraceError
from schemas.wire.events import RejectReason

Code = Literal[
    "batch_invalid",  # no list under `batch`, or a field of the request has the wrong type
    "encoding_unsupported",  # a Content-Encoding other than gzip
    "write_key_invalid",  # no write key, or one that we do not know
    "token_invalid",  # no token, or one that may not read
    "stewards_none",  # `gateway.steward_tokens` is empty: identities are nobody's business over HTTP
    "privacy_none",  # `gateway.privacy_tokens` is empty: nobody's rights are served over HTTP
    "dsr_unknown",  # there is no such request of a controller
    "dsr_invalid",  # a request of a controller that cannot be carried out
    "callback_refused",  # a callback that no processor of ours has signed
    "callback_invalid",  # a callback that says nothing
    "regulation_unknown",  # there is no such regulation
    "regulation_invalid",  # a regulation that cannot be carried out, or deleted any more
    "request_invalid",  # the body is not what this route takes
    "request_refused",  # what is asked of a request is not possible, as it is now
    "request_unknown",  # there is no such request, or no receipt yet
    "identifier_invalid",  # not `namespace:value`, or one that can name nobody
    "cursor_invalid",  # no `next` of a page
    "decision_invalid",  # none of accept, reject, unsure
    "order_refused",  # the directory would not carry it out, as it is now
    "review_unknown",  # no such pair waits for a decision
    "source_disabled",  # the write key is switched off
    "source_suspended",  # too many of its last events were invalid (`validate.reject_percent`)
    "profile_unknown",  # nobody has this identifier
    "link_invalid",  # a link for no number of days, or in a language that we do not speak
    "form_invalid",  # no form of a browser, or one without what its page put into it
    "form_foreign",  # a form that another site sent
    "not_found",  # no such path
    "method_not_allowed",  # the path is there, the method is not
    "http_invalid",  # no HTTP/1.1
    "head_too_large",  # more bytes before or around the body than there may be
    "connections_full",  # no connection is free but for health checks
    "request_timeout",  # the head or the body did not come in time
    "batch_too_large",  # more bytes than `gateway.batch_bytes`, before or after gzip
    "batch_too_long",  # more events than `gateway.batch_events`
    "rate_limited",  # more events than the write key may send
    "guesses_limited",  # too many identifiers that nobody has, asked for with one token
    "log_full",  # the engine is behind: back-pressure
    "log_unreachable",  # the raw log does not answer
    "state_unreachable",  # the store of profiles does not answer
    "state_damaged",  # what is kept of this customer is gone, or cannot be read
    "internal",  # a defect of ours
]

_STATUS: dict[str, int] = {
    "encoding_unsupported": 415,
    "write_key_invalid": 401,
    "token_invalid": 401,
    "stewards_none": 403,
    "privacy_none": 403,
    "request_unknown": 404,
    "request_invalid": 422,
    "request_refused": 409,
    "dsr_unknown": 404,
    "callback_refused": 403,
    "regulation_unknown": 404,
    "regulation_invalid": 422,
    "order_forbidden": 403,
    "order_refused": 409,
    "review_unknown": 404,
    "source_disabled": 404,
    "profile_unknown": 404,
    "form_foreign": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "batch_too_large": 413,
    "batch_too_long": 413,
    "source_suspended": 429,
    "rate_limited": 429,
    "head_too_large": 431,
    "guesses_limited": 429,
    "log_full": 429,
    "log_unreachable": 503,
    "connections_full": 503,
    "state_unreachable": 503,
    "state_damaged": 503,
    "internal": 500,
}


class Refused(MillraceError):
    """The request is answered with this error and leaves no trace in the log."""

    def __init__(
        self, code: Code | RejectReason, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers

    def response(self) -> Response:
        """Return `{code, message}`; a code without a status of its own is the sender's fault: 400."""
        return problem(_STATUS.get(self.code, 400), self.code, str(self), self.headers)


def later(
    code: Code, message: str, wait_s: float, headers: Mapping[str, str] = {}
) -> Refused:  # never written to
    """Return a refusal that says when to come back, in whole seconds from now (at least one)."""
    seconds = str(max(1, ceil(wait_s)))
    return Refused(code, message, {"Retry-After": seconds, "X-RateLimit-Reset": seconds, **headers})


def too_large(limit: int) -> Refused:
    return Refused("batch_too_large", f"the body is larger than {limit} bytes")


def problem(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return answer({"code": code, "message": message}, status, headers)


def answer(
    body: object,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    return Response(msgspec.json.encode(body), status, headers, media_type)
