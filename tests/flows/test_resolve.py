"""The flow `resolve`: windows, sealed fields, what happens when identities change meanwhile, a log is full,
or a worker dies."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
import redis
from bytewax.run import cli_main
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from connectors.raw.log import START
from flows import resolve
from flows.logic.fields.identifiers import Identifiers
from flows.logic.resolution.validation import Validator
from flows.resolve import Resolver, dataflow
from flows.runtime.engine import Stop
from flows.runtime.windows import Judged, Window, Windows
from schemas.config import Config
from schemas.config import Window as WindowConfig
from schemas.errors import Fenced, MillraceError, Stale
from schemas.records.identity_graph import Group, WindowCommit, WindowResult
from schemas.units import Duration
from schemas.wire.events import DeadLetter, RawBatch, RawEvent
from state.directory.directory_protocol import Directory
from state.directory.redis_directory import RedisDirectory
from state.memory.memory_directory import MemoryDirectory
from state.redis.names import Names
from tests.resolving import BAD, KEY, LAYOUT, NOW_MS, PARTITION, SEAL, Reader, Site, numbers, raw


@pytest.fixture(params=["memory", "redis"])
def site(request: pytest.FixtureRequest, redis_url: str) -> Site:
    if request.param == "memory":
        return Site(redis_url, MemoryDirectory(LAYOUT, lambda: NOW_MS))
    directory = RedisDirectory(redis.Redis.from_url(redis_url), Names("t"), LAYOUT)
    directory.create()
    return Site(redis_url, directory)


@pytest.fixture
def memory(redis_url: str) -> Site:
    return Site(redis_url, MemoryDirectory(LAYOUT, lambda: NOW_MS))


# --- windows


class Clock:
    """Seconds; each poll takes a tenth."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += 0.1


def closed(batches: Sequence[int], wait: str, events: int, handling_s: float) -> list[list[int]]:
    """What `poll` gives, call after call, as numbers of events in its windows. A batch comes every 100 ms."""
    clock = Clock()
    reader = Reader([[raw(userId=f"u{n}")] * size for n, size in enumerate(batches)], clock=clock.tick)
    windows = Windows(
        reader, WindowConfig(wait=Duration.parse(wait), events=events), {PARTITION: START}, clock
    )
    found = []
    for _ in range(len(batches) + 3):
        found.append([len(window.events) for window in windows.poll()])
        clock.now += handling_s if found[-1] else 0.0
    return found


def test_a_window_closes_when_it_has_enough_events() -> None:
    assert closed([12, 4, 4, 4, 12], "1h", 10, 1_000) == [[12], [], [], [12], [12], [], [], []]


def test_a_window_closes_at_once_while_there_is_nothing_else_to_do() -> None:
    assert closed([1, 1, 1, 1], "1h", 100, 0.0) == [[1], [1], [1], [1], [], [], []]


def test_a_window_stays_open_as_long_as_the_one_before_it_took() -> None:
    assert closed([1, 1, 1, 1, 1, 1], "1h", 100, 0.15) == [[1], [], [], [3], [], [], [2], [], []]


def test_many_events_are_worth_waiting_for() -> None:
    assert closed([2, 2, 2, 2, 2, 2], "150ms", 10, 0.0) == [[2], [], [], [6], [], [], [4], [], []]


def test_a_window_never_stays_open_longer_than_configured() -> None:
    assert closed([1, 1, 1, 1, 1, 1], "150ms", 10, 1_000) == [[1], [], [], [3], [], [], [2], [], []]


def test_windows_follow_one_another_without_a_gap() -> None:
    reader = Reader([[raw(userId="a")]] * 6)
    windows = Windows(reader, WindowConfig(wait=Duration(0), events=2), {PARTITION: START})
    found = [window for _ in range(10) for window in windows.poll()]
    assert [window.after for window in found][-1] == 5
    assert [window.before for window in found] == [START, *(window.after for window in found)][:-1]


# --- facts


def test_an_event_becomes_a_fact_in_the_log_of_its_customer(site: Site) -> None:
    site.take(raw(userId="ana", anonymousId="v1", messageId="m1", properties={"total": 3}))
    ((root, origin, fact),) = site.facts()
    hashed = Identifiers(Config().identity, KEY).hash("user_id", "ana")
    assert root == origin == fact.subject == hashed
    assert (fact.name, fact.message, fact.channel, fact.properties) == ("Viewed", "m1", "web", {"total": 3})
    assert NOW_MS == fact.received_ms <= fact.resolved_ms


