"""A key that is gone, or cannot be read: one line that names key, shard and remedy, and never a customer who
begins anew without a word."""

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from connectors.gateway import build
from flows.cli import repair_screen
from flows.logic.fields.identifiers import Identifiers
from flows.logic.shard.state import decode_profile
from flows.runtime import rules_in_force
from flows.runtime.deployment import Deployment
from schemas.config import Gateway
from schemas.errors import Damaged, Foreign
from schemas.records.identity_graph import shard_of
from schemas.wire.events import RawEvent
from state.damage import of_another_type
from state.shards.redis_shards import RedisShards
from tests.running import COMMAND
from tests.site import Site

ANA = "user-1"


class Shop(Site):
    """One customer who has bought something, and whose shard has forgotten what it had in memory."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url, archive=False)
        self.start()
        self.event = self.identify
        self.again()
        self.event = self.track
        self.again()
        self.tick()
        self.apply()
        (self.root,) = self.directory.lookup([self._hash()])
        self.shard = shard_of(self.root, self.config.shards.count)
        self.prefix_of_shard = b"mr:{s%02d}:" % self.shard

    def identify(self) -> RawEvent:
        return self._packed({"type": "identify", "traits": {"email": "ana@example.com"}})

    def track(self) -> RawEvent:
        return self._packed({"type": "track", "event": "Order Completed", "properties": {"total": 5}})

    def _packed(self, body: dict[str, object]) -> RawEvent:
        known = {"messageId": f"m{next(self._message)}", "userId": ANA}
        return RawEvent(msgspec.json.encode(known | body), self.now_s * 1000, "web")

    def _event(self) -> RawEvent:
        return self.event()

    def _hash(self) -> bytes:
        hashed = Identifiers(self.config.identity, Deployment(self.config).keys.hash, self.config.entry).hash(
            "user_id", ANA
        )
        assert hashed is not None
        return hashed

    def again(self) -> None:
        """One event more, applied."""
        self.window(1)
        self.apply()

    def profile(self) -> dict[str, object] | None:
        return Deployment(self.config).profile_reader("user_id", ANA)

    def field(self, kind: bytes) -> tuple[bytes, bytes]:
        """The bucket of that kind that holds the customer, and the field."""
        (key,) = [
            key for key in self.client.keys(b"mr:*" + kind + b"*") if self.client.hexists(key, self.root)
        ]
        return key, self.root


@pytest.fixture
def shop(redis_url: str, tmp_path: Path) -> Shop:
    return Shop(tmp_path, redis_url)


def cut(shop: Shop, key: bytes) -> None:
    held = shop.client.get(key)
    assert held is not None
    shop.client.set(key, held[:-1])


def remedy(shop: Shop) -> str:
    return rf"restore a backup .*`millrace repair customer {shop.root.hex()}`"


def test_a_customer_who_is_founded_while_somebody_reads_is_not_damaged(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The profile was looked for before the commit, its traces after it."""
    load, before = RedisShards.load, [True]

    def load_at(store: RedisShards, shard: int, roots: list[bytes]) -> dict[bytes, bytes | None]:
        return dict.fromkeys(roots) if before and before.pop() else load(store, shard, roots)

    monkeypatch.setattr(RedisShards, "load", load_at)
    found = shop.profile()
    assert not before
    assert found is not None
    assert found["events"] == 2


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda shop, key: shop.client.delete(key), "is gone, and other keys speak of it"),
        (cut, "cannot be read, its bytes were changed"),
        (lambda shop, key: shop.client.set(key, b""), "cannot be read, its bytes were changed"),
        (lambda shop, key: shop.client.set(key, b"\xc1\x00nonsense"), "dictionar"),
    ],
    ids=["gone", "cut", "empty", "nonsense"],
)
def test_a_profile(shop: Shop, harm: Callable[[Shop, bytes], None], reason: str) -> None:
    key = shop.prefix_of_shard + b"p:" + shop.root
    harm(shop, key)
    shop.start()
    counted = shop.client.get(shop.prefix_of_shard + b"counters")
    named = (
        ""
        if reason == "dictionar"
        else rf"shard {shop.shard}: mr:{{s0{shop.shard}}}:p:{shop.root.hex()} of customer .*"
    )
    for act in (shop.again, shop.profile):
        with pytest.raises(Damaged, match=named + reason):
            act()
    assert shop.client.get(shop.prefix_of_shard + b"counters") == counted, "nothing was committed"


