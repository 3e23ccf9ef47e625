"""The command `millrace eval identity`: what is asked, and how the answer is shown."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import msgspec

from flows.lab.evaluate.identity_page import advice, page
from flows.lab.evaluate.matching_trial import Report, evaluate, in_redis, read
from flows.lab.evaluate.verdict_output import tell, wide, write
from flows.logic.matching import guess_fields
from flows.logic.matching.columns import KIND_OF
from schemas.bilingual import Lang
from schemas.errors import ConfigError


def run(
    file: Path,
    truth: str,
    never: Sequence[str],
    mapped: Sequence[str],
    seeds: int,
    redis: str | None,
    encoding: str | None,
    lang: Lang,
    as_json: bool,
    html: Path | None,
) -> int:
    """Evaluate and print. `mapped`: COLUMN=field each; with any, only these columns are compared. Raises
    `ConfigError` and `Unusable`."""
    fields = _mapped(mapped, truth, never)
    headings, rows = read(file, encoding)
    if redis is None:
        report = evaluate(headings, rows, truth, never, fields or None, seeds)
    else:
        with in_redis(redis) as place:
            report = evaluate(headings, rows, truth, never, fields or None, seeds, place)
    said = advice(report)
    write(html, page(file.name, report, said, lang) if html else "")
    if as_json:
        print(msgspec.json.encode(report).decode())
    else:
        print("".join(f"{warning}\n" for warning in report.warnings), end="")
        tell(said, lang, wide())
        print(_table(report, guessed=not fields, seeds=seeds))
    return 0


def _mapped(mapped: Sequence[str], truth: str, never: Sequence[str]) -> dict[str, str]:
    """Field by column."""
    fields: dict[str, str] = {}
    for one in mapped:
        column, equals, field = one.rpartition("=")
        if not equals or not column or not field:
            raise ConfigError(f"--map {one}: expected COLUMN=field, such as surname=family_name")
        if column == truth or column in never:
            option = "--truth" if column == truth else "--id"
            raise ConfigError(
                f"--map {one}: {column} is {option}, which holds the answer and is never compared"
            )
        if field not in KIND_OF and field not in guess_fields([column], []).values():
            near = get_close_matches(field, KIND_OF, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KIND_OF)}"
            raise ConfigError(f"--map {one}: no field is called {field!r}; {hint}")
        fields[column] = field
    return fields


def _table(report: Report, guessed: bool, seeds: int) -> str:
    meaning = ", ".join(
        column if column == field else f"{column} = {field}" for column, field in report.fields.items()
    )
    lines = [
        f"{'guessed' if guessed else 'compared'}: {meaning}",
        f"{report.rows:,} rows, mean of {seeds} random orders",
        "",
    ]
    if report.left_out:
        lines.insert(-1, f"{report.left_out:,} rows without a truth were left out")
    lines.append(f"{'':>6} {'pairwise':^26} {'clusters (B³)':^26}")
    lines.append(f"{'':>6} " + " ".join(f"{name:>8}" for name in ("prec.", "recall", "F1") * 2))
    for station, found in report.at.items():
        both = (found.pairwise, found.bcubed)
        lines.append(
            f"{station:>6} "
            + " ".join(f"{value:8.4f}" for one in both for value in (one.precision, one.recall, one.f1))
        )
    both = (report.exact.pairwise, report.exact.bcubed)
    lines.append(
        f"{'exact':>6} "
        + " ".join(f"{value:8.4f}" for one in both for value in (one.precision, one.recall, one.f1))
    )
    lines.append("")
    lines.append(
        f"{report.comparisons:,.0f} comparisons, {report.reviews:,.0f} "
        f"for a steward, {report.seconds:.1f} s of CPU"
    )
    lines.append(f"{report.microseconds_per_record:.0f} µs for each record")
    return "\n".join(lines)