def test_personal_data_lies_sealed_and_opens_with_the_data_key(site: Site) -> None:
    traits = {"email": "ana@x.de", "firstName": "Ana", "plan": "gold", "address": {"city": "Köln"}}
    site.take(raw(type="identify", userId="ana", messageId="m1", traits=traits))
    ((_, _, fact),) = site.facts()
    assert {name: value for name, value in fact.traits.items() if not name.startswith("$quality.")} == {
        "plan": "gold"
    }
    assert site.opened() == {
        "m1": {"email": "ana@x.de", "firstName": "Ana", "address": {"city": "Köln"}, "user_id": "ana"}
    }
    stored = b"".join(entry.body for entry in site.directory.read({0: 0, 1: 0}, 100, 0))
    assert b"ana" not in stored.lower()


def test_personal_data_of_events_reaches_no_log_and_is_counted(site: Site) -> None:
    def counted() -> dict[str, float]:
        return {
            kind: REGISTRY.get_sample_value("millrace_personal_removed_total", {"kind": kind}) or 0
            for kind in ("email", "name")
        }

    before = counted()
    page = {
        "url": "https://x.example/?email=eve@secret.example",
        "referrer": "https://x.example/eve@secret.example",
        "title": "Eve",
    }
    items = [{"sku": "s-1", "buyerEmail": "eve@secret.example"}, {"contact": "eve@secret.example"}]
    site.take(
        raw(
            event="Order for eve@secret.example",
            userId="ana",
            messageId="eve@secret.example-1",
            properties={
                "items": items,
                "emails": ["eve@secret.example"],
                "search": "?to=eve%40secret.example&q=tea",
                "total": 3,
            },
            context={"page": page, "traits": {"friends": ["eve@secret.example", "bob"]}},
        )
    )
    ((_, _, fact),) = site.facts()
    assert fact.name == "Order for (redacted)"
    assert fact.properties == {"items": [{"sku": "s-1"}, {}], "search": "?to=(redacted)&q=tea", "total": 3}
    assert fact.traits == {"friends": ["bob"]}
    assert site.opened()[fact.message] == {"friends.0": "eve@secret.example", "user_id": "ana"}
    stored = b"".join(entry.body for entry in site.directory.read({0: 0, 1: 0}, 100, 0))
    assert b"secret.example" not in stored
    assert {kind: n - before[kind] for kind, n in counted().items()} == {"email": 4, "name": 2}


def test_a_user_id_is_sealed_once_by_each_worker(site: Site) -> None:
    resolver = site.resolver()
    for message in ("m1", "m2"):
        site.take(raw(userId="ana", messageId=message), resolver=resolver)
    site.take(raw(userId="ana", messageId="m3"))
    assert site.opened() == {"m1": {"user_id": "ana"}, "m3": {"user_id": "ana"}}


def test_fields_are_sealed_for_the_origin_where_they_land_whatever_happens_in_the_window(site: Site) -> None:
    """A visitor whom two users of one device claim within a window: where the second lands depends on the
    first."""
    resolver = site.resolver()
    site.take(
        raw(userId="ana", anonymousId="v0", messageId="m1"),
        raw(anonymousId="v1", messageId="m2"),
        resolver=resolver,
    )
    site.take(
        raw(userId="ana", anonymousId="v1", messageId="m3"),
        raw(type="identify", userId="bob", anonymousId="v1", messageId="m4", traits={"email": "bob@x.de"}),
        resolver=resolver,
    )
    assert site.opened()["m4"] == {"user_id": "bob", "email": "bob@x.de"}
    assert len(site.facts()) == 4


class Busy:
    """A directory in which another worker is always a bit quicker: after each plan, as long as there is
    something to do."""

    def __init__(self, directory: Directory, deeds: list[Callable[[], Any]]) -> None:
        self._directory = directory
        self._deeds = deeds
        self.plans = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._directory, name)

    def plan(self, groups: Sequence[Group]) -> list[bytes]:
        found = self._directory.plan(groups)
        self.plans += 1
        if self._deeds:
            self._deeds.pop(0)()
        return found


def elsewhere(site: Site, *events: RawEvent) -> Callable[[], Any]:
    """What a worker of another partition does."""

    def deed() -> None:
        resolver = site.resolver()
        partition = f"other/{next(numbers)}"
        resolver.commit(resolver.judge(Window(partition, START, 1, list(events), [1] * len(events), 0.0)))

    return deed


def test_when_identities_change_between_plan_and_commit_it_is_planned_anew(site: Site) -> None:
    site.take(raw(anonymousId="v1", messageId="m0"))
    directory = Busy(site.directory, [elsewhere(site, raw(userId="eve", anonymousId="v1", messageId="m1"))])
    resolver = site.resolver(directory=directory)
    site.take(
        raw(userId="ana", anonymousId="v1", messageId="m2", type="identify", traits={"email": "a@x.de"}),
        resolver=resolver,
    )
    assert directory.plans == 2
    assert site.opened()["m2"] == {"email": "a@x.de", "user_id": "ana"}
    assert len({root for root, _, fact in site.facts() if fact.message in ("m1", "m2")}) == 2


