"""What customers do not allow goes no further than `resolve`."""

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from prometheus_client import REGISTRY

from connectors.raw.log import START
from flows.logic.permissions.permissions import Permissions
from flows.logic.permissions.statements import words_of
from flows.logic.permissions.withholding import WITHHELD
from flows.runtime.archived_windows import events_of, unpacked
from schemas.config import Archive, Category, Config, Consent, Privacy
from schemas.records.consents import unpacked as unpacked_words
from schemas.records.identity_graph import Order, WindowCommit
from schemas.wire.events import RawEvent
from state.directory.directory_protocol import Directory
from state.directory.redis_directory import RedisDirectory
from state.memory.memory_directory import MemoryDirectory
from state.redis.names import Names
from tests.resolving import LAYOUT, NOW_MS, SEAL, Site
from tests.resolving import raw as at_once

BASIC = {"consent.mode": "basic"}
REFUSED = ("behaviour", "location", "demographic", "social", "biometric")


@pytest.fixture(params=["memory", "redis"])
def site(request: pytest.FixtureRequest, redis_url: str) -> Site:
    if request.param == "memory":
        return Site(redis_url, MemoryDirectory(LAYOUT, lambda: NOW_MS))
    directory = RedisDirectory(redis.Redis.from_url(redis_url), Names("t"), LAYOUT)
    directory.create()
    return Site(redis_url, directory)


_seconds = itertools.count(-3_600)


def raw(**message: Any) -> RawEvent:
    """An event a second after the one before."""
    when = datetime.fromtimestamp(NOW_MS / 1_000 + next(_seconds), UTC)
    return at_once(timestamp=when.isoformat(), **message)


def identify(user: str, traits: dict[str, Any], **more: Any) -> RawEvent:
    return raw(type="identify", event=None, userId=user, traits=traits, **more)


def kept(site: Site) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    return [(fact.type, fact.name, fact.properties, fact.traits) for _, _, fact in site.facts()]


def removed(category: str) -> float:
    return REGISTRY.get_sample_value("millrace_consent_removed_total", {"category": category}) or 0.0


def test_without_a_word_everything_is_kept_and_nobody_is_asked(site: Site) -> None:
    site.take(raw(userId="ana", properties={"city": "x"}))
    assert kept(site) == [("track", "Viewed", {"city": "x"}, {})]
    assert not site.directory.has_consents()


def test_a_word_holds_from_its_place_on(site: Site) -> None:
    before = removed("behaviour")
    site.take(
        raw(userId="ana", properties={"n": 1}),
        identify("ana", BASIC | {"plan": "gold", "city": "Bern"}),
        raw(userId="ana", properties={"n": 2}),
        raw(userId="bob", properties={"n": 3}),
    )
    assert sorted(kept(site), key=str) == sorted(
        [
            ("track", "Viewed", {"n": 1}, {}),
            ("identify", "", {}, BASIC | {"plan": "gold"}),
            ("track", "Viewed", {"n": 3}, {}),
        ],
        key=str,
    )
    assert removed("behaviour") == before + 1


def test_it_holds_in_later_windows_for_another_worker_and_until_it_is_taken_back(site: Site) -> None:
    one, other = site.resolver(), site.resolver()
    site.take(identify("ana", BASIC), resolver=one)
    site.take(raw(userId="ana", properties={"n": 1}), resolver=other, partition="events/1")
    site.take(raw(userId="ana", properties={"n": 2}), resolver=one)
    site.take(identify("ana", {"consent.marketing": True}), resolver=other, partition="events/1")
    site.take(raw(userId="ana", properties={"n": 3}), resolver=one)
    assert [properties["n"] for _, _, properties, _ in kept(site) if properties] == [3]


def test_a_banner_on_a_page_that_is_not_kept_is_heard(site: Site) -> None:
    stamp = {"consent": {"categoryPreferences": {"marketing": False, "personalisation": False}}}
    page = raw(
        type="page", event=None, name="Secret", anonymousId="v", properties={"url": "u"}, context=stamp
    )
    site.take(page, page)
    traits = {"consent.marketing": False, "consent.personalisation": False}
    assert kept(site) == [("page", "", {}, traits)]


def test_of_a_track_event_that_only_says_no_its_name_is_not_kept(site: Site) -> None:
    stamp = {"consent": {"categoryPreferences": {"marketing": False, "personalisation": False}}}
    site.take(raw(event="Secret", anonymousId="v", properties={"a": 1}, context=stamp))
    assert [name for _, name, _, _ in kept(site)] == [WITHHELD]


