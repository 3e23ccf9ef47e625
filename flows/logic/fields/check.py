"""One event's traits: each stated field checked by its kind, normalised, and used to complete others.

Nothing is silently changed. Of a field `phone` (names are those of the traits, as stated):

    phone              its normal form; where the value is bad, nothing
    $original.phone    as it was stated, where that is not its normal form
    $invalid.phone     as it was stated, where it is bad
    $quality.phone     `ok` and four bytes of a keyed hash of the normal form; or the reason why it is bad
    $derived.phone     what it tells of other fields, by the kind that told it
    $attribute.NAME.SOURCE  what of it rules may see (see `flows.logic.fields.attributes`)

Each stated value, good or bad, writes `$quality`, so that the last one stated is the one that counts. All but
`$quality` are sealed where the field itself is (see `flows.logic.resolution.validation`).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec

from flows.logic.fields import documents, places, texts
from flows.logic.fields.attributes import PREFIX as ATTRIBUTE
from flows.logic.fields.attributes import Attributes, Heard
from flows.logic.fields.dates import dates
from flows.logic.fields.emails import Emails
from flows.logic.fields.phones import Phones
from flows.logic.fields.values import Bad, Check, Checked, Good, cached, text_of
from schemas.config import Entry as EntryConfig
from schemas.config import FieldKind

QUALITY: Final = "$quality."
DERIVED: Final = "$derived."
ORIGINAL: Final = "$original."
INVALID: Final = "$invalid."
GROUP: Final = (
    "$group."  # what is known of a group that the customer belongs to (see `flows.logic.fields.group_traits`)
)
OK: Final = "ok"
# Kinds that are personal data: as a trait sealed however the field is called, ...
PERSONAL: Final[frozenset[FieldKind]] = frozenset(
    ("phone", "email", "name", "birthday", "address", "id_number", "passport", "bank_card", "credit_code")
)
# ... and as a property not kept. (A property `name` is a product's.)
NEVER_A_PROPERTY: Final[frozenset[FieldKind]] = frozenset(
    ("phone", "email", "birthday", "id_number", "passport", "bank_card")
)
_DAYS: Final[frozenset[FieldKind]] = frozenset(("birthday", "date"))
_Stated = list[tuple[str, tuple[str, FieldKind | None]]]  # name as stated; name as configured and kind
_LOCAL: Final[frozenset[FieldKind]] = frozenset(("phone", "passport", "postal_code", "birthday", "date"))
_IN_ADDRESS: Final[frozenset[FieldKind]] = frozenset(
    ("address", "city", "province", "country", "postal_code")
)
_TELLS: Final[frozenset[FieldKind]] = frozenset(
    ("phone", "id_number", "city", "province", "country", "locale")
)
_STATE: Final = "state"  # of an address, what Segment's specification calls a province
_BIRTHDAYS: Final[frozenset[FieldKind]] = frozenset(("birthday", "id_number"))
# how names begin that only we may write
NOTES: Final = (QUALITY, DERIVED, ORIGINAL, INVALID, GROUP, ATTRIBUTE)


class Taken(msgspec.Struct):
    """The traits of one event after the check."""

    traits: dict[str, Any]  # normalised; without bad values
    original: dict[str, Any]
    invalid: dict[str, Any]
    quality: dict[str, str]  # field as configured -> `ok` with the hash, or the reason
    derived: dict[str, dict[str, str]]  # kind -> what -> value
    heard: list[Heard] = []  # each field, for what is derived of the customer
    attributes: dict[str, str] = {}  # traits that rules may see


class Entry:
    """The checks under one configuration. `hash_key` is the identifiers' own; `attributes`: what is derived
    besides."""

    def __init__(self, config: EntryConfig, hash_key: bytes, attributes: Sequence[str] = ()) -> None:
        self._key = hash_key
        self._attributes = Attributes(attributes) if attributes else None
        self._countries = Countries(config.country)
        self._complete = config.complete
        self.checks = checks(config)
        self._fields = _Fields(
            {folded(name): (name, field.kind) for field in config.field for name in field.names}
        )

    def names(self, kinds: frozenset[FieldKind]) -> frozenset[str]:
        """Return the folded names of the fields that are of these kinds."""
        return frozenset(name for name, (_, kind) in self._fields.known.items() if kind in kinds)

    @property
    def kinds(self) -> dict[str, FieldKind]:
        """Return the kinds of the fields, by folded name."""
        return {name: kind for name, (_, kind) in self._fields.known.items()}

    def take(self, traits: dict[str, Any], context: dict[str, Any] | None, received_ms: int) -> Taken | None:
        """Return the traits after the check; None where no trait is of a kind that is checked, for then
        nothing changes."""
        fields = self._fields
        stated = [(name, known) for name in traits if (known := fields[name]) is not None]
        if not stated:
            return None
        taken = Taken(traits=dict(traits), original={}, invalid={}, quality={}, derived={})
        countries = self._countries.of(traits, context)
        zones = countries if (zone := self._zone(stated, traits, context)) is None else (zone, *countries)
        for name, (field, kind) in stated:
            value = traits[name]
            if kind is None:
                del taken.traits[name]
                continue
            if value is None or value == "":
                continue
            if kind == "address" and type(value) is dict:
                self._address(name, value, countries, received_ms, taken)
                continue
            found = self._check(kind, value, zones if kind in _DAYS else countries, received_ms)
            self._note(field, kind, found, taken)
            taken.heard.append((kind, found, value))
            if isinstance(found, Bad):
                taken.invalid[name] = taken.traits.pop(name)
            elif found.value != value:
                taken.original[name] = value
                taken.traits[name] = found.value
        if self._complete:
            self._locale(context, taken)
        if self._attributes is not None:
            taken.attributes = self._attributes.of(taken.heard, received_ms)
        return taken

    def _zone(self, stated: _Stated, traits: dict[str, Any], context: dict[str, Any] | None) -> str | None:
        """The time zone that the event states, where it matters."""
        if not any(kind in _DAYS for _, (_, kind) in stated):
            return None
        said = [traits[name] for name, (_, kind) in stated if kind == "time_zone"]
        said.append(context.get("timezone") if context else None)
        found = (self.checks["time_zone"](text, ()) for text in said if type(text) is str)
        return next((zone.value for zone in found if type(zone) is Good), None)

    def _address(
        self, name: str, stated: dict[str, Any], countries: tuple[str, ...], received_ms: int, taken: Taken
    ) -> None:
        """An address by parts: bad parts are taken out, the whole as stated is kept."""
        parts, changed = dict(stated), False
        for part, value in stated.items():
            known = self._fields[part]
            if known is None and folded(part) == _STATE and type(value) is str:
                taken.heard.append(("province", Good(value), value))
            if known is None or known[1] not in _IN_ADDRESS or value is None or value == "":
                continue
            found = self._check(known[1], value, countries, received_ms)
            self._note(known[0], known[1], found, taken)
            taken.heard.append((known[1], found, value))
            if isinstance(found, Bad):
                del parts[part]
                changed = True
            elif found.value != value:
                parts[part] = found.value
                changed = True
        if changed:
            taken.original[name] = stated
            taken.traits[name] = parts

    def _check(self, kind: FieldKind, value: Any, countries: tuple[str, ...], received_ms: int) -> Checked:
        text = text_of(value)
        if text is None:
            return Bad("type")
        found = self.checks[kind](text, countries)
        return Bad("future") if _is_unborn(kind, found, received_ms) else found

    def _note(self, field: str, kind: FieldKind, found: Checked, taken: Taken) -> None:
        if isinstance(found, Bad):
            taken.quality[field] = found.reason
            return
        said = blake2b(
            f"{kind}\0{found.value}".encode("utf-8", "surrogatepass"), digest_size=4, key=self._key
        ).hexdigest()
        taken.quality[field] = f"{OK} {said}"
        if self._complete and found.says and kind in _TELLS:
            taken.derived.setdefault(kind, dict(found.says))

    def _locale(self, context: dict[str, Any] | None, taken: Taken) -> None:
        """The language of the app tells something too, where no trait does."""
        spoken = context.get("locale") if context else None
        if type(spoken) is str and "locale" not in taken.derived:
            found = self.checks["locale"](spoken, ())
            if type(found) is Good:
                taken.derived["locale"] = dict(found.says)


class Countries:
    """Where a number without a country is from: as stated, as configured, as the locale says; the likeliest
    first."""

    def __init__(self, default: str) -> None:
        self.default: tuple[str, ...] = (default,) if default else ()
        self._country, self._locale = cached(places.country), cached(places.locale)

    def of(self, traits: dict[str, Any] | None, context: dict[str, Any] | None) -> tuple[str, ...]:
        found = self.default
        if traits:
            address = traits.get("address")
            stated = traits.get("country") or (address.get("country") if type(address) is dict else None)
            if type(stated) is str and type(known := self._country(stated, ())) is Good:
                found = (known.value, *(country for country in found if country != known.value))
        spoken = context.get("locale") if context else None
        if type(spoken) is str and type(known := self._locale(spoken, ())) is Good:
            country = known.says.get("country")
            if country and country not in found:
                found = (*found, country)
        return found


def checks(config: EntryConfig) -> dict[FieldKind, Check]:
    """Return the check of each kind, with its cache."""
    of: dict[FieldKind, Check] = {
        "phone": Phones(config.complete).check,
        "email": emails(config).check,
        "name": texts.name,
        "address": texts.address,
        "gender": texts.gender,
        "occupation": texts.occupation,
        "birthday": dates(config.day_first),
        "date": dates(config.day_first),
        "id_number": documents.resident_id,
        "credit_code": documents.credit_code,
        "passport": documents.passport,
        "bank_card": documents.bank_card,
        "postal_code": places.postal_code,
        "city": places.city,
        "province": places.province,
        "country": places.country,
        "locale": places.locale,
        "time_zone": places.time_zone,
    }
    return {kind: cached(check, kind in _LOCAL) for kind, check in of.items()}


def emails(config: EntryConfig) -> Emails:
    return Emails(
        disposable=config.disposable,
        ignore_plus_tags=config.ignore_plus_tags,
        ignore_gmail_dots=config.ignore_gmail_dots,
    )


def folded(name: str) -> str:
    """Return one name for `firstName`, `first_name`, `First Name`, `$first_name` and `customer.firstName`."""
    return "".join(filter(str.isalnum, name.rpartition(".")[2].lower()))


class _Fields(dict[str, tuple[str, FieldKind | None] | None]):
    """Name as stated -> name as configured and kind (None for a name that is ours alone); each spelling is
    looked at once."""

    def __init__(self, known: dict[str, tuple[str, FieldKind]]) -> None:
        super().__init__()
        self.known = known

    def __missing__(self, name: str) -> tuple[str, FieldKind | None] | None:
        if len(self) > 10_000:
            self.clear()
        found = self[name] = ("", None) if name.startswith(NOTES) else self.known.get(folded(name))
        return found


def _is_unborn(kind: FieldKind, found: Checked, now_ms: int) -> bool:
    """Whether the birth date that it states or tells is still to come."""
    if kind not in _BIRTHDAYS or not isinstance(found, Good):
        return False
    return (found.value if kind == "birthday" else found.says["birthday"]) > _tomorrow(now_ms)


def _tomorrow(ms: int) -> str:
    return (
        datetime.fromtimestamp(ms / 1000 + 86_400, UTC).date().isoformat()
    )  # where it begins first, it has begun


Normalise = Callable[[str, tuple[str, ...]], str | None]


Unborn = Callable[[str, int], bool]


def unborn(kind: FieldKind, made: Mapping[FieldKind, Check]) -> Unborn | None:
    """Return a function of (value, Unix milliseconds of now) that says whether the value holds a birth that
    is still to come; None for a kind that holds none."""
    return (
        (lambda value, now_ms: _is_unborn(kind, made[kind](value, ()), now_ms))
        if kind in _BIRTHDAYS
        else None
    )


def key_of(kind: FieldKind, config: EntryConfig, made: Mapping[FieldKind, Check]) -> Normalise:
    """Return what brings a value to the form by which two spellings of an identifier are one, or to None
    where it does not hold. `made`: what `checks` gave."""
    check, mail = made[kind], emails(config)

    def key(value: str, countries: tuple[str, ...]) -> str | None:
        found = check(value, countries)
        if not isinstance(found, Good):
            return None
        return mail.key(found.value) if kind == "email" else found.value

    return key
