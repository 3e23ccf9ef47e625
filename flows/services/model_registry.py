"""`millrace model`: what the trainers have learnt, and which version of it the shards score with.

Nothing here trains. What is shown comes from checkpoints and announcements; what is decided goes through the
directory as a record of all shards' logs (`pin:NAME`, `rollback:NAME`, `unpin:NAME`), so that a replay
decides the same at the same place. A promotion is a wish that the trainer grants with its next checkpoint,
once.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from flows.cli.tables import folded
from flows.lab.evaluate.charts import bars, lines, reliability
from flows.lab.evaluate.html import document
from flows.logic.models.announced import Snapshot
from flows.logic.models.best_action_trainer import BestActionTrainer
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.duel import Contested
from flows.logic.models.linear import Snapshot as Linear
from flows.logic.models.trainer import Trainer
from flows.logic.models.trainers import trainers
from flows.runtime.deployment import Deployment
from flows.runtime.snapshots import LEARN, PIN, ROLLBACK, UNPIN, open_snapshot, sender, sign_again
from schemas.config import Config
from schemas.errors import Foreign, Unusable
from schemas.records.shard_log import LogKind
from state.redis.client import reported

SHOWN = 20  # versions
_FIGURES = (
    *("log_loss", "auc", "ece", "brier", "base_rate", "delay_s", "hit_rate", "mrr"),
    *("earned", "gain", "gain_low", "gain_high", "sample"),
)


class Row(msgspec.Struct, frozen=True):
    """One model at one moment."""

    name: str
    version: int  # last announced; 0 is none yet
    in_force: dict[str, list[int]]  # kind of announcement -> its numbers in the shards
    champion: str
    examples: int
    figures: dict[str, float]  # progressive, of the champion
    contest: dict[str, dict[str, float]]  # of all learners
    drifts: dict[str, int]
    dropped: dict[str, int]
    promotions: int
    age_s: float | None  # since the last answer in the last version


def listing(config: Config, as_json: bool) -> int:
    with reported():
        rows = [_row(config, trainer) for trainer in _trained(config)]
    if as_json:
        print(msgspec.json.encode({"models": rows}).decode())
        return 0
    table = Table(box=None, pad_edge=False)
    for column in (
        "model",
        "version",
        "in force",
        "examples",
        "champion",
        "log-loss",
        "auc",
        "ece",
        "others' log-loss",
        "drifts",
        "age",
    ):
        table.add_column(column)
    folded(table)
    for row in rows:
        others = ", ".join(
            f"{name} {_figure(side, 'log_loss')}"
            for name, side in row.contest.items()
            if name != row.champion
        )
        table.add_row(
            *(row.name, str(row.version), _in_force(row), f"{row.examples:,}", row.champion),
            *(_figure(row.figures, name) for name in ("log_loss", "auc", "ece")),
            *(others, f"{sum(row.drifts.values())}", "-" if row.age_s is None else f"{row.age_s:,.0f} s"),
        )
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)
    return 0


def show(config: Config, name: str, as_json: bool) -> int:
    with reported():
        trainer = _find(config, name)
        row, last = _row(config, trainer), list(_versions(config, name))
    if as_json:
        print(msgspec.json.encode({"model": row, "versions": last}).decode())
        return 0
    print(
        f"{name}: {row.examples:,} examples, champion {row.champion}, promoted {row.promotions} times, in force: {_in_force(row)}"
    )
    for learner, figures in row.contest.items():
        print(
            f"  {learner:12} "
            + "  ".join(f"{figure} {_figure(figures, figure)}" for figure in _FIGURES if figure in figures)
        )
    for policy, (verdict, reason) in _verdicts(trainer).items():
        print(f"  {policy:18} {verdict}: {reason}")
    for what, counts in (("drifted", row.drifts), ("dropped", row.dropped)):
        print(f"  {what:10} " + (", ".join(f"{name} {n}" for name, n in sorted(counts.items())) or "nothing"))
    for snapshot in last:
        figures, learner = getattr(snapshot, "metrics", {}), getattr(snapshot, "learner", "")
        said = "  ".join(
            f"{figure} {_figure(figures, figure)}"
            for figure in ("log_loss", "auc", "ece", "hit_rate")
            if figure in figures
        )
        print(
            f"  version {snapshot.version:<6} {snapshot.examples:>9,} examples  {learner:8}  {said}".rstrip()
        )
    if last and isinstance(newest := last[0], Linear):
        print("  what it weighs most (per deviation, between the bends around the mean)")
        ranked = sorted(zip(newest.features, newest.weights, strict=True), key=lambda item: -abs(item[1]))
        for feature, weight in ranked[:8]:
            print(f"    {feature:14} {weight:+.4f}")
    return 0


def rollback(config: Config, name: str, to: int | None) -> int:
    """Raises `Unusable` where there is no such version."""
    with reported():
        _find(config, name)
        last = Deployment(config).directory.sent(sender(name))
        _again(config, ROLLBACK, name, to or last - 1)
    return 0


def pin(config: Config, name: str, to: int | None) -> int:
    """Raises `Unusable` where there is no such version."""
    with reported():
        _find(config, name)
        _again(config, PIN, name, to or Deployment(config).directory.sent(sender(name)))
    return 0


def unpin(config: Config, name: str) -> int:
    with reported():
        _find(config, name)
        who = sender(name, UNPIN)
        _announce(config, who, Deployment(config).directory.sent(who) + 1, b"")
    print(f"{name}: the last version is in force again, and those that follow")
    return 0


def promote(config: Config, name: str, learner: str) -> int:
    """Raises `Unusable` where nobody of that name learns."""
    with reported():
        found = _find(config, name)
        known = found.contest()
        if not isinstance(found, Contested):
            raise Unusable(f"{name} learns alone: it has no challenger")
        if learner not in known:
            raise Unusable(f"{name} has no learner {learner}, but {', '.join(known)}")
        Deployment(config).models.request_promotion(name, learner)
    print(f"{name}: {learner} becomes the champion with the next examples that are learnt")
    return 0


def export(config: Config, name: str, to: int | None, out: Path | None) -> int:
    """Raises `Unusable` where there is no such version."""
    with reported():
        _find(config, name)
        snapshot = _version(config, name, to or Deployment(config).directory.sent(sender(name)))
    written = msgspec.json.format(msgspec.json.encode(snapshot)) + b"\n"
    if out is None:
        sys.stdout.write(written.decode())
    else:
        out.write_bytes(written)
    return 0


def report(config: Config, name: str, html: Path) -> int:
    with reported():
        trainer = _find(config, name)
        page = _page(_row(config, trainer), trainer)
    html.write_text(page, encoding="utf-8")
    print(f"{html} written")
    return 0


# --- what there is
# --------------------------------------------------------------------------------------------------


def _trained(config: Config) -> Iterator[Trainer]:
    """The trainer of each configured model, as its last checkpoint has it; new where there is none. Raises
    `Foreign`."""
    store = Deployment(config).models
    for trainer in trainers(config):
        last = store.last(trainer.name)
        if last is not None:
            trainer.load(last.trainer)
        yield trainer


def _find(config: Config, name: str) -> Trainer:
    found = {trainer.name: trainer for trainer in _trained(config)}
    if name not in found:
        raise Unusable(f"there is no model {name}: configured are {', '.join(found)}")
    return found[name]


def _row(config: Config, trainer: Trainer) -> Row:
    deployment = Deployment(config)
    heads, name = deployment.shards.heads().values(), trainer.name
    version = deployment.directory.sent(sender(name))
    in_force: dict[str, list[int]] = {}
    for kind in (PIN, ROLLBACK, LEARN):
        numbers = sorted(
            {head.models[sender(name, kind)] for head in heads if sender(name, kind) in head.models}
        )
        if numbers:
            in_force[kind] = numbers
    age_s = max(time.time() - trainer.trained_ms / 1000, 0.0) if trainer.trained_ms else None
    return Row(
        *(name, version, in_force, trainer.champion, trainer.examples, trainer.figures(), trainer.contest()),
        *(dict(trainer.drifts), dict(trainer.dropped), trainer.promotions, age_s),
    )


def _versions(config: Config, name: str) -> Iterator[Snapshot]:
    """The last ones that were learnt and can still be read, newest first."""
    last = Deployment(config).directory.sent(sender(name))
    for version in range(last, max(last - SHOWN, 0), -1):
        try:
            yield _version(config, name, version)
        except Unusable:
            continue


def _version(config: Config, name: str, version: int) -> Snapshot:
    deployment = Deployment(config)
    body = deployment.directory.body(LogKind.MODEL, sender(name), version) if version > 0 else None
    if body is None:
        raise Unusable(f"{name} has no version {version}")
    try:
        found = open_snapshot(deployment.signer, name, body)
    except Foreign as error:
        raise Unusable(f"{name}: version {version} cannot be used: {error}") from None
    return found.snapshot


# --- what is decided
# ------------------------------------------------------------------------------------------------


def _again(config: Config, kind: str, name: str, version: int) -> None:
    """Announce a snapshot of before once more."""
    deployment = Deployment(config)
    packed, who = _version(config, name, version).pack(), sender(name, kind)
    number = deployment.directory.sent(who) + 1
    _announce(config, who, number, sign_again(deployment.signer, who, number, packed))
    until = "until it is unpinned" if kind == PIN else "until the next version is learnt"
    print(f"{name}: version {version} is in force {until}")


def _announce(config: Config, who: str, number: int, body: bytes) -> None:
    if not Deployment(config).directory.announce(LogKind.MODEL, who, number, number, body):
        raise Unusable(f"{who}: somebody else has just done the same; look with `millrace model list`")


# --- how it is shown
# ------------------------------------------------------------------------------------------------


def _verdicts(trainer: Trainer) -> dict[str, tuple[str, str]]:
    """Of each policy in the shadow of the one that decides."""
    return trainer.verdicts() if isinstance(trainer, BestActionTrainer) else {}


def _figure(figures: dict[str, float], name: str) -> str:
    return f"{figures[name]:.4f}" if name in figures else "-"


def _in_force(row: Row) -> str:
    """The kind that decides: a pin, a version that was gone back to, or the last that was learnt."""
    for kind, numbers in row.in_force.items():
        return (
            f"{', '.join(map(str, numbers))}" if kind == LEARN else f"{kind} {', '.join(map(str, numbers))}"
        )
    return "none"


def _page(row: Row, trainer: Trainer) -> str:
    title = f"Model {row.name}"
    columns = [name for name in _FIGURES if any(name in figures for figures in row.contest.values())]
    head = "".join(f"<th>{name}</th>" for name in ("learner", *columns))
    body = "".join(
        f"<tr{' class=own' if learner == row.champion else ''}><td>{learner}</td>"
        + "".join(f"<td>{_figure(figures, name)}</td>" for name in columns)
        + "</tr>"
        for learner, figures in row.contest.items()
    )
    told = f"{row.examples:,} examples, version {row.version}, champion {row.champion}, promoted {row.promotions} times."
    parts = [
        f"<h1>{title}</h1><p>{told}</p>",
        f"<table><tr>{head}</tr>{body}</table>",
    ]
    if not isinstance(trainer, BinaryTrainer):
        rows = "".join(
            f"<tr><td>{name}</td><td>{_figure(row.figures, name)}</td></tr>" for name in row.figures
        )
        return document(title, [*parts, f"<table>{rows}</table>"])
    bins = trainer.progressive.reliability()
    if bins:
        parts.append(
            f"<h2>Reliability</h2><p>Over the last answers: of whom it said so much, how many it was true of.</p>{reliability(bins)}"
        )
    if trainer.history:
        labels = [f"{examples:,}" for examples, _ in trainer.history]
        names: dict[str, None] = {name: None for _, sides in trainer.history for name in sides}
        series: dict[str, list[float | None]] = {
            name: [sides.get(name) for _, sides in trainer.history] for name in names
        }
        parts.append(
            f"<h2>Log-loss, predicted before it was learnt</h2><p>At each version, by examples.</p>{lines(labels, series)}"
        )
    if trainer.delays:
        waits = {
            _seconds(bucket): trainer.delays[bucket]
            for bucket in range(min(trainer.delays), max(trainer.delays) + 1)
        }
        parts.append(
            f"<h2>Label delay</h2><p>How long answers took, each bar up to the time below it.</p>{bars(waits)}"
        )
    for what, counts in (("Drift alarms", row.drifts), ("Dropped examples", row.dropped)):
        told = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"
        parts.append(f"<h2>{what}</h2><p>{told}</p>")
    return document(title, parts)


def _seconds(bucket: int) -> str:
    """The upper end of a bucket of `BinaryTrainer.delays`, such as `8s` or `3d`."""
    most = float(1 << bucket)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if most >= size:
            return f"{most / size:.0f}{unit}"
    return f"{most:.0f}s"
