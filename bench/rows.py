"""Bulk entry: rows/s and memory of `millrace import` and of its dry run, for each kind of file.

    python -m bench.rows 1000000 csv                 # one kind
    python -m bench.rows 100000                      # all of them

A file of made-up customers (id, name, phone, e-mail, city, birthday) goes into the raw log of a Redis of its
own, where nothing else runs. One row in a hundred names nobody. The dry run comes first, while nobody is
known.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import fastavro
import openpyxl
import pyarrow
import pyarrow.parquet

from flows.runtime.deployment import Deployment
from schemas.config.toml import load
from state.redis.embedded import Embedded

COLUMNS = ("id", "name", "mobile", "mail", "town", "born")
MAPPED = ("id=userId", "name=name", "mobile=phone", "mail=email", "town=city", "born=birthday")
TOWNS = ("深圳", "上海", "Köln", "Lyon", "Leeds")
BROKEN_EVERY = 100
BATCH = 10_000  # rows of a parquet row group
_CONFIG = '[redis]\nurl = "{url}"\n[raw]\nmax_events = {room}\n'


def rows(count: int) -> Iterator[list[str]]:
    """One in `BROKEN_EVERY` has nobody in it."""
    for n in range(count):
        who = "" if n % BROKEN_EVERY == 0 else f"customer-{n}"
        born = date(1950, 1, 1) + timedelta(n % 20_000)
        yield [
            who,
            f"Name {n}",
            f"1380{n:07d}" if who else "",
            f"c{n}@example.com" if who else "",
            TOWNS[n % len(TOWNS)],
            born.isoformat(),
        ]


def write_csv(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([list(COLUMNS)])
        csv.writer(file).writerows(rows(count))


def write_jsonl(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(
            json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n" for row in rows(count)
        )


def write_xlsx(path: Path, count: int) -> None:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(list(COLUMNS))
    for row in rows(count):
        sheet.append(row)
    book.save(path)


def write_avro(path: Path, count: int) -> None:
    schema = fastavro.parse_schema(
        {"type": "record", "name": "Row", "fields": [{"name": name, "type": "string"} for name in COLUMNS]}
    )
    with path.open("wb") as file:
        fastavro.writer(file, schema, (dict(zip(COLUMNS, row, strict=True)) for row in rows(count)))


def write_parquet(path: Path, count: int) -> None:
    schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        batch: list[list[str]] = []
        for row in rows(count):
            batch.append(row)
            if len(batch) == BATCH:
                writer.write_table(pyarrow.table(list(map(list, zip(*batch, strict=True))), schema=schema))
                batch.clear()
        if batch:
            writer.write_table(pyarrow.table(list(map(list, zip(*batch, strict=True))), schema=schema))


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "xlsx": write_xlsx,
    "avro": write_avro,
    "parquet": write_parquet,
}


def imported(file: Path, config: Path, *options: str) -> tuple[dict[str, int], float, float, int]:
    """What the command printed, its seconds, those of its CPU, the most memory that it took in MB."""
    mapped = [part for pair in MAPPED for part in ("--map", pair)]
    argv = [
        sys.executable,
        "-P",
        "-m",
        "flows.cli",
        "import",
        str(file),
        *mapped,
        "-c",
        str(config),
        "--json",
        *options,
    ]
    began = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    return (
        json.loads(said.splitlines()[-1]),
        time.monotonic() - began,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss // 1024,
    )


def measure(kind: str, count: int, dry: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="mr-") as name, Embedded(Path(name) / "redis").running() as url:
        file, config = Path(name) / f"rows.{kind}", Path(name) / "millrace.toml"
        WRITERS[kind](file, count)
        config.write_text(_CONFIG.format(url=url, room=2 * count))
        Deployment(load(config)).prepare()
        for options in [("--dry-run",), ()] if dry else [()]:
            said, seconds, cpu, memory = imported(file, config, *options)
            assert (said["rows"], said["sent"]) == (count, count - -(-count // BROKEN_EVERY)), said
            what = "dry run" if options else "import"
            print(
                f"{kind:>8} {what:>8} {count:10,} {seconds:8.1f} {count / seconds:9,.0f}"
                f" {cpu / count * 1e6:8.0f} {memory:8,}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rows")
    parser.add_argument("rows", type=int)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(WRITERS) + "; default: all")
    parser.add_argument("--import-only", action="store_true", help="without the dry run before it")
    options = parser.parse_args()
    print(f"{'':>8} {'':>8} {'rows':>10} {'s':>8} {'rows/s':>9} {'µs CPU':>8} {'MB RSS':>8}")
    for kind in options.kinds or WRITERS:
        measure(kind, options.rows, not options.import_only)


if __name__ == "__main__":
    main()
