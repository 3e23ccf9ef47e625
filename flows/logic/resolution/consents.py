"""What customers allow, event by event: each is judged by what its customer has said up to its place in the
window, and changes what holds from there on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from flows.logic import consent
from flows.logic.fields.stated import stated_at
from flows.logic.message import Checked
from flows.logic.models.binary import BINARY
from flows.logic.permissions.categories import Categories
from flows.logic.permissions.permissions import Permissions
from flows.logic.permissions.statements import (
    AGAIN_MS,
    VERSION,
    VERSION_MAX,
    Stated,
    Words,
    says_nothing_new,
    take,
    together,
)
from flows.logic.permissions.withholding import WITHHELD, is_withheld, withhold
from flows.logic.profile.fragments import dedupe_id
from schemas.config import Config
from schemas.records.consents import Consents, Standing, Word, packed, unpacked
from schemas.records.identity_graph import Put

_COUNTRY: Final = ("country", "countryCode", "country_code")


class Ruling(msgspec.Struct):
    """What becomes of the events of a window, by their indexes."""

    events: dict[int, Checked] = {}  # those of which something is left out, as they go on
    dropped: set[int] = set()  # those that do not go on
    # what the archive must not keep: of which events, the fields of which categories, and whether all of it
    unkept: dict[int, tuple[frozenset[str], bool]] = {}
    refused: dict[int, list[str]] = {}  # purposes of rules that the customer does not allow then
    repeated: set[int] = set()  # those that say of consent what the record of their origin holds
    puts: list[Put] = []
    looked_at: list[tuple[bytes, bytes]] = []
    removed: Counter[str] = msgspec.field(default_factory=Counter)  # category -> fields and events


class Speaker:
    """A customer's words while a window is judged."""

    __slots__ = ("_last", "members", "records", "words")

    def __init__(self, standing: Standing) -> None:
        self.members = standing.members
        if standing.read is None:
            read = {origin: unpacked(record) for origin, record in standing.records.items()}
            standing.read = (read, together(read))
        self.records, self.words = standing.read
        self._last: tuple[bytes, Stated, object, int] | None = None  # what was said again last, and where

    def has_said(self, event: Checked, country: str, origin: bytes) -> bool:
        """Return whether the record of this origin holds all the words of an event, and its country."""
        if event.traits and not all(event.said.values()) and any(map(consent.is_one, event.traits)):
            return False  # a no that is said by itself, and not stamped on an event: its time counts
        stamp = (origin, event.said, event.traits.get(VERSION), event.time_ms // AGAIN_MS)
        if stamp == self._last and not country:
            return True
        record = self.records.get(origin)
        if record is None or country not in ("", record.country):
            return False
        others = self._others(origin)
        if not says_nothing_new(record, event.said, _version(event), others, event.time_ms):
            return False
        self._last = stamp
        return True

    def hear(self, event: Checked, country: str, origin: bytes) -> bool:
        """Take in what an event says. Return whether it is new."""
        record = self.records.get(origin)
        # a copy: what was read may be read again
        record = Consents(dict(record.words), record.country, record.country_at) if record else Consents()
        moment = stated_at(event.time_ms, dedupe_id(event.message))
        like = Word(
            granted=False,
            moment=moment,
            source=event.channel,
            version=_version(event),
            proof=event.message,
            over=self._others(origin),
        )
        news = take(record, event.said, like)
        if country and country != record.country and moment > record.country_at:
            record.country, record.country_at, news = country, moment, True
        if news:
            self.records = self.records | {origin: record}
            self.words = together(self.records)
            self._last = None
        return news

    def _others(self, origin: bytes) -> tuple[bytes, ...]:
        return tuple(member for member in self.members if member != origin)


class ConsentRules:
    """What one configuration makes of what customers say."""

    def __init__(self, config: Config, categories: Categories) -> None:
        self.categories = categories
        self.permissions = Permissions(config.consent, categories.names)
        self._unstamped = config.consent.unstamped
        self._regions = bool(config.consent.regions)
        self._purposes = purposes_of(config)
        optional = [purpose.name for purpose in config.consent.purpose if not purpose.required]
        required_only = self.permissions.denied(Words(dict.fromkeys(optional, False)))
        # of events without a word of their own, where their customer's word does not count for them
        self._unstamped_denied = required_only if config.consent.unstamped == "deny" else frozenset()

    def are_idle(self, events: Sequence[Checked]) -> bool:
        """Return whether nothing is to be judged, as long as nobody has ever said anything."""
        if self.permissions.unspoken or self._unstamped == "deny" or self._refused(Words({})):
            return False
        if self._regions and any(event.traits and _country(event.traits) for event in events):
            return False
        return not any(event.said for event in events)

    def rule(
        self,
        events: Sequence[Checked],
        order: Sequence[int],
        origins: Sequence[bytes],
        standings: Sequence[Standing],
    ) -> Ruling:
        """Judge the events of a window. `order`: their indexes, with the origin and the customer's standing
        of each."""
        ruling = Ruling()
        customers: dict[bytes, Speaker] = {}
        looked_at: dict[bytes, bytes] = {}
        dirty: dict[bytes, Consents] = {}
        by_word = self._unstamped == "profile"
        for at in sorted(range(len(order)), key=order.__getitem__):
            index, standing = order[at], standings[at]
            root = standing.root
            customer = customers.get(root)
            if customer is None:
                customer = customers[root] = Speaker(standing)
                looked_at[root] = standing.mark
            event, origin = events[index], origins[at]
            said = event.said
            news = False
            if said or self._regions:
                country = _country(event.traits) if self._regions and event.traits else ""
                if said and customer.has_said(event, country, origin):
                    ruling.repeated.add(index)
                elif said or country:
                    news = customer.hear(event, country, origin)
            if news:
                dirty[origin] = customer.records[origin]
                looked_at[root] = standing.whole_mark
            words = customer.words
            refused = words.refused if words.refused is not None else self._refused(words)
            if refused:
                ruling.refused[index] = refused
            denied = words.denied if said or by_word else self._unstamped_denied
            if denied is None:
                denied = words.denied = self.permissions.denied(words)
            if denied or event.name == WITHHELD:
                self._leave_out(ruling, index, event, denied, news)
        ruling.looked_at = list(looked_at.items())
        ruling.puts = [Put("c", origin, packed(record)) for origin, record in dirty.items()]
        return ruling

    def _refused(self, words: Words) -> list[str]:
        if words.refused is None:
            words.refused = [
                purpose for purpose in self._purposes if not self.permissions.serves(words, purpose)
            ]
        return words.refused

    def _leave_out(
        self, ruling: Ruling, index: int, event: Checked, denied: frozenset[str], news: bool
    ) -> None:
        category = is_withheld(self.categories, event, denied)
        if category:
            ruling.removed[category] += 1
            ruling.unkept[index] = (denied, True)
            if not news:
                ruling.dropped.add(index)
                return
            # the shard has to hear what was said, and nothing else
            stated = event.traits | event.stamps
            words = {name: value for name, value in stated.items() if consent.is_one(name)}
            ruling.events[index] = msgspec.structs.replace(
                event,
                name=WITHHELD if event.type == "track" else "",
                properties={},
                traits=words,
                stamps={},
                sensitive={},
                record={},
            )
            return
        kept = msgspec.structs.replace(event)
        removed = withhold(self.categories, kept, denied)
        if removed:
            ruling.events[index], ruling.unkept[index] = kept, (denied, False)
            ruling.removed.update(removed)


def purposes_of(config: Config) -> list[str]:
    """Return the purposes of what rules derive: of those that are asked for, in order."""
    named = {purpose for tag in config.tag for purpose in tag.purposes}
    named.update(purpose for segment in config.segment for purpose in segment.purposes)
    if config.churn.enabled:
        named.add(BINARY["churn"].purpose)
    named.update(BINARY[model.name].purpose for model in config.model if model.enabled)
    asked = (purpose.name for purpose in config.consent.purpose if not purpose.required)
    return sorted(named.intersection(asked))


def _version(event: Checked) -> str:
    return str(event.traits.get(VERSION, ""))[:VERSION_MAX]


def _country(traits: Mapping[str, Any]) -> str:
    """Return the country that the traits name by two letters; or ""."""
    for name in _COUNTRY:
        value = traits.get(name)
        if type(value) is str and len(value) == 2 and value.isalpha():
            return value.upper()
    address = traits.get("address")
    return _country(address) if type(address) is dict else ""
