"""`millrace status`, on a deployment in memory and as printed."""

from collections.abc import Mapping

import msgspec
from rich.cells import cell_len
from rich.console import Console

from flows.cli.status_screen import screen
from flows.services.status import Behind, Status, collect, without_ticks
from schemas.config import Config, FileConnector, Shards
from schemas.records.customer_profile import Head
from schemas.records.identity_graph import ID_BYTES, Group, Identifier, Routed, WindowCommit
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogKind
from state.directory.layout import Layout
from state.directory.policy import Policy
from state.memory.memory_directory import MemoryDirectory
from state.memory.memory_shards import MemoryShards
from state.shards.shard_protocols import ShardCommit
from state.suspended import Suspension
from tests.contract.test_directory import group, ident

NOW_MS = 1_800_000_000_000
CONFIG = Config(
    name="shop",
    shards=Shards(count=2),
    connector=(
        FileConnector(name="crm", path="x"),
        FileConnector(name="off", path="y", enabled=False),
    ),
)


def test_it_tells_how_far_each_reader_is_and_adds_up_the_shards() -> None:
    directory = MemoryDirectory(Layout.of("shop", 2, 1000, (1,)), lambda: NOW_MS)
    directory.announce(LogKind.CONFIG, "rules", 1, 1, b"{}")
    directory.tick()
    shards = MemoryShards(2)
    before = shards.claim([0, 1])
    # Shard 0 has read both records and said three things; shard 1 has read one record and said nothing.
    heads = [
        Head(
            epoch=1,
            offset=2,
            clock_ms=NOW_MS - 400,
            outbox={Lane.TRIGGERS: 2, Lane.EXAMPLES: 1},
            rules=2,
            models={"learn:churn": 5},
        ),
        Head(epoch=1, offset=1, clock_ms=NOW_MS - 1_500, rules=1),
    ]
    counters = [{"applied": 7, "triggers:welcome": 2, "tag:vip": 1}, {"applied": 5, "tag:vip": 3}]
    bodies = [[(Lane.TRIGGERS, 1, b""), (Lane.TRIGGERS, 2, b""), (Lane.EXAMPLES, 1, b"")], []]
    shards.commit(
        [ShardCommit(n, before[n], heads[n], counters[n], {}, {}, {}, bodies[n]) for n in (0, 1)], NOW_MS
    )
    shards.advance(Lane.TRIGGERS, "crm", {0: 1})

    status = collect(CONFIG, directory, shards, shards, NOW_MS)

    assert status.behind == (
        Behind("profile", 1, 1, 1),
        Behind("deliver crm", 1, 0, 1),
        Behind("learn learn:churn", 1, 0, 1),
        Behind("match", 0, 0, 0),
    )
    assert status.clock_age_ms == 1_500, "the slowest shard's"
    assert (status.rules, status.models) == ((1, 2), {"learn:churn": (0, 5)})
    assert {name: status.totals[name] for name in ("applied", "triggers:welcome", "tag:vip")} == {
        "applied": 12,
        "triggers:welcome": 2,
        "tag:vip": 4,
    }
    text = printed(status)
    for word in (
        "shop: 2 shards, last tick 1.5 s ago, rules version 1, 2",
        "deliver crm",
        "welcome",
        "vip",
        "0, 5",
    ):
        assert word in text


def test_an_empty_deployment_has_a_screen_too() -> None:
    directory = MemoryDirectory(Layout.of("shop", 2, 1000, (1,)), lambda: NOW_MS)
    status = collect(CONFIG, directory, MemoryShards(2), MemoryShards(2), NOW_MS)
    assert status.clock_age_ms == -1
    assert "not ticking yet" in printed(status)


def test_a_long_list_is_cut_and_says_so() -> None:
    directory = MemoryDirectory(Layout.of("shop", 1, 1000, (1,)), lambda: NOW_MS)
    shards = MemoryShards(1)
    head = shards.claim([0])[0]
    shards.commit(
        [ShardCommit(0, head, head, {f"triggers:rule{n:02}": n for n in range(1, 41)}, {}, {}, {}, [])],
        NOW_MS,
    )
    text = printed(collect(CONFIG, directory, shards, shards, NOW_MS))
    assert "rule40" in text
    assert "rule01" not in text
    assert "... and 28 more" in text


def test_suspended_identifiers_stand_out() -> None:
    layout = Layout.of("shop", 2, 1000, (1, 9), policy=Policy(breaker_unions=1))
    directory = MemoryDirectory(layout, lambda: NOW_MS)
    user, visitors = ident(0, 0), [ident(1, n) for n in range(1, 4)]
    directory.commit(
        WindowCommit("p", -1, 0, [group(user), *(group(visitor) for visitor in visitors)], [], {})
    )
    directory.commit(WindowCommit("p", 0, 1, [group(user, visitor) for visitor in visitors[:2]], [], {}))
    status = collect(CONFIG, directory, MemoryShards(2), MemoryShards(2), NOW_MS)
    assert (status.suspended, status.totals["suspended"]) == (1, 1)
    assert "1 identifiers are suspended" in printed(status)


