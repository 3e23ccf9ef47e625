"""Who may read: holders of a token, each with a limit on how many names they may try that nobody has."""

import hmac
from collections.abc import Sequence
from hashlib import blake2b
from time import monotonic

from starlette.requests import Request

from connectors.gateway.intake import credential
from connectors.gateway.limits import Bucket
from connectors.gateway.refusals import Refused, later


class Reader:
    """A token in use."""

    def __init__(self, token: str, misses_per_minute: int) -> None:
        self.fingerprint = blake2b(token.encode(), digest_size=4).hexdigest()
        self._misses = Bucket(misses_per_minute / 60, monotonic(), burst=misses_per_minute)

    def ask(self) -> None:
        """Let one question pass, unless too many were about nobody. Raises `Refused`."""
        wait_s = self._misses.take(0, monotonic())
        if wait_s:
            raise later(
                "guesses_limited", "this token asked for too many identifiers that nobody has", wait_s
            )

    def missed(self) -> Refused:
        """Count a name that nobody has: whoever tries all telephone numbers reaches the limit."""
        self._misses.take(1, monotonic())
        return Refused("profile_unknown", "nobody has this identifier")


class Tokens:
    """The tokens of one sort, as Bearer or as Basic user."""

    def __init__(self, tokens: Sequence[str], misses_per_minute: int) -> None:
        self._readers = [(token.encode(), Reader(token, misses_per_minute)) for token in tokens]

    def __bool__(self) -> bool:
        return bool(self._readers)

    def reader(self, request: Request) -> Reader | None:
        """Return who asks; None for a token that is none of these."""
        given = (credential(request) or "").encode()
        found = None
        for token, reader in self._readers:
            if hmac.compare_digest(given, token):
                found = reader
        return found


def privacy_holder(tokens: Tokens, request: Request) -> Reader:
    """Return who asks about customers' rights. Raises `Refused` for who may not, or has guessed too often."""
    if not tokens:
        raise Refused("privacy_none", "gateway.privacy_tokens is empty: over HTTP nobody's rights are served")
    found = tokens.reader(request)
    if found is None:
        raise Refused(
            "token_invalid",
            "customers' rights need a token of gateway.privacy_tokens, as Bearer or as Basic user",
        )
    found.ask()
    return found
