"""An erasure from the request to the receipt, on a real Redis: nothing is left, nobody else is touched,
whoever dies on the way is followed by one who goes on."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.archive import Archiver
from flows.dispatch.admission import Admission, doors
from flows.dispatch.erased_gate import erased_gate
from flows.dispatch.verdicts import Admitted, Dropped
from flows.logic.shard.state import decode_sensitive
from flows.runtime.archived_windows import events_of, unpacked
from flows.runtime.deployment import Deployment
from flows.services import backups, rebuild, restore, switching
from flows.services.subjects import requests, returning
from flows.services.subjects.erasing import Erasing, Parts, parts_of
from schemas import metrics
from schemas.errors import Foreign, Unusable
from schemas.records.identity_graph import undo
from schemas.records.journal import JournalKind
from schemas.records.privacy_requests import Step
from state.history.data_key_copy import KeyCopy
from state.receipts import verified
from tests.deliveries import trigger
from tests.subjects import Erased, ana, identify, lines, viewed

# What may speak of the erased: logs that are trimmed as they are read, counts that expire in minutes; marks
PASSING = (
    *(b"{dir}:journal", b"{dir}:changes", b"{dir}:log:", b"{dir}:rates:", b"{dir}:moves:"),
    *(b"{dir}:x:", b"{privacy}:", b"{keys}:"),
)


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Erased:
    made = Erased(tmp_path, redis_url, archive=False)
    made.start()
    return made


def live(site: Erased) -> None:
    site.say(identify("ana", "ana@example.org", anonymousId="ana-phone"), identify("bea", "bea@example.org"))
    site.say(viewed(userId="ana"), viewed(userId="bea"), viewed(anonymousId="ana-phone"))
    site.say(ana(event="Order Completed", properties={"total": 5}), {"userId": "ana", "messageId": "bad"})
    site.tick()
    site.settle()


def hashes(site: Erased, *named: tuple[str, str]) -> list[bytes]:
    found = [site.deployment.identifiers.hash(*one) for one in named]
    return [one for one in found if one is not None]


def test_nothing_is_left_and_the_receipt_says_so(site: Erased) -> None:
    live(site)
    wanted = hashes(site, ("user_id", "ana"), ("anonymous", "ana-phone"), ("email", "ana@example.org"))
    assert len(site.keys_with(*wanted, but=PASSING)) > 4
    request = site.erase("user_id:ana")
    assert request.step == Step.DONE
    assert site.keys_with(*wanted, but=PASSING) == []
    assert (request.names, request.identifiers) == (b"", [])
    deployment = site.deployment
    said = verified(requests.receipt(deployment, request.id), deployment.receipt_signer.public)
    assert said["removed"] == {
        "origins": 1, "identifiers": 3, "data_keys": 1, "triggers": 3, "dead_events": 1,
    }  # fmt: skip
    assert [(one["name"], one["said"]) for one in said["receivers"]] == [("crm", "taken")]
    [told] = lines(site.folder / "crm.jsonl")
    assert (told["type"], told["data"]["action"]) == ("millrace.deletion", "delete")
    assert told["data"]["identity"] == {"user_id": "ana", "email": "ana@example.org"}
    assert told["data"]["properties"]["customers"] == said["origins"]


def test_nobody_else_is_touched(tmp_path: Path, redis_url: str) -> None:
    def bea(erased: bool) -> Any:
        folder = tmp_path / str(erased)
        folder.mkdir()
        site = Erased(folder, redis_url, prefix=f"p{erased}", archive=False).start()
        assert isinstance(site, Erased)
        live(site)
        if erased:
            site.erase("user_id:ana")
        site.say(viewed(userId="bea"))
        site.tick()
        site.settle()
        found = site.deployment.profile_reader("user_id", "bea")
        assert found is not None
        return {name: value for name, value in found.items() if name != "customer"}, site.deployment

    (kept, _), (as_before, there) = bea(False), bea(True)
    assert kept == as_before
    counters = [counted.get("profiles", 0) for counted in there.shards.counters().values()]
    assert sum(counters) == 1


def test_who_comes_back_is_somebody_new_with_a_name_of_their_own(site: Erased) -> None:
    live(site)
    before = site.erase("user_id:ana").customer
    site.say(viewed(userId="ana"))
    site.settle()
    found = site.deployment.profile_reader("user_id", "ana")
    assert found is not None
    assert (found["events"], found["customer"] != before.hex()) == (1, True)
    [contact] = site.deployment.contacts.identify([found["customer"]], ("user_id",))
    assert contact == {"user_id": "ana"}, "the plain user id was sealed anew"
    assert site.deployment.data_keys.of([before], create=True) == {}


class Crash(Exception):
    """A death."""


class Dying:
    """Parts of an erasure that die at the n-th call, before or after it."""

    def __init__(self, at: int, after: bool) -> None:
        self.left, self.after = at, after

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Crash
            found = call(*args, **more)
            if self.left == 0:
                raise Crash
            return found

        return called

    def parts(self, parts: Parts) -> Parts:
        changed = {}
        for field in fields(parts):
            value = getattr(parts, field.name)
            if field.name in ("directory", "keys", "requests", "outbox"):
                changed[field.name] = _Line(value, self)
            elif field.name in ("copy_keys", "dead_letters", "ask", "sign", "names"):
                changed[field.name] = self.wrap(value)
        return replace(parts, **changed)


class _Line:
    def __init__(self, server: Any, dying: Dying) -> None:
        self._server, self._dying = server, dying

    def __getattr__(self, name: str) -> Any:
        return self._dying.wrap(getattr(self._server, name))


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_death_at_any_call_is_followed_by_one_who_goes_on(site: Erased, after: bool) -> None:
    died = 0
    for at in range(1, 200):
        user = f"u{at}"
        site.say(identify(user, f"{user}@example.org"), viewed(userId=user), {"userId": user})
        site.settle()
        [wanted] = hashes(site, ("user_id", user))
        request = requests.erase(site.deployment, f"user_id:{user}", by="test").request
        dying = Erasing(Dying(at, after).parts(parts_of(site.deployment, site.directory)))
        alive = False
        for _ in range(8):
            try:
                request = dying.advance(request)
            except Crash:
                died += 1
                break
            if alive := request.step == Step.DONE:
                break
            site.settle()
        found = site.deployment.privacy_requests.get(request.id)
        assert found is not None
        done = site.carry_on(found)
        assert done.receipt
        assert site.keys_with(wanted, but=PASSING) == []
        assert [one.id for one in requests.of(site.deployment, request.id)] == [request.id]
        if alive:
            break
    assert died == at - 1 > 20


def test_the_reason_of_a_request_names_nobody_who_can_be_told(site: Erased) -> None:
    live(site)
    why = "ana@example.org rang from +49 1512 6762489"
    asked = requests.erase(site.deployment, "user_id:ana", by="test", note=why).request
    complaint = requests.ask(site.deployment, "complain", "user_id:bea", by="test", note=why).request
    assert (asked.note, complaint.note) == ("(redacted) rang from (redacted)",) * 2
    closed = requests.close(site.deployment, complaint.id, done=False, note=f"not {why}")
    assert closed.note == "not (redacted) rang from (redacted)"


def test_asked_twice_at_once_there_is_one_request_and_the_second_is_told(site: Erased) -> None:
    live(site)
    found: list[requests.Asked] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(requests.erase(site.deployment, "user_id:ana", by="test"))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked.already for asked in found) == [False, True, True, True]
    done = site.carry_on(found[0].request)
    again = requests.erase(site.deployment, done.customer.hex(), by="test")
    assert (again.already, again.request) == (True, done)


def test_two_requests_for_who_became_one_end_in_one_receipt(site: Erased) -> None:
    site.say(viewed(userId="ana"), viewed(anonymousId="laptop"))
    site.settle()
    one = requests.erase(site.deployment, "user_id:ana", by="test").request
    other = requests.erase(site.deployment, "anonymous:laptop", by="test").request
    site.say(viewed(userId="ana", anonymousId="laptop"))
    done = site.carry_on(one)
    joined = site.carry_on(other)
    assert (len(done.origins), joined.joined, joined.receipt) == (2, done.id, b"")
    assert requests.receipt(site.deployment, joined.id) == done.receipt


@pytest.mark.parametrize("first", ["user_id:ana", "anonymous:laptop"])
def test_what_was_asked_before_a_union_is_the_request_of_who_became_one(site: Erased, first: str) -> None:
    """Whichever of the two roots is retired."""
    site.say(viewed(userId="ana"), viewed(anonymousId="laptop"))
    site.settle()
    asked = requests.erase(site.deployment, first, by="test").request
    other = "anonymous:laptop" if first == "user_id:ana" else "user_id:ana"
    complaint = requests.ask(site.deployment, "complain", other, by="test").request
    site.say(viewed(userId="ana", anonymousId="laptop"))
    site.settle()
    for named in ("user_id:ana", "anonymous:laptop"):
        assert requests.of(site.deployment, named) == [asked, complaint]
        again = requests.erase(site.deployment, named, by="test")
        assert (again.already, again.request) == (True, asked)
    assert len(site.carry_on(asked).origins) == 2
    assert requests.everything(site.deployment, unfinished=True) == [complaint]


def test_nobody_is_erased_by_an_unknown_name(site: Erased) -> None:
    for named in ("user_id:nobody", "0" * 24):
        with pytest.raises(Unusable, match="nobody is known as") as error:
            requests.erase(site.deployment, named, by="test")
        assert "\n" not in str(error.value)
    for named in ("nonsense", "shoe:size"):
        with pytest.raises(Unusable):
            requests.erase(site.deployment, named, by="test")
    assert requests.everything(site.deployment, unfinished=False) == []


def test_an_erasure_in_the_midst_of_a_merge_takes_both_sides(site: Erased) -> None:
    site.say(viewed(userId="ana"), viewed(anonymousId="laptop"))
    site.settle()
    wanted = hashes(site, ("user_id", "ana"), ("anonymous", "laptop"))
    site.say(viewed(userId="ana", anonymousId="laptop"))  # nobody has read that they are one
    request = requests.erase(site.deployment, "user_id:ana", by="test").request
    request = site.erasing().advance(request)
    assert request.step == Step.DETACHED
    site.apply()  # the retired one waits in the lane between the shards
    assert site.erasing().advance(request).step == Step.DETACHED
    site.carry_on(request)
    assert site.keys_with(*wanted, but=PASSING) == []


def test_an_erasure_in_the_midst_of_an_unmerge_takes_that_side_alone(site: Erased) -> None:
    site.say(viewed(userId="ana"), viewed(anonymousId="laptop"))
    site.settle()
    site.say(viewed(userId="ana", anonymousId="laptop"))
    site.settle()
    [laptop] = hashes(site, ("anonymous", "laptop"))
    site.erasing().order([undo(1)])  # nobody has read that they are two again
    request = site.erase(f"customer:{laptop.hex()}")
    assert request.origins == [laptop]
    assert site.keys_with(laptop, but=PASSING) == []
    found = site.deployment.profile_reader("user_id", "ana")
    assert found is not None
    assert found["events"] == 2


def test_a_window_under_way_brings_no_key_back(site: Erased) -> None:
    live(site)
    keys = site.resolver._keys
    planned = site.resolver._directory.plan

    def overtaken(groups: Any) -> Any:
        found = planned(groups)
        site.resolver._directory.plan = planned  # type: ignore[method-assign]
        site.erase("user_id:ana")
        keys._cache.clear()
        return found

    site.resolver._directory.plan = overtaken  # type: ignore[method-assign,assignment]
    site.say(identify("ana", "ana@example.net"))
    site.settle()
    [user] = hashes(site, ("user_id", "ana"))
    assert keys.of([user]) == {}
    found = site.deployment.profile_reader("user_id", "ana")
    assert found is not None
    assert (found["customer"] != user.hex(), found["events"]) == (True, 1)


def test_the_door_refuses_the_erased_and_nobody_else(site: Erased) -> None:
    live(site)
    [user, other] = hashes(site, ("user_id", "ana"), ("user_id", "bea"))
    site.erase("user_id:ana")
    gate = erased_gate(site.deployment)
    said = gate([trigger(1, customer=user.hex()), trigger(2, customer=other.hex()), trigger(3, customer="?")])
    assert [isinstance(one, Dropped) for one in said] == [True, False, False]


def test_every_door_of_a_deployment_has_that_gate(site: Erased) -> None:
    live(site)
    [user] = hashes(site, ("user_id", "ana"))
    door = doors(site.deployment)(site.config.connector[0])
    assert isinstance(door, Admission)
    [before] = asyncio.run(door.admit([trigger(1, customer=user.hex())]))
    site.erase("user_id:ana")
    [after] = asyncio.run(door.admit([trigger(1, customer=user.hex())]))
    assert (isinstance(before, Admitted), isinstance(after, Dropped)) == (True, True)


def test_a_receiver_that_is_away_is_asked_again_and_then_named_on_the_receipt(site: Erased) -> None:
    live(site)
    crm = site.folder / "crm.jsonl"
    crm.mkdir()  # cannot be written to
    request = requests.erase(site.deployment, "user_id:ana", by="test").request
    erasing = Erasing(replace(parts_of(site.deployment, site.directory), clock_ms=Ahead(request.asked_ms)))
    for _ in range(60):
        request = erasing.advance(request)
        site.settle()
    assert request.step == Step.DONE
    answer = request.answers["crm"]
    assert (answer.said, answer.attempts) == ("refused", site.config.deliver.attempts)
    assert "file: " in answer.detail


class Ahead:
    """A clock that makes leaps."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def __call__(self) -> int:
        self._now_ms += 60_000
        return self._now_ms


