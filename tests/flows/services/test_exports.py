"""Thirty files of the same customers, as spreadsheets and CRM systems write them: `import` and `eval` read
the same values from all."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openpyxl
import pytest

from connectors.files.table_rows import TableFile
from connectors.raw.log import START
from flows.cli.import_screen import run
from flows.lab.evaluate import matching_trial
from flows.lab.evaluate.input_table import read
from flows.logic.expressions.numbers import number_of
from flows.logic.fields.attributes import PREFIX
from flows.logic.message import Checked
from flows.resolve import Resolver
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop
from flows.runtime.windows import Window
from flows.services.importing.job import NO_KEY, Batch, Job
from flows.services.importing.reading import Reader
from schemas.config import Config
from schemas.config.toml import load
from tests.exports import EXPORTS, written
from tests.exports.people import FIELDS, PEOPLE, Export, Person

by_name = pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.name)


def test_there_are_thirty() -> None:
    assert len({export.name for export in EXPORTS}) == 30


@by_name
def test_the_documentation_says_what_it_imitates(export: Export) -> None:
    page = (Path(__file__).parents[3] / "docs" / "import.md").read_text()
    assert f"| `{export.name}` | {export.imitates} |" in page


@by_name
def test_import_reads_the_same_values(export: Export, tmp_path: Path) -> None:
    config = configured(tmp_path)
    path = written(export, tmp_path)
    pairs = tuple(f"{column}={field}" for column, field in zip(export.columns, FIELDS, strict=True))
    validator = Deployment(config).validator(NO_KEY)
    table = TableFile(path)
    job = Job(path, pairs, "identify", None, "import", None, None)
    batches = list(Reader(job, table, validator, "import", config).batches(lambda: 1_774_000_000_000))
    rejected = [(number, reason) for batch in batches for number, reason, _ in batch.rejects]
    assert rejected == [(number, "footer") for number in export.footer]
    assert [said for batch in batches for said in batch.bad] == []
    assert table.heading_row == export.heading_row
    assert [seen(batch, at, validator) for batch in batches for at in range(len(batch.events))] == list(
        map(meant, export.people)
    )


def configured(folder: Path) -> Config:
    file = folder / "millrace.toml"
    file.write_text('name = "exports"\n')
    return load(file)


def seen(batch: Batch, at: int, validator: Any) -> dict[str, Any]:
    """A row as `resolve` takes it: normal forms, numbers as figures and rules read them."""
    checked = validator.check(batch.events[at][1])
    values: Mapping[str, Any] = checked.traits | checked.sensitive
    return {
        "id": checked.user_id,
        "name": (values["firstName"], values["lastName"]),
        "phone": values["phone"],
        "born": values["birthday"],
        "amount": number_of(values["amount"]),
        "share": number_of(values["share"]),
        "vip": values["vip"],
        "since": datetime.fromtimestamp(checked.time_ms / 1000, UTC).replace(tzinfo=None),
    }


def meant(one: Person) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": (one.first, one.last),
        "phone": f"+86{one.phone}",
        "born": one.born.isoformat(),
        "amount": one.amount,
        "share": one.share,
        "vip": one.vip,
        "since": one.since,
    }


@by_name
def test_eval_reads_the_same_values(export: Export, tmp_path: Path) -> None:
    table = read(written(export, tmp_path))
    of = dict(zip(FIELDS, export.columns, strict=True))
    people = export.people
    assert [text.strip() for text in table.column(of["userId"])] == [one.id for one in people]
    assert [text.strip() for text in table.column(of["phone"])] == [one.phone for one in people]
    assert table.column(of["lastName"]) == [one.last for one in people]
    np.testing.assert_array_equal(table.numbers(of["amount"]), [one.amount for one in people])
    np.testing.assert_array_equal(table.numbers(of["share"]), [one.share for one in people])
    assert table.labels(of["vip"]).tolist() == [one.vip for one in people]
    assert table.days(of["birthday"]).tolist() == [(one.born - date(1970, 1, 1)).days for one in people]
    assert table.times(of["timestamp"]).tolist() == [
        int(one.since.replace(tzinfo=UTC).timestamp() * 1000) for one in people
    ]
    assert len(table.notes) == bool(export.footer)
    assert all(str(number) in table.notes[0].en for number in export.footer)


@by_name
def test_matching_is_evaluated_on_the_same_rows(export: Export, tmp_path: Path) -> None:
    headings, rows = matching_trial.read(written(export, tmp_path))
    assert headings == list(export.columns)
    assert [row[export.columns[2]] for row in rows if any(row.values())] == [
        one.last for one in export.people
    ]


def test_dates_that_nothing_tells_from_numbers_are_reported_by_row(tmp_path: Path) -> None:
    """A sheet without formats has 32938 for a birthday: nobody guesses."""
    path = tmp_path / "rows.xlsx"
    book = openpyxl.Workbook()
    for line in (["id", "birthday", "seen"], ["u1", 32938, None], ["u2", None, 46087]):
        book.active.append(line)
    book.save(path)
    config = configured(tmp_path)
    job = Job(
        path, ("id=userId", "birthday=birthday", "seen=timestamp"), "identify", None, "import", None, None
    )
    reader = Reader(job, TableFile(path), Deployment(config).validator(NO_KEY), "import", config)
    [batch] = reader.batches(lambda: 1_774_000_000_000)
    assert batch.bad == [(2, "birthday: not_a_date")]
    assert [(number, reason) for number, reason, _ in batch.rejects] == [(3, "timestamp_out_of_range")]


@pytest.mark.parametrize("texts", [["1772809440", "1772809441"], ["1772809440000", "1772809441000"]])
def test_times_as_unix_time_are_times_in_text_files_too(tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,seen\n" + "".join(f"u{n},{text}\n" for n, text in enumerate(texts)))
    config = configured(tmp_path)
    validator = Deployment(config).validator(NO_KEY)
    job = Job(path, ("id=userId", "seen=timestamp"), "identify", None, "import", None, None)
    [batch] = Reader(job, TableFile(path), validator, "import", config).batches(lambda: 1_774_000_000_000)
    found = [validator.check(raw) for _, raw in batch.events]
    assert [one.time_ms for one in found if isinstance(one, Checked)] == [
        1_772_809_440_000,
        1_772_809_441_000,
    ]


@by_name
def test_the_month_of_birth_is_derived_from_all_of_them(export: Export, tmp_path: Path) -> None:
    config = configured(tmp_path)
    privacy = msgspec.structs.replace(config.privacy, attributes=("age_band", "birth_month_day"))
    config = msgspec.structs.replace(config, privacy=privacy)
    pairs = tuple(f"{column}={field}" for column, field in zip(export.columns, FIELDS, strict=True))
    validator = Deployment(config).validator(NO_KEY)
    path = written(export, tmp_path)
    job = Job(path, pairs, "identify", None, "import", None, None)
    batches = Reader(job, TableFile(path), validator, "import", config).batches(lambda: 1_774_000_000_000)
    events = [validator.check(raw) for batch in batches for _, raw in batch.events]
    derived = [
        (one.traits[f"{PREFIX}age_band.stated"], one.traits[f"{PREFIX}birth_month_day.stated"])
        for one in events
        if isinstance(one, Checked)
    ]
    born = [person.born.isoformat() for person in export.people]
    assert derived == [(day[:7], day[5:]) for day in born]


def test_all_thirty_for_real_are_six_customers(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dry run says so of each, and what `resolve` makes of the rows that arrived is nobody twice."""
    file = tmp_path / "millrace.toml"
    file.write_text(
        f'[redis]\nurl = "{redis_url}"\n[shards]\ncount = 4\n[identity]\ncapacity = 2000\n'
        "[raw]\npartitions = 1\n"
    )
    config = load(file)
    Deployment(config).prepare()
    for export in EXPORTS:
        pairs = tuple(f"{column}={field}" for column, field in zip(export.columns, FIELDS, strict=True))
        job = Job(written(export, tmp_path), pairs, "identify", None, "import", None, None)
        for dry in (True, False):
            assert run(config, job, dry=dry, as_json=True) == 0
            said = msgspec.json.decode(capsys.readouterr().out.strip().splitlines()[-1])
            assert (said["sent"], sum(said["rejected"].values())) == (
                len(export.people),
                len(export.footer),
            ), export.name
    reader = Deployment(config).raw_reader()
    reader.assign(dict.fromkeys(reader.partitions(), START))
    events = [
        event for batch in iter(lambda: reader.poll(100), []) for part in batch for event in part.events
    ]
    reader.close()
    directory = Deployment(config).directory
    made = Resolver(
        config,
        Deployment(config).validator(),
        directory,
        Deployment(config).data_keys,
        Deployment(config).log_seal,
        Stop(),
    )
    made.commit(made.judge(Window("events/0", -1, len(events), events, list(range(len(events))), 0.0)))
    assert len(events) == sum(len(export.people) for export in EXPORTS)
    assert directory.stats()["created"] == len(PEOPLE)
