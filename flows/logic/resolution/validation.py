"""From the bytes of a message to a checked event, or to the reason why not.

The common case takes one strict decode into a lean struct. Only what that refuses is looked at slowly, to
name the reason.
"""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import UTC, datetime, tzinfo
from hashlib import blake2b
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from flows.logic import consent
from flows.logic.fields import group_traits
from flows.logic.fields.check import (
    DERIVED,
    INVALID,
    NEVER_A_PROPERTY,
    ORIGINAL,
    PERSONAL,
    QUALITY,
    Entry,
    Taken,
    folded,
)
from flows.logic.fields.extract import Fields
from flows.logic.fields.field_names import Named, Naming
from flows.logic.fields.identifiers import PRIVACY, Identifiers
from flows.logic.fields.personal import NAME, Personal, may_hold, year_of
from flows.logic.fields.personal_tally import PersonalTally
from flows.logic.fields.phones import Phones
from flows.logic.fields.repeats import Repeats
from flows.logic.fields.values import cached
from flows.logic.message import Checked, Message, Stated, decode, rescue
from flows.logic.permissions.categories import Categories
from flows.logic.permissions.statements import CONFIRMED, Unconfirmed
from flows.logic.permissions.statements import stated as words_stated
from flows.logic.resolution.listing import Listing
from schemas.config import Category, Config
from schemas.wire.events import EVENT_NAME_MAX, MESSAGE_ID_MAX, RawEvent, Reject

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1

PlanCheck = Callable[[dict[str, Any]], str | None]  # properties -> what is wrong, in words without values


