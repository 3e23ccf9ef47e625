"""`millrace model`: what the trainers have learnt, and an operator's word on it."""

import sys
from pathlib import Path

import msgspec
from rich.table import Table

from flows.cli.printing import console, folded
from flows.logic.models.announced import Snapshot
from flows.logic.models.linear import Snapshot as Linear
from flows.runtime.deployment import Deployment
from flows.runtime.snapshots import LEARN
from flows.services import model_registry
from flows.services.model_registry import FIGURES, Row
from flows.services.pages.model_page import figure_text, page
from schemas.config import Config

_COLUMNS = (
    *("model", "version", "in force", "examples", "champion", "log-loss", "auc", "ece"),
    *("others' log-loss", "drifts", "age"),
)


def listing(config: Config, as_json: bool) -> int:
    """Print all of them, a line each."""
    rows = model_registry.rows(Deployment(config))
    if as_json:
        print(msgspec.json.encode({"models": rows}).decode())
        return 0
    table = folded(Table(*_COLUMNS, box=None, pad_edge=False))
    for row in rows:
        table.add_row(*_cells(row))
    console().print(table)
    return 0


def _cells(row: Row) -> tuple[str, ...]:
    others = ", ".join(
        f"{name} {figure_text(side, 'log_loss')}"
        for name, side in row.contest.items()
        if name != row.champion
    )
    return (
        row.name,
        str(row.version),
        _in_force(row),
        f"{row.examples:,}",
        row.champion,
        *(figure_text(row.figures, name) for name in ("log_loss", "auc", "ece")),
        others,
        f"{sum(row.drifts.values())}",
        "-" if row.age_s is None else f"{row.age_s:,.0f} s",
    )


def show(config: Config, name: str, as_json: bool) -> int:
    """Print one with its last versions. Raises `Unusable` where there is none."""
    found = model_registry.shown(Deployment(config), name)
    if as_json:
        print(msgspec.json.encode({"model": found.row, "versions": found.versions}).decode())
        return 0
    row = found.row
    print(
        f"{name}: {row.examples:,} examples, champion {row.champion}, promoted {row.promotions} times, "
        f"in force: {_in_force(row)}"
    )
    for learner, figures in row.contest.items():
        print(f"  {learner:12} {_said(figures, FIGURES)}")
    for policy, (verdict, reason) in found.verdicts.items():
        print(f"  {policy:18} {verdict}: {reason}")
    for what, counts in (("drifted", row.drifts), ("dropped", row.dropped)):
        said = ", ".join(f"{name} {n}" for name, n in sorted(counts.items())) or "nothing"
        print(f"  {what:10} {said}")
    for snapshot in found.versions:
        print(_version(snapshot))
    if found.versions and isinstance(newest := found.versions[0], Linear):
        _print_weights(newest)
    return 0


def _said(figures: dict[str, float], names: tuple[str, ...]) -> str:
    return "  ".join(f"{name} {figure_text(figures, name)}" for name in names if name in figures)


def _version(snapshot: Snapshot) -> str:
    said = _said(getattr(snapshot, "metrics", {}), ("log_loss", "auc", "ece", "hit_rate"))
    learner = getattr(snapshot, "learner", "")
    return f"  version {snapshot.version:<6} {snapshot.examples:>9,} examples  {learner:8}  {said}".rstrip()


def _print_weights(newest: Linear) -> None:
    print("  what it weighs most (per deviation, between the bends around the mean)")
    ranked = sorted(zip(newest.features, newest.weights, strict=True), key=lambda item: -abs(item[1]))
    for feature, weight in ranked[:8]:
        print(f"    {feature:14} {weight:+.4f}")


def rollback(config: Config, name: str, to: int | None) -> int:
    """Score with an older version until the next one is learnt. Raises `Unusable` where there is none."""
    version = model_registry.rollback(Deployment(config), name, to)
    print(f"{name}: version {version} is in force until the next version is learnt")
    return 0


def pin(config: Config, name: str, to: int | None) -> int:
    """Score with one version until it is unpinned. Raises `Unusable` where there is no such version."""
    version = model_registry.pin(Deployment(config), name, to)
    print(f"{name}: version {version} is in force until it is unpinned")
    return 0


def unpin(config: Config, name: str) -> int:
    """Score with the last version again, and with those that follow."""
    model_registry.unpin(Deployment(config), name)
    print(f"{name}: the last version is in force again, and those that follow")
    return 0


def promote(config: Config, name: str, learner: str) -> int:
    """Make a learner the champion. Raises `Unusable` where nobody of that name learns."""
    model_registry.promote(Deployment(config), name, learner)
    print(f"{name}: {learner} becomes the champion with the next examples that are learnt")
    return 0


def export(config: Config, name: str, to: int | None, out: Path | None) -> int:
    """Write a version as JSON, to standard output where there is no `out`. Raises `Unusable` where there is
    no such version."""
    snapshot = model_registry.snapshot(Deployment(config), name, to)
    written = msgspec.json.format(msgspec.json.encode(snapshot)) + b"\n"
    if out is None:
        sys.stdout.write(written.decode())
    else:
        out.write_bytes(written)
    return 0


def report(config: Config, name: str, html: Path) -> int:
    """Write the page of a model."""
    html.write_text(page(Deployment(config), name), encoding="utf-8")
    print(f"{html} written")
    return 0


def _in_force(row: Row) -> str:
    """The kind that decides: a pin, a version that was gone back to, or the last that was learnt."""
    for kind, numbers in row.in_force.items():
        return (
            f"{', '.join(map(str, numbers))}" if kind == LEARN else f"{kind} {', '.join(map(str, numbers))}"
        )
    return "none"
