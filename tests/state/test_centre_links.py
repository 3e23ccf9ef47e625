"""Links into the privacy centre: who can make one, and what is left of one that was changed."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.centre_links import TOKEN_CHARS, Link, LinkSigner

SIGNER = LinkSigner(b"k" * 32)
ANA = bytes(range(12))
NOW = 1_800_000_000


def test_a_link_says_who_until_when_and_in_which_language() -> None:
    token = SIGNER.make(ANA, NOW + 60, "zh")
    read = SIGNER.read(token, NOW)
    assert isinstance(read, Link)
    assert (read.customer, read.expires_s, read.lang) == (ANA, NOW + 60, "zh")
    assert len(token) == TOKEN_CHARS
    assert LinkSigner(b"k" * 32).read(token, NOW) == read


def test_each_link_is_another_one() -> None:
    tokens = {SIGNER.make(ANA, NOW, "en") for _ in range(100)}
    assert len(tokens) == 100


def test_it_expires_to_the_second() -> None:
    token = SIGNER.make(ANA, NOW + 60, "en")
    assert isinstance(SIGNER.read(token, NOW + 59.999), Link)
    assert SIGNER.read(token, NOW + 60) == "expired"


def test_another_key_makes_no_link_of_ours_not_even_an_expired_one() -> None:
    other = LinkSigner(b"l" * 32)
    assert other.read(SIGNER.make(ANA, NOW + 60, "en"), NOW) == "forged"
    assert other.read(SIGNER.make(ANA, NOW - 60, "en"), NOW) == "forged"


@given(st.integers(0, TOKEN_CHARS * 6 - 1))
def test_whatever_bit_is_changed_it_is_forged(bit: int) -> None:
    signed = bytearray(urlsafe_b64decode(SIGNER.make(ANA, NOW + 60, "en")))
    signed[bit // 8] ^= 1 << bit % 8
    assert SIGNER.read(urlsafe_b64encode(signed).decode(), NOW) == "forged"


@pytest.mark.parametrize(
    "changed",
    [
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token + "=",
        lambda token: token[:40] + "*" + token[41:],  # what a lenient decoder leaves out
        lambda token: token[:40] + "é" + token[41:],
        lambda token: token.swapcase(),
        lambda token: "",
        lambda token: "A" * TOKEN_CHARS,
        lambda token: " " + token[1:],
    ],
)
def test_no_other_spelling_of_a_token_gets_in(changed) -> None:  # type: ignore[no-untyped-def]
    assert SIGNER.read(changed(SIGNER.make(ANA, NOW + 60, "en")), NOW) == "forged"


@given(st.text(max_size=2 * TOKEN_CHARS))
def test_no_text_raises(text: str) -> None:
    assert SIGNER.read(text, NOW) == "forged"