class Validator:
    """Frozen configuration of the checks. `plan` holds a check for each planned event name."""

    def __init__(
        self,
        config: Config,
        hash_key: bytes,
        plan: Mapping[str, PlanCheck],
        noted: PersonalTally | None = None,
        listing: Listing | None = None,
        told: Sequence[Category] = (),
    ) -> None:
        """`noted`: counts what looks like personal data in fields that nobody listed. `listing`: what is
        collected at all; None: everything. `told`: by the plan, which category of data a field is of."""
        self.listing = listing
        self._noted = noted
        self._limits = config.validate
        self._bytes_max = int(config.gateway.event_bytes)
        self._entry = Entry(config.entry, hash_key, config.privacy.attributes)
        self.identifiers = self._identifiers = Identifiers(
            config.identity, hash_key, config.entry, self._entry.checks
        )
        self.categories = Categories(
            (*config.privacy.category, *told), self._entry.kinds, config.value.events
        )
        self._repeats = Repeats(config.entry.repeat)
        self._of_properties, self._of_traits, self._of_groups = named(config, self._entry)
        self._personal = Personal(
            cached(Phones(complete=False).check, local=True), Naming(self._of_properties)
        )
        self._hash_key = hash_key
        self._plan = plan
        self._unconfirmed = Unconfirmed(config.consent)
        self._confirming = frozenset(key.source for key in config.gateway.write_keys if key.confirms)
        zones = {key.source: key.zone for key in config.gateway.write_keys} | config.kafka.zones
        self._zones: dict[str, tzinfo] = {
            source: ZoneInfo(zone) for source, zone in zones.items() if zone != "UTC"
        }
        self._record = Fields(config.matching, self.identifiers.placeholders).of

    def check(self, raw: RawEvent) -> Checked | Reject:
        """Check one event. Never raises for what is in it."""
        stated = self._read(raw)
        return stated if isinstance(stated, Reject) else self._checked(stated, raw)

    def note(self, event: Checked) -> None:
        """Count what looks like personal data in an event that was sampled."""
        if self._noted is not None and event.sampled is not None:
            name = event.name if event.type == "track" else event.type
            self._noted.look(event.channel, name, event.sampled, self._personal, event.received_ms)
            event.sampled = None

    def refusal(self, raw: RawEvent) -> Reject | None:
        """Return why `check` refuses it, without all that it does to what it takes: what this costs is
        bounded by the size of the event."""
        stated = self._read(raw if self.listing is None else self.listing.of(raw))
        return stated if isinstance(stated, Reject) else None

    def _read(self, raw: RawEvent) -> Stated | Reject:
        if raw.fault is not None:
            return Reject(raw.fault, raw.detail)
        value, limits = raw.value, self._limits
        if len(value) > self._bytes_max:
            return Reject("too_large", f"expected at most {self._bytes_max} bytes, got {len(value)}")
        if value.count(b"{") + value.count(b"[") > limits.depth and (depth := _depth(value)) > limits.depth:
            return Reject("too_deep", f"expected at most {limits.depth} levels, got {depth}")
        try:
            message = decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            found = rescue(value)
            if isinstance(found, Reject):
                return found
            message = found
        try:
            return self._split(message, raw)
        except _OutOfRangeError:
            return Reject("number_out_of_range", "expected whole numbers of at most 64 bits")

    def _split(self, message: Message, raw: RawEvent) -> Stated | Reject:
        """What it says, with the personal data that its names tell apart from the rest."""
        time_ms = self._time(message, raw.received_ms, self._zones.get(raw.source, UTC))
        if isinstance(time_ms, Reject):
            return time_ms
        kind = message.type
        group = ""
        company: dict[str, Any] = {}
        if kind == "group":  # its traits are the group's: from here on nobody is known by them
            group = str(message.groupId or message.name or "")
            company, message.traits = message.traits or {}, None
        name = _name_of(message, group)
        if isinstance(name, Reject):
            return name
        message_id = _message_id_of(message, raw)
        if isinstance(message_id, Reject):
            return message_id
        if raw.source == PRIVACY:
            identifiers = self._identifiers.named_by_hash(message)
        else:
            identifiers = self._identifiers.of(message, raw.received_ms)
        if isinstance(identifiers, Reject):
            return identifiers
        properties, traits = message.properties or {}, message.traits or {}
        context_traits = message.context.get("traits") if message.context else None
        if type(context_traits) is dict:
            traits = context_traits | traits
        if raw.value.count(b":") > self._limits.properties and (
            _count(properties) + _count(traits) + _count(company) > self._limits.properties
        ):
            return Reject("too_many_properties", f"expected at most {self._limits.properties} properties")
        if kind == "track" and (refused := self._against_plan(name, properties)) is not None:
            if isinstance(refused, Reject):
                return refused
            properties = refused
        sensitive: dict[str, Any] = {}
        record: dict[str, str] = {}
        if traits:
            traits, record = self._traits(traits, message.context, raw.received_ms, sensitive)
        dropped: dict[str, Any] = {}  # what is sensitive in a property, or of a group, is not kept at all
        properties = _apart(properties, self._of_properties, "", dropped)
        company = _apart(company, self._of_groups, "", dropped)
        event = Checked(
            type=kind,
            name=name,
            time_ms=time_ms,
            received_ms=raw.received_ms,
            message=message_id,
            channel=raw.source,
            identifiers=identifiers,
            user_id=None if message.user_id is None else str(message.user_id),
            properties=properties,
            traits=traits,
            sensitive=sensitive,
            record=record,
            removed={NAME: len(dropped)} if dropped else {},
        )
        return Stated(message, group, company, event)

    def _traits(
        self,
        stated: dict[str, Any],
        context: dict[str, Any] | None,
        received_ms: int,
        sensitive: dict[str, Any],
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The traits after the check, without what is sensitive, which goes there; and the record for
        matching, as stated: it has normal forms of its own."""
        words = consent.plain_words(stated)
        if words:
            stated = {name: value for name, value in stated.items() if name not in words}
        record = self._record(stated)
        taken = self._entry.take(stated, context, received_ms)
        traits = _apart(taken.traits if taken else stated, self._of_traits, "", sensitive)
        if taken is not None:
            traits |= _marks(taken, self._of_traits, sensitive)
            traits |= taken.attributes
        return traits | words if words else traits, record

    def _checked(self, stated: Stated, raw: RawEvent) -> Checked:
        """The event, without the personal data that its values tell."""
        message, group, company, event = stated.message, stated.group, stated.company, stated.event
        properties, traits, of_group = event.properties, event.traits, company  # before they are cleaned
        context = message.context
        if context or event.name in consent.CHANGED:
            event.stamps = consent.stamped(context or {}, event.name, message.properties)
        if context:
            event.backfill = context.get("backfill") is True
            if tcf := consent.tcf_string(context):
                event.traits[consent.TCF] = tcf
        if may_hold(event.message, event.name, event.properties, event.traits, event.stamps, company):
            year = year_of(raw.received_ms)
            removed = event.removed
            event.traits = self._personal.apart(event.traits, year, event.sensitive)
            event.stamps = self._personal.apart(event.stamps, year, event.sensitive)
            event.properties = self._personal.clean(event.properties, year, removed)
            company = self._personal.clean(company, year, removed)
            event.name = self._personal.redact(event.name, year, removed) if event.name else ""
            group = self._personal.redact(group, year, removed) if group else ""
            event.message = self._unnamed(event.message, year, removed)
        if self._noted is not None and self._noted.samples(event.message):
            event.sampled = {"properties": properties, "traits": traits, "group": of_group}
        if group:
            event.traits |= group_traits.stated(group, company)
            event.traits["group_id"] = group
        if event.stamps:
            event.said = words_stated(event.traits | event.stamps if event.traits else event.stamps)
        elif event.traits:
            event.said = words_stated(event.traits)
        if event.said:
            event.said = self._counting(event.said, raw.source, context)
        if event.type == "alias":
            event.previous = self._identifiers.previous(message)
        if self._repeats:
            event.content = self._marks(event)
        return event

    def _counting(
        self, said: dict[str, bool], source: str, context: Mapping[str, Any] | None
    ) -> dict[str, bool]:
        """Return the words that count: without a yes that only the customer can say, and has not."""
        counting = self._unconfirmed.left_out(said)
        return said if counting is said or self._confirms(source, context) else counting

    def _confirms(self, source: str, context: Mapping[str, Any] | None) -> bool:
        """Return whether a yes of this event is the customer's own."""
        if source == PRIVACY:
            return bool(context) and (context or {}).get(CONFIRMED) is True
        return source in self._confirming

    def _marks(self, event: Checked) -> bytes:
        """What it says, for repetitions that come under another id."""
        return self._repeats.marks(
            event.channel,
            event.name if event.type == "track" else event.type,
            event.time_ms,
            (
                event.type,
                event.name,
                event.identifiers[0].hash,
                event.properties,
                event.traits | event.stamps,
                event.sensitive,
            ),
        )

    def _unnamed(self, message_id: str, year: int, removed: dict[str, int]) -> str:
        """A stable stand-in for a messageId that is made of personal data: it goes out with each trigger."""
        if self._personal.redact(message_id, year, removed, "id") == message_id:
            return message_id
        return blake2b(
            message_id.encode("utf-8", "surrogatepass"), digest_size=12, key=self._hash_key
        ).hexdigest()

    def _time(self, message: Message, received_ms: int, zone: tzinfo) -> int | Reject:
        """timestamp = receivedAt - (sentAt - originalTimestamp); a time in the future is the time of receipt.

        `sentAt` only corrects: where that leads to no possible time, it is the clock of `sentAt` that is
        wrong.
        """
        happened = _stated(message.originalTimestamp) or _stated(message.timestamp)
        if happened is None:
            return received_ms
        time_ms = _ms(happened, zone)
        sent = _stated(message.sentAt)
        if sent is not None:
            corrected = self._possible(received_ms - (_ms(sent, zone) - time_ms), received_ms)
            if type(corrected) is int:
                return corrected
        return self._possible(time_ms, received_ms)

    def _possible(self, time_ms: int, received_ms: int) -> int | Reject:
        if time_ms > received_ms:
            if time_ms > received_ms + self._limits.future:
                return Reject("timestamp_out_of_range", f"more than {self._limits.future} after its receipt")
            return received_ms
        if time_ms < received_ms - self._limits.past:
            return Reject("timestamp_out_of_range", f"more than {self._limits.past} before its receipt")
        return time_ms

    def _against_plan(self, name: str, properties: dict[str, Any]) -> Reject | dict[str, Any] | None:
        check = self._plan.get(name)
        if check is None:
            if not self._plan or self._limits.unknown_events == "accept":
                return None
            if self._limits.unknown_events == "flag":
                return {**properties, "$unplanned": True}
            return Reject("plan_unknown_event", "the tracking plan has no event of this name")
        wrong = check(properties)
        return Reject("plan_violation", wrong) if wrong is not None else None


def _name_of(message: Message, group: str) -> str | Reject:
    """Return the name of what happened, or of the page, the screen or the group that it is about."""
    if message.type == "track":
        if not message.event:
            return Reject("event_missing", "expected `event`, the name of what happened")
        name = message.event
    else:
        name = message.name or group
    longest = max(len(name), len(group))
    if longest > EVENT_NAME_MAX:
        detail = f"expected a name of at most {EVENT_NAME_MAX} characters, got {longest}"
        return Reject("field_invalid", detail)
    return name


def _message_id_of(message: Message, raw: RawEvent) -> str | Reject:
    """Return the message's id; where it has none, one that the same bytes would have again."""
    message_id = message.message_id
    if not message_id:
        return f"{raw.received_ms}-{_hash_of(raw.value)}"
    if len(message_id) > MESSAGE_ID_MAX:
        detail = f"expected at most {MESSAGE_ID_MAX} characters, got {len(message_id)}"
        return Reject("message_id_invalid", detail)
    return message_id


def named(config: Config, entry: Entry) -> tuple[Named, Named, Named]:
    """Return the names that are sensitive among properties, among traits, and among what is stated of a
    group: those of `privacy.sensitive`, those that `entry.field` calls the same, and those of kinds that are
    personal. (`traits.name` is sensitive only as a trait: a product's name is no secret, nor a company's.)"""
    kinds = entry.kinds
    of_traits = {
        folded(name.removeprefix("traits."))
        for name in config.privacy.sensitive
        if name.startswith("traits.")
    }
    listed = {folded(name) for name in config.privacy.sensitive if not name.startswith("traits.")}
    same = {
        folded(name)
        for field in config.entry.field
        for name in field.names
        if listed & set(map(folded, field.names))
    }
    everywhere = listed | (same - of_traits) | entry.names(NEVER_A_PROPERTY)
    alone = frozenset(of_traits - listed)
    traits = everywhere | of_traits | entry.names(PERSONAL)

    def these(names: Set[str]) -> Named:
        return Named({name: kinds.get(name) for name in names}, alone & names)

    return these(everywhere), these(traits), these(traits - {"name"})


class _OutOfRangeError(Exception):
    """A whole number that no log record can hold; it is looked for where each value is looked at anyway."""


def _apart(data: dict[str, Any], names: Named, prefix: str, sensitive: dict[str, Any]) -> dict[str, Any]:
    """`data` without its sensitive fields, which go to `sensitive` under their dotted names."""
    general = {}
    for name, value in data.items():
        if (personal := names[name]) is not None and personal(value):
            if value is not None and value != "":
                sensitive[prefix + name] = value
        elif type(value) is dict or type(value) is list:
            general[name] = _inside(value, names, f"{prefix}{name}.", sensitive)
        else:
            if type(value) is int and not _INT_MIN <= value <= _INT_MAX:
                raise _OutOfRangeError
            general[name] = value
    return general


def _inside(value: Any, names: Named, prefix: str, sensitive: dict[str, Any]) -> Any:
    if type(value) is dict:
        return _apart(value, names, prefix, sensitive)
    if type(value) is list:
        return [_inside(item, names, f"{prefix}{at}.", sensitive) for at, item in enumerate(value)]
    if type(value) is int and not _INT_MIN <= value <= _INT_MAX:
        raise _OutOfRangeError
    return value


def _marks(taken: Taken, names: Named, sensitive: dict[str, Any]) -> dict[str, Any]:
    """What was found about the traits, as general traits beside them; personal data of it goes to
    `sensitive`."""
    marks: dict[str, Any] = {QUALITY + field: said for field, said in taken.quality.items()}
    for prefix, stated in ((ORIGINAL, taken.original), (INVALID, taken.invalid)):
        if stated:
            marks |= {
                prefix + name: value for name, value in _apart(stated, names, prefix, sensitive).items()
            }
    for kind, says in taken.derived.items():
        if told := _apart(says, names, f"{DERIVED}{kind}.", sensitive):
            marks[DERIVED + kind] = told
    return marks


def _hash_of(value: bytes) -> str:
    """A stable stand-in for a missing messageId."""
    return blake2b(value, digest_size=12).hexdigest()


def _stated(moment: datetime | None) -> datetime | None:
    """None also for the first moment of the calendar, as which Go, .NET and others write that there is
    none."""
    return None if moment is None or moment.year == 1 else moment


def _ms(moment: datetime, zone: tzinfo) -> int:
    """Unix milliseconds, cut. `zone`: of a moment that has none."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    since = moment - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _depth(value: bytes) -> int:
    """Deepest nesting of brackets outside strings."""
    depth = deepest = 0
    for byte in re.sub(rb'"(?:[^"\\]|\\.)*"', b"", value):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


def _count(data: Any) -> int:
    if isinstance(data, dict):
        return len(data) + sum(_count(value) for value in data.values())
    return sum(_count(value) for value in data) if isinstance(data, list) else 0
