"""Durations and sizes as people write them: `200ms`, `30s`, `5m`, `12h`, `90d`, `2w`; `32KB`, `4MB`."""

import re

_TIME_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SIZE_B = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}
_FORM = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([A-Za-z]+)\s*")
_MAX = 2**53  # what every JSON reader holds exactly: 285,000 years, or 8 petabytes


class Duration(int):
    """Milliseconds."""

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Return the number: `Duration.parse("1.5h") == 5_400_000`. Raises `ValueError`."""
        return cls(_parse(text, _TIME_MS, "a duration such as 200ms, 30s, 5m, 12h, 90d or 2w"))

    def __str__(self) -> str:
        return _show(int(self), _TIME_MS)


class Size(int):
    """Bytes."""

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Return the number: `Size.parse("32KB") == 32_768`. Raises `ValueError`."""
        return cls(_parse(text, _SIZE_B, "a size such as 512B, 32KB or 4MB"))

    def __str__(self) -> str:
        return _show(int(self), _SIZE_B)


def _parse(text: str, units: dict[str, int], expected: str) -> int:
    match = _FORM.fullmatch(text)
    if match is None or match[2] not in units:
        raise ValueError(f"expected {expected}, got {text!r}")
    value = round(float(match[1]) * units[match[2]])
    if value > _MAX:
        raise ValueError(f"expected {expected}, got {text!r}, which is too large")
    return value


def _show(value: int, units: dict[str, int]) -> str:
    for unit, factor in sorted(units.items(), key=lambda item: -item[1]):
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return f"{value}{next(iter(units))}"
