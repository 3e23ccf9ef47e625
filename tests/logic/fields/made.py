"""Numbers that hold their checks and are nobody's."""

from datetime import date

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def resident_id(area: str, born: date, number: int) -> str:
    """GB 11643: area, birth date, running number (odd for men), ISO 7064 MOD 11-2."""
    body = f"{area}{born:%Y%m%d}{number:03d}"
    return (
        body
        + "10X98765432"[sum(int(digit) * weight for digit, weight in zip(body, _WEIGHTS, strict=True)) % 11]
    )
