"""The customers' requests, on memory and on Redis."""

from itertools import count
from typing import Any

import msgspec
import pytest
import redis

from schemas.records.mandates import Mandate
from schemas.records.privacy_requests import PrivacyRequest, Step
from state.memory.memory_requests import MemoryMandates, MemoryRequests
from state.privacy_requests import Mandates, PrivacyRequests
from state.redis.names import Names

Store = PrivacyRequests | MemoryRequests


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest, redis_url: str) -> Store:
    if request.param == "memory":
        return MemoryRequests()
    return PrivacyRequests(redis.Redis.from_url(redis_url), Names("t"))


def request_of(name: str, asked_ms: int = 1) -> PrivacyRequest:
    return PrivacyRequest(
        id=name, right="erase", customer=b"c" * 12, regime="gdpr", asked_ms=asked_ms, due_ms=2, by="test"
    )


def done(request: PrivacyRequest) -> PrivacyRequest:
    return msgspec.structs.replace(request, step=Step.DONE)


def test_a_request_is_kept_once(store: Store) -> None:
    first, same = request_of("a"), request_of("a", asked_ms=9)
    assert store.add(first)
    assert not store.add(same)
    assert store.get("a") == first
    assert store.get("b") is None


def test_the_unfinished_are_given_oldest_first(store: Store) -> None:
    later, earlier = request_of("a", asked_ms=5), request_of("b", asked_ms=3)
    for request in (later, earlier):
        store.add(request)
    assert store.unfinished() == store.everything() == [earlier, later]
    assert store.save(earlier, done(earlier), finished=True)
    assert store.unfinished() == [later]
    assert [request.id for request in store.everything()] == ["b", "a"]


def test_who_is_stale_changes_nothing(store: Store) -> None:
    request = request_of("a")
    store.add(request)
    assert store.save(request, done(request), finished=True)
    assert not store.save(request, request_of("a", asked_ms=7))
    assert store.get("a") == done(request)


def test_what_is_written_to_others_meanwhile_stops_nobody(redis_url: str) -> None:
    """Not even between the look at what is kept and the change."""

    class Busy(redis.Redis):
        """Another process writes before each command of this one."""

        def execute_command(self, *args: object, **options: object) -> object:
            PrivacyRequests(other, Names("t")).add(request_of(f"other-{next(ids)}"))
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

        def pipeline(self, *args: Any, **options: Any) -> Any:
            made = super().pipeline(*args, **options)
            execute = made.execute

            def busy(*more: Any) -> Any:
                PrivacyRequests(other, Names("t")).add(request_of(f"other-{next(ids)}"))
                return execute(*more)

            made.execute = busy
            return made

    ids, other = count(), redis.Redis.from_url(redis_url)
    store, request = PrivacyRequests(Busy.from_url(redis_url), Names("t")), request_of("a")
    assert store.add(request)
    assert store.save(request, done(request), finished=True)
    assert store.get("a") == done(request)
    assert "a" not in [one.id for one in store.unfinished()]


def test_one_that_is_done_is_not_begun_again(store: Store) -> None:
    request = request_of("a")
    store.add(request)
    store.save(request, done(request), finished=True)
    assert not store.add(request)
    assert store.unfinished() == []


MANDATE = Mandate(
    id="m",
    dialect="segment",
    kind="DELETE_ONLY",
    subject="USER_ID",
    identifiers=[b"i" * 12],
    by="test",
    asked_ms=1,
    begins_ms=0,
    due_ms=9,
)


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_mandates_are_kept_apart_from_requests(kind: str, redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    held: Mandates | MemoryMandates = MemoryMandates() if kind == "memory" else Mandates(client, Names("t"))
    assert held.add(MANDATE)
    assert not held.add(MANDATE)
    begun = msgspec.structs.replace(MANDATE, state="in_progress")
    assert held.save(MANDATE, begun)
    assert not held.save(MANDATE, begun)  # whoever was late
    assert (held.get("m"), held.unfinished()) == (begun, [begun])
    assert held.save(begun, begun, finished=True)
    assert held.unfinished() == []
    assert PrivacyRequests(client, Names("t")).everything() == []


def test_many_are_added_looked_up_and_asked_about_at_once(store: Store) -> None:
    many = [request_of(f"r{at:04}", asked_ms=at) for at in range(2_500)]
    assert store.add(many[7])
    assert store.save(many[7], done(many[7]), finished=True)
    added = store.add_all(many)
    assert [at for at, is_new in enumerate(added) if not is_new] == [7]
    assert len(store.unfinished()) == len(many) - 1
    found = store.get_all(["r0007", "none", "r2499"])
    assert found == [done(many[7]), None, many[-1]]
    assert store.are_done(["r0007", "none"])
    assert not store.are_done(["r0007", *(f"r{at:04}" for at in range(2_500))])
    assert store.are_done([])