def test_what_is_given_up_and_who_is_suspended_stand_out() -> None:
    directory = MemoryDirectory(Layout.of("shop", 2, 1000, (1,)), lambda: NOW_MS)
    sources = {"web": Suspension(NOW_MS), "app": Suspension(NOW_MS, resumed_ms=NOW_MS + 1)}
    status = collect(
        CONFIG, directory, MemoryShards(2), MemoryShards(2), NOW_MS, sources, ["match-0@till[1]"]
    )
    assert (status.sources, status.given_up) == (("web",), ("match-0@till[1]",))
    text = printed(status)
    assert "given up, since they end at every start: match-0@till[1] " in text
    assert "suspended sources, whose events are not taken: web " in text


def printed(status: Status, width: int = 140, counts: Mapping[str, Mapping[str, int]] = {}) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(screen(status, counts))
    return capture.get()


def test_it_tells_how_far_matching_is_behind() -> None:
    directory = MemoryDirectory(Layout.of("shop", 2, 1000, (1,)), lambda: NOW_MS)
    for at in range(3):
        visitor = Identifier(0, bytes([at]) * ID_BYTES)
        group = Group([visitor], [Routed(0, b"fact", visitor.hash, b"record")])
        directory.commit(WindowCommit("events/0", at - 1, at, [group], [], {}))
    directory.commit(WindowCommit("match", -1, 1, [], [], {}))
    assert (
        Behind("match", 2, 0, 2)
        in collect(CONFIG, directory, MemoryShards(2), MemoryShards(2), NOW_MS).behind
    )


def test_the_clock_is_no_work_that_waits_on_the_screen_but_is_for_switch() -> None:
    directory, shards = MemoryDirectory(Layout.of("shop", 2, 1000, (1,)), lambda: NOW_MS), MemoryShards(2)
    directory.announce(LogKind.CONFIG, "rules", 1, 1, b"{}")
    directory.tick()
    shards.claim([0, 1])
    found = collect(CONFIG, directory, shards, shards, NOW_MS)
    assert found.behind[0] == Behind("profile", 4, 0, 2), "the rules and a tick, twice: what `switch` asks"
    assert without_ticks(found, directory, shards).behind[0] == Behind("profile", 2, 0, 1)


def test_deliveries_stand_by_connector_and_duplicates_are_explained() -> None:
    directory, shards = MemoryDirectory(Layout.of("shop", 1, 1000, (1,)), lambda: NOW_MS), MemoryShards(1)
    head = shards.claim([0])[0]
    shards.commit(
        [
            ShardCommit(
                0,
                head,
                Head(epoch=1, outbox={Lane.TRIGGERS: 5}),
                {"duplicates": 3},
                {},
                {},
                {},
                [(Lane.TRIGGERS, n, b"") for n in range(1, 6)],
            )
        ],
        NOW_MS,
    )
    shards.advance(Lane.TRIGGERS, "crm", {0: 1})
    status = collect(CONFIG, directory, shards, shards, NOW_MS)
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(screen(status, {"crm": {"delivered": 1, "retried": 7}, "gone": {"dead": 2}}))
    rows = [line.replace("│", " ").replace("┃", " ").split() for line in capture.get().splitlines()]
    assert any(row[:5] == ["crm", "1", "7", "0", "4"] for row in rows), capture.get()
    assert any(row[:5] == ["gone", "0", "0", "2", "off"] for row in rows), (
        "a connector that is switched off keeps its figures"
    )
    assert "Nothing is lost by it" in " ".join(capture.get().split())
    assert "duplicates are" not in printed(collect(CONFIG, directory, MemoryShards(1), shards, NOW_MS))


def test_every_line_fits_80_columns_and_names_stay_whole() -> None:
    name = "客户忠诚度" * 12 + "[bold]x" + "w" * 90
    directory, shards = MemoryDirectory(Layout.of("shop", 1, 1000, (1,)), lambda: NOW_MS), MemoryShards(1)
    head = shards.claim([0])[0]
    counters = {f"{kind}:{name}": 123_456_789_012 for kind in ("triggers", "tag", "stage", "rejected")}
    shards.commit([ShardCommit(0, head, head, counters, {}, {}, {}, [])], NOW_MS)
    config = msgspec.structs.replace(CONFIG, connector=(FileConnector(name=name, path="x"),))
    text = printed(
        collect(config, directory, shards, shards, NOW_MS), 80, {name: {"delivered": 123_456_789_012}}
    )
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "…" not in text
    assert text.count("123,456,789,012") == 5
    plain = "".join(c for c in text if c == "w" or c in "客户忠诚度")
    assert plain.count("w") >= 6 * 90


def test_what_is_overdue_stands_at_the_top() -> None:
    directory = MemoryDirectory(Layout.of("shop", 2, 1000, (1,)), lambda: NOW_MS)
    fine = collect(CONFIG, directory, MemoryShards(2), MemoryShards(2), NOW_MS)
    assert "overdue" not in printed(fine)
    late = msgspec.structs.replace(fine, overdue=2, sweep_behind=True)
    assert "2 requests of customers are overdue" in printed(late)
    assert "what is too old is not removed in time" in printed(late)
