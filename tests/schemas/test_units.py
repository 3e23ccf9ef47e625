from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.units import Duration, Size


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("200ms", 200),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1.5h", 5_400_000),
        (" 90 d ", 7_776_000_000),
        ("2w", 1_209_600_000),
    ],
)
def test_durations_are_milliseconds(text: str, ms: int) -> None:
    assert Duration.parse(text) == ms


@pytest.mark.parametrize(
    ("text", "size"), [("512B", 512), ("32KB", 32_768), ("1.5MB", 1_572_864), ("4GB", 4 * 1024**3)]
)
def test_sizes_are_bytes(text: str, size: int) -> None:
    assert Size.parse(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 parsecs",
        "-5s",
        "5S",
        "1e3s",
        "١s",
        "5s 3ms",
        "9" * 400 + "s",
        "999999999999999w",
        "nan",
        "infs",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as"):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["32kb", "5s", "1TB", "32"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as"):
        Size.parse(text)


@given(st.integers(0, 2**53))
def test_what_is_shown_is_read_back(value: int) -> None:
    if value < 10**15:
        assert Duration.parse(str(Duration(value))) == value
        assert Size.parse(str(Size(value))) == value


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with suppress(ValueError):
        assert Duration.parse(text) >= 0