def test_a_profile_that_only_time_asks_for(shop: Shop) -> None:
    """Its timer falls due, and nobody would be woken."""
    shop.client.delete(shop.prefix_of_shard + b"p:" + shop.root)
    shop.start()
    shop.now_s += 400 * 86_400
    shop.tick()
    with pytest.raises(Damaged, match=remedy(shop)):
        shop.apply()


def test_whoever_is_new_is_no_fault(shop: Shop) -> None:
    shop.event = lambda: RawEvent(
        msgspec.json.encode(
            {"messageId": "n1", "type": "track", "event": "Order Completed", "userId": "user-2"}
        ),
        shop.now_s * 1000,
        "web",
    )
    shop.start()
    shop.again()
    assert Deployment(shop.config).profile_reader("user_id", "user-2") is not None


def test_a_sealed_record(shop: Shop) -> None:
    key, field = shop.field(b"xs:")
    shop.client.hset(key, field, b"\x91")
    shop.event = shop.identify
    shop.start()
    for act in (shop.again, shop.profile):
        with pytest.raises(
            Damaged, match=rf"shard {shop.shard}: {key.decode()}, field {shop.root.hex()}, .*{remedy(shop)}"
        ):
            act()


@pytest.mark.parametrize("harm", ["gone", "changed"])
@pytest.mark.parametrize("which", ["head", "counters"])
def test_what_a_shard_begins_with(shop: Shop, which: str, harm: str) -> None:
    key = shop.prefix_of_shard + which.encode()
    if harm == "gone":
        shop.client.delete(key)
    else:
        shop.client.set(key, b"\x93\x01")
    with pytest.raises(
        Damaged, match=rf"shard {shop.shard}: \S*{{s0{shop.shard}}}:{which} .*restore a backup"
    ):
        shop.start()


@pytest.mark.parametrize("key", ["meta", "heads", "offsets"])
def test_what_all_else_is_found_by(shop: Shop, key: str) -> None:
    before = shop.client.keys("*")
    shop.client.delete(f"mr:{{dir}}:{key}")
    with pytest.raises(Damaged, match=rf"the directory: mr:{{dir}}:{key} is gone.*restore a backup"):
        shop.start()
    assert sorted(shop.client.keys("*")) == sorted(set(before) - {f"mr:{{dir}}:{key}".encode()}), (
        "none is made anew"
    )


@pytest.mark.parametrize(
    ("key", "field"), [("meta", "tick"), ("heads", "0"), ("offsets", "events/0"), ("senders", "rules")]
)
def test_a_number_that_is_none(shop: Shop, key: str, field: str) -> None:
    shop.client.hset(f"mr:{{dir}}:{key}", field, "nonsense")
    with pytest.raises(
        Damaged, match=rf"mr:{{dir}}:{key} holds b'nonsense', expected a whole number: restore a backup"
    ):
        shop.start()
        shop.directory.offsets()


@pytest.mark.parametrize("kind", ["i", "r"])
def test_a_field_of_the_graph(shop: Shop, kind: str) -> None:
    """A user who is known would found a second customer, or get a new record without the old one's
    identifiers."""
    key, field = shop.field(b"{dir}:" + kind.encode() + b":")
    shop.client.hdel(key, field)
    shop.start()
    shop.event = lambda: RawEvent(
        msgspec.json.encode(
            {"messageId": "n1", "type": "track", "event": "Viewed", "userId": ANA, "anonymousId": "new"}
        ),
        shop.now_s * 1000,
        "web",
    )
    before = {key: shop.client.dump(key) for key in shop.client.keys("mr:{dir}:*")}
    with pytest.raises(
        Damaged, match=rf"the directory: field {field.hex()} of {key.decode()} is gone.*restore a backup"
    ):
        shop.window(1)
    assert {key: shop.client.dump(key) for key in shop.client.keys("mr:{dir}:*")} == before


