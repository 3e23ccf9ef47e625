"""What a Redis can do to us short of dying: no room, no data yet, read-only, other scripts, another's data, a
policy that evicts."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis
from structlog.testing import capture_logs

from schemas.errors import TRY_AGAIN, Foreign, LogFull, Refused, Restarted, Unreachable
from schemas.records.customer_profile import Head
from schemas.records.identity_graph import Group, Identifier, Routed, WindowCommit
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogKind
from schemas.wire.triggers import Absorb
from state.directory.layout import FORMAT, Layout
from state.directory.redis_directory import RedisDirectory
from state.keys import DataKeys
from state.model_store import Checkpoint, RedisModels, Signer
from state.redis.client import (
    check_server,
    connect,
    reported,
    stay_with_server,
    wait_until_loaded,
    warn_if_it_forgets,
)
from state.redis.embedded import Embedded
from state.redis.names import Names
from state.redis.servers import find_server
from state.shards.deliveries import Deliveries
from state.shards.redis_shards import RedisOutbox, RedisShards
from state.shards.shard_protocols import ShardCommit
from tests.key_files import wrapping
from tests.servers import PROGRAMS, program_of

LAYOUT = Layout("test", 2, 16, (1, 3))
ROOT = b"r" * 12
SIGNER = Signer(b"s" * 32)


def window(before: int, after: int) -> WindowCommit:
    group = Group([Identifier(0, b"%012d" % after)], [Routed(0, b"payload")])
    return WindowCommit(
        partition="events/0", before=before, after=after, groups=[group], dead=[], rejected={}
    )


def commit_of(before: Head, offset: int) -> ShardCommit:
    head = msgspec.structs.replace(before, offset=offset, outbox={Lane.TRIGGERS: offset})
    return ShardCommit(
        shard=0,
        before=before,
        head=head,
        counters={"n": offset},
        profiles={ROOT: b"%d" % offset},
        sensitive={},
        timers={ROOT: 0},
        outbox=[(Lane.TRIGGERS, offset, b"trigger")],
    )


class Site:
    def __init__(self, url: str) -> None:
        self.client, self.names = redis.Redis.from_url(url), Names("t")
        self.directory = RedisDirectory(self.client, self.names, LAYOUT)
        self.shards = RedisShards(self.client, self.names, LAYOUT.shards, LAYOUT.shard_buckets)
        self.outbox = RedisOutbox(self.client, self.names, LAYOUT.shards)

    def everything(self) -> dict[bytes, bytes | None]:
        return {key: self.client.dump(key) for key in self.client.keys("*")}


@pytest.fixture
def site(redis_url: str) -> Site:
    made = Site(redis_url)
    made.directory.create()
    return made


@pytest.fixture(params=PROGRAMS)
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """On a server of its own, of each kind."""
    with Embedded(
        tmp_path_factory.mktemp("r"), fsync="no", program=program_of(request.param)
    ).running() as url:
        made = Site(url)
        made.directory.create()
        yield made


def test_without_memory_every_commit_is_back_pressure_and_writes_nothing(own: Site) -> None:
    head = own.shards.claim([0])[0]
    models = RedisModels(own.client, own.names, SIGNER)
    revision, _ = models.take("churn")
    own.directory.commit(window(-1, 0))
    own.client.config_set("maxmemory", 1)
    before = own.everything()
    absorb = Absorb(ROOT, b"x" * 12, b"", b"")
    for write in (
        lambda: own.directory.commit(window(0, 1)),
        lambda: own.directory.tick(),
        lambda: own.directory.announce(LogKind.CONFIG, "rules", 1, 1, b"rules"),
        lambda: own.directory.forward(0, 1, absorb),
        lambda: own.shards.commit([commit_of(head, 1)], 5),
        lambda: own.outbox.advance(Lane.TRIGGERS, "crm", {0: 1}),
        lambda: DataKeys(own.client, own.names, wrapping(b"k" * 32), 16).of([ROOT], create=True),
        lambda: models.save(
            "churn", revision, Checkpoint(trainer=b"", positions={}, tick=0, announced=[], metrics={})
        ),
        lambda: Deliveries(own.client, own.names).keep_dead("crm", b"body", "gone"),
    ):
        with pytest.raises(LogFull, match=r"Redis has no room: .*command not allowed when used memory >"):
            write()
    assert own.everything() == before
    own.directory.trim({0: 0})  # what makes room is always taken
    own.outbox.trim(Lane.TRIGGERS, ["crm"])
    own.client.config_set("maxmemory", 0)
    own.directory.commit(window(0, 1))
    own.shards.commit([commit_of(head, 1)], 5)
    assert own.directory.offsets() == {"events/0": 1}
    assert own.shards.heads()[0].offset == 1


def test_a_replica_is_one_line_and_no_fault_of_the_worker(own: Site) -> None:
    head = own.shards.claim([0])[0]
    before = own.everything()
    own.client.replicaof("127.0.0.1", "1")
    for write in (
        lambda: own.directory.commit(window(-1, 0)),
        lambda: own.shards.commit([commit_of(head, 1)], 5),
    ):
        with pytest.raises(Unreachable, match="read-only replica") as refusal, reported():
            write()
        assert refusal.value.exit_code == TRY_AGAIN
    own.client.replicaof("NO", "ONE")
    assert own.everything() == before
    own.directory.commit(window(-1, 0))


def test_flushed_scripts_are_loaded_again(site: Site) -> None:
    site.directory.commit(window(-1, 0))
    for after in (1, 2):
        site.client.script_flush()
        site.directory.commit(window(after - 1, after))
    site.client.script_flush()
    assert site.directory.announce(LogKind.CONFIG, "rules", 1, 1, b"rules")
    site.client.script_flush()
    site.directory.trim({0: 1})
    assert site.directory.offsets() == {"events/0": 2}


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_policy_that_evicts_is_refused(site: Site, policy: str) -> None:
    site.client.config_set("maxmemory-policy", policy)
    try:
        with pytest.raises(Foreign, match=f"maxmemory-policy {policy}: customers would vanish"):
            check_server(site.client)
    finally:
        site.client.config_set("maxmemory-policy", "noeviction")
    check_server(site.client)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"appendonly": "no", "save": ""},
            "appendonly no, and makes no snapshots: when it ends, everything is gone",
        ),
        (
            {"appendonly": "no", "save": "60 1"},
            "appendonly no: when it is killed, all since its last snapshot is gone",
        ),
        ({"appendonly": "yes", "appendfsync": "no"}, "appendfsync no: after a power cut"),
        ({"appendonly": "yes", "appendfsync": "everysec"}, ""),
        ({"appendonly": "yes", "appendfsync": "always"}, ""),
    ],
)
def test_a_server_that_forgets_is_warned_of(own: Site, settings: dict[str, str], words: str) -> None:
    for name, value in settings.items():
        own.client.config_set(name, value)
    with capture_logs() as lines:
        warn_if_it_forgets(own.client)
    warnings = [line["reason"] for line in lines if line["event"] == "redis_forgets"]
    assert len(warnings) == bool(words)
    assert all(words in warning for warning in warnings)


def test_a_login_that_is_refused_is_not_waited_for(tmp_path: Path) -> None:
    with Embedded(tmp_path, fsync="no").running() as url:
        redis.Redis.from_url(url).config_set("requirepass", "secret")
        with pytest.raises(Refused, match="refuses") as refusal, reported():
            redis.Redis.from_url(url).ping()
        assert refusal.value.exit_code == 1


def test_a_node_of_a_cluster_is_refused(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    argv = [
        find_server(),
        "--port",
        "0",
        "--unixsocket",
        socket,
        "--dir",
        tmp_path,
        "--cluster-enabled",
        "yes",
        "--save",
        "",
    ]
    server = subprocess.Popen([*map(str, argv), "--cluster-port", "0"], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis.from_url(f"unix://{socket}")
        _answers(client)
        with pytest.raises(Foreign, match="a node of a Redis Cluster"):
            check_server(client)
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (
            "format",
            FORMAT + 1,
            f"state has format {FORMAT + 1}, this release reads up to {FORMAT}: use the newer millrace",
        ),
        ("name", "other", "has name 'other', we have 'test': this is fixed at creation"),
        ("keys", "f00d", "has keys 'f00d'"),
        ("shards", 3, "has shards '3', we have 2"),
    ],
)
def test_what_another_deployment_or_a_newer_release_wrote_is_refused(
    site: Site, field: str, value: object, words: str
) -> None:
    site.client.hset(site.names.meta, field, str(value))
    before = site.everything()
    with pytest.raises(Foreign, match=words):
        site.directory.create()
    assert site.everything() == before


def test_what_an_earlier_release_wrote_is_taken_over_and_closed_to_that_release(site: Site) -> None:
    site.client.hset(site.names.meta, "format", "1")
    site.directory.create()
    assert site.client.hget(site.names.meta, "format") == b"%d" % FORMAT


def test_a_server_that_reads_its_data_is_waited_for(tmp_path: Path) -> None:
    server = Embedded(tmp_path, fsync="no")
    with server.running() as url, redis.Redis.from_url(url).pipeline(transaction=False) as pipeline:
        for key in range(4_000):
            pipeline.set(f"key:{key}", "x" * 100)
        pipeline.save()  # type: ignore[no-untyped-call]  # untyped in the library
        pipeline.execute()
    slow = [
        "--appendonly",
        "no",
        "--key-load-delay",
        "500",
        "--loading-process-events-interval-bytes",
        "1024",
    ]
    process = subprocess.Popen([str(find_server()), str(tmp_path / "redis.conf"), *slow])
    try:
        client = redis.Redis.from_url(url)
        _answers(client)
        with pytest.raises(redis.BusyLoadingError):
            client.ping()
        with pytest.raises(Unreachable, match=r"has been loading its data for 0\.2 s"):
            wait_until_loaded(client, 0.2)
        with pytest.raises(Unreachable, match="is loading its data"), reported():
            client.get("key:1")
        wait_until_loaded(client)
        assert client.get("key:3999") is not None
    finally:
        process.kill()
        process.wait()


def test_a_worker_does_not_outlive_its_server(tmp_path: Path) -> None:
    """Whether the next command goes over a connection that was open, or over a new one: and not only the
    first of them."""
    server = Embedded(tmp_path, fsync="always")
    with server.running() as url:
        client, other = connect(url), redis.Redis.from_url(url)
        stay_with_server(client)
        client.set("key", "value")
        # a connection may be lost, as long as it leads to the same server
        client.connection_pool.disconnect()
        assert client.get("key") == b"value"
        with client.pipeline() as pipeline:
            pipeline.watch("key")
            client.get("key")  # a second connection
    with server.running():
        for call in (client.ping, client.ping, lambda: client.pipeline().get("key").execute(), client.ping):
            with pytest.raises(Restarted, match="was started again") as refusal, reported():
                call()
            assert refusal.value.exit_code == TRY_AGAIN
        assert other.get("key") == b"value"  # who is no worker has nothing to forget


def _answers(client: redis.Redis) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            client.ping()
        except redis.BusyLoadingError:
            return
        except redis.ConnectionError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("the server does not answer")
