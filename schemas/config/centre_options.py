"""The privacy centre: pages where customers rule over their own data."""

from typing import Annotated

import msgspec

from schemas.config.limited_values import Table, Text, Word
from schemas.units import Duration

Version = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=64, description="text of 1 to 64 characters"),
]


class Called(Table, frozen=True):
    """What customers read for a purpose, a category of data or a channel."""

    name: Word  # of the purpose, category or channel, as in this file
    en: Text  # in English
    zh: Text  # in Chinese


class Centre(Table, frozen=True):
    """The privacy centre: web pages of the gateway where customers see and rule over what is held of them. A
    link is the only way in; `millrace privacy link` makes one. See docs/centre.md."""

    enabled: bool = True  # false: the gateway has no such pages
    holder: str = ""  # who holds the data, as customers know you; empty: the deployment's name
    # where customers reach a person: a mail address, a URL, or a line of text; stands below each page
    contact: str = ""
    # of the words that customers agree to on these pages; kept with each choice. Change it with the words
    version: Version = "centre-1"
    session: Duration = Duration.parse("30m")  # after the last click, then a new link is needed; at most 12h
    called: tuple[Called, ...] = ()  # how pages call your purposes, categories and channels
