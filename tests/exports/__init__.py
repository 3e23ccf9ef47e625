"""The same customers in thirty files, written as spreadsheets and CRM systems write them; docs/import.md says
what each imitates.

`people` is who they are, `words` how each program spells numbers, dates and truth values, `texts` and `books`
the files.
"""

from pathlib import Path

from tests.exports.books import BOOKS
from tests.exports.people import Export
from tests.exports.texts import TEXTS

EXPORTS: tuple[Export, ...] = (*TEXTS, *BOOKS)


def written(export: Export, folder: Path) -> Path:
    """Write the file of that export, and return it."""
    path = folder / export.name
    export.write(path)
    return path