def test_a_window_that_is_always_stale_ends_the_worker(memory: Site) -> None:
    class Never(Busy):
        def commit(self, window: WindowCommit) -> WindowResult:
            raise Stale("always")

    with pytest.raises(Stale, match=r"events/0 was stale \d+ times"):
        memory.take(raw(userId="ana"), resolver=memory.resolver(directory=Never(memory.directory, [])))  # type: ignore[arg-type]


# --- what is refused


def letters(site: Site) -> list[DeadLetter]:
    if isinstance(site.directory, MemoryDirectory):
        packed = site.directory.dead
    else:
        packed = [fields[b"b"] for _, fields in site.client.xrange(Names("t").dead)]  # type: ignore[union-attr]
    return [msgspec.msgpack.decode(letter, type=DeadLetter) for letter in packed]


def test_a_reject_is_a_dead_letter_with_its_original_bytes_and_the_others_go_on(site: Site) -> None:
    site.take(raw(userId="ana", messageId="m1"), BAD, raw(userId="", messageId="m2"))
    bad, blocked = letters(site)
    assert (bad.reason, bad.partition, bad.position, bad.index, bad.source) == (
        "not_json",
        PARTITION,
        0,
        1,
        "web",
    )
    assert SEAL.open(bad.sealed) == b"not json"
    assert b"not json" not in bad.sealed
    assert (blocked.reason, blocked.index) == ("id_blocked", 2)
    assert site.directory.stats()["rejected:not_json"] == 1
    assert [fact.message for _, _, fact in site.facts()] == ["m1"]


def test_a_defect_of_ours_is_kept_with_its_place_and_without_its_data(
    memory: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Validator, event: RawEvent) -> Any:
        raise KeyError("ana@x.de")

    monkeypatch.setattr(Validator, "check", broken)
    memory.take(raw(userId="ana"))
    (letter,) = letters(memory)
    assert letter.reason == "poison"
    assert letter.detail.startswith("KeyError at tests.flows.test_resolve:")
    assert "ana" not in letter.detail


# --- limits, rivals, restarts


class Waiting(Stop):
    """Something happens while the flow waits."""

    def __init__(self, meanwhile: Callable[[], Any]) -> None:
        super().__init__()
        self.waits = 0
        self._meanwhile = meanwhile

    def wait(self, seconds: float) -> bool:
        assert 0 < seconds <= 1
        self.waits += 1
        self._meanwhile()
        return super().wait(0)


def test_a_full_shard_log_is_waited_for(redis_url: str) -> None:
    site = Site(redis_url, MemoryDirectory(LAYOUT, lambda: NOW_MS, log_max=1))
    site.take(raw(userId="ana", messageId="m1"))
    site.stop = stop = Waiting(lambda: stop.waits < 3 or site.directory.trim({0: 1, 1: 1}))
    site.take(raw(userId="ana", messageId="m2"))
    assert stop.waits == 3
    assert [fact.message for _, _, fact in site.facts()] == ["m2"]