# --- a past that comes back


@pytest.mark.parametrize("archive", [False, True])
def test_a_restore_from_before_brings_nobody_back(tmp_path: Path, redis_url: str, archive: bool) -> None:
    site = Erased(tmp_path, redis_url, archive=archive).start()
    assert isinstance(site, Erased)
    archiver = site.archiver() if archive else None
    live(site)
    manifest = backups.make(site.deployment)
    copy = KeyCopy(Path(site.config.backup.keys), site.deployment.keys.fingerprint)
    wrapped = len(copy)
    copy.close()
    site.say(viewed(userId="ana"))
    site.settle()
    wanted = hashes(site, ("user_id", "ana"), ("anonymous", "ana-phone"))
    sealed = [*site.deployment.backups.records(manifest)]
    [user] = wanted[:1]
    key = site.deployment.data_keys.of([user])[user]
    kept = key.wrapped
    site.erase("user_id:ana")
    if archiver is not None:
        while archiver.round(block_ms=0):
            pass
        archiver.close()
    # the backup itself: what it holds of the person opens with no key that is left anywhere
    assert wrapped == 2
    assert kept not in Path(site.config.backup.keys).read_bytes()
    assert any(user in repr(record.value).encode() or user in record.key for record in sealed)
    other = Erased(tmp_path, redis_url, "re", archive=archive)
    deployment = other.deployment
    found, folder = restore.plan(deployment, None, None if archive else manifest.name)
    restore.restore(deployment, found, folder, None)
    other.start()
    assert deployment.directory.lookup(wanted) == [None, None]
    assert deployment.data_keys.of([user], create=True) == {}
    assert deployment.contacts.opened([user], ()) == {} or not any(
        deployment.contacts.opened([user], ()).values()
    )
    other.settle()
    for request in deployment.privacy_requests.unfinished():
        other.carry_on(request)
    assert other.keys_with(user, but=PASSING) == []
    assert deployment.profile_reader("user_id", "bea") is not None
    again = other.deployment.privacy_requests.everything()
    assert [one.again for one in again] == ([] if archive else [True])


