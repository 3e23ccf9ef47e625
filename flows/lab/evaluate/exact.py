"""The simple way to find double rows, beside which matching is measured: what most tools that look for
duplicates do."""

from collections.abc import Iterator, Mapping, Sequence

from flows.logic.matching.columns import kind_of

_NAMES = (("full_name",), ("given_name", "family_name"), ("organisation",))
_BESIDE = (("date_of_birth",), ("phone",), ("street", "city"), ("street", "postcode"))


def exact(rows: Sequence[Mapping[str, str]], meaning: Mapping[str, str]) -> list[int]:
    """Return the customer of each row: rows are one where a mail address or a number is the same, or a name
    with a birth date, a phone number or an address, but for case, blanks and signs."""
    parents = list(range(len(rows)))

    def root(row: int) -> int:
        while parents[row] != row:
            parents[row] = row = parents[parents[row]]
        return row

    first: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows):
        for key in _keys({field: _plain(row.get(column, "")) for column, field in meaning.items()}):
            parents[root(number)] = root(first.setdefault(key, number))
    return [root(number) for number in range(len(rows))]


def _keys(values: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for field, value in values.items():
        if value and kind_of(field).name in ("identifier", "email"):
            yield field, value
    for name in _NAMES:
        for beside in _BESIDE:
            fields = (*name, *beside)
            if all(values.get(field) for field in fields):
                yield (*fields, *(values[field] for field in fields))


def _plain(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