def test_a_window_that_waits_says_for_whom_now_and_then(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(resolve.time, "monotonic", lambda: float(next(clock)))
    site = Site(redis_url, MemoryDirectory(LAYOUT, lambda: NOW_MS, log_max=1))
    site.take(raw(userId="ana"))
    site.stop = stop = Waiting(lambda: stop.waits < 100 or site.directory.trim({0: 1, 1: 1}))
    with capture_logs() as said:
        site.take(raw(userId="ana"))
    lines = [(line["behind"], line["seconds"]) for line in said if line["event"] == "window_waits"]
    (shard,) = {behind for behind, _ in lines}
    assert shard in ("log of shard 0 is full", "log of shard 1 is full")
    assert [seconds for _, seconds in lines] == [5, 65]


def test_a_worker_that_is_to_stop_while_a_log_is_full_leaves_the_window_for_the_next_one(
    redis_url: str,
) -> None:
    site = Site(redis_url, MemoryDirectory(LAYOUT, lambda: NOW_MS, log_max=1))
    site.take(raw(userId="ana"))
    site.stop = stop = Waiting(lambda: stop.asked.set())
    assert site.take(raw(userId="ana")) is None
    assert site.directory.offsets() == {PARTITION: 0}


def flow(site: Site, batches: Sequence[Sequence[RawEvent]], resolver: Resolver | None = None) -> Reader:
    """The real dataflow from where the directory is to the end of the log."""
    site.stop = Stop()
    reader = Reader(batches, site.stop)
    positions = {PARTITION: site.directory.offsets().get(PARTITION, START)}
    reader.assign(positions)
    windows = Windows(reader, WindowConfig(wait=Duration(0), events=1), positions)
    cli_main(dataflow(windows, reader, resolver or site.resolver(), site.stop))
    if site.stop.fault is not None:
        raise site.stop.fault
    return reader


def test_the_dataflow_takes_all_and_tells_the_reader_what_is_committed(site: Site) -> None:
    reader = flow(site, [[raw(userId="ana", messageId=f"m{n}")] for n in range(5)])
    assert site.directory.offsets() == {PARTITION: 4}
    assert reader.acknowledged[-1] == {PARTITION: 4}
    assert [fact.message for _, _, fact in site.facts()] == [f"m{n}" for n in range(5)]


def test_of_two_workers_on_one_partition_the_stale_one_is_fenced_and_nothing_is_doubled(site: Site) -> None:
    batches = [[raw(userId="ana", messageId="m0")], [raw(userId="ana", messageId="m1")]]

    class Overtaken(Reader):
        def poll(self, timeout_ms: int) -> list[RawBatch]:
            if self.at == START:
                flow(site, batches)
            return super().poll(timeout_ms)

    stop = Stop()
    reader = Overtaken(batches, stop)
    windows = Windows(reader, WindowConfig(wait=Duration(0), events=1), {PARTITION: START})
    cli_main(dataflow(windows, reader, site.resolver(), stop))
    assert isinstance(stop.fault, Fenced)
    assert reader.acknowledged == []
    assert [fact.message for _, _, fact in site.facts()] == ["m0", "m1"]


class Killed(MillraceError):  # what is no defect of ours on an event
    """kill -9, as near as one process comes to it."""


class Mortal:
    """Dies at its n-th call of plan or commit, before or after it took effect."""

    def __init__(self, directory: Directory, die_at: int, after: bool) -> None:
        self._directory = directory
        self._calls = 0
        self._die_at = die_at
        self._after = after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._directory, name)
        if name not in ("plan", "commit"):
            return found

        def call(*args: Any) -> Any:
            self._calls += 1
            if self._calls == self._die_at and not self._after:
                raise Killed
            answer = found(*args)
            if self._calls == self._die_at:
                raise Killed
            return answer

        return call


def life(url: str, die_at: int, after: bool) -> tuple[list[Any], int]:
    """A log of ten batches, with one death; what lies in the shard logs without what is random (seals) or now
    (times)."""
    site = Site(url, MemoryDirectory(LAYOUT, lambda: NOW_MS))
    people = itertools.cycle(["ana", "bob"])
    batches = [
        [
            raw(
                userId=next(people),
                anonymousId=f"v{n % 3}",
                messageId=f"m{n}",
                type="identify",
                traits={"email": f"{n}@x.de"},
            ),
            BAD,
        ]
        for n in range(10)
    ]
    directory = Mortal(site.directory, die_at, after)
    try:
        flow(site, batches, site.resolver(directory=directory))  # type: ignore[arg-type]
    except Killed:
        flow(site, batches)
    assert {message: fields["email"] for message, fields in site.opened().items()} == {
        f"m{n}": f"{n}@x.de" for n in range(10)
    }
    return [(root, origin, fact.message, fact.subject) for root, origin, fact in site.facts()] + letters_of(
        site
    ), directory._calls


def letters_of(site: Site) -> list[Any]:
    return [(letter.reason, letter.position, letter.index) for letter in letters(site)]


def test_a_worker_that_dies_at_any_step_leaves_no_trace(redis_url: str) -> None:
    expected, calls = life(redis_url, 0, False)
    assert calls == 20
    for die_at in range(1, calls + 1):
        for after in (False, True):
            assert life(redis_url, die_at, after)[0] == expected, (
                f"killed {'after' if after else 'before'} call {die_at}"
            )


def test_a_judged_window_is_grouped() -> None:
    config = Config()
    resolver = Resolver(
        config, Validator(config, KEY, {}), MemoryDirectory(LAYOUT, lambda: 0), None, SEAL, Stop()
    )  # type: ignore[arg-type]
    judged = resolver.judge(
        Window(
            PARTITION,
            START,
            1,
            [raw(anonymousId="v"), BAD, raw(userId="a", anonymousId="v"), raw(userId="b")],
            [1] * 4,
            0.0,
        )
    )
    assert isinstance(judged, Judged)
    assert [list(joint) for joint in judged.groups] == [[0, 1], [2]]
    assert [index for index, _ in judged.rejects] == [1]
