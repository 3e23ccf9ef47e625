"""Stewards on a real Redis: orders through the raw log, the breaker and its undoing, the queue of pairs."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors.raw.log import START
from flows.cli import identity_screen, printing, review_screen
from flows.cli.identity_screen import Selection
from flows.logic.matching.stage import Note
from flows.logic.resolution.identity_orders import document
from flows.runtime.deployment import Deployment
from flows.runtime.windows import Windows
from flows.services.steward import access
from flows.services.steward.desk import Queue, Steward
from flows.services.steward.orders import Given, give
from flows.services.steward.unmerging import Unmerging
from schemas.errors import Unusable
from schemas.records.identity_graph import Group, Identifier, Order, WindowCommit
from schemas.records.outbox_lanes import Lane
from schemas.wire.events import RawEvent
from state.directory.redis_directory import RedisDirectory
from state.redis.names import Names
from tests.site import Site

ANA, BOB = ("user_id", "ana"), ("user_id", "bob")


class Engine:
    """`resolve` and `profile` of a site, in a thread of their own."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.fault: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._go()
        except BaseException as fault:  # noqa: BLE001  # told by `working`
            self.fault = fault

    def _go(self) -> None:
        site, reader = self.site, Deployment(self.site.config).raw_reader()
        offsets = site.directory.offsets()
        positions = {partition: offsets.get(partition, START) for partition in reader.partitions()}
        reader.assign(positions)
        windows = Windows(reader, msgspec.structs.replace(site.config.window, wait=20), positions)
        while not self._over.is_set():
            for window in windows.poll():
                site.resolver.commit(site.resolver.judge(window))
                reader.committed({window.partition: window.after})
            site.resolver.confirm()
            site.forward()
            site.apply()
        reader.close()

    @contextmanager
    def working(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join(20)
        assert self.fault is None, self.fault


@pytest.fixture
def running(site: Site) -> Iterator[Site]:
    with Engine(site).working():
        yield site


def send(site: Site, *messages: dict[str, Any]) -> None:
    async def append() -> None:
        writer = Deployment(site.config).raw_writer()
        events = [
            RawEvent(msgspec.json.encode({"type": "page"} | message), site.now_s * 1000, "web")
            for message in messages
        ]
        await writer.append([("one", event) for event in events])
        await writer.close()

    asyncio.run(append())


def until(holds: Callable[[], Any], within_s: float = 60) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
    return found


@cache
def desk(site: Site) -> Steward:
    return access.steward(Deployment(site.config))


@cache
def profiles(site: Site) -> Callable[[str, str], dict[str, Any] | None]:
    return Deployment(site.config).profile_reader


def root(site: Site, named: str) -> bytes | None:
    return desk(site).people.find(named)


def people(site: Site, *named: str) -> None:
    """Each is known."""
    send(site, *({"userId": one, "messageId": f"hello-{one}"} for one in named))
    until(lambda: all(root(site, f"user_id:{one}") for one in named))


def ordered(site: Site, body: bytes, wait_s: float = 15) -> Given:
    config = site.config
    return give(
        access.order_desk(Deployment(config)),
        body,
        lambda: Deployment(config).raw_writer(),
        lambda: Deployment(config).raw_reader(),
        wait_s,
    )


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


# --- one customer


def test_who_a_customer_is_and_why(running: Site, capsys: pytest.CaptureFixture[str]) -> None:
    send(running, {"anonymousId": "v1", "messageId": "a"})
    until(lambda: root(running, "anonymous:v1"))
    send(running, {"type": "identify", "userId": "ana", "traits": {"email": "ana@x.de"}, "messageId": "b"})
    until(lambda: root(running, "user_id:ana"))
    send(running, {"userId": "ana", "anonymousId": "v1", "messageId": "c"})
    until(lambda: root(running, "anonymous:v1") == root(running, "user_id:ana"))
    steward = desk(running)
    found = until(lambda: (shown := steward.show("email:ana@x.de")) and shown.identifiers[0].value and shown)
    assert [(one.namespace, one.value) for one in found.identifiers] == [
        ("user_id", "ana"),
        ("email", "ana@x.de"),
        ("anonymous", None),
    ]
    [union] = found.unions
    anonymous = found.identifiers[2].identifier[:8]
    assert union.evidence.words.en == f"an event carried user_id ana and anonymous #{anonymous}"
    assert union.evidence.words.zh == f"同一事件同时带有 user_id ana 和 anonymous #{anonymous}"
    assert (union.by, union.stands, found.customer) == ("event", True, union.survivor)
    assert identity_screen.show(running.config, f"customer:{found.customer}", "en", as_json=False) == 0
    assert "user_id ana and anonymous" in printed(capsys)
    assert identity_screen.recent(running.config, 20, "en", as_json=False) == 0
    assert f"union {union.union} an event carried user_id ana and" in printed(capsys)
    assert identity_screen.show(running.config, "user_id:nobody", "en", as_json=False) == 1
    assert printed(capsys) == "nobody has user_id:nobody"


@pytest.mark.parametrize(
    "named", ["ana", "user_id:", "no_such:x", "customer:xyz", "user_id:null", "identifier:ab"]
)
def test_what_names_nobody(site: Site, named: str) -> None:
    with pytest.raises(Unusable):
        desk(site).show(named)


def test_orders_are_carried_out_and_said_so(running: Site, capsys: pytest.CaptureFixture[str]) -> None:
    send(running, {"anonymousId": "v1", "messageId": "a"}, {"anonymousId": "v2", "messageId": "b"})
    until(lambda: root(running, "anonymous:v1") and root(running, "anonymous:v2"))
    config, both = running.config, ("anonymous:v1", "anonymous:v2")
    one = root(running, both[0])
    assert one is not None
    assert identity_screen.order(config, "link", both, reason="same phone") == 0
    assert root(running, both[0]) == root(running, both[1])
    shown = desk(running).show(both[0])
    assert shown is not None
    assert shown.unions[0].evidence.words.en == "said by steward: same phone"
    assert identity_screen.order(config, "apart", both) == 1
    assert "unlink" in printed(capsys)
    assert identity_screen.order(config, "unlink", both) == 0
    assert root(running, both[0]) != root(running, both[1])
    shown = desk(running).show(both[0])
    assert shown is not None
    assert (len(shown.apart), shown.unions) == (1, [])
    capsys.readouterr()
    assert identity_screen.history(config, both[1], "zh", as_json=False) == 0
    said = printed(capsys)
    for words in ("由 steward 指定：same phone", "1 (undone)", "第 1 号合并已撤销"):
        assert words in said
    assert identity_screen.order(config, "link", (f"customer:{one.hex()}", both[1])) == 0  # one of each kind
    assert root(running, both[0]) == root(running, both[1])


def test_what_is_refused_says_why(running: Site) -> None:
    people(running, "ana", "bob")
    assert ordered(running, document("link", ANA, BOB)) == Given(
        "refused", "together they would have 2 of user_id, the limit is 1"
    )
    assert ordered(running, document("link", ANA, ("user_id", "nobody"))) == Given(
        "refused", "nobody is known by one of these"
    )
    assert ordered(running, document("undo", union=7)).why.startswith("the ledger has no union 7")
    assert ordered(running, document("release", ANA)) == Given("refused", "this identifier is not suspended")
    assert ordered(running, document("unlink", ANA, ANA)) == Given(
        "refused", "a customer cannot be parted from itself"
    )
    with pytest.raises(Unusable, match="field_invalid"):
        ordered(running, document("link", ANA))


def test_an_order_waits_where_resolve_does_not_run(site: Site) -> None:
    with Engine(site).working():
        people(site, "ana", "bob")
    given = ordered(site, document("apart", ANA, BOB), wait_s=1.5)
    assert given.state == "waiting"
    assert "resolve" in given.why
    with Engine(site).working():
        until(
            lambda: access.order_desk(Deployment(site.config)).carried_out(
                _read(site, document("apart", ANA, BOB))
            )
        )


def _read(site: Site, body: bytes) -> Order:
    order = access.order_desk(Deployment(site.config)).read(body)
    assert isinstance(order, Order)
    return order


# --- the breaker

VISITORS = 120
SAME = ("aggregates", "value", "tags", "segment", "stage", "traits", "customer")


def visits(site: Site) -> None:
    """Before the bad deploy: some visitors have bought."""
    bought = [
        {"type": "track", "event": "Order Completed", "properties": {"total": n}} for n in range(VISITORS)
    ]
    send(
        site,
        *(
            body | {"anonymousId": f"v{n}", "messageId": f"before-{n}-{k}"}
            for n, body in enumerate(bought)
            for k in range(1 + n % 3)
        ),
    )
    until(lambda: all(profile(site, n) for n in range(VISITORS)))


def profile(site: Site, n: int) -> dict[str, Any] | None:
    found = profiles(site)("anonymous", f"v{n}")
    if found is not None:
        del found["value"]["recency_days"]  # as of the clock on the wall
    return found


def test_a_constant_user_id_is_stopped_and_one_command_undoes_it(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, clean = (Site(tmp_path, redis_url, prefix, archive=False).start() for prefix in ("bad", "clean"))
    for one in (site, clean):
        one.tick()  # the past of a united customer has a beginning
    with Engine(clean).working():
        visits(clean)
        expected = [profile(clean, n) for n in range(VISITORS)]
    with Engine(site).working():
        visits(site)
        for at in range(0, VISITORS, 30):
            send(
                site,
                *(
                    {"userId": "app-user", "anonymousId": f"v{n}", "messageId": f"bad-{n}"}
                    for n in range(at, at + 30)
                ),
            )
        until(lambda: site.directory.suspended())
        stats = until(
            lambda: (
                (found := site.directory.stats())["events"]
                >= sum(1 + n % 3 for n in range(VISITORS)) + VISITORS
                and found
            )
        )
        assert (stats["united"], stats["suspended"]) == (50, 1)
        until(lambda: desk(site).suspended()[0].value)
        assert identity_screen.suspended(site.config, as_json=False) == 0
        assert "user_id:app-user" in printed(capsys)
        monkeypatch.setattr(printing, "PIPED_WIDTH", 80)
        assert identity_screen.recent(site.config, 5, "en", as_json=False) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 5
        assert max(map(len, lines)) <= 80
        assert identity_screen.recent(site.config, 1_000, "zh", as_json=False) == 0
        assert "suspended" in printed(capsys)
        together = [
            n for n in range(VISITORS) if root(site, f"anonymous:v{n}") == root(site, "user_id:app-user")
        ]
        origins = [
            origin
            for edge in Deployment(site.config).ledger.edges(root(site, "user_id:app-user") or b"")
            for origin in edge[1:]
        ]
        assert len(together) == 51  # with the one that it was seen with first
        home = next(
            n for n in together if origins.count(bytes.fromhex((expected[n] or {})["customer"])) == 50
        )
        buyer = together[0 if home != together[0] else 1]
        send(
            site,
            {
                "type": "track",
                "event": "Order Completed",
                "anonymousId": f"v{buyer}",
                "messageId": "meanwhile",
            },
        )
        until(
            lambda: any(
                entry.body.find(b"meanwhile") >= 0
                for entry in site.outbox.read(Lane.TRIGGERS, dict.fromkeys(range(4), 0), 10_000, 0)
            )
        )

        wrong = Selection(None, None, None, None, "user_id:app-user")
        assert identity_screen.unmerge(site.config, wrong, 500, dry=True, sure=never, as_json=False) == 0
        assert "50 unions would be undone" in printed(capsys)
        assert (
            identity_screen.unmerge(site.config, wrong, 500, dry=False, sure=lambda _: False, as_json=False)
            == 1
        )
        assert (
            identity_screen.unmerge(site.config, wrong, 500, dry=False, sure=lambda _: True, as_json=False)
            == 0
        )
        said = printed(capsys)
        assert "50 unions undone the suspended identifier was taken out" in said
        assert "1 triggers went out while they were united" in said
        assert "meanwhile" in said
        assert (
            identity_screen.unmerge(site.config, wrong, 500, dry=False, sure=never, as_json=False) == 0
        )  # all of it is done
        assert "no union that stands fits" in printed(capsys)

        all_events = sum((one or {})["events"] for one in expected) + VISITORS + 1
        until(
            lambda: sum((profile(site, n) or {"events": 0})["events"] for n in range(VISITORS)) == all_events
        )  # none lost, none doubled
        assert (
            sum(
                counters.get("split_by_fragments", 0)
                for counters in Deployment(site.config).shards.counters().values()
            )
            == 0
        )
        found = [profile(site, n) or {} for n in range(VISITORS)]
        for n, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            assert theirs is not None
            if n != buyer:
                assert {name: ours[name] for name in SAME} == {name: theirs[name] for name in SAME}, n
            if n not in (
                home,
                buyer,
            ):  # the bad event itself lies with its visitor, or with whom the bad user id was first seen with
                assert ours["events"] - theirs["events"] in (0, 1)
        assert found[buyer]["aggregates"]["orders"] == (expected[buyer] or {})["aggregates"]["orders"] + 1
        assert root(site, "user_id:app-user") not in [root(site, f"anonymous:v{n}") for n in range(VISITORS)]
        history = desk(site).history(f"anonymous:v{buyer}")
        assert history is not None
        assert [(entry.kind, entry.stands) for entry in history.entries] == [
            ("undo", False),
            ("union", False),
        ]
        assert [sent.cause for sent in history.sent] == ["meanwhile"]

        assert identity_screen.order(site.config, "release", ["user_id:app-user"]) == 0
        send(site, {"userId": "app-user", "anonymousId": "fresh", "messageId": "again"})
        until(lambda: root(site, "anonymous:fresh") == root(site, "user_id:app-user") is not None)


def test_new_visitors_under_a_constant_user_id_are_parted_by_the_same_command(
    running: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """They united nobody, so there is no union to undo."""
    send(
        running,
        {"type": "identify", "anonymousId": "home", "traits": {"email": "home@x.de"}, "messageId": "home"},
    )
    until(lambda: root(running, "anonymous:home"))
    send(running, {"userId": "app-user", "anonymousId": "home", "messageId": "first"})
    until(lambda: root(running, "user_id:app-user"))
    for at in range(0, 90, 30):
        send(
            running,
            *(
                {"userId": "app-user", "anonymousId": f"n{n}", "messageId": f"new-{n}"}
                for n in range(at, at + 30)
            ),
        )
    until(lambda: running.directory.stats()["events"] == 92)
    assert running.directory.suspended() == {}  # nobody else has used them
    collected = [
        n for n in range(90) if root(running, f"anonymous:n{n}") == root(running, "user_id:app-user")
    ]
    assert 40 <= len(collected) <= 50
    wrong = Selection(None, None, None, None, "user_id:app-user")
    assert identity_screen.unmerge(running.config, wrong, 500, dry=True, sure=never, as_json=False) == 0
    assert f"{len(collected)} identifiers that were new" in printed(capsys)
    asked: list[str] = []
    assert (
        identity_screen.unmerge(
            running.config, wrong, 500, dry=False, sure=lambda what: not asked.append(what), as_json=False
        )
        == 0
    )
    assert asked == [f"part {len(collected)} identifiers"]
    assert (
        f"{len(collected)} identifiers that were new when they came with it are customers of their own"
        in printed(capsys)
    )
    roots = [root(running, f"anonymous:n{n}") for n in collected]
    assert len({*roots, root(running, "anonymous:home")}) == len(collected) + 1
    assert root(running, "email:home@x.de") == root(
        running, "anonymous:home"
    )  # what was there before it stays


def never(_: str) -> bool:
    raise AssertionError("nothing is to be asked")


def test_a_mass_undo_keeps_to_its_rate(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rule of the crm united each with the next but one: thousands are undone, no faster than was asked."""
    many, rate = 1_500, 1_000
    site = Site(tmp_path, redis_url, archive=False).start()
    hashes = Deployment(site.config).validator().identifiers
    named = [Identifier(4, hashes.hash("anonymous", f"x{n}") or b"") for n in range(2 * many)]
    new = [Group([one], []) for one in named]
    united = [
        Order("link", one.hash, other.hash, "crm") for one, other in zip(named[::2], named[1::2], strict=True)
    ]
    layout = Deployment(site.config).layout
    generous = msgspec.structs.replace(layout, policy=msgspec.structs.replace(layout.policy, budget=many))
    directory = RedisDirectory(site.client, Names(site.config.redis.prefix), generous)
    directory.commit(WindowCommit("crm", -1, 0, new, [], {}, united, site.now_s * 1000))
    assert directory.stats()["united"] == many
    with Engine(site).working():
        began = time.monotonic()
        assert (
            identity_screen.unmerge(
                site.config,
                Selection(None, "crm", None, None, None),
                rate,
                False,
                lambda _: True,
                as_json=False,
            )
            == 0
        )
        assert time.monotonic() - began > 0.9 * many / rate
        assert f"{many:,} unions undone" in printed(capsys)
        assert len(set(directory.lookup([one.hash for one in named]))) == 2 * many
        assert (
            identity_screen.unmerge(
                site.config, Selection(None, "crm", None, None, None), rate, False, never, as_json=False
            )
            == 0
        )
        assert "no union that stands fits" in printed(capsys)


def test_which_unions_are_chosen(running: Site) -> None:
    send(running, *({"anonymousId": f"v{n}", "messageId": f"m{n}"} for n in range(4)))
    until(lambda: all(root(running, f"anonymous:v{n}") for n in range(4)))
    assert identity_screen.order(running.config, "link", ("anonymous:v0", "anonymous:v1")) == 0
    send(
        running,
        {"type": "alias", "anonymousId": "v2", "previousId": "v3", "userId": None, "messageId": "alias"},
    )
    until(lambda: root(running, "anonymous:v2") == root(running, "anonymous:v3"))

    def chosen(target: str | None = None, **which: str) -> list[int]:
        options = (which.get(name) for name in ("rule", "since", "until", "identifier"))
        selection = Selection(target, *options)
        return Unmerging(Deployment(running.config), selection.parsed(int(time.time() * 1000))).selected()

    assert chosen(rule="event") == [2]
    assert chosen(rule="steward") == [1]
    assert chosen(rule="match") == []
    assert chosen(since="2025-12-31") == [2, 1]
    assert chosen(until="2025-12-31") == []
    assert chosen(identifier="anonymous:v3") == [2]
    assert chosen(identifier="anonymous:v0") == []
    assert (chosen("1"), chosen("anonymous:v1"), chosen("anonymous:v2")) == ([1], [1], [2])
    for wrong in ("9", "anonymous:nobody", "0"):
        with pytest.raises(Unusable):
            chosen(wrong)


# --- the queue


def queue(site: Site, note: bytes) -> str:
    """A pair that matching asks about; its id."""
    origins = [one for one in (root(site, "user_id:ana"), root(site, "anonymous:v1")) if one is not None]
    asked = Order("review", origins[0], origins[1], "match", note, origins=True)
    at = site.directory.offsets().get("match", -1)
    site.directory.commit(WindowCommit("match", at, at + 1, [], [], {}, [asked], 1))
    [pair] = desk(site).reviews().reviews
    return pair.id


def test_the_queue_is_paged(running: Site) -> None:
    send(running, *({"anonymousId": f"v{number}", "messageId": f"m{number}"} for number in range(4)))
    until(lambda: root(running, "anonymous:v3"))
    origins = [found for number in range(4) if (found := root(running, f"anonymous:v{number}")) is not None]
    for at, other in enumerate(origins[1:]):
        asked = Order("review", origins[0], other, "match", b"", origins=True)
        running.directory.commit(WindowCommit("match", at or -1, at + 1, [], [], {}, [asked], at + 1))
    waiting = desk(running)
    whole = waiting.reviews()
    assert (len(whole.reviews), whole.next) == (3, None)
    first = waiting.reviews(limit=1)
    assert (
        identity_screen.order(
            running.config,
            "apart",
            (f"customer:{first.reviews[0].one}", f"customer:{first.reviews[0].other}"),
        )
        == 0
    )
    until(lambda: len(waiting.reviews().reviews) == 2)
    second = waiting.reviews(first.next or "", 1)
    third = waiting.reviews(second.next or "", 1)
    assert [*first.reviews, *second.reviews, *third.reviews] == whole.reviews
    assert third.next is None
    for wrong in ("x", "1", "1.", ".a"):
        with pytest.raises(Unusable, match="next"):
            waiting.reviews(wrong)


NOTE = Note(
    0.61,
    0.65,
    3,
    ["family name equal (rare)", "date of birth one digit apart", "phone differs"],
    ["姓相同（罕见）", "出生日期差一位", "电话不同"],
)


def test_a_pair_is_shown_side_by_side_and_decided(running: Site, capsys: pytest.CaptureFixture[str]) -> None:
    traits = {"email": "ana@x.de", "lastName": "Ameling", "plan": "gold"}
    send(
        running,
        {"type": "identify", "userId": "ana", "traits": traits, "messageId": "a"},
        {"anonymousId": "v1", "messageId": "b"},
    )
    until(lambda: profile_of(running, "user_id", "ana") and profile_of(running, "anonymous", "v1"))
    config = running.config
    ident = queue(running, msgspec.msgpack.encode(NOTE))
    assert review_screen.listing(config, "", 10, "zh", as_json=False) == 0
    assert "姓相同（罕见），出生日期差一位，电话不同" in printed(capsys)
    assert review_screen.show(config, ident[:12], "en", as_json=False) == 0
    said = printed(capsys)
    for words in (
        "matched with 61.0 %",
        "against: phone differs",
        "for: family name equal (rare)",
        "ana@x.de",
        "Ameling",
        "gold",
    ):
        assert words in said
    assert review_screen.decide(config, "ffffffff", "accept", "") == 1
    assert review_screen.decide(config, ident, "unsure", "") == 0
    assert desk(running).reviews() == Queue([], None)
    queue(running, b"")
    assert review_screen.decide(config, ident, "reject", "another person") == 0
    shown = desk(running).show("user_id:ana")
    assert shown is not None
    assert (len(shown.apart), shown.reviews) == (1, [])
    assert identity_screen.order(config, "link", ("user_id:ana", "anonymous:v1")) == 0
    assert identity_screen.order(config, "unlink", ("user_id:ana", "anonymous:v1")) == 0


def test_what_a_steward_decides_is_told_to_matching(running: Site) -> None:
    send(running, {"userId": "ana", "messageId": "a"}, {"anonymousId": "v1", "messageId": "b"})
    until(lambda: root(running, "user_id:ana") and root(running, "anonymous:v1"))
    assert review_screen.decide(running.config, queue(running, b""), "accept", "") == 0
    assert root(running, "user_id:ana") == root(running, "anonymous:v1")
    told = running.client.xrange("mr:{dir}:matches")
    assert [fields[b"d"][-1:] for _, fields in told if b"d" in fields] == [b"1"]  # type: ignore[union-attr]


def profile_of(site: Site, namespace: str, value: str) -> dict[str, Any] | None:
    return profiles(site)(namespace, value)
