"""The page of one model: its learners side by side, and charts of how good they were."""

from flows.logic.models.binary_trainer import BinaryTrainer
from flows.runtime.deployment import Deployment
from flows.services.model_registry import FIGURES, Row, find, row_of
from flows.services.pages.charts import bars, lines, reliability
from flows.services.pages.document import document
from state.redis.client import reported


def page(deployment: Deployment, name: str) -> str:
    """Return the page of a model as HTML. Raises `Unusable` where there is none, `Unreachable`."""
    with reported():
        trainer = find(deployment, name)
        row = row_of(deployment, trainer)
    parts = [f"<h1>{_title(row)}</h1><p>{_told(row)}</p>", _learners(row)]
    if isinstance(trainer, BinaryTrainer):
        parts += [_reliability(trainer), _losses(trainer), _delays(trainer)]
        parts += [_counted("Drift alarms", row.drifts), _counted("Dropped examples", row.dropped)]
    else:
        parts.append(_figures(row))
    return document(_title(row), parts)


def figure_text(figures: dict[str, float], name: str) -> str:
    """Return a figure of four digits, or a dash where it is not known."""
    return f"{figures[name]:.4f}" if name in figures else "-"


def _title(row: Row) -> str:
    return f"Model {row.name}"


def _told(row: Row) -> str:
    return (
        f"{row.examples:,} examples, version {row.version}, champion {row.champion}, "
        f"promoted {row.promotions} times."
    )


def _learners(row: Row) -> str:
    columns = [name for name in FIGURES if any(name in figures for figures in row.contest.values())]
    head = "".join(f"<th>{name}</th>" for name in ("learner", *columns))
    body = ""
    for learner, figures in row.contest.items():
        own = " class=own" if learner == row.champion else ""
        cells = "".join(f"<td>{figure_text(figures, name)}</td>" for name in columns)
        body += f"<tr{own}><td>{learner}</td>{cells}</tr>"
    return f"<table><tr>{head}</tr>{body}</table>"


def _figures(row: Row) -> str:
    cells = (f"<td>{name}</td><td>{figure_text(row.figures, name)}</td>" for name in row.figures)
    return f"<table>{''.join(f'<tr>{each}</tr>' for each in cells)}</table>"


def _reliability(trainer: BinaryTrainer) -> str:
    bins = trainer.progressive.reliability()
    if not bins:
        return ""
    told = "Over the last answers: of whom it said so much, how many it was true of."
    return f"<h2>Reliability</h2><p>{told}</p>{reliability(bins)}"


def _losses(trainer: BinaryTrainer) -> str:
    if not trainer.history:
        return ""
    labels = [f"{examples:,}" for examples, _ in trainer.history]
    names: dict[str, None] = {name: None for _, sides in trainer.history for name in sides}
    series: dict[str, list[float | None]] = {
        name: [sides.get(name) for _, sides in trainer.history] for name in names
    }
    title, told = "Log-loss, predicted before it was learnt", "At each version, by examples."
    return f"<h2>{title}</h2><p>{told}</p>{lines(labels, series)}"


def _delays(trainer: BinaryTrainer) -> str:
    if not trainer.delays:
        return ""
    buckets = range(min(trainer.delays), max(trainer.delays) + 1)
    waits = {_seconds(bucket): trainer.delays[bucket] for bucket in buckets}
    told = "How long answers took, each bar up to the time below it."
    return f"<h2>Label delay</h2><p>{told}</p>{bars(waits)}"


def _counted(what: str, counts: dict[str, int]) -> str:
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"
    return f"<h2>{what}</h2><p>{told}</p>"


def _seconds(bucket: int) -> str:
    """The upper end of a bucket of `BinaryTrainer.delays`, such as `8s` or `3d`."""
    most = float(1 << bucket)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if most >= size:
            return f"{most / size:.0f}{unit}"
    return f"{most:.0f}s"