def test_purchases_are_kept_without_the_fields_that_are_refused(site: Site) -> None:
    site.take(identify("ana", BASIC))
    order = raw(
        userId="ana", event="Order Completed", properties={"total": 9, "city": "x", "a": [{"lat": 1, "n": 2}]}
    )
    site.take(order)
    assert kept(site)[-1] == ("track", "Order Completed", {"total": 9, "a": [{"n": 2}]}, {})


def test_sealed_fields_and_records_of_matching_that_are_refused_are_nowhere(redis_url: str) -> None:
    site = Site(redis_url, MemoryDirectory(LAYOUT, lambda: NOW_MS))
    traits = {
        "email": "ana@example.com",
        "birthday": "1988-02-03",
        "address": "1 High Street",
        "name": "Ana B",
    }
    site.take(identify("ana", traits | {"consent.demographic": False, "consent.location": False}))
    fields = {name for opened in site.opened().values() for name in opened}
    assert "email" in fields
    assert not {name for name in fields if "birthday" in name or "address" in name}
    assert [
        name for _, _, _, traits in kept(site) for name in traits if "birthday" in name or "address" in name
    ] == []


def test_what_was_derived_from_sealed_data_goes_with_its_category(redis_url: str) -> None:
    site = Site(redis_url, MemoryDirectory(LAYOUT, lambda: NOW_MS))
    config = Config(privacy=Privacy(attributes=("age_band", "gender", "region", "city")))
    resolver = site.resolver(config)
    stated = {"birthday": "1988-02-03", "gender": "女", "address": "浙江省杭州市西湖区文三路1号"}
    for user, refused in (("all", ()), ("no-place", ("location",)), ("no-age", ("demographic",))):
        words = {f"consent.{category}": False for category in refused}
        site.take(identify(user, stated | words), resolver=resolver)
    derived = [
        {name.removeprefix("$attribute.") for name in traits if name.startswith("$attribute.")}
        for _, _, _, traits in kept(site)
    ]
    who, where = {"age_band.stated", "gender.stated"}, {"region.stated", "city.stated"}
    assert derived == [who | where, who, where]


def test_a_browser_that_asks_not_to_sell_or_share_is_heard(site: Site) -> None:
    site.take(raw(userId="ana", context={"gpc": True}))
    [(root, _, fact)] = site.facts()
    assert fact.traits == {"consent.sale_or_sharing": False}
    words = words_of(site.directory.standings([root])[0])
    assert words.said == {"sale_or_sharing": False}
    permissions = Permissions(Consent(before="opt_out"), ())
    assert not permissions.serves(words, "sharing")
    assert permissions.serves(words, "marketing")


def test_events_without_a_word_of_their_own_by_config(site: Site) -> None:
    strict = site.resolver(Config(consent=Consent(unstamped="deny")))
    site.take(raw(userId="ana"), resolver=strict)
    site.take(
        identify("ana", {"consent.marketing": True}), raw(userId="ana", properties={"n": 1}), resolver=strict
    )
    stamped = {"consent": {"categoryPreferences": {"marketing": True}}}
    site.take(raw(userId="ana", properties={"n": 2}, context=stamped), resolver=strict)
    assert [properties for kind, _, properties, _ in kept(site) if kind == "track"] == [{"n": 2}]
    easy = site.resolver(Config(consent=Consent(unstamped="allow")))
    site.take(identify("bob", BASIC), raw(userId="bob", properties={"n": 3}), resolver=easy)
    assert kept(site)[-1][2] == {"n": 3}


def test_before_any_word_nothing_is_kept_where_a_yes_is_needed(site: Site) -> None:
    asked = site.resolver(Config(consent=Consent(before="opt_in")))
    site.take(raw(userId="ana", properties={"n": 1}), resolver=asked)
    site.take(
        identify("ana", {"consent.marketing": "yes"}), raw(userId="ana", properties={"n": 2}), resolver=asked
    )
    assert [properties for kind, _, properties, _ in kept(site) if kind == "track"] == [{"n": 2}]


def test_the_country_decides_before_any_word(site: Site) -> None:
    by_country = site.resolver(Config(consent=Consent(regions={"CN": "opt_in"})))
    site.take(identify("ana", {"country": "CN"}), identify("bob", {"country": "US"}), resolver=by_country)
    site.take(
        raw(userId="ana", properties={"n": 1}), raw(userId="bob", properties={"n": 2}), resolver=by_country
    )
    assert [properties for kind, _, properties, _ in kept(site) if kind == "track"] == [{"n": 2}]