def test_what_a_past_that_came_back_led_to_is_not_taken_back(site: Erased) -> None:
    live(site)
    store, root = site.deployment.privacy_requests, site.directory.root(hashes(site, ("user_id", "ana"))[0])
    asked = returning._asked(store, root, site.config.rights)
    assert returning._asked(store, root, site.config.rights) == asked
    with pytest.raises(Unusable, match="came back"):
        requests.cancel(site.deployment, asked.id)
    cancelled = msgspec.structs.replace(asked, step=Step.CANCELLED)
    assert store.save(asked, cancelled, finished=True)
    assert returning._asked(store, root, site.config.rights).step == Step.ASKED


def test_of_a_customer_who_was_one_in_the_past_only_the_erased_side_goes(
    tmp_path: Path, redis_url: str
) -> None:
    site = Erased(tmp_path, redis_url, archive=False).start()
    assert isinstance(site, Erased)
    site.say(viewed(userId="ana"), viewed(anonymousId="laptop"))
    site.settle()
    site.say(viewed(userId="ana", anonymousId="laptop"))
    site.settle()
    manifest = backups.make(site.deployment)
    site.erasing().order([undo(1)])
    site.settle()
    [laptop] = hashes(site, ("anonymous", "laptop"))
    site.erase(f"customer:{laptop.hex()}")
    backups_before = site.deployment
    other = Erased(tmp_path, redis_url, "re", archive=False)
    keys = other.deployment.key_copy()  # as every backup, and the archive, brings it up to now
    keys.sync(backups_before.client, backups_before.names)
    keys.close()
    found, folder = restore.plan(other.deployment, None, manifest.name)
    restore.restore(other.deployment, found, folder, None)
    other.start()
    assert other.directory.lookup([laptop]) == [None]
    other.settle()
    for request in other.deployment.privacy_requests.unfinished():
        other.carry_on(request)
    assert other.keys_with(laptop, but=PASSING) == []
    kept = other.deployment.profile_reader("user_id", "ana")
    assert kept is not None
    assert kept["events"] == 2


