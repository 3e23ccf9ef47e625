"""Features are packed and read back as 32-bit floats, and what was packed before is read too."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from flows.logic.profile.sparse import pack, unpack

floats = st.lists(st.one_of(st.just(0.0), st.floats(width=32, allow_nan=False)), max_size=255)


@given(floats)
def test_what_was_packed_is_read_back(values: list[float]) -> None:
    assert unpack(pack(values)) == values


@given(floats)
def test_what_former_releases_packed_is_read(values: list[float]) -> None:
    assert unpack(struct.pack(f">{len(values)}f", *values)) == values


def test_zeros_take_a_bit_each() -> None:
    assert len(pack([0.0] * 200)) == 26
