"""Notices that the key file of a running deployment is gone, or is another one.

What runs has the keys in memory and goes on, so that nobody would see it before the next start, which fails.
"""

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from schemas.errors import ConfigError
from state.key_ring import load_document

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
SAY_AGAIN_S = 60.0
_MEANWHILE = "what runs goes on with the keys that it has in memory; nothing that ends can start again"


class KeyWatch:
    """Call it as often as you like: it looks once a second, and says at once and then every minute what is
    wrong."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember which keys these are. Raises `ConfigError` where there is no key file to begin with."""
        self._file = file
        self._clock = clock
        self._fingerprint = load_document(file).fingerprint
        self._looked = self._said = clock()
        self._wrong = ""

    def __call__(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        wrong = self._what_is_wrong()
        if wrong and (wrong != self._wrong or now - self._said >= SAY_AGAIN_S):
            self._said = now
            log.error(
                "key_file_wrong",
                file=str(self._file),
                reason=wrong,
                now=_MEANWHILE,
                repair="put the file back from its backup, with mode 0600",
            )
        elif self._wrong and not wrong:
            log.info("key_file_right_again", file=str(self._file))
        self._wrong = wrong

    def _what_is_wrong(self) -> str:
        try:
            if not self._file.exists():
                return (
                    f"no key file at {self._file}: it was there when this began, and what it sealed needs it"
                )
            found = load_document(self._file)
        except ConfigError as error:
            return str(error)
        except OSError as error:
            return f"{self._file} cannot be read: {error.strerror}"
        if found.fingerprint != self._fingerprint:
            return f"{self._file} holds other keys than this deployment runs with"
        return ""