def test_a_receipt_of_another_key_or_a_changed_one_is_refused(site: Erased) -> None:
    live(site)
    receipt = site.erase("user_id:ana").receipt
    public = site.deployment.receipt_signer.public
    assert verified(receipt, public)["deployment"] == site.config.name
    for wrong in (receipt.replace(b"taken", b"tbken"), b"{}", b"[", b"\xff", receipt[:-2]):
        with pytest.raises(Foreign):
            verified(wrong, public)
    with pytest.raises(Foreign, match="expected a receipt of the key"):
        verified(receipt, "A" * 43 + "=")
    with pytest.raises(Foreign, match="public key"):
        verified(receipt, "short")


def test_a_request_that_another_one_took_on_is_read_again(site: Erased) -> None:
    live(site)
    request = requests.erase(site.deployment, "user_id:ana", by="test").request
    done = site.carry_on(request)
    assert site.erasing().advance(request) == done


def test_who_was_erased_is_in_no_rebuild_and_who_comes_after_is_as_in_the_log(
    tmp_path: Path, redis_url: str
) -> None:
    site = Erased(tmp_path, redis_url).start()
    assert isinstance(site, Erased)
    archiver = site.archiver()
    live(site)
    site.say(viewed(anonymousId="nobody"), viewed(anonymousId="nobody"))  # no personal data: it has no key
    site.settle()
    site.erase("user_id:ana")
    site.erase("anonymous:nobody")
    site.say(viewed(userId="ana"), viewed(userId="bea"), viewed(anonymousId="nobody"))
    site.settle()
    archived(site, archiver)
    named = [("user_id", "ana"), ("user_id", "bea"), ("anonymous", "nobody")]
    before = [site.deployment.profile_reader(*one) for one in named]
    built = rebuild.build(site.deployment, deliver=False, step=lambda: None)
    there = Deployment(switching.at(site.config, built.run_id))
    after = [there.profile_reader(*one) for one in named]
    assert [found["events"] for found in after if found] == [1, 3, 1]
    assert [found["customer"] for found in after if found] == [found["customer"] for found in before if found]
    assert built.erased > 0


