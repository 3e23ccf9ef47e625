"""Rows of a file as events in the raw log, each acknowledged, none lost or doubled when the import is killed
and started again.

Each row is judged as `resolve` would judge it; a row that it would refuse is not sent, and is listed with its
number and reason.

    job            what an import is told, and what it says of itself
    mapping        which column is which field
    column_values  what the texts of a column mean; `forms` which form each column has
    reading        rows as batches of judged events
    loading        batches into the raw log, or nowhere in a dry run
    checkpoint     how far it is, in a file
    preview        what a dry run says about customers; `foresee` about one row
"""
