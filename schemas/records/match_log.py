"""The log that matching reads: what the directory tells it."""

from typing import Final, Literal


class MatchKind:
    """The letter of each kind of entry."""

    RECORDS: Final = "r"  # what facts said of their customers: origin, length, sealed record, each
    DECISIONS: Final = "d"  # what stewards decided: two origins, `1` if they are one, each
    ERASED: Final = "x"  # origins whose customer is being erased: what is kept of them goes


AnyMatchKind = Literal["r", "d", "x"]
MATCH_KINDS: Final[tuple[AnyMatchKind, ...]] = ("r", "d", "x")