def test_a_switch_to_what_was_rebuilt_before_an_erasure_brings_nobody_back(
    tmp_path: Path, redis_url: str
) -> None:
    site = Erased(tmp_path, redis_url).start()
    assert isinstance(site, Erased)
    archiver = site.archiver()
    live(site)
    archived(site, archiver)
    built = rebuild.build(site.deployment, deliver=False, step=lambda: None)
    receipt = site.erase("user_id:ana").receipt
    wanted = hashes(site, ("user_id", "ana"), ("anonymous", "ana-phone"))
    there = Deployment(switching.at(site.config, built.run_id))
    assert None not in there.directory.lookup(wanted)
    found = returning.erase_again(there, there.directory, live=site.deployment)
    assert [request.step for request in found] == [Step.GONE]  # its shard hears of it when `profile` runs
    assert there.directory.lookup(wanted) == [None, None]
    assert requests.receipt(site.deployment, "erase-" + wanted[0].hex()) == receipt
    assert there.privacy_requests.everything() == []


def archived(site: Erased, archiver: Archiver) -> None:
    with site.deployment.following_keys():
        pass
    while archiver.round(block_ms=0):
        pass
    archiver.close()


def test_neither_archive_nor_backup_can_be_read_any_more(tmp_path: Path, redis_url: str) -> None:
    """With all that an operator still has: the key file, the key copy, and what lies in the folders. (But for
    what was rejected: nobody knows whose it was.)"""
    site = Erased(tmp_path, redis_url).start()
    assert isinstance(site, Erased)
    archiver = site.archiver()
    site.say(identify("ana", "ana@example.org", anonymousId="ana-phone"), identify("bea", "bea@example.org"))
    site.say(viewed(userId="ana", properties={"sku": "secret-wish"}), viewed(userId="bea"))
    site.settle()
    manifest = backups.make(site.deployment)
    archived(site, archiver)
    assert {"ana@example.org", '"ana"', "secret-wish"} <= readable(site, manifest.name)
    site.erase("user_id:ana")
    assert readable(site, manifest.name) == {"bea@example.org", '"bea"'}
    archiver = site.archiver()
    site.say(viewed(userId="ana"))  # who comes back is somebody else, whose events can be read
    archived(site, archiver)
    assert readable(site, manifest.name) == {"bea@example.org", '"bea"', '"ana"'}


