"""What is said to a person, in the languages that we speak."""

from typing import Literal

import msgspec

Lang = Literal["en", "zh"]


class Words(msgspec.Struct, frozen=True):
    en: str
    zh: str

    def of(self, lang: str) -> str:
        """Return `zh`, or else English."""
        return self.zh if lang == "zh" else self.en
