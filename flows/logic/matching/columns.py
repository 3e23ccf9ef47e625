"""What is compared: the known fields, the kind of each, and what is believed of a kind before anything is
learnt.

A kind is a list of comparison levels from `differs` up to `equal`. For each level `same` is its share among
pairs of one and the same customer (Fellegi and Sunter's m), `other` its share among pairs of two different
ones (u). Levels between the two ends say *how* a value is wrong: a digit off, a nickname, the year only.
"""

from typing import Final

import msgspec


class Kind(msgspec.Struct, frozen=True):
    """Comparison levels, the lowest first, with the prior share of each among pairs of the same and of two
    different customers."""

    name: str
    levels: tuple[str, ...]
    same: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def top(self) -> int:
        """Return the highest level."""
        return len(self.levels) - 1


def _kind(name: str, **levels: tuple[float, float]) -> Kind:
    names = tuple(level.replace("_", " ") for level in levels)
    same, other = zip(*levels.values(), strict=True)
    return Kind(name, names, tuple(m / sum(same) for m in same), tuple(u / sum(other) for u in other))


_KINDS: Final = (
    _kind(
        "given",
        differs=(0.10, 0.940),
        similar=(0.04, 0.035),
        short_form=(0.06, 0.012),
        close=(0.09, 0.008),
        equal=(0.71, 0.005),
    ),
    _kind("family", differs=(0.09, 0.967), similar=(0.04, 0.025), close=(0.12, 0.005), equal=(0.75, 0.002)),
    _kind(
        "full",
        differs=(0.05, 0.90),
        one_word_shared=(0.08, 0.094),
        similar=(0.11, 0.005),
        close=(0.16, 0.0008),
        equal=(0.60, 0.0001),
    ),
    _kind(
        "date",
        differs=(0.03, 0.95),
        a_year_apart=(0.02, 0.025),
        same_year=(0.04, 0.015),
        two_of_three_parts_equal=(0.05, 0.005),
        one_digit_apart=(0.08, 0.002),
        equal=(0.78, 0.0001),
    ),
    _kind("phone", differs=(0.25, 0.9999), one_digit_apart=(0.06, 2e-5), equal=(0.69, 1e-5)),
    _kind(
        "email", differs=(0.20, 0.999), same_name_part=(0.06, 2e-4), close=(0.10, 1e-4), equal=(0.64, 1e-6)
    ),
    _kind("identifier", differs=(0.04, 0.9999), one_digit_apart=(0.08, 3e-5), equal=(0.88, 1e-6)),
    _kind("street", differs=(0.15, 0.975), similar=(0.07, 0.02), close=(0.15, 0.001), equal=(0.63, 0.0005)),
    _kind("place", differs=(0.17, 0.96), part_of_it=(0.04, 0.01), close=(0.09, 0.005), equal=(0.70, 0.01)),
    _kind(
        "postcode",
        differs=(0.10, 0.94),
        same_area=(0.04, 0.03),
        same_district=(0.08, 0.01),
        one_character_apart=(0.06, 0.004),
        equal=(0.72, 0.001),
    ),
    _kind(
        "organisation",
        differs=(0.06, 0.93),
        one_word_shared=(0.06, 0.065),
        similar=(0.12, 0.004),
        close=(0.18, 0.0005),
        equal=(0.58, 0.0001),
    ),
    _kind("web", differs=(0.2, 0.999), close=(0.1, 5e-4), equal=(0.7, 1e-4)),
    _kind("category", differs=(0.06, 0.6), equal=(0.94, 0.4)),
    _kind("text", differs=(0.30, 0.94), similar=(0.08, 0.03), close=(0.10, 0.01), equal=(0.52, 0.02)),
)
KINDS: Final = {kind.name: kind for kind in _KINDS}

KIND_OF: Final = {
    "given_name": "given",
    "middle_name": "given",
    "family_name": "family",
    "full_name": "full",
    "date_of_birth": "date",
    "phone": "phone",
    "email": "email",
    "street": "street",
    "street_2": "street",
    "house_number": "text",
    "city": "place",
    "district": "place",
    "state": "place",
    "postcode": "postcode",
    "country": "category",
    "national_id": "identifier",
    "tax_id": "identifier",
    "organisation": "organisation",
    "gender": "category",
    "occupation": "text",
    "birth_place": "place",
    "website": "web",
}
# each of them tells most of the others
PLACES: Final = frozenset(
    ("street", "street_2", "house_number", "postcode", "city", "district", "state", "country")
)
# of these two branches of one organisation have each their own; in one city there may be several
SPOTS: Final = frozenset(("street", "street_2", "house_number", "postcode"))
_SHARED: Final = frozenset(("family_name", "phone", "birth_place", *PLACES))


def is_shared(field: str) -> bool:
    """Return whether members of one family or household have it in common; of an unknown field this has to be
    feared."""
    return field in _SHARED or field not in KIND_OF


def tells_who(field: str) -> bool:
    """Return whether it is a field of the customer's own, by which two records can be one customer's: a name,
    a birth date, a mail address, a number.

    What a household shares, a category and an unknown field are not.
    """
    return not is_shared(field) and kind_of(field).name not in ("category", "text", "web")


def kind_of(field: str) -> Kind:
    """Return the kind of a field; an unknown one is text, compared generically."""
    return KINDS[KIND_OF.get(field, "text")]