def test_a_record_of_the_graph_that_is_cut(shop: Shop) -> None:
    key, field = shop.field(b"{dir}:r:")
    shop.client.hset(key, field, b"\x00")
    shop.start()
    shop.event = lambda: shop._packed({"type": "track", "event": "Viewed", "anonymousId": "new"})
    with pytest.raises(Damaged, match=rf"the directory: field {field.hex()} of {key.decode()}"):
        shop.window(1)


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_the_rules_in_force(shop: Shop, harm: str) -> None:
    (key,) = shop.client.keys("mr:{dir}:body:c:rules:*")
    if harm == "gone":
        shop.client.delete(key)
    else:
        shop.client.set(key, b"[[[")
    with pytest.raises(Damaged, match=r"the directory: {dir}:body:c:rules:1, .*restore a backup"):
        rules_in_force.rules_loader(shop.directory, shop.config.shards)(1)


def test_a_data_key(shop: Shop) -> None:
    key, field = shop.field(b"{keys}:")
    shop.client.hset(key, field, b"x" * 40)
    with pytest.raises(
        Foreign, match=rf"{key.decode()}, field {field.hex()}, .*restore that file, or the key copy"
    ):
        Deployment(shop.config).data_keys.of([shop.root])


def test_a_key_of_another_type_is_named(shop: Shop) -> None:
    assert list(of_another_type(shop.client, Deployment(shop.config).names)) == []
    shop.client.delete("mr:{dir}:offsets", "mr:{s01}:due")
    shop.client.set("mr:{dir}:offsets", "x")
    shop.client.hset("mr:{s01}:due", "x", "y")
    assert sorted(map(str, of_another_type(shop.client, Deployment(shop.config).names))) == [
        "mr:{dir}:offsets is a string, expected a hash: restore a backup (docs/backup.md)",
        "mr:{s01}:due is a hash, expected a zset: restore a backup (docs/backup.md)",
    ]


def test_a_worker_that_meets_another_type_says_which_key_it_is(shop: Shop) -> None:
    key = shop.prefix_of_shard + b"due"
    shop.client.delete(key)
    shop.client.hset(key, "x", "y")
    argv = [*COMMAND, "run", "profile", "--worker", "0/1", "-c", str(shop.file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"millrace profile 0/1: {key.decode()} is a hash, expected a zset: restore a backup" in done.stderr


def test_the_gateway_answers_503_and_logs_what_to_do() -> None:
    def read(namespace: str, value: str) -> None:
        raise Damaged("shard 3: the key of customer 17 is gone: restore a backup")

    async def ask() -> httpx.Response:
        app = build(Gateway(read_tokens=("r",)), None, read)  # type: ignore[arg-type]  # nothing is written
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            return await client.get("/v1/profiles/user_id:u1", auth=("r", ""))

    with capture_logs() as lines:
        answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["code"]) == (503, "state_damaged")
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("state_damaged", "shard 3: the key of customer 17 is gone: restore a backup")
    ]


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_customer_who_is_given_up_begins_anew_and_his_shard_goes_on(
    shop: Shop, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = shop.prefix_of_shard + b"p:" + shop.root
    assert repair_screen.customer(shop.config, shop.root.hex()) == 0
    assert "nothing to repair" in capsys.readouterr().out
    if harm == "gone":
        shop.client.delete(key)
    else:
        cut(shop, key)
    assert repair_screen.customer(shop.config, shop.root.hex()) == 0
    assert f"customer {shop.root.hex()} (shard {shop.shard}): removed" in capsys.readouterr().out
    assert shop.profile() is None
    shop.start()
    shop.again()
    held = shop.client.get(key)
    assert held is not None
    assert [fragment.events for fragment in decode_profile(held).fragments.values()] == [1]
    assert Deployment(shop.config).shards.counters()[shop.shard]["profiles"] == 1
