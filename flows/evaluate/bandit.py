"""`millrace eval bandit`: next best action on a history of the user's own.

With full information (the reward of every action is known) each policy plays the history in its order and is shown the
reward of the action that it chose and no other. With a log (one action, its reward and propensity) other policies are
judged off-policy.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.logic.bandit.settings import Settings


def bandit(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A CSV file with a header, also .csv.gz.")],
    context: Annotated[str, typer.Option(help="Columns of the context: names, `x*`, `x0:x49`, with commas.")] = "",
    rewards: Annotated[str, typer.Option("--rewards", "--arms", help="Full information: one column of rewards for each action.")] = "",
    logged: Annotated[bool, typer.Option("--logged", help="A log of decisions: judge other policies off-policy.")] = False,
    action: Annotated[str, typer.Option(help="Logged: the column of the action taken.")] = "",
    reward: Annotated[str, typer.Option(help="Logged: the column of its reward.")] = "",
    propensity: Annotated[str, typer.Option(help="Logged: the column of its probability.")] = "",
    floor: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of uniform choices.")] = Settings().floor,
    half_life: Annotated[int, typer.Option(min=0, help="Examples after which one counts half; 0 forgets nothing.")] = 0,
    html: Annotated[Path | None, typer.Option(help="Write a report with charts to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Which policy would have earned the most, on your own history."""
    import msgspec

    from flows.evaluate.bandit_page import page
    from flows.evaluate.bandit_play import judge_log, play_all
    from flows.evaluate.table import read

    table = read(file)
    if logged:
        if rewards or not (action and reward and propensity):
            raise typer.BadParameter("--logged goes with --action, --reward and --propensity, and without --rewards")
        figures = judge_log(table, context, action, reward, propensity, Settings(floor=floor, half_life=half_life))
    elif not rewards:
        raise typer.BadParameter("give --rewards (the reward of every action), or --logged with --action, --reward and --propensity")
    else:
        figures = play_all(table, context, rewards, floor, half_life)
    figures |= {"notes": table.notes} if table.notes else {}
    if html is not None:
        html.write_text(page(file.name, figures), encoding="utf-8")
    print(
        msgspec.json.encode({name: value for name, value in figures.items() if name != "curves"}).decode() if as_json else _lines(figures)
    )


def _lines(figures: dict[str, Any]) -> str:
    lines = [
        f"{name:24} {value:.4f}" if isinstance(value, float) else f"{name:24} {value}"
        for name, value in figures.items()
        if name not in ("policies", "curves", "notes")
    ]
    lines += figures.get("notes", [])
    for policy, entry in figures["policies"].items():
        told = f"  {entry['verdict']}: {entry['reason']}" if "verdict" in entry else f"  second half {entry['second_half']:.4f}"
        lines.append(f"{policy:24} {entry['mean_reward']:.4f}{told}")
    return "\n".join(lines)