def test_of_those_who_become_one_a_no_counts_and_apart_each_has_its_own_word(site: Site) -> None:
    site.take(identify("ana", {"consent.marketing": True}), raw(anonymousId="v", properties={"n": 0}))
    page = raw(
        anonymousId="v",
        context={"consent": {"categoryPreferences": {"marketing": False, "personalisation": False}}},
    )
    site.take(page)
    site.take(raw(userId="ana", properties={"n": 1}))
    site.take(raw(userId="ana", anonymousId="v", properties={"n": 2}))
    site.take(raw(userId="ana", properties={"n": 3}))
    assert sorted(properties["n"] for _, _, properties, _ in kept(site) if properties) == [0, 1]
    parted = WindowCommit(partition="steward", before=START, after=0, groups=[], dead=[], rejected={})
    parted.orders = [Order("unlink", *(identifiers(site)))]
    site.directory.commit(parted)
    site.take(raw(userId="ana", properties={"n": 4}), raw(anonymousId="v", properties={"n": 5}))
    assert sorted(properties["n"] for _, _, properties, _ in kept(site) if properties) == [0, 1, 4]


def identifiers(site: Site) -> list[bytes]:
    return [*dict.fromkeys(fact.subject for _, _, fact in site.facts())][:2]


def test_who_is_one_customer_can_take_back_what_was_said_elsewhere(site: Site) -> None:
    refused = {"consent": {"categoryPreferences": {"marketing": False, "personalisation": False}}}
    site.take(raw(anonymousId="v", context=refused, messageId="1"), identify("ana", {"plan": "x"}))
    site.take(raw(userId="ana", anonymousId="v", messageId="2", properties={"n": 1}))
    site.take(identify("ana", {"consent.marketing": True}, messageId="3"))
    site.take(raw(userId="ana", anonymousId="v", messageId="4", properties={"n": 2}))
    assert [properties["n"] for _, _, properties, _ in kept(site) if properties] == [2]
    (root, *_), *_ = site.facts()
    assert words_of(site.directory.standings([root])[0]).said == {"marketing": True, "personalisation": False}


def test_a_word_has_its_source_version_and_proof(site: Site) -> None:
    site.take(identify("ana", {"consent.sms": "yes", "consent.version": "2026-11"}, messageId="said"))
    (root, origin, _), *_ = site.facts()
    word = unpacked_words(site.directory.standings([root])[0].records[origin]).words["sms"]
    assert (word.granted, word.source, word.version, word.proof) == (True, "web", "2026-11", "said")


class Meddling:
    """A directory in which the customer says no between the judgement and the commit."""

    def __init__(self, inner: Directory, meddle: Any) -> None:
        self._inner = inner
        self._meddle = meddle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit(self, window: WindowCommit, content: bytes = b"") -> Any:
        if self._meddle is not None:
            meddle, self._meddle = self._meddle, None
            meddle()
        return self._inner.commit(window, content)


@pytest.mark.parametrize("spoken", [False, True])
def test_who_says_no_between_judgement_and_commit_is_heard(site: Site, spoken: bool) -> None:
    other = site.resolver()
    if spoken:
        site.take(identify("zoe", BASIC), resolver=other, partition="events/1")
    site.take(raw(userId="ana", properties={"n": 0}))

    def says_no() -> None:
        site.take(identify("ana", BASIC), resolver=other, partition="events/1")

    meddling = Meddling(site.directory, says_no)
    site.take(raw(userId="ana", properties={"n": 1}), resolver=site.resolver(directory=meddling))  # type: ignore[arg-type]
    assert [properties["n"] for _, _, properties, _ in kept(site) if properties] == [0]


def test_the_archive_keeps_nothing_of_it(redis_url: str) -> None:
    site = Site(redis_url, MemoryDirectory(LAYOUT, lambda: NOW_MS))
    config = Config(archive=Archive(enabled=True))
    contents: list[bytes] = []

    class Archiving(Meddling):
        def commit(self, window: WindowCommit, content: bytes = b"") -> Any:
            contents.append(content)
            return self._inner.commit(window)

    resolver = site.resolver(config, Archiving(site.directory, None))  # type: ignore[arg-type]
    site.take(identify("ana", BASIC | {"city": "Bern", "plan": "gold"}), resolver=resolver)
    site.take(raw(userId="ana", event="Secret", properties={"sku": "hidden"}), resolver=resolver)
    events = [event for content in contents for event in events_of(unpacked(SEAL.open(content)), site.keys())]
    assert len(events) == 2
    said = b" ".join(event.value for event in events if event is not None)
    assert b"gold" in said
    assert b"ana" in said
    assert WITHHELD.encode() in said
    assert not any(secret in said for secret in (b"Bern", b"Secret", b"hidden"))


