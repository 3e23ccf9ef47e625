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
from flows.lab.evaluate.input_table import Table, chosen, guesses, read
from flows.lab.evaluate.judge import Case, Verdict, auc, day, judge
from flows.lab.evaluate.spans import as_option, in_words, rounded, span_of
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
        """Return how late labels are."""
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
    """Return the verdict. Raises `Unusable`."""
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
    # Many small fits: threads that wait for each other on a busy machine cost a hundred times as much.
    with threadpool_limits(1):
        return _replay(path.name, encoder, rows, notes, show, anomaly)


def _rows(table: Table, label: str, time: str | None, delay: str | None) -> _Rows:
    """`time` is None in the order of the file."""
    answers = table.labels(label)
    if time is None:
        numbers = np.arange(table.rows)
        return _Rows(
            table=table,
            order=numbers,
            times=numbers,
            answers=answers,
            late=_rows_late(delay, table.rows),
            label=label,
            in_file_order=True,
        )
    times = table.times(time)
    order = np.argsort(times, kind="stable")
    span = int(times[order[-1]] - times[order[0]])
    late = span_of("--label-delay", delay) if delay is not None else rounded(max(span // _DELAYS, 1000))
    return _Rows(
        table=table,
        order=order,
        times=times[order],
        answers=answers[order],
        late=late,
        label=label,
        in_file_order=False,
    )


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


class _Replay:
    """The rows asked about in order of time, each with what was known by then; and what every model said."""

    def __init__(self, encoder: Encoder, asked: _Rows, *, anomaly: bool) -> None:
        self._encoder = encoder
        self._times, self._answers, self._late = asked.times, asked.answers, asked.late
        names = (*encoder.names, "unusual") if anomaly else encoder.names
        bent = [*encoder.bent, True] if anomaly else encoder.bent
        self._trainer = BinaryTrainer("propensity", names, Churn().learning_rate, bent=bent)
        self._unusual = Unusual(len(encoder.names), _SEED) if anomaly else None
        self.batch: dict[str, Batch] = {"batch_lr": Refitted(), "batch_gbt": Boosted()}
        # The model says nothing before, nor is anything judged.
        self._fit_at = dict.fromkeys(self.batch, SNAPSHOT_FIRST)
        self.rows = np.zeros((len(asked.times), len(names)))
        models = ("champion", *self.batch, *self._trainer.probabilities(self.rows[:1]))
        self.said: dict[str, list[float]] = {name: [] for name in models}
        self._learnt = 0
        self.judged_from: int | None = None

    def run(self, show: Callable[[str], None]) -> None:
        """Ask about all rows, a chunk at a time. `show` hears how far it is."""
        count = len(self._times)
        for begin in range(0, count, _CHUNK):
            self._learn_until(begin)
            self._fit()
            if self.judged_from is None and self._can_judge():
                self.judged_from = begin
            self._ask(begin, min(begin + _CHUNK, count))
            show(f"row {begin} of {count}")

    def _learn_until(self, begin: int) -> None:
        """Learn the labels that were known when row `begin` came."""
        known = int(np.searchsorted(self._times, self._times[begin] - self._late, side="right"))
        known = max(min(known, begin), self._learnt)
        self._trainer.learn(self._example(at) for at in range(self._learnt, known))
        for at in range(self._learnt, known):
            self._encoder.learn(at, bool(self._answers[at]))
        self._learnt = known

    def _example(self, at: int) -> Example:
        asked_ms = int(self._times[at])
        return Example(
            model=self._trainer.name,
            customer=b"",
            asked_ms=asked_ms,
            answered_ms=asked_ms + self._late,
            features=self.rows[at].tolist(),
            predicted=None,
            version=0,
            label=float(self._answers[at]),
        )

    def _fit(self) -> None:
        learnt = self._learnt
        for name, model in self.batch.items():
            if learnt >= self._fit_at[name]:
                model.fit(self.rows[:learnt], self._answers[:learnt])
                self._fit_at[name] = next_fit(learnt, len(self._times), model.refits)

    def _can_judge(self) -> bool:
        """Whether the trainer has a model, and has seen labels of both kinds."""
        seen = self._answers[: self._learnt]
        return bool(self._trainer.version and seen.any() and not seen.all())

    def _ask(self, begin: int, end: int) -> None:
        for at in range(begin, end):
            row = self._encoder.row(at)
            self.rows[at] = [*row, self._unusual.see(row)] if self._unusual is not None else row
        chunk = self.rows[begin:end]
        for name, probabilities in self._trainer.probabilities(chunk).items():
            self.said[name] += probabilities
            if name == self._trainer.champion:
                self.said["champion"] += probabilities
        for name, model in self.batch.items():
            self.said[name] += model.predict(chunk).tolist()


def _replay(
    file: str, encoder: Encoder, asked: _Rows, notes: list[Words], show: Callable[[str], None], anomaly: bool
) -> Verdict:
    """Raises `Unusable` where nothing can be told apart."""
    title = _title(file, asked.label, anomaly)
    replay = _Replay(encoder, asked, anomaly=anomaly)
    replay.run(show)
    judged_from = replay.judged_from
    if judged_from is None:
        raise Unusable(
            f"{title.en}: within {asked.span().en} of the end there were not {SNAPSHOT_FIRST} labels of both "
            "kinds to learn from; try a shorter --label-delay"
        )
    answers = asked.answers
    truth = answers[judged_from:]
    if truth.all() or not truth.any():
        raise Unusable(
            f"{title.en}: all labels after the first {judged_from} rows are the same; "
            f"{_nothing_to_tell(asked)}"
        )
    arrays = {name: np.array(values)[judged_from:] for name, values in replay.said.items()}
    baselines = {name: arrays.pop(name) for name in replay.batch}
    if anomaly:
        unusual = replay.rows[:, -1]
        baselines["half_space_trees"] = unusual[judged_from:]
        early = answers[:judged_from]
        if early.any() and not early.all():
            notes.append(_before(auc(early, unusual[:judged_from]), judged_from))
    notes.append(_how(asked, judged_from))
    case = Case(
        kind="anomaly" if anomaly else "propensity",
        title=title,
        subject=Words(f"turned out {asked.label} = {_yes(asked)}", f"的 {asked.label} 确为 {_yes(asked)}"),
        data=_judged(asked, judged_from),
        at_ms=asked.times[judged_from:],
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
        f"labels {late.en} late; the first {judged_from} of {rows} rows "
        f"came before {SNAPSHOT_FIRST} labels were known",
        f"标签晚 {late.zh}得知；{rows} 行中前 {judged_from} 行出现时，已知标签还不足 {SNAPSHOT_FIRST} 个",
    )


def _judged(asked: _Rows, judged_from: int) -> Words:
    rows, judged, late = len(asked.times), len(asked.times) - judged_from, asked.span()
    return Words(
        f"{judged:,} of {rows:,} rows could be judged, each before its label was known ({late.en} later)",
        f"{rows:,} 行中有 {judged:,} 行可以评判，都是在得知标签（晚 {late.zh}）之前作出的判断",
    )
