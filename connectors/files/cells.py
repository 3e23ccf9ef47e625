"""Cells of a table as people and their programs write them, whatever the file: what is no value at all, and
what stands for a text."""

import re
from typing import Any, Final

import msgspec

# What a spreadsheet shows in place of a value, in Excel, WPS, LibreOffice (`Err:502`) and online ones
# (`#ERROR!`).
CELL_ERRORS: Final = frozenset(
    f"#{name}"
    for name in (
        *(
            "N/A",
            "VALUE!",
            "REF!",
            "DIV/0!",
            "NUM!",
            "NAME?",
            "NULL!",
            "SPILL!",
            "CALC!",
            "FIELD!",
            "BLOCKED!",
            "CONNECT!",
            "UNKNOWN!",
        ),
        *("BUSY!", "EXTERNAL!", "PYTHON!", "TIMEOUT!", "DATA!", "ERROR!", "GETTING_DATA"),
    )
)
MARKS: Final = frozenset("#E='")  # what a text begins with that is worth a look
_LIBRE: Final = re.compile(r"Err:5\d\d")
_FORMULA: Final = re.compile(r'="((?:[^"]|"")*)"')  # a text that Excel is to leave alone: ="0044"
# The apostrophe before a number that is a text ('0044), and before what is not to be taken for a formula ('=,
# '+49, '-, '@).
_APOSTROPHE: Final = re.compile(r"'(?:[=+\-@].*|\d[\d ().\-/]*[Xx]?)", re.DOTALL)


class Broken(msgspec.Struct, frozen=True):
    """A row, or one cell of it, that cannot be read: a stable reason, and words without the row's data."""

    reason: str
    detail: str = ""


Cell = str | Broken
Row = dict[str, Any]


def cell_of(text: str) -> Cell:
    """Return the value that a text is written for; only needed where it begins with one of `MARKS`.

    >>> cell_of('="0044"'), cell_of("'0044"), cell_of("'t Hooft"), cell_of("#SPILL!")
    ('0044', '0044', "'t Hooft", Broken(reason='cell_error', detail='#SPILL!'))
    """
    if text in CELL_ERRORS or _LIBRE.fullmatch(text):
        return Broken("cell_error", text)
    if formula := _FORMULA.fullmatch(text):
        return formula[1].replace('""', '"')
    return text[1:] if _APOSTROPHE.fullmatch(text) else text
