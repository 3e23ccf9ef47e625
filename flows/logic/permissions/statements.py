"""What one event states about consent, and what all origins of a customer say together.

Within an origin the last word counts, and of two in one millisecond a no. Between origins a no wins, unless
it was overruled: a customer who is known by several origins and says something new means all of them. Such a
word carries the names of the other origins (`Word.over`), and overrules their older words for as long as they
are one customer. So when a union turns out to be a mistake, each side has its own words again.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import msgspec

from flows.logic import consent
from flows.logic.fields.stated import in_order, stated_ms
from schemas.config import Consent
from schemas.records.consents import Consents, Standing, Word, unpacked

MODE: Final = "mode"
_VERSION: Final = "version"
VERSION: Final = f"{consent.NAME}.{_VERSION}"  # a trait: of what was agreed to
_MARKETING: Final = ("marketing", "sales")
_PERSONALISED: Final = ("personalisation",)
SWITCHED: Final = _MARKETING + _PERSONALISED  # purposes that `consent.mode` switches
_IN_MODES: Final[dict[str, tuple[str, ...]]] = {
    "basic": (),
    "marketing": _MARKETING,
    "personalisation": _PERSONALISED,
    "personalization": _PERSONALISED,
    "personalised": _PERSONALISED,
    "personalized": _PERSONALISED,
    "recommendation": _PERSONALISED,
}
_BETWEEN: Final = re.compile(r"[\s+,_-]+")
WORDS_MAX: Final = 64  # of one origin
NAME_MAX: Final = 128  # characters
AGAIN_MS: Final = 3_600_000  # a no that a banner repeats is written anew after so long
_NAMES: Final = f"{consent.NAME}."
_PREFIX: Final = len(_NAMES)
VERSION_MAX: Final = 64

Stated = dict[str, bool]
CONFIRMED: Final = "confirmed"  # in the context of an event of our own: its yes was confirmed


class Unconfirmed:
    """Leaves out a yes that only the customer itself can say, and has not."""

    def __init__(self, config: Consent) -> None:
        needing = [purpose for purpose in config.purpose if purpose.confirm]
        self._things = frozenset(thing for one in needing for thing in (one.name, *one.stated_by))
        self._within = tuple(f"{thing}." for thing in self._things)

    def left_out(self, said: Stated) -> Stated:
        """Return what counts without a confirmation."""
        if self._things.isdisjoint(said) and "." not in "".join(said):  # as nearly always
            return said
        return {thing: granted for thing, granted in said.items() if not (granted and self._needs(thing))}

    def _needs(self, thing: str) -> bool:
        return thing in self._things or thing.startswith(self._within)


def stated(traits: Mapping[str, Any]) -> Stated:
    """Return what the traits of an event say: each thing and whether it is allowed. What is neither yes nor
    no says nothing.

    >>> stated({"consent.sms": "denied", "consent": {"email": {"news": True}}, "plan": "gold"})
    {'sms': False, 'email.news': True}
    >>> stated({"consent.mode": "basic+marketing"})
    {'marketing': True, 'sales': True, 'personalisation': False}
    """
    found: Stated = {}
    for name, value in traits.items():
        if name[:_PREFIX] == _NAMES:
            thing = name[_PREFIX:]
            if value is True or value is False:  # as banners have it
                if 0 < len(thing) <= NAME_MAX and thing != _VERSION:
                    found[thing] = value
            elif thing != _VERSION:
                found.update(_said(thing, value))
        elif name == consent.NAME:
            found.update(_said("", value))
    return found


def _said(thing: str, value: Any) -> Stated:
    return {thing: said for thing, said in _words(thing, value) if 0 < len(thing) <= NAME_MAX}


def _words(thing: str, value: Any) -> Iterator[tuple[str, bool]]:
    if type(value) is dict:
        for name, inner in value.items():
            if thing or name != _VERSION:
                yield from _words(f"{thing}.{name}" if thing else name, inner)
        return
    if thing == MODE and type(value) is str:
        yield from _mode(value)
    elif (said := consent.says(value)) is not None:
        yield thing, said


def _mode(value: str) -> Iterator[tuple[str, bool]]:
    """A mode says yes to what it names and no to the other purposes that customers switch by it."""
    named = {word for word in _BETWEEN.split(value.strip().lower()) if word}
    if named and named <= _IN_MODES.keys():
        granted = {purpose for word in named for purpose in _IN_MODES[word]}
        yield from ((purpose, purpose in granted) for purpose in SWITCHED)


def says_nothing_new(
    record: Consents, said: Stated, version: str, others: Collection[bytes], time_ms: int
) -> bool:
    """Return whether these words are said already, and of these other origins too: the usual case, for
    banners say theirs on each event. A no that is said again after an hour is new, so that a yes from before
    comes too late. `time_ms`: of the event."""
    held = record.words
    for thing, granted in said.items():
        word = held.get(thing)
        if word is None or word.granted is not granted or word.version != version:
            return False
        if not granted and time_ms - _ms(word) > AGAIN_MS:
            return False
        if others and not set(others) <= set(word.over):
            return False
    return True


def take(record: Consents, said: Stated, like: Word) -> bool:
    """Take words into the record of an origin, each as `like` says but for what it grants. Return whether
    the record says anything new.

    A yes that is said again is new only where it is of another version, or overrules more; a no moves with
    each time that it is said, so that no yes from in between counts. A word that is older than what is held
    comes too late. Where there is no more room the oldest yes goes for a no.
    """
    changed = False
    for thing, granted in said.items():
        held = record.words.get(thing)
        if held is not None and not _is_news(held, granted, like):
            continue
        if held is None and len(record.words) >= WORDS_MAX and (granted or not _make_room(record)):
            continue
        record.words[thing] = msgspec.structs.replace(like, granted=granted)
        changed = True
    return changed


def _make_room(record: Consents) -> bool:
    """Forget the oldest yes; return whether there was one."""
    yeses = [(in_order(word.moment), thing) for thing, word in record.words.items() if word.granted]
    if not yeses:
        return False
    del record.words[min(yeses)[1]]
    return True


def _is_news(held: Word, granted: bool, like: Word) -> bool:
    before, now = _ms(held), _ms(like)
    if now < before or (now == before and not held.granted):
        return False
    if not granted and now > before:
        return True
    return held.granted != granted or held.version != like.version or not set(like.over) <= set(held.over)


class Words:
    """What all origins of a customer say together: each thing that was spoken of, and whether it is allowed.
    And the country that the customer was last said to be in."""

    __slots__ = ("country", "denied", "refused", "said")

    def __init__(self, said: Stated, country: str = "") -> None:
        self.said = said
        self.country = country
        self.denied: frozenset[str] | None = None  # categories of data, once somebody has asked
        self.refused: list[str] | None = None  # purposes of rules, the same


def words_of(standing: Standing) -> Words:
    """Return what counts now."""
    records = {member: unpacked(record) for member, record in standing.records.items()}
    return together(records)


def together(records: Mapping[bytes, Consents]) -> Words:
    """Return what the records of these origins say together, who are one customer."""
    said: Stated = {}
    for origin, record in records.items():
        for thing, word in record.words.items():
            if len(records) == 1 or not _overruled(thing, word, origin, records):
                said[thing] = said.get(thing, True) and word.granted
    country = max(((record.country_at, record.country) for record in records.values()), default=(0, ""))[1]
    return Words(said, country)


def _overruled(thing: str, word: Word, origin: bytes, records: Mapping[bytes, Consents]) -> bool:
    for other, record in records.items():
        later = record.words.get(thing) if other != origin else None
        if later is not None and origin in later.over and _ms(later) > _ms(word):
            return True
    return False


def _ms(word: Word) -> int:
    return stated_ms(word.moment)
