"""Values with limits, what every table is made of, and what is never printed."""

from typing import Annotated

import msgspec

# Values with limits; the description is what an error and the reference say is expected.
Count = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Text = Annotated[str, msgspec.Meta(min_length=1, description="text that is not empty")]
Texts = Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
Word = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^\w[\w.-]{0,63}\Z", description="a name (letters, digits, `_`, `-`, `.`; at most 64)"
    ),
]
Figure = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z][a-z0-9_]{0,63}\Z",
        description="a plain name (small letters, digits, `_`; at most 64)",
    ),
]
Address = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}\Z",
        description="host:port, such as 127.0.0.1:8080",
    ),
]
Pattern = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=200, description="a regular expression of at most 200 characters"),
]
Zone = Annotated[str, msgspec.Meta(min_length=1, description="a time zone, such as Asia/Shanghai")]
Daytime = Annotated[
    str, msgspec.Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?\Z", description="a time of day, such as 03:00")
]

Day = Annotated[
    str,
    msgspec.Meta(pattern=r"^(\d{4}-\d\d-\d\d)?\Z", description="a date, such as 2026-03-01, or nothing"),
]

CalendarDay = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\Z", description="a day, such as 2026-10-01"
    ),
]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every table refuses keys that it does not know."""


class Secret(str):
    """A value that may be `${NAME}`, taken from the environment when the file is loaded. Never printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)"
