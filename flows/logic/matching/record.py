"""A record: what one event or row says about a customer, in the normal forms in which it is compared."""

from collections.abc import Mapping
from typing import Final

import msgspec

from flows.logic.matching.columns import KIND_OF
from flows.logic.matching.han import is_han, split_name
from flows.logic.matching.normalise import NORMALISE

FIELDS_MAX: Final = 20
_HOW: Final = {field: NORMALISE[kind] for field, kind in KIND_OF.items()}
_GENERIC: Final = NORMALISE["text"]


class Record(msgspec.Struct, array_like=True, frozen=True):
    """Normal values by field: at most 20 of at most 64 characters, none empty. Packs into a few hundred
    bytes."""

    values: dict[str, str]

    @staticmethod
    def of(fields: Mapping[str, str]) -> "Record":
        """Make a record of fields by name; a name that `columns.KIND_OF` does not know is compared as text.
        Values that say nothing are left out."""
        values: dict[str, str] = {}
        for field, value in fields.items():
            if value and (normal := _HOW.get(field, _GENERIC)(value)):
                values[field] = normal
                if len(values) == FIELDS_MAX:
                    break
        _complete_name(values)
        return Record(values)


def _complete_name(values: dict[str, str]) -> None:
    """Hold a Chinese name both whole and split: forms ask for it either way, and in either order."""
    full = values.get("full_name")
    given, family = values.get("given_name"), values.get("family_name")
    if full and is_han(full) and not (given or family):
        values["family_name"], given = split_name(full)
        if given:
            values["given_name"] = given
    elif given and not family and is_han(given) and len(given) > 2:
        values["family_name"], values["given_name"] = split_name(given)
