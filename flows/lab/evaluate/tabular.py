"""`millrace eval propensity` and `millrace eval anomaly`: rows in order of time, labels that come late, one
model on the real trainer.

A row is asked about with what is known at its time; its label is learnt when the delay has passed. For
anomalies each row is also looked at by half-space trees, which need no labels; what they say is one more
feature.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from flows.lab.evaluate.baselines import Batch, Boosted, Refitted, next_fit
from flows.lab.evaluate.encode import Encoder
from flows.lab.evaluate.headings import LABEL, TIME
from flows.lab.evaluate.judge import Case, Verdict, auc, day, judge
from flows.lab.evaluate.spans import as_option, in_words, rounded, span_of
from flows.lab.evaluate.table import Table, chosen, guesses, read
from flows.logic.models.anomaly import Unusual
from flows.logic.models.binary_trainer import SNAPSHOT_FIRST, BinaryTrainer
from schemas.bilingual import Words
from schemas.config import Churn
from schemas.errors import Unusable
from schemas.wire.triggers import Example

_CHUNK = 25  # rows that are asked about together, with what was known at the first of them
_DELAYS = 20  # a delay that is not given is this part of the file
_COLUMNS_MAX = 200
_SEED = 1
_BLOCKS = 10  # times fewer changes of the label than by lot: the file was sorted
_SORTED = Words(
    "the file looks as if it was sorted by label, so its order says nothing of what came first",
    "文件看起来按标签排过序，行的先后不代表时间",
)


class _Rows(NamedTuple):
    """Those that can be used, in order of time."""

    table: Table
    order: NDArray[np.int64]
    times: NDArray[np.int64]  # milliseconds; in file order, the number of the row
    answers: NDArray[np.bool_]
    late: int  # in the unit of the times
    label: str
    in_file_order: bool

    def span(self) -> Words:
        """How late labels are."""
        return (
            Words(f"{self.late:,} rows", f"{self.late:,} 行") if self.in_file_order else in_words(self.late)
        )


def evaluate(
    path: Path,
    features: str | None,
    label: str | None,
    time: str | None,
    delay: str | None,
    encoding: str | None,
    show: Callable[[str], None],
    *,
    anomaly: bool,
    file_order: bool = False,
) -> Verdict:
    """Raises `Unusable`."""
    table = read(path, encoding)
    guessed: list[str] = []
    label = chosen(table, label, "label", LABEL, guessed.append, fits=table.has_two_values)
    if file_order:
        if time is not None:
            raise Unusable(
                "--time goes without --file-order: rows are in order either of a time or of the file"
            )
        table, unknown = table.known(label)
    else:
        hint = ", or --file-order if the rows stand in order of time"
        time = chosen(
            table, time, "time", TIME, guessed.append, but=(label,), fits=table.may_be_time, hint=hint
        )
        table, unknown = table.known(label, time)
        table = table.dated(time)
    rows = _rows(table, label, time, delay)
    columns = _columns(table, features, but=(label, time))
    if features is None:
        guessed.append(f"--features {','.join(columns)}")
    if delay is None:
        guessed.append(f"--label-delay {rows.late if file_order else as_option(rows.late)}")
    notes = guesses(guessed)
    if file_order:
        notes.append(Words("rows were taken in the order of the file", "按文件中的先后顺序逐行处理"))
        notes += [_SORTED] if _is_sorted(rows.answers) else []
    if unknown:
        notes.append(
            Words(
                f"{unknown} rows without a label or a time were left out",
                f"有 {unknown} 行没有标签或时间，未计入",
            )
        )
    encoder = Encoder(table, columns, rows.order, rows.times, clock=features is None and not file_order)
    notes += table.notes
    with threadpool_limits(
        1
    ):  # many small fits: threads that wait for each other on a busy machine cost a hundred times as much
        return _replay(path.name, encoder, rows, notes, show, anomaly)


def _rows(table: Table, label: str, time: str | None, delay: str | None) -> _Rows:
    """`time` is None in the order of the file."""
    answers = table.labels(label)
    if time is None:
        numbers = np.arange(table.rows)
        return _Rows(
            table, numbers, numbers, answers, _rows_late(delay, table.rows), label, in_file_order=True
        )
    times = table.times(time)
    order = np.argsort(times, kind="stable")
    span = int(times[order[-1]] - times[order[0]])
    late = span_of("--label-delay", delay) if delay is not None else rounded(max(span // _DELAYS, 1000))
    return _Rows(table, order, times[order], answers[order], late, label, in_file_order=False)


def _rows_late(delay: str | None, rows: int) -> int:
    if delay is None:
        return max(rows // _DELAYS, 1)
    if not delay.isdecimal() or int(delay) < 1:
        raise Unusable(f"--label-delay {delay}: with --file-order expected a number of rows, such as 200")
    return int(delay)


def _columns(table: Table, features: str | None, but: tuple[str | None, ...]) -> list[str]:
    """Those that were named, or all that say anything: neither constant, nor a number or name of the row."""
    if features is not None:
        names = [name.strip() for name in features.split(",") if name.strip()]
        for name in names:
            table.column(name)
            if name in but:
                raise Unusable(f"--features {name}: that is the label or the time")
    else:
        names = [name for name in table.columns if name not in but and _says_something(table, name)]
    if not names:
        raise Unusable(f"{table.name}: no column is left to learn from; say --features")
    if len(names) > _COLUMNS_MAX:
        raise Unusable(
            f"{table.name}: {len(names)} columns to learn from, at most {_COLUMNS_MAX}; say --features"
        )
    return names


def _says_something(table: Table, name: str) -> bool:
    texts = table.columns[name]
    different = len(set(texts))
    row_number = name == "column_1" and different == len(texts)
    nameless = different > 0.9 * len(texts) and not table.is_numeric(name) and not table.is_time(name)
    return different > 1 and not row_number and not nameless


def _replay(
    file: str, encoder: Encoder, asked: _Rows, notes: list[Words], show: Callable[[str], None], anomaly: bool
) -> Verdict:
    times, answers, late = asked.times, asked.answers, asked.late
    title = _title(file, asked.label, anomaly)
    names = (*encoder.names, "unusual") if anomaly else encoder.names
    bent = [*encoder.bent, True] if anomaly else encoder.bent
    trainer = BinaryTrainer("propensity", names, Churn().learning_rate, bent=bent)
    unusual = Unusual(len(encoder.names), _SEED) if anomaly else None
    batch: dict[str, Batch] = {"batch_lr": Refitted(), "batch_gbt": Boosted()}
    fit_at = dict.fromkeys(batch, SNAPSHOT_FIRST)  # as the model says nothing before, nor is anything judged
    rows = np.zeros((len(times), len(names)))
    said: dict[str, list[float]] = {
        name: [] for name in ("champion", *batch, *trainer.probabilities(rows[:1]))
    }
    learnt = 0
    judged_from: int | None = None
    for begin in range(0, len(times), _CHUNK):
        known = int(np.searchsorted(times, times[begin] - late, side="right"))
        known = max(min(known, begin), learnt)
        trainer.learn(
            Example(
                trainer.name,
                b"",
                int(times[at]),
                int(times[at]) + late,
                rows[at].tolist(),
                None,
                0,
                float(answers[at]),
            )
            for at in range(learnt, known)
        )
        for at in range(learnt, known):
            encoder.learn(at, bool(answers[at]))
        learnt = known
        for name, model in batch.items():
            if learnt >= fit_at[name]:
                model.fit(rows[:learnt], answers[:learnt])
                fit_at[name] = next_fit(learnt, len(times), model.refits)
        if judged_from is None and trainer.version and answers[:learnt].any() and not answers[:learnt].all():
            judged_from = begin
        chunk = range(begin, min(begin + _CHUNK, len(times)))
        for at in chunk:
            row = encoder.row(at)
            rows[at] = [*row, unusual.see(row)] if unusual is not None else row
        for name, probabilities in trainer.probabilities(rows[chunk.start : chunk.stop]).items():
            said[name] += probabilities
            if name == trainer.champion:
                said["champion"] += probabilities
        for name, model in batch.items():
            said[name] += model.predict(rows[chunk.start : chunk.stop]).tolist()
        show(f"row {begin} of {len(times)}")
    if judged_from is None:
        raise Unusable(
            f"{title.en}: within {asked.span().en} of the end there were not {SNAPSHOT_FIRST} labels of both kinds to learn from; "
            "try a shorter --label-delay"
        )
    truth = answers[judged_from:]
    if truth.all() or not truth.any():
        raise Unusable(
            f"{title.en}: all labels after the first {judged_from} rows are the same; {_nothing_to_tell(asked)}"
        )
    arrays = {name: np.array(values)[judged_from:] for name, values in said.items()}
    baselines = {name: arrays.pop(name) for name in batch}
    if anomaly:
        baselines["half_space_trees"] = rows[judged_from:, -1]
        early = answers[:judged_from]
        if early.any() and not early.all():
            notes.append(_before(auc(early, rows[:judged_from, -1]), judged_from))
    notes.append(_how(asked, judged_from))
    case = Case(
        kind="anomaly" if anomaly else "propensity",
        title=title,
        subject=Words(f"turned out {asked.label} = {_yes(asked)}", f"的 {asked.label} 确为 {_yes(asked)}"),
        data=_judged(asked, judged_from),
        at_ms=times[judged_from:],
        units=np.arange(len(truth)),
        moments=False,
        day=_place if asked.in_file_order else day,
    )
    return judge(case, truth, arrays.pop("champion"), baselines, arrays, notes)


def _is_sorted(answers: NDArray[np.bool_]) -> bool:
    """Whether answers of a kind stand together, as they never do where things happen one after the other."""
    share = float(answers.mean())
    expected = 2.0 * share * (1.0 - share) * len(answers)  # changes, if the order were by lot
    return int((np.diff(answers) != 0).sum()) * _BLOCKS < expected


def _nothing_to_tell(asked: _Rows) -> str:
    if asked.in_file_order and _is_sorted(asked.answers):
        return f"{_SORTED.en}: shuffle the rows, or say --time"
    return "there is nothing to tell apart"


def _yes(asked: _Rows) -> str:
    """How a true label is written in the file."""
    texts, first = asked.table.column(asked.label), int(asked.order[int(np.argmax(asked.answers))])
    return texts[first].strip()


def _title(file: str, label: str, anomaly: bool) -> Words:
    if anomaly:
        return Words(f"Anomaly: {label}, {file}", f"异常：{label}，{file}")
    return Words(f"Propensity: {label}, {file}", f"倾向：{label}，{file}")


def _place(row: int) -> str:
    return f"#{row + 1:,}"


def _before(found: float, rows: int) -> Words:
    return Words(
        f"before labels came, half-space trees alone: AUC {found:.4f} over {rows} rows",
        f"标签到来之前，只用半空间树：{rows} 行的 AUC 为 {found:.4f}",
    )


def _how(asked: _Rows, judged_from: int) -> Words:
    late, rows = asked.span(), len(asked.times)
    return Words(
        f"labels {late.en} late; the first {judged_from} of {rows} rows came before {SNAPSHOT_FIRST} labels were known",
        f"标签晚 {late.zh}得知；{rows} 行中前 {judged_from} 行出现时，已知标签还不足 {SNAPSHOT_FIRST} 个",
    )


def _judged(asked: _Rows, judged_from: int) -> Words:
    rows, judged, late = len(asked.times), len(asked.times) - judged_from, asked.span()
    return Words(
        f"{judged:,} of {rows:,} rows could be judged, each before its label was known ({late.en} later)",
        f"{rows:,} 行中有 {judged:,} 行可以评判，都是在得知标签（晚 {late.zh}）之前作出的判断",
    )
