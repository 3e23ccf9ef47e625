"""The limits: a source that sends mostly what is rejected is suspended, and nobody else is held back."""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec
import pytest
import redis
from structlog.testing import capture_logs

from connectors.raw.log import START
from flows.cli import main
from flows.runtime.deployment import Deployment
from flows.runtime.limits import SOURCES_MAX, RejectBrake, SlidingSample
from flows.runtime.windows import Windows
from schemas.config import Config, Kafka, Raw, Validate, toml
from schemas.config import Window as WindowConfig
from schemas.units import Duration
from schemas.wire.events import DeadLetter, RawBatch, RawEvent
from state.directory.redis_directory import RedisDirectory
from state.redis.names import Names
from state.suspended import RedisSources, Suspension
from tests.resolving import LAYOUT, NOW_MS, PARTITION, Site, numbers

LIMITS = Validate(reject_percent=50, reject_sample=10)
ON_REDIS = Config(validate=LIMITS)
ON_KAFKA = Config(validate=LIMITS, raw=Raw(log="kafka"), kafka=Kafka(topics=("events", "shop", "till")))
OLD = b'{"type":"track","event":"Viewed","userId":"u","timestamp":"1999-01-01T00:00:00Z"}'


@pytest.fixture
def site(redis_url: str) -> Site:
    directory = RedisDirectory(redis.Redis.from_url(redis_url), Names("t"), LAYOUT)
    directory.create()
    return Site(redis_url, directory)


@pytest.fixture
def sources(site: Site) -> RedisSources:
    return RedisSources(site.client, Names("t"))


def good(source: str, count: int = 1, at_ms: int = NOW_MS) -> list[RawEvent]:
    return [
        RawEvent(b'{"type":"track","event":"Viewed","userId":"u%d"}' % next(numbers), at_ms, source)
        for _ in range(count)
    ]


def bad(source: str, count: int = 1, at_ms: int = NOW_MS) -> list[RawEvent]:
    """What is only found behind the gateway."""
    return [RawEvent(OLD, at_ms, source)] * count


def refused(source: str, count: int = 1) -> list[RawEvent]:
    """What the gateway has told its sender at once."""
    return [RawEvent(b"nonsense", NOW_MS, source, "not_json", "it is not JSON")] * count


def held(sources: RedisSources) -> set[str]:
    return {source for source, found in sources.all().items() if found.holds}


def letters(site: Site) -> list[DeadLetter]:
    return [
        msgspec.msgpack.decode(fields[b"b"], type=DeadLetter)
        for _, fields in site.client.xrange("t:{dir}:dead")
    ]  # type: ignore[union-attr]


class Worker:
    """A resolver with a brake of its own."""

    def __init__(self, site: Site, sources: RedisSources, config: Config = ON_REDIS) -> None:
        self.brake = RejectBrake(config, sources)
        self._site, self._resolver = site, site.resolver(config, brake=self.brake)

    def takes(self, *events: RawEvent, partition: str = PARTITION) -> bool:
        """Whether a window of these was committed."""
        return self._site.take(*events, resolver=self._resolver, partition=partition) is not None


# --- which source, and when


def test_only_the_source_that_sends_what_is_bad_is_suspended(site: Site, sources: RedisSources) -> None:
    worker = Worker(site, sources)
    with capture_logs() as said:
        for _ in range(4):
            assert worker.takes(*bad("web", 3), *good("store", 5), *bad("app", 1), *good("app", 4))
    assert held(sources) == {"web"}
    found = sources.all()["web"]
    assert (found.events, found.rejects, found.reasons) == (12, 12, {"timestamp_out_of_range": 3})
    (line,) = [line for line in said if line["event"] == "source_suspended"]
    assert (line["source"], line["go_on"], line["log_level"]) == (
        "web",
        "millrace source resume web",
        "error",
    )
    assert site.directory.offsets() == {PARTITION: 3}, "what was taken from senders is handled"
    assert (len(letters(site)), len(site.facts())) == (16, 36)


def test_what_the_gateway_has_refused_suspends_nobody(site: Site, sources: RedisSources) -> None:
    worker = Worker(site, sources)
    for _ in range(5):
        assert worker.takes(*refused("web", 100), *good("web", 1))
    assert held(sources) == set()
    assert len(letters(site)) == 500
    assert worker.takes(*refused("web", 500), *bad("web", 8)), "8 of the last 13"
    assert held(sources) == {"web"}
    assert (sources.all()["web"].events, sources.all()["web"].rejects) == (10, 8), "of the last ten"


