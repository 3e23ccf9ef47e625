"""`millrace customer`: one customer as a person reads him, on a real Redis."""

import pytest

from flows.cli.customer_screen import show
from schemas.errors import Unusable
from tests.site import Site


def test_one_screen_in_plain_words_with_contact_details_masked(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.tick()
    for _ in range(8):
        site.window(40)
        site.apply()
    for _ in range(3):
        site.forward()
        site.apply()
    assert show(site.config, "user_id:user-1") == 0
    out = capsys.readouterr().out
    lines = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith(" "))
    assert lines["last_seen"].startswith("2026-01-01 00:0")
    assert "orders: " in out
    assert "buyer: since 2026-01-01" in out
    assert "email: p***@example.com" in lines["identifiers"] + out
    assert max(map(len, out.splitlines())) <= 80
    assert not [mark for mark in "{}'[]" if mark in out], "nothing as a program writes it"
    assert show(site.config, lines["customer"].strip()) == 0
    assert capsys.readouterr().out.splitlines()[0] == out.splitlines()[0]


@pytest.mark.parametrize(
    ("who", "says"),
    [("user_id:nobody", "nobody is known"), ("mail:x", "no namespace"), ("ff", "nobody is known")],
)
def test_nobody_is_one_line(site: Site, who: str, says: str) -> None:
    with pytest.raises(Unusable, match=says):
        show(site.config, who)
