"""`millrace import` on a real Redis: what arrives in the raw log and in the directory, whatever happens on
the way."""

import datetime
import os
import signal
import subprocess
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import fastavro
import msgspec
import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from connectors.raw.log import START
from flows.cli.import_screen import run
from flows.resolve import Resolver
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop
from flows.runtime.windows import Window
from flows.services.importing.checkpoint import Checkpoint
from flows.services.importing.job import Job
from flows.services.importing.mapping import builder, cell, guessed, mapping, place
from schemas.config import Config
from schemas.config.toml import load
from schemas.errors import ConfigError
from schemas.records.shard_log import LogKind, unpack_facts
from schemas.wire.events import Fact, RawEvent
from tests.key_files import load_keys
from tests.running import COMMAND, environment

FILE = '[redis]\nurl = "{url}"\n[shards]\ncount = 4\n[identity]\ncapacity = 2000\n'
FILE += "[gateway]\nbatch_events = 500\n"
FILE += "[raw]\npartitions = 2\nmax_events = {room}\n"
MAPPED = ("会员=userId", "手机=phone", "城市=city")


@pytest.fixture
def config(tmp_path: Path, redis_url: str) -> Config:
    return configured(tmp_path, redis_url)


def configured(folder: Path, url: str, room: int = 100_000) -> Config:
    file = folder / "millrace.toml"
    file.write_text(FILE.format(url=url, room=room))
    config = load(file)
    Deployment(config).prepare()
    return config


def csv_file(folder: Path, rows: int = 100, bad: int = 0) -> Path:
    path = folder / "people.csv"
    lines = [f"u{n},1380013{n:04d},深圳" if n >= bad else "broken" for n in range(rows)]
    path.write_text("会员,手机,城市\n" + "\n".join(lines))
    return path


def job(path: Path, *pairs: str, **changes: Any) -> Job:
    return msgspec.structs.replace(Job(path, pairs, "identify", None, "import", None, None), **changes)


def arrived(config: Config) -> list[RawEvent]:
    reader = Deployment(config).raw_reader()
    reader.assign(dict.fromkeys(reader.partitions(), START))
    events: list[RawEvent] = []
    while batches := reader.poll(100):
        events += [event for batch in batches for event in batch.events]
    reader.close()
    return events