def test_a_foreign_seal_is_no_refusal_that_its_sender_has_heard_of(site: Site, sources: RedisSources) -> None:
    worker = Worker(site, sources, ON_KAFKA)
    assert worker.takes(*[RawEvent(b"?", NOW_MS, "web", "seal_broken")] * 20, partition="events/0")
    assert held(sources) == {"web"}


def test_faults_of_records_that_an_app_wrote_count(site: Site, sources: RedisSources) -> None:
    """Nobody has told the app."""
    worker = Worker(site, sources, ON_KAFKA)
    assert not worker.takes(
        *[RawEvent(b"\0\0\0\0\1", NOW_MS, "shop", "schema_unknown")] * 20, partition="shop/0"
    )
    assert held(sources) == {"shop"}


@pytest.mark.parametrize(("rejects", "exceeds"), [(4, False), (5, False), (6, True), (10, True)])
def test_the_limit_is_a_share_of_the_last_events(rejects: int, exceeds: bool) -> None:
    sample = SlidingSample(50, 10)
    sample.exceeded(10, Counter())  # long ago and good
    found = sample.exceeded(10, Counter(rejected=rejects))
    assert found == ((10, rejects, "rejected") if exceeds else None)


def test_few_events_are_no_sample() -> None:
    assert SlidingSample(50, 1_000).exceeded(999, Counter(rejected=999)) is None


def test_names_that_an_app_invents_are_bounded(site: Site, sources: RedisSources) -> None:
    one = RejectBrake(ON_KAFKA, sources)
    for number in range(2 * SOURCES_MAX):
        one.passes("events/0", bad(f"made-up-{number}"), [], NOW_MS)
    assert len(one._samples) == SOURCES_MAX


# --- a source on a topic


def test_a_topic_of_its_own_waits_and_the_others_go_on(site: Site, sources: RedisSources) -> None:
    worker = Worker(site, sources, ON_KAFKA)
    assert worker.takes(*good("shop", 10), partition="shop/0")
    assert not worker.takes(*bad("shop", 10), partition="shop/0")
    assert not worker.takes(*good("shop", 10), partition="shop/1"), "all of its partitions"
    assert worker.takes(*good("till", 10), partition="till/0")
    assert worker.takes(*good("web", 10), partition="events/0")
    assert site.directory.offsets() == {"shop/0": 0, "till/0": 0, "events/0": 0}
    assert letters(site) == [], "what is bad still lies in the topic"
    assert [worker.brake.holds(partition) for partition in ("shop/0", "shop/7", "till/0", "events/0")] == [
        True,
        True,
        False,
        False,
    ]


def test_the_topic_that_the_gateway_writes_to_never_waits(site: Site, sources: RedisSources) -> None:
    worker = Worker(site, sources, ON_KAFKA)
    assert worker.takes(*bad("events", 20), *good("web", 20), partition="events/0")
    assert held(sources) == {"events"}
    assert worker.takes(*bad("events", 20), *good("events", 1), *good("web", 20), partition="events/0")
    assert (len(letters(site)), len(site.facts())) == (40, 41)


# --- going on


def test_after_resume_what_came_before_passes_and_what_comes_later_counts_again(
    site: Site, sources: RedisSources
) -> None:
    worker = Worker(site, sources, ON_KAFKA)
    assert not worker.takes(*bad("shop", 20), partition="shop/0")
    assert sources.resume("shop", NOW_MS + 1_000)
    assert not sources.resume("shop", NOW_MS + 2_000), "it is not suspended any more"
    worker.brake.look()
    for _ in range(5):
        assert worker.takes(*bad("shop", 20), partition="shop/0")
    assert len(letters(site)) == 100, "to be replayed"
    assert held(sources) == set()
    assert not worker.takes(*bad("shop", 20, NOW_MS + 1_001), partition="shop/0")
    assert held(sources) == {"shop"}


def test_it_is_remembered_over_restarts_and_by_all_workers(site: Site, sources: RedisSources) -> None:
    one, other = Worker(site, sources, ON_KAFKA), Worker(site, sources, ON_KAFKA)
    assert not one.takes(*bad("shop", 20), partition="shop/0")
    other.brake.look()
    assert not other.takes(*good("shop"), partition="shop/1")
    assert not Worker(site, sources, ON_KAFKA).takes(*good("shop"), partition="shop/0")


