"""Tables that fit whatever terminal there is: what is too long for a column goes on in its next line, and
nothing is cut."""

from rich.table import Table


def folded(table: Table) -> Table:
    """The same table."""
    for column in table.columns:
        column.overflow, column.no_wrap = "fold", False
    return table
