"""What was derived from stated fields, and how sure that is. A stated value always comes before a derived
one.

The confidences are judgements, not measurements: how often the derived value is what the customer would
state.
"""

from collections.abc import Mapping
from typing import Any, Final

from flows.logic.fields.check import DERIVED

CONFIDENCE: Final[dict[str, dict[str, float]]] = {  # what -> by which kind -> how sure
    "birthday": {"id_number": 1.0},
    "gender": {"id_number": 1.0},
    "country": {"city": 0.95, "province": 0.95, "phone": 0.9, "id_number": 0.8, "locale": 0.5},
    "province": {
        "city": 0.95,
        "phone": 0.7,
        "id_number": 0.6,
    },  # people keep their number when they move; born is not living there
    "city": {"phone": 0.7},
    "county": {"id_number": 0.5},
    "region": {"phone": 0.7},
    "carrier": {"phone": 0.8},  # numbers can be taken along
    "time_zone": {"country": 0.95, "city": 0.95, "province": 0.95, "phone": 0.7},
    "language": {"locale": 0.9},
}

Traits = Mapping[str, tuple[int, Any]]


def derived(traits: Traits, what: str) -> tuple[Any, str, float] | None:
    """Return (value, kind of the source, confidence), the surest one; None where nothing tells it."""
    for kind, sure in sorted(CONFIDENCE.get(what, {}).items(), key=lambda source: -source[1]):
        held = traits.get(DERIVED + kind)
        if held is not None and type(held[1]) is dict and what in held[1]:
            return held[1][what], kind, sure
    return None


def completed(traits: Traits) -> dict[str, dict[str, Any]]:
    """Return all that is derived and not stated. Personal data is not here: it lies in the sensitive
    record."""
    found = {}
    for what in CONFIDENCE:
        if what not in traits and (best := derived(traits, what)) is not None:
            found[what] = dict(zip(("value", "source", "confidence"), best, strict=True))
    return found