def readable(site: Erased, backup: str) -> set[str]:
    """Which of the plain values can be had of archive and backup with the keys that are left."""
    other = Erased(site.folder, site.url, "look")
    deployment = other.deployment
    copy = deployment.key_copy()
    copy.load(deployment.client, deployment.names)
    copy.close()
    archive = bytearray()
    for entry in deployment.archive.entries(0):
        if entry.entry.kind == JournalKind.WINDOW:
            events = events_of(unpacked(entry.entry.content), deployment.data_keys)
            archive += b"".join(event.value for event in events if event is not None)
    found = archive.copy()  # of the backup no general properties: those are not sealed
    for record in deployment.backups.records(deployment.backups.manifest(backup)):
        found += repr(record.value).encode()
        if b":xs:" in record.key or b"xs:" in record.key:
            found += opened(deployment, record.value)
    deployment.client.delete(*deployment.client.scan_iter(match=b"look:*"))
    plain = ("ana@example.org", '"ana"', "bea@example.org", '"bea"')
    return {value for value in plain if value.encode() in found} | {
        wish for wish in ("secret-wish",) if wish.encode() in archive
    }


def opened(deployment: Deployment, fields_of: Any) -> bytes:
    """What can be opened of a bucket of sealed records."""
    found = bytearray()
    for _root, packed in fields_of:
        for origin, sealed in decode_sensitive(packed).origins.items():
            key = deployment.data_keys.of([origin]).get(origin)
            for field, entry in sealed.items():
                found += (key.open(field, entry.value) if key else None) or b""
    return bytes(found)


def test_who_is_to_stay_unknown_is_dropped_and_counted(site: Erased) -> None:
    live(site)
    request = requests.erase(site.deployment, "user_id:ana", by="test", suppress=True).request
    assert site.carry_on(request).suppress
    before, dead = metrics.EVENTS_SUPPRESSED._value.get(), len(list(site.deployment.dead_events.oldest()))
    site.say(viewed(userId="ana"), viewed(userId="bea", anonymousId="ana-phone"))  # a shared device
    site.settle()
    assert metrics.EVENTS_SUPPRESSED._value.get() - before == 1
    assert len(list(site.deployment.dead_events.oldest())) == dead
    assert site.deployment.profile_reader("user_id", "ana") is None
    assert site.deployment.profile_reader("anonymous", "ana-phone") is None
    found = site.deployment.profile_reader("user_id", "bea")
    assert found is not None
    assert found["events"] == 3
    assert requests.unsuppress(site.deployment, "user_id:ana")
    assert not requests.unsuppress(site.deployment, "user_id:ana")
    site.resolver.confirm()  # as each worker does once a second
    site.say(viewed(userId="ana"))
    site.settle()
    assert site.deployment.profile_reader("user_id", "ana") is not None
