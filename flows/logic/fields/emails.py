"""Mail addresses: syntax and international domains by `email-validator`; nothing is asked of a name
server."""

import re
from functools import lru_cache
from typing import Final

import idna
from email_validator import EmailNotValidError, validate_email

from flows.logic.fields.values import TEXT_MAX, Bad, Checked, Good, plain

_SIMPLE: Final = re.compile(
    r"([a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*)@([a-z0-9.-]{1,180})"
)  # what nearly all are; the library judges the others
_LOCAL_MAX: Final = 64
_GMAIL: Final = ("gmail.com", "googlemail.com")


class Emails:
    """`check` gives the form to write to; `key` the form by which two spellings are one mailbox."""

    def __init__(
        self, *, disposable: tuple[str, ...], ignore_plus_tags: bool, ignore_gmail_dots: bool
    ) -> None:
        self._disposable = frozenset(domain.strip().lower() for domain in disposable)
        self._tags = ignore_plus_tags
        self._dots = ignore_gmail_dots

    def check(self, value: str, _countries: tuple[str, ...] = ()) -> Checked:
        if len(value) > TEXT_MAX:
            return Bad("too_long")
        text = plain(value).removeprefix("mailto:")
        simple = _SIMPLE.fullmatch(text)
        if simple is not None and len(simple[1]) <= _LOCAL_MAX and _is_domain(simple[2]):
            return Bad("disposable") if self._throws_away(simple[2]) else Good(text)
        try:
            found = validate_email(text, check_deliverability=False)
        except EmailNotValidError:
            return Bad(_why(text))
        return Bad("disposable") if self._throws_away(found.ascii_domain.lower()) else Good(found.normalized)

    def _throws_away(self, domain: str) -> bool:
        labels = domain.split(".")
        return any(".".join(labels[at:]) in self._disposable for at in range(len(labels) - 1))

    def key(self, normal: str) -> str:
        """Return the key of a checked address: in small letters, its domain in ASCII; without tag and dots
        where the options say so."""
        local, _, domain = normal.rpartition("@")
        local = local.lower()
        domain = domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode()
        if self._tags:
            local = local.partition("+")[0] or local
        if self._dots and domain in _GMAIL:
            local, domain = local.replace(".", "") or local, _GMAIL[0]
        return f"{local}@{domain}"


@lru_cache(maxsize=10_000)
def _is_domain(domain: str) -> bool:
    """Whether the library takes this domain just as it is."""
    try:
        return bool(validate_email(f"a@{domain}", check_deliverability=False).normalized == f"a@{domain}")
    except EmailNotValidError:
        return False


def _why(text: str) -> str:
    local, at, domain = text.rpartition("@")
    if not at:
        return "no_at_sign"
    if not local:
        return "no_name"
    return "domain" if "." not in domain.strip(".") else "syntax"
