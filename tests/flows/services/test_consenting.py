"""A customer's words, said to us and not to an app: they go through the raw log, and count at once."""

from pathlib import Path

import msgspec
import pytest

from connectors.raw.log import START
from flows.logic.fields.identifiers import PRIVACY
from flows.runtime.windows import Window
from flows.services.subjects import consenting
from schemas.errors import Unusable
from schemas.records.identity_graph import WindowCommit, undo
from schemas.wire.events import RawEvent
from tests.subjects import Erased, identify, viewed


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Erased:
    made = Erased(tmp_path, redis_url, archive=False)
    made.start()
    return made


def resolve(site: Erased) -> list[bytes]:
    """Resolve what lies in the raw log; return the events."""
    reader = site.deployment.raw_reader()
    offsets = site.directory.offsets()
    reader.assign({partition: offsets.get(partition, START) for partition in reader.partitions()})
    found = []
    for batch in reader.poll(1_000):
        before = offsets.get(batch.partition, START)
        window = Window(
            batch.partition, before, batch.positions[-1], batch.events, batch.positions, opened=0.0
        )
        assert site.resolver.commit(site.resolver.judge(window)) is not None
        found += [event.value for event in batch.events]
    reader.close()
    site.settle()
    return found


def allowed(site: Erased, who: str) -> dict[str, bool]:
    return {one.purpose: one.allowed for one in consenting.said(site.deployment, who).purposes}


def test_a_word_counts_once_it_is_resolved_and_its_proof_is_the_event(site: Erased) -> None:
    site.say(identify("ana", "ana@example.org"))
    assert allowed(site, "user_id:ana")["marketing"] is True
    words = {"marketing": False, "personalisation.push": "no"}
    proof = consenting.say(site.deployment, "user_id:ana", words, by="desk", version="2026-11")
    assert not consenting.holds(site.deployment, "user_id:ana", words, wait_s=0)
    [value] = resolve(site)
    assert consenting.holds(site.deployment, "user_id:ana", words, wait_s=0)
    assert msgspec.json.decode(value)["messageId"] == proof
    found = consenting.said(site.deployment, "email:ana@example.org")
    assert {(one.thing, one.granted) for one in found.words} == {
        ("marketing", False),
        ("personalisation.push", False),
    }
    assert {(one.channel, one.version, one.proof) for one in found.words} == {(PRIVACY, "2026-11", proof)}
    [personal] = [one for one in found.purposes if one.purpose == "personalisation"]
    assert (personal.allowed, personal.required) == (True, False)
    assert (found.mode, allowed(site, "user_id:ana")["marketing"]) == ("", False)


def test_a_mode_switches_and_is_told(site: Erased) -> None:
    site.say(identify("ana", "ana@example.org"))
    assert consenting.said(site.deployment, "user_id:ana").mode == "basic+marketing+personalised"
    for mode in ("basic", "basic+marketing", "basic+personalised"):
        consenting.say(site.deployment, "user_id:ana", {"mode": mode}, by="desk")
        resolve(site)
        assert consenting.said(site.deployment, "user_id:ana").mode == mode


def test_a_visitor_of_whom_no_plain_value_is_known_decides_as_well(site: Erased) -> None:
    site.say(viewed(anonymousId="v-1"), viewed(anonymousId="v-2"))
    [root] = site.directory.lookup([site.deployment.identifiers.hash("anonymous", "v-1") or b""])
    assert root is not None
    consenting.say(site.deployment, root.hex(), {"mode": "basic"}, by="centre")
    resolve(site)
    assert allowed(site, "anonymous:v-1")["marketing"] is False
    assert allowed(site, "anonymous:v-2")["marketing"] is True


def test_after_a_login_the_new_word_overrules_and_after_an_unmerge_each_has_its_own(site: Erased) -> None:
    site.say(viewed(anonymousId="v-1"), identify("ana", "ana@example.org"))
    consenting.say(site.deployment, "anonymous:v-1", {"mode": "basic"}, by="centre")
    resolve(site)
    site.say(viewed(userId="ana", anonymousId="v-1"))
    assert allowed(site, "user_id:ana")["marketing"] is False
    consenting.say(site.deployment, "user_id:ana", {"mode": "basic+marketing"}, by="centre")
    resolve(site)
    assert allowed(site, "user_id:ana")["marketing"] is True
    before = site.directory.offsets()["events/0"]
    site.directory.commit(
        WindowCommit("events/0", before, before + 1, [], [], {}, orders=[undo(1)], time_ms=site.now_s * 1000)
    )
    assert allowed(site, "anonymous:v-1")["marketing"] is False
    assert allowed(site, "user_id:ana")["marketing"] is True


@pytest.mark.parametrize("words", [{}, {"marketing": "perhaps"}, {"mode": "everything"}, {"version": "1"}])
def test_words_that_say_nothing_are_refused(site: Erased, words: dict[str, bool | str]) -> None:
    site.say(identify("ana", "ana@example.org"))
    with pytest.raises(Unusable, match="expected"):
        consenting.say(site.deployment, "user_id:ana", words, by="desk")


@pytest.mark.parametrize("words", [{"marketing": "bea@example.org"}, {"bea@example.org": "perhaps"}])
def test_what_was_sent_is_not_repeated(site: Erased, words: dict[str, bool | str]) -> None:
    site.say(identify("ana", "ana@example.org"))
    with pytest.raises(Unusable, match=r"words\[1\]: expected yes or no") as raised:
        consenting.say(site.deployment, "user_id:ana", {"sales": False, **words}, by="desk")
    assert "bea" not in str(raised.value)


def test_for_who_is_not_known_or_erased_nothing_can_be_said(site: Erased) -> None:
    site.say(identify("ana", "ana@example.org"))
    with pytest.raises(Unusable, match="nobody is known"):
        consenting.say(site.deployment, "user_id:bea", {"marketing": False}, by="desk")
    [root] = site.directory.lookup([site.deployment.identifiers.hash("user_id", "ana") or b""])
    assert root is not None
    site.erase("user_id:ana")
    for ask in (consenting.said, lambda *who: consenting.say(*who, {"marketing": False}, by="desk")):
        with pytest.raises(Unusable, match="was erased"):
            ask(site.deployment, root.hex())


@pytest.mark.parametrize(
    "identifier",
    [None, "ana", {"namespace": "user_id"}, {"namespace": "user_id", "hash": "00"},
     {"namespace": "none", "hash": "00" * 12}, {"namespace": ["user_id"], "hash": "00" * 12}],
)  # fmt: skip
def test_only_our_own_source_names_by_hash_and_only_what_is_one(site: Erased, identifier: object) -> None:
    check = site.deployment.validator().check
    event = {"type": "identify", "messageId": "m", "traits": {}, "context": {"identifier": identifier}}
    found = check(RawEvent(msgspec.json.encode(event), site.now_s * 1000, PRIVACY))
    assert getattr(found, "reason", None) == "id_invalid"
    good = {"namespace": "user_id", "hash": "ab" * 12}
    event = event | {"context": {"identifier": good}}
    found = check(RawEvent(msgspec.json.encode(event), site.now_s * 1000, PRIVACY))
    assert [one.hash.hex() for one in found.identifiers] == ["ab" * 12]  # type: ignore[union-attr]
    found = check(RawEvent(msgspec.json.encode(event), site.now_s * 1000, "web"))
    assert getattr(found, "reason", None) == "id_missing"