def summary(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(capsys.readouterr().out.strip().splitlines()[-1])
    return found


def test_rows_arrive_as_events_and_broken_ones_are_listed(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = csv_file(tmp_path, 1_500, bad=15)
    assert run(config, job(path, *MAPPED), dry=False, as_json=True) == 0
    said = summary(capsys)
    assert (said["rows"], said["sent"], said["rejected"]) == (1_500, 1_485, {"columns": 15})
    listed = Path(said["rejects"]).read_text().splitlines()
    assert listed[0] == '2,columns,"expected 3 columns, got 1"'
    assert len(listed) == 15
    events = arrived(config)
    messages = [msgspec.json.decode(event.value) for event in events]
    assert len({message["messageId"] for message in messages}) == 1_485
    assert {event.source for event in events} == {"import"}
    one = next(message for message in messages if message["userId"] == "u20")
    assert one["type"] == "identify"
    assert one["traits"] == {"phone": "13800130020", "city": "深圳"}


def test_what_resolve_makes_of_it(config: Config, tmp_path: Path) -> None:
    run(config, job(csv_file(tmp_path, 20), *MAPPED), dry=False, as_json=True)
    events = arrived(config)
    directory = Deployment(config).directory
    made = Resolver(
        config,
        Deployment(config).validator(),
        directory,
        Deployment(config).data_keys,
        Deployment(config).log_seal,
        Stop(),
    )
    window = Window("events/0", -1, len(events), events, list(range(len(events))), 0.0)
    assert made.commit(made.judge(window)) is window
    assert directory.stats()["created"] == 20
    assert Deployment(config).profile_reader("phone", "138 0013 0007") is None  # no shard has read it yet
    assert Deployment(config).profile_reader("phone", "1") is None


@pytest.mark.parametrize("backfill", [True, False])
def test_rows_are_history_unless_they_are_to_be_live(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], backfill: bool
) -> None:
    """From the row to the fact in the shard's log."""
    wanted = job(csv_file(tmp_path, 20), *MAPPED, "城市=context.device.name", backfill=backfill)
    for dry in (True, False):
        run(
            config,
            msgspec.structs.replace(wanted, pairs=wanted.pairs[:2] + wanted.pairs[3:]),
            dry=dry,
            as_json=True,
        )
        assert summary(capsys)["backfill"] is backfill
    events = arrived(config)
    assert {msgspec.json.decode(event.value)["context"]["device"]["name"] for event in events} == {"深圳"}
    directory = Deployment(config).directory
    made = Resolver(
        config,
        Deployment(config).validator(),
        directory,
        Deployment(config).data_keys,
        Deployment(config).log_seal,
        Stop(),
    )
    window = Window("events/0", -1, len(events), events, list(range(len(events))), 0.0)
    made.commit(made.judge(window))
    entries = [
        entry for entry in directory.read(dict.fromkeys(range(4), 0), 100, 0) if entry.kind == LogKind.EVENTS
    ]
    facts = [
        msgspec.msgpack.decode(payload, type=Fact)
        for entry in entries
        for _, _, payload in unpack_facts(entry.body)
    ]
    assert [fact.backfill for fact in facts] == [backfill] * 20


@pytest.mark.parametrize(
    ("option", "words"),
    [([], "as history"), (["--backfill"], "as history"), (["--live"], "live: rules fire")],
)
def test_a_dry_run_says_whether_triggers_are_sent(
    config: Config, tmp_path: Path, option: list[str], words: str
) -> None:
    argv = [
        *COMMAND,
        "import",
        str(csv_file(tmp_path, 5)),
        "--map",
        MAPPED[0],
        "--dry-run",
        *option,
        "-c",
        str(tmp_path / "millrace.toml"),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment(), check=True, timeout=60)
    assert words in done.stdout


def test_a_number_that_cannot_be_read_is_told_by_row_and_sent(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "orders.csv"
    amounts = ["1.234,50", "1.620", "abc", *["9,90"] * 40, "6_20", "NA", "1.000"]
    path.write_text(
        "id;total;paid_at;note\n" + "".join(f"u{n};{amount};1,5;x\n" for n, amount in enumerate(amounts))
    )
    wanted = job(path, "id=userId", "total=total", "note=other", kind="track", event="Order Completed")
    assert run(config, wanted, dry=False, as_json=True) == 0
    said = summary(capsys)
    assert (said["sent"], said["rejected"]) == (len(amounts), {})
    assert said["bad"] == {"properties.total: not_a_number": 2}
    assert said["bad_rows"] == {"properties.total: not_a_number": [4, 45]}
    sent = {
        m["userId"]: m["properties"]["total"]
        for m in (msgspec.json.decode(event.value) for event in arrived(config))
    }
    assert (sent["u0"], sent["u1"], sent["u2"], sent["u43"], sent["u45"]) == (
        1234.5,
        1620,
        "abc",
        "6_20",
        1000,
    )
    run(config, msgspec.structs.replace(wanted, source="shown"), dry=True, as_json=False)
    assert "row 4, 45" in capsys.readouterr().out


def test_a_property_that_a_figure_adds_up_is_told_of_though_all_its_column_is_text(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("id,total\n" + "".join(f"u{n},much\n" for n in range(7)))
    run(
        config,
        job(path, "id=userId", "total=total", kind="track", event="Order Completed"),
        dry=True,
        as_json=True,
    )
    said = summary(capsys)
    assert (said["bad"], said["bad_rows"]) == (
        {"properties.total: not_a_number": 7},
        {"properties.total: not_a_number": [2, 3, 4, 5, 6]},
    )


def test_an_import_that_is_done_sends_nothing_more(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = csv_file(tmp_path)
    for _ in range(2):
        run(config, job(path, *MAPPED), dry=False, as_json=True)
        assert summary(capsys)["sent"] == 100
    assert len(arrived(config)) == 100
    run(config, job(path, *MAPPED, source="store"), dry=False, as_json=True)  # not the same events
    assert len(arrived(config)) == 200


def test_killed_again_and_again_no_row_is_lost_and_repeated_ones_have_their_ids(
    config: Config, tmp_path: Path
) -> None:
    rows = 6_000
    path = csv_file(tmp_path, rows, bad=100)
    argv = [
        *COMMAND,
        "import",
        str(path),
        *(part for pair in MAPPED for part in ("--map", pair)),
        "-c",
        str(tmp_path / "millrace.toml"),
    ]
    kills = 0
    for _ in range(20):
        process = subprocess.Popen(
            argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = rows_done(config)
        while process.poll() is None and rows_done(config) <= before and kills < 3:
            time.sleep(0.01)
        if kills < 3 and process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        if process.wait(60) == 0:
            break
    assert kills == 3
    ids = Counter(msgspec.json.decode(event.value)["messageId"] for event in arrived(config))
    assert len(ids) == rows - 100
    assert max(ids.values()) <= 4
    assert ids.total() - len(ids) <= 3 * 1_000  # at most one batch for each kill
    with Checkpoint.opened(Path(config.data.folder) / "imports", checkpoints(config)[0].stem) as kept:
        assert (kept.progress.sent, kept.progress.rejected) == (rows - 100, {"columns": 100})
        assert len(kept.rejects.read_text().splitlines()) == 100


def checkpoints(config: Config) -> list[Path]:
    return list((Path(config.data.folder) / "imports").glob("*.json"))


def rows_done(config: Config) -> int:
    return sum(msgspec.json.decode(path.read_bytes())["row"] for path in checkpoints(config))


def test_a_full_log_is_waited_for(tmp_path: Path, redis_url: str) -> None:
    config = configured(tmp_path, redis_url, room=1_500)
    path = csv_file(tmp_path, 4_000)
    argv = [*COMMAND, "import", str(path), "--map", "会员=userId", "-c", str(tmp_path / "millrace.toml")]
    process = subprocess.Popen(argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    reader = Deployment(config).raw_reader()
    reader.assign(dict.fromkeys(reader.partitions(), START))
    ids: Counter[str] = Counter()
    deadline = time.monotonic() + 60
    while process.poll() is None:
        assert time.monotonic() < deadline
        for batch in reader.poll(100):
            ids.update(msgspec.json.decode(event.value)["messageId"] for event in batch.events)
            reader.committed({batch.partition: batch.after})
    for batch in reader.poll(100):
        ids.update(msgspec.json.decode(event.value)["messageId"] for event in batch.events)
    reader.close()
    assert process.returncode == 0
    assert (len(ids), max(ids.values())) == (4_000, 1)


def test_a_dry_run_sends_nothing_and_says_who_is_known(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [raw(userId="u1", traits={"phone": "13800130002"}), raw(userId="u3", anonymousId="v")]
    made = Resolver(
        config,
        Deployment(config).validator(),
        Deployment(config).directory,
        Deployment(config).data_keys,
        Deployment(config).log_seal,
        Stop(),
    )
    window = Window("events/0", -1, 2, known, [0, 1], 0.0)
    assert made.commit(made.judge(window)) is window
    path = tmp_path / "people.csv"
    path.write_text(
        "user_id,phone,anonymous_id\nu1,13800130002,\nu3,13800130002,\nu4,13800130009,\n,13800130009,\nu5,123,\nu1,,w\n,,null\n"
    )
    before = Deployment(config).directory.stats()
    assert run(config, job(path), dry=True, as_json=True) == 0
    said = summary(capsys)
    assert outlook(said) == {"known": 3, "attached": 1, "moved": 1, "created": 2, "joined": 1}
    assert (said["sent"], said["rejected"], said["bad"]) == (6, {"id_blocked": 1}, {"phone: too_short": 1})
    assert Deployment(config).directory.stats() == before
    assert arrived(config) == []
    assert checkpoints(config) == []


def outlook(said: dict[str, Any]) -> dict[str, int]:
    return {name: n for name, n in said["outlook"].items() if n}


def test_a_dry_run_says_what_would_be_united_reviewed_and_refused(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the real run then does so."""
    file = tmp_path / "millrace.toml"
    namespaces = [
        ("user_id", "userId", 1, ""),
        ("phone", "traits.phone", 1, 'at_limit = "review"'),
        ("card", "traits.card", 1, ""),
    ]
    namespaces += [
        ("seal", "traits.seal", 9, "verified = true"),
        ("anonymous", "anonymousId", 9, 'at_limit = "oldest"'),
    ]
    tables = [
        f'[[identity.namespace]]\nname = "{name}"\npaths = ["{path}"]\nlimit = {limit}\n{more}\n'
        for name, path, limit, more in namespaces
    ]
    file.write_text(FILE.format(url=redis_url, room=1_000) + "".join(tables))
    config = load(file)
    Deployment(config).prepare()
    known = [
        {"userId": "u1", "traits": {"phone": "p1", "card": "c1"}},
        {"anonymousId": "v1"},
        {"anonymousId": "v2", "traits": {"phone": "p2"}},
    ]
    known += [{"traits": {"seal": seal}, "anonymousId": f"of-{seal}"} for seal in ("s1", "s2")]
    made = Resolver(
        config,
        Deployment(config).validator(),
        Deployment(config).directory,
        Deployment(config).data_keys,
        Deployment(config).log_seal,
        Stop(),
    )
    events = [raw(**one) for one in known]
    made.commit(made.judge(Window("events/0", -1, 4, events, list(range(5)), 0.0)))
    rows = [
        ("u1", "p1", "", "", "v1"),  # united
        ("u1", "", "", "", "v2"),  # too many phones: a steward is asked
        ("u1", "p3", "", "", ""),  # a new one too many: as well
        ("u1", "", "c2", "", ""),  # refused
        ("", "", "", "s1", "of-s2"),  # both verified: refused
        ("u1", "", "", "", "v9"),  # attached
        ("u2", "", "", "", "v1"),  # a user of whom nobody has heard takes a visitor who is nobody's: attached
        ("u9", "", "", "", ""),  # new
    ]
    path = tmp_path / "people.csv"
    path.write_text(
        "\n".join(",".join(row) for row in [("userId", "phone", "card", "seal", "anonymousId"), *rows])
    )
    assert run(config, job(path), dry=True, as_json=True) == 0
    assert outlook(summary(capsys)) == {
        "known": 7,
        "attached": 2,
        "united": 1,
        "review": 2,
        "refused": 4,
        "created": 1,
    }
    before = Deployment(config).directory.stats()
    run(config, job(path), dry=False, as_json=True)
    for at, event in enumerate(arrived(config)):
        made.commit(made.judge(Window("events/0", 4 + at, 5 + at, [event], [5 + at], 0.0)))
    after = Deployment(config).directory.stats()
    assert after["united"] - before.get("united", 0) == 1
    assert after["refused"] - before.get("refused", 0) == 4
    assert len(Deployment(config).ledger.reviews()) == 2


def raw(**fields: Any) -> RawEvent:
    message = {"type": "identify", "messageId": f"m{fields}"[:50], **fields}
    return RawEvent(msgspec.json.encode(message), int(time.time() * 1000), "web")


def test_a_table_of_orders_is_tracks(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text(
        '{"buyer": "u1", "sum": 12.5, "at": "2026-01-02T03:04:05Z", "items": [{"sku": "x"}], '
        '"mail": "a@x.de"}\n'
    )
    pairs = ("buyer=userId", "sum=total", "at=timestamp", "items=items", "mail=traits.email")
    run(config, job(path, *pairs, kind="track", event="Order Completed"), dry=False, as_json=True)
    (event,) = arrived(config)
    message = msgspec.json.decode(event.value)
    assert message.pop("messageId").startswith("import-")
    assert message == {
        "type": "track",
        "event": "Order Completed",
        "userId": "u1",
        "timestamp": "2026-01-02T03:04:05Z",
        "properties": {"total": 12.5, "items": [{"sku": "x"}]},
        "context": {"traits": {"email": "a@x.de"}, "backfill": True},
    }


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (("会员",), "expected COLUMN=field"),
        (("会员=userId", "会员=phone"), "mapped twice"),
        (("会员=userId", "手机=userId"), "the same field"),
        (("user=userId",), "no column 'user', but 会员, 手机, 城市"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(
    config: Config, tmp_path: Path, pairs: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        run(config, job(csv_file(tmp_path), *pairs), dry=False, as_json=True)


@pytest.mark.parametrize("kind", [".csv", ".xlsx", ".parquet", ".avro"])
@pytest.mark.parametrize("rows", [[], ["broken"]])
def test_a_mapping_must_fit_a_file_without_rows_too(
    config: Config, tmp_path: Path, kind: str, rows: list[str]
) -> None:
    path = tmp_path / f"people{kind}"
    if kind == ".csv":
        path.write_text("\n".join(["会员,手机", *rows]))
    elif kind == ".xlsx":
        book = openpyxl.Workbook()
        book.active.append(["会员", "手机"])
        book.save(path)
    elif kind == ".parquet":
        pyarrow.parquet.write_table(
            pyarrow.table({"会员": pyarrow.array([], "string"), "手机": pyarrow.array([], "string")}), path
        )
    else:
        fields = [{"name": name, "type": "string"} for name in ("user", "mobile")]
        with path.open("wb") as file:
            fastavro.writer(
                file, fastavro.parse_schema({"type": "record", "name": "Row", "fields": fields}), []
            )
    with pytest.raises(ConfigError, match=r"no column 'gone', but (会员, 手机|user, mobile)"):
        run(config, job(path, "gone=userId"), dry=False, as_json=True)
    column = "user" if kind == ".avro" else "会员"
    assert run(config, job(path, f"{column}=userId"), dry=False, as_json=True) == 0


def test_an_error_in_a_column_that_is_not_sent_keeps_no_row_back(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = openpyxl.Workbook()
    for line in (
        ["会员", "手机", "比率"],
        ["u1", "13800130001", "#DIV/0!"],
        ["#SPILL!", "13800130002", 1],
        ["u3", "=A2", 2],
    ):
        book.active.append(line)
    book.save(tmp_path / "people.xlsx")
    run(config, job(tmp_path / "people.xlsx", "会员=userId", "手机=phone"), dry=False, as_json=True)
    said = summary(capsys)
    assert (said["sent"], said["rejected"]) == (1, {"cell_error": 1, "not_computed": 1})
    assert Path(said["rejects"]).read_text().splitlines()[0] == "3,cell_error,会员: #SPILL!"
    run(config, job(tmp_path / "people.xlsx", "会员=userId", "比率=ratio"), dry=True, as_json=True)
    assert summary(capsys)["rejected"] == {"cell_error": 2}


def test_a_stray_quote_gives_nobody_another_ones_phone(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "people.csv"
    path.write_text(
        '会员,姓名,手机\nu1,"Ann,13800130001\nu2,Bob,13800130002\nu3,Cat",13800130003\nu4,Dan,13800130004\n'
    )
    run(config, job(path, "会员=userId", "手机=phone"), dry=False, as_json=True)
    said = summary(capsys)
    assert (said["sent"], said["rejected"]) == (1, {"quote": 1})
    assert '2,quote,"a quote that opens in line 2 swallows lines 2 to 4' in Path(said["rejects"]).read_text()
    run(config, job(path, "会员=userId", "手机=phone", quoted=False), dry=False, as_json=True)
    assert summary(capsys)["sent"] == 4
    messages = [msgspec.json.decode(event.value) for event in arrived(config)]
    assert {(one["userId"], one["traits"]["phone"]) for one in messages} == {
        (f"u{n}", f"1380013000{n}") for n in range(1, 5)
    }


@pytest.mark.parametrize("kind", [".xlsx", ".csv"])
def test_numbers_that_a_spreadsheet_has_cut_unite_nobody(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = tmp_path / f"people{kind}"
    lines: list[list[Any]] = [
        ["会员", "card", "积分号"],
        *([f"u{n}", 8800123456789010 + n, 8800123456789010 + n] for n in range(1, 4)),
    ]
    if kind == ".xlsx":
        book = openpyxl.Workbook()
        for line in lines:
            book.active.append(line)
        book.save(path)
    else:  # as Excel exports what it shows
        shown = [["8.80012E+15" if isinstance(cell, int) else cell for cell in line] for line in lines]
        path.write_text("\n".join(map(",".join, shown)))
    run(config, job(path, "积分号=userId"), dry=False, as_json=True)
    assert summary(capsys)["rejected"] == {"id_invalid": 3}
    run(config, job(path, "会员=userId", "card=bankCard", "积分号=points"), dry=False, as_json=True)
    said = summary(capsys)
    assert (said["sent"], said["bad"]) == (3, {"bankCard: rounded": 3, "points: rounded": 3})


def test_two_processes_do_not_import_the_same(config: Config, tmp_path: Path) -> None:
    path = csv_file(tmp_path)
    run(config, job(path, *MAPPED), dry=False, as_json=True)
    with (
        Checkpoint.opened(Path(config.data.folder) / "imports", checkpoints(config)[0].stem),
        pytest.raises(ConfigError, match="another"),
    ):
        run(config, job(path, *MAPPED), dry=False, as_json=True)


def test_fields_have_their_place() -> None:
    assert place("userId", "identify") == ("userId",)
    assert place("phone", "identify") == place("traits.phone", "identify") == ("traits", "phone")
    assert place("total", "track") == place("properties.total", "track") == ("properties", "total")
    assert place("traits.phone", "track") == ("context", "traits", "phone")
    assert place("context.device.id", "identify") == ("context", "device", "id")
    assert guessed(["User ID", "e-mail", "userid"], "identify") == {
        "User ID": ("userId",),
        "e-mail": ("traits", "e-mail"),
    }
    assert mapping(["a=b=userId"], "identify") == {"a=b": ("userId",)}


EXCELS = datetime.datetime(2026, 1, 31, 8)  # noqa: DTZ001  # as Excel gives it


@pytest.mark.parametrize("stated", ["2026-01-31 08:00", EXCELS, "2026-01-31T08:00:00"])
def test_a_time_without_a_zone_has_the_one_that_was_said(stated: Any) -> None:
    build = builder(
        {"at": ("timestamp",), "seen": ("properties", "seen")},
        "track",
        "Paid",
        zone=ZoneInfo("Asia/Shanghai"),
    )
    assert build({"at": stated, "seen": "2026-01-31 08:00"}, "m") == {
        "type": "track",
        "messageId": "m",
        "event": "Paid",
        "timestamp": "2026-01-31T08:00:00+08:00",
        "properties": {"seen": "2026-01-31 08:00"},
    }
    assert build({"at": "2026-01-31T08:00:00Z"}, "m")["timestamp"] == "2026-01-31T08:00:00Z"


def test_cells_become_json() -> None:
    assert [
        cell(value) for value in (" x ", 2.0, 2.5, float("nan"), None, True, Decimal("3.0"), Decimal("0.5"))
    ] == [*("x", 2, 2.5, None, None, True, 3, 0.5)]
    assert cell(datetime.date(2026, 1, 2)) == "2026-01-02"
    assert cell([{"a": datetime.date(2026, 1, 2)}]) == [{"a": "2026-01-02"}]
    build = builder({"a": ("traits", "a"), "b": ("traits", "b")}, "identify", None)
    assert build({"a": "", "b": 1}, "m") == {"type": "identify", "messageId": "m", "traits": {"b": 1}}


def test_headings_that_name_no_identifier_are_said_once_with_what_to_map(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "people.csv"
    path.write_text("手机号,城市\n" + "13800138000,深圳\n" * 2_000)
    for dry in (True, False):
        with pytest.raises(ConfigError) as refused:
            run(config, job(path), dry=dry, as_json=False)
        assert str(refused.value) == (
            "people.csv: no column is an identifier, so no row could be sent: "
            "手机号, 城市; try --map 手机号=phone"
        )
    assert arrived(config) == []
    assert run(config, job(path, "手机号=phone", "城市=city"), dry=False, as_json=True) == 0
    assert summary(capsys)["sent"] == 2_000


def test_a_dry_run_needs_neither_keys_nor_a_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "millrace.toml"
    file.write_text('[redis]\nurl = "redis://127.0.0.1:1"\n')
    path = tmp_path / "people.csv"
    path.write_text("userId,phone\n" + "u1,13800138000\n" * 2 + "u2,13800138001\n")
    assert run(load(file), job(path), dry=True, as_json=True) == 0
    out, err = capsys.readouterr()
    assert "there is no deployment yet" in err
    outlook = msgspec.json.decode(out.strip().splitlines()[-1])["outlook"]
    assert (outlook["created"], outlook["joined"], outlook["known"]) == (2, 1, 0)
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_dir()] == [], "nothing is made"
    load_keys(Path(load(file).keys.path), create=True)
    assert run(load(file), job(path), dry=True, as_json=True) == 0
    assert "Redis cannot be reached" in capsys.readouterr().err


def test_an_import_that_is_stopped_says_how_to_go_on(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, count = csv_file(tmp_path, 2_500), Checkpoint.save

    def stopped(checkpoint: Checkpoint, rejects: str) -> None:
        count(checkpoint, rejects)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Checkpoint, "save", stopped)
        run(config, job(path, *MAPPED), dry=False, as_json=True)
    assert "stopped after row 1,001; the same command goes on from there" in capsys.readouterr().err
    assert run(config, job(path, *MAPPED), dry=False, as_json=True) == 0
    assert "goes on after row 1,001" in capsys.readouterr().err
