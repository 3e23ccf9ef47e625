"""Mail addresses: syntax and international domains by `email-validator`; nothing is asked of a name server."""

from typing import Final

import idna
from email_validator import EmailNotValidError, validate_email

from flows.logic.entry.values import TEXT_MAX, Bad, Checked, Good, plain

_GMAIL: Final = ("gmail.com", "googlemail.com")


class Emails:
    """`check` gives the form to write to; `key` the form by which two spellings are one mailbox."""

    def __init__(self, *, disposable: tuple[str, ...], ignore_plus_tags: bool, ignore_gmail_dots: bool) -> None:
        self._disposable = frozenset(domain.strip().lower() for domain in disposable)
        self._tags = ignore_plus_tags
        self._dots = ignore_gmail_dots

    def check(self, value: str, _countries: tuple[str, ...] = ()) -> Checked:
        if len(value) > TEXT_MAX:
            return Bad("too_long")
        text = plain(value).removeprefix("mailto:")
        try:
            found = validate_email(text, check_deliverability=False)
        except EmailNotValidError:
            return Bad(_why(text))
        domain = found.ascii_domain.lower()
        labels = domain.split(".")
        if any(".".join(labels[at:]) in self._disposable for at in range(len(labels) - 1)):
            return Bad("disposable")
        return Good(found.normalized)

    def key(self, normal: str) -> str:
        """Of a checked address: in small letters, its domain in ASCII; without tag and dots where the options say so."""
        local, _, domain = normal.rpartition("@")
        local = local.lower()
        domain = domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode()
        if self._tags:
            local = local.partition("+")[0] or local
        if self._dots and domain in _GMAIL:
            local, domain = local.replace(".", "") or local, _GMAIL[0]
        return f"{local}@{domain}"


def _why(text: str) -> str:
    local, at, domain = text.rpartition("@")
    if not at:
        return "no_at_sign"
    if not local:
        return "no_name"
    return "domain" if "." not in domain.strip(".") else "syntax"