STAMP = {"consent": {"categoryPreferences": {"marketing": True, "ads": False}, "tcString": "C" + "x" * 30}}


def test_what_a_banner_says_on_each_event_goes_on_once_and_again_when_it_is_another(site: Site) -> None:
    words = {"consent.marketing": True, "consent.ads": False}
    kept_always = {"tcf_string": "C" + "x" * 30}
    site.take(raw(userId="ana", context=STAMP), raw(userId="ana", context=STAMP))
    site.take(raw(userId="ana", context=STAMP))
    other = {"consent": {"categoryPreferences": {"marketing": False, "ads": False}}}
    site.take(raw(userId="ana", context=other), raw(userId="ana", context=other))
    site.take(raw(userId="ana", context=STAMP, traits={"consent.version": "2"}, type="identify", event=None))
    assert [fact.traits for _, _, fact in site.facts()] == [
        words | kept_always,
        kept_always,
        kept_always,
        {"consent.marketing": False, "consent.ads": False},
        {},
        words | kept_always | {"consent.version": "2"},
    ]


HEALTH = Category(name="health", events=("Diagnosis",))
UPDATED = "Segment Consent Preference Updated"


@pytest.mark.parametrize(
    "event",
    [
        {"event": "Secret", "traits": BASIC | {"consent.sharing": False, "consent.version": "2"}},
        {"event": "Secret", "traits": {"consent": {
            "mode": "basic", "email": False, "marketing.location": False}}},
        {"event": None, "type": "page", "name": "Secret", "traits": BASIC},
        {"event": UPDATED, "traits": {"consent": {"mode": "basic"}}, "properties": {
            "consent": {"categoryPreferences": {"location": False, "ads": True}}}},
        {"event": "Secret", "context": {"consent": {"categoryPreferences": {
            "email": False, "marketing": False, "personalisation": False, "location": False}}}},
        {"event": "Secret", "context": {"traits": BASIC | {"consent": {"phone": False}}}},
        {"event": "Diagnosis", "traits": {"consent.health": False}},
        {"event": None, "type": "identify", "traits": BASIC | {
            "city": "Bern", "consent": {"location": False}}},
    ],
)  # fmt: skip
def test_what_the_archive_keeps_of_an_event_says_the_same_and_is_withheld_again(
    redis_url: str, event: dict[str, Any]
) -> None:
    """A rebuild judges the archived bytes: it must hear each word, and let nothing back in."""
    config = Config(archive=Archive(enabled=True), privacy=Privacy(category=(HEALTH,)))

    def lived(events: list[RawEvent], url: str) -> tuple[list[RawEvent], Any, list[Any]]:
        site = Site(url, MemoryDirectory(LAYOUT, lambda: NOW_MS))
        contents: list[bytes] = []

        class Archiving(Meddling):
            def commit(self, window: WindowCommit, content: bytes = b"") -> Any:
                contents.append(content)
                return self._inner.commit(window)

        resolver = site.resolver(config, Archiving(site.directory, None))  # type: ignore[arg-type]
        for one in events:
            site.take(one, resolver=resolver)
        kept_events = [
            one for content in contents for one in events_of(unpacked(SEAL.open(content)), site.keys())
        ]
        roots = {root for root, _, _ in site.facts()}
        said = [words_of(site.directory.standings([root])[0]).said for root in sorted(roots)]
        facts = [(fact.type, fact.name, fact.properties, fact.traits) for _, _, fact in site.facts()]
        return [one for one in kept_events if one is not None], said, facts

    more = {"event": event["event"] or "Secret", "properties": {"sku": "hidden"}}
    given = [raw(userId="ana", **event), raw(userId="ana", **more)]
    given.append(RawEvent(given[1].value.replace(b'"messageId"', b'"unknown"'), given[1].received_ms, "web"))
    archived, said, facts = lived(given, redis_url)
    assert any(said)
    assert len(archived) == 3
    assert all(b'"messageId"' in one.value for one in archived)
    again, said_again, facts_again = lived(archived, redis_url)
    assert said_again == said
    assert facts_again == facts
    assert [one.value for one in again] == [one.value for one in archived]
