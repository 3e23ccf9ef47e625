"""A browser that a customer's link has let into the privacy centre."""

import msgspec


class CentreSession(msgspec.Struct, array_like=True, frozen=True):
    """What is remembered of it, until it expires. No personal data."""

    customer: bytes  # the origin that the link names
    csrf: str  # what each of its forms carries
    lang: str
    until_ms: int  # it ends then, however busy it is
    pending: dict[str, bool] = {}  # choices that were noted and do not hold yet
    pending_ms: int = 0  # since when
