"""Tables at 80 columns, with a name that is wide, long and looks like markup: nothing is cut, nothing sticks
out, nothing vanishes."""

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from flows.cli import import_screen, quality_screen
from flows.cli.identity_screen import identifiers
from flows.logic.fields.personal_tally import LikelyPersonal
from flows.logic.fields.quality import FieldQuality
from flows.services.data_quality import Personal
from flows.services.importing.job import Summary
from flows.services.steward.named_customers import Named

NAME = "[bold]" + "客户忠诚度" * 9 + "w" * 90
QUALITY = FieldQuality(NAME, NAME, 10, 10, 9, 1, {"invalid": 1})
LIKELY = LikelyPersonal(
    source=NAME,
    event=NAME,
    field=NAME,
    kind="phone",
    looked_at=9,
    hits=2,
    kept=1,
    example="138****5678",
    seen_ms=0,
)
SUMMARY = Summary(3, 1, {NAME: 2}, {NAME: 1}, {NAME: [2]}, "", 1.0, 3)


@pytest.mark.parametrize(
    ("shown", "times"),
    [
        (quality_screen.screen([QUALITY]), 2),
        (quality_screen.likely_personal(Personal(9, [LIKELY], 1)), 3),
        (import_screen.screen(SUMMARY, [(2, "bad", NAME)], dry=True), 3),
        (identifiers([Named("user_id", NAME, "0" * 24, 1_700_000_000_000)]), 1),
    ],
)
def test_nothing_is_cut_at_80_columns(shown: RenderableType, times: int) -> None:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(shown)
    text = capture.get()
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "…" not in text
    assert text.count("w") >= 90 * times
    assert text.count("度") == 9 * times
    assert text.count("[") == times, "a name is no markup"
