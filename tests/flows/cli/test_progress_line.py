"""How far a long command is: seldom, in place on a terminal, in lines elsewhere."""

import io

import pytest

from flows.cli.progress_line import IN_PLACE_S, LINE_S, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("out", "every_s"), [(io.StringIO(), LINE_S), (Terminal(), IN_PLACE_S)])
def test_it_says_something_now_and_then(out: io.StringIO, every_s: float) -> None:
    now = 0.0
    with Progress("restoring: entries", out, lambda: now) as step:
        step(1_000)
        assert out.getvalue() == ""
        now = every_s
        step(500)
        step()
        assert out.getvalue().count("restoring: entries 1,500, ") == 1
        now = 2 * every_s
        step()
    assert "entries 1,502" in out.getvalue()
    assert out.getvalue().endswith("\r\x1b[K" if out.isatty() else " s\n")
