"""`millrace eval propensity` and `millrace eval anomaly`: rows in order of time, labels that come late, one model on the real trainer.

A row is asked about with what is known at its time; its label is learnt when the delay has passed. For anomalies each row is
also looked at by half-space trees, which need no labels; what they say is one more feature.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from flows.evaluate.baselines import Batch, Boosted, Refitted, next_fit
from flows.evaluate.churn import TIME, span_of
from flows.evaluate.encode import Encoder
from flows.evaluate.judge import Verdict, auc, judge
from flows.evaluate.table import Table, chosen, read
from flows.logic.models.anomaly import Unusual
from flows.logic.models.trainer import SNAPSHOT_FIRST, Trainer
from schemas.config import Churn
from schemas.errors import Unusable
from schemas.triggers import Example
from schemas.units import Duration

LABEL = ("label", "target", "class", "outcome", "converted", "conversion", "response", "fraud", "churn", "is_fraud", "y")
_CHUNK = 25  # rows that are asked about together, with what was known at the first of them
_DELAYS = 20  # a delay that is not given is this part of the file
_COLUMNS_MAX = 200
_SEED = 1


def evaluate(
    path: Path,
    features: str | None,
    label: str | None,
    time: str | None,
    delay: str | None,
    show: Callable[[str], None],
    *,
    anomaly: bool,
) -> Verdict:
    """Raises `Unusable`."""
    table = read(path)
    guessed: list[str] = []
    label = chosen(table, label, "label", LABEL, guessed.append, fits=table.has_two_values)
    time = chosen(table, time, "time", TIME, guessed.append, but=(label,), fits=table.may_be_time)
    table, unknown = table.known(label, time)
    table = table.dated(time)
    answers, times = table.labels(label), table.times(time)
    order = np.argsort(times, kind="stable")
    answers, times = answers[order], times[order]
    columns = _columns(table, features, but=(label, time))
    if features is None:
        guessed.append(f"--features {','.join(columns)}")
    late = span_of("--label-delay", delay) if delay is not None else max(int(times[-1] - times[0]) // _DELAYS, 1000)
    if delay is None:
        guessed.append(f"--label-delay {Duration(late)}")
    title = f"{'anomaly' if anomaly else 'propensity'}: {label}, {path.name}"
    verdict_notes = [f"guessed: {' '.join(guessed)}"] if guessed else []
    if unknown:
        verdict_notes.append(f"{unknown} rows without a label or a time were left out")
    encoder = Encoder(table, columns, order, times, clock=features is None)
    verdict_notes += table.notes
    with threadpool_limits(1):  # many small fits: threads that wait for each other on a busy machine cost a hundred times as much
        return _replay(title, encoder, times, answers, late, verdict_notes, show, anomaly)


def _columns(table: Table, features: str | None, but: tuple[str, ...]) -> list[str]:
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
        raise Unusable(f"{table.name}: {len(names)} columns to learn from, at most {_COLUMNS_MAX}; say --features")
    return names


def _says_something(table: Table, name: str) -> bool:
    texts = table.columns[name]
    different = len(set(texts))
    row_number = name == "column_1" and different == len(texts)
    nameless = different > 0.9 * len(texts) and not table.is_numeric(name) and not table.is_time(name)
    return different > 1 and not row_number and not nameless


def _replay(
    title: str,
    encoder: Encoder,
    times: NDArray[np.int64],
    answers: NDArray[np.bool_],
    late: int,
    notes: list[str],
    show: Callable[[str], None],
    anomaly: bool,
) -> Verdict:
    names = (*encoder.names, "unusual") if anomaly else encoder.names
    bent = [*encoder.bent, True] if anomaly else encoder.bent
    trainer = Trainer("propensity", names, Churn().learning_rate, bent=bent)
    unusual = Unusual(len(encoder.names), _SEED) if anomaly else None
    batch: dict[str, Batch] = {"batch_lr": Refitted(), "batch_gbt": Boosted()}
    fit_at = dict.fromkeys(batch, SNAPSHOT_FIRST)  # as the model says nothing before, nor is anything judged
    rows = np.zeros((len(times), len(names)))
    said: dict[str, list[float]] = {name: [] for name in ("champion", *batch, *trainer.probabilities(rows[:1]))}
    learnt = 0
    judged_from: int | None = None
    for begin in range(0, len(times), _CHUNK):
        known = int(np.searchsorted(times, times[begin] - late, side="right"))
        known = max(min(known, begin), learnt)
        trainer.learn(
            Example(trainer.name, b"", int(times[at]), int(times[at]) + late, rows[at].tolist(), None, 0, float(answers[at]))
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
            f"{title}: within {Duration(late)} of the end there were not {SNAPSHOT_FIRST} labels of both kinds to learn from; "
            "try a shorter --label-delay"
        )
    truth = answers[judged_from:]
    if truth.all() or not truth.any():
        raise Unusable(f"{title}: all labels after the first {judged_from} rows are the same; there is nothing to tell apart")
    arrays = {name: np.array(values)[judged_from:] for name, values in said.items()}
    baselines = {name: arrays.pop(name) for name in batch}
    if anomaly:
        baselines["half_space_trees"] = rows[judged_from:, -1]
        early = answers[:judged_from]
        if early.any() and not early.all():
            notes.append(
                f"before labels came, half-space trees alone: AUC {auc(early, rows[:judged_from, -1]):.4f} over {judged_from} rows"
            )
    notes.append(
        f"labels {Duration(late)} late; the first {judged_from} of {len(times)} rows came before {SNAPSHOT_FIRST} labels were known"
    )
    return judge(title, times[judged_from:], truth, arrays.pop("champion"), baselines, arrays, notes)