def test_a_worker_that_has_not_heard_of_a_resume_suspends_nobody_for_what_came_before(
    site: Site, sources: RedisSources
) -> None:
    one, other = Worker(site, sources), Worker(site, sources)
    assert one.takes(*bad("web", 20))
    assert sources.resume("web", NOW_MS + 1)
    assert other.takes(*bad("web", 20))
    assert held(sources) == set()


# --- reading while some partitions wait


class Topics:
    """A log with partitions that are read one entry at a time."""

    def __init__(self, *partitions: str) -> None:
        self.at = dict.fromkeys(partitions, START)

    def partitions(self) -> list[str]:
        return list(self.at)

    def assign(self, positions: Mapping[str, int]) -> None:
        self.at = dict(positions)

    def leave(self, partitions: Collection[str]) -> None:
        for partition in partitions:
            del self.at[partition]

    def join(self, positions: Mapping[str, int]) -> None:
        self.at |= positions

    def poll(self, timeout_ms: int) -> list[RawBatch]:
        self.at = {partition: position + 1 for partition, position in self.at.items()}
        return [
            RawBatch(partition, position, good(partition), [position])
            for partition, position in self.at.items()
        ]

    def lag(self) -> dict[str, int]:
        return {}

    def committed(self, positions: Mapping[str, int]) -> None: ...

    def close(self) -> None: ...


def test_a_partition_that_waited_goes_on_from_where_the_directory_is() -> None:
    windows = Windows(
        Topics("shop/0", "till/0"),
        WindowConfig(wait=Duration(0), events=1),
        dict.fromkeys(["shop/0", "till/0"], START),
    )

    def places() -> dict[str, tuple[int, int]]:
        return {window.partition: (window.before, window.after) for window in windows.poll()}

    def never() -> Mapping[str, int]:
        raise AssertionError("nothing joins")

    assert places() == {"shop/0": (-1, 0), "till/0": (-1, 0)}
    windows.hold(["shop/0"], never)
    windows.hold(["shop/0"], never)
    assert places() == {"till/0": (0, 1)}
    windows.hold([], lambda: {"till/0": 1})
    assert places() == {"shop/0": (-1, 0), "till/0": (1, 2)}, "its first window was not committed"
    assert windows.partitions == ["shop/0", "till/0"]


# --- as an operator sees it

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def file(tmp_path: Path, redis_url: str) -> Path:
    file = tmp_path / "millrace.toml"
    file.write_text(
        f'[redis]\nurl = "{redis_url}"\n[shards]\ncount = 2\n[raw]\nlog = "kafka"\n'
        '[kafka]\ntopics = ["events", "shop"]\n'
    )
    Deployment(toml.load(file)).prepare()
    return file


@pytest.fixture
def millrace(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*argv: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["millrace", *argv, "-c", str(file)])
        code = main.main()
        return code, capsys.readouterr().out

    return call


def test_one_command_shows_and_one_goes_on(file: Path, millrace: Call) -> None:
    assert millrace("source", "list") == (0, "no source is suspended\n")
    sources = Deployment(toml.load(file)).sources
    for source in ("web", "shop", "events"):
        sources.suspend(source, Suspension(1_790_000_000_000, 1_000, 600, {"timestamp_out_of_range": 9}))
    code, said = millrace("source", "list")
    assert code == 0
    for line in (
        r"web 2026-09-21 14:13:20Z 600 of 1000 timestamp_out_of_range 9 the gateway answers 429",
        r"shop 2026-09-21 14:13:20Z 600 of 1000 timestamp_out_of_range 9 wait in the topic",
        r"events 2026-09-21 14:13:20Z 600 of 1000 timestamp_out_of_range 9 go on to the dead letters where "
        r"they are bad: the gateway",
    ):
        assert line in " ".join(said.split()), said
    assert "suspended sources, whose events are not taken: events, shop, web" in " ".join(
        millrace("status")[1].split()
    )
    assert millrace("source", "resume", "shop") == (0, "shop goes on within about a second\n")
    assert millrace("source", "resume", "shop") == (1, "shop is not suspended; suspended: events, web\n")
    assert held(sources) == {"web", "events"}


def test_the_gateway_is_told(file: Path) -> None:
    from flows.gateway import standing

    config = toml.load(file)
    ask = standing(Deployment(config).apart())
    Deployment(config).sources.suspend("web", Suspension(1))
    Deployment(config).given_up.say("till", ["match-0"])
    assert (ask().suspended, ask().given_up) == ({"web"}, ("match-0@till",))
    Deployment(config).sources.resume("web", 2)
    Deployment(config).given_up.say("till", [])
    assert (ask().suspended, ask().given_up) == (frozenset(), ())
