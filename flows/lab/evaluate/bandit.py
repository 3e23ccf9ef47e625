"""`millrace eval bandit`: next best action on a history of the user's own.

With full information (the reward of every action is known) each policy plays the history in its order and is
shown the reward of the action that it chose and no other. With a log (one action, its reward and propensity)
other policies are judged off-policy.
"""

from typing import Annotated, Any

import typer

from flows.lab.evaluate.eval_options import AsJson, Encoding, File, Html, Lang
from flows.logic.bandit.settings import Settings

_NOT_SHOWN = ("curves", "context", "fractions")  # for the report only


def bandit(
    file: File,
    context: Annotated[
        str, typer.Option(help="Columns of the context: names, `x*`, `x0:x49`, with commas.")
    ] = "",
    rewards: Annotated[
        str,
        typer.Option("--rewards", "--arms", help="Full information: one column of rewards for each action."),
    ] = "",
    logged: Annotated[
        bool, typer.Option("--logged", help="A log of decisions: judge other policies off-policy.")
    ] = False,
    action: Annotated[str, typer.Option(help="Logged: the column of the action taken.")] = "",
    reward: Annotated[str, typer.Option(help="Logged: the column of its reward.")] = "",
    propensity: Annotated[str, typer.Option(help="Logged: the column of its probability.")] = "",
    floor: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of uniform choices.")
    ] = Settings().floor,
    half_life: Annotated[
        int, typer.Option(min=0, help="Examples after which one counts half; 0 forgets nothing.")
    ] = 0,
    encoding: Encoding = None,
    lang: Lang = "en",
    as_json: AsJson = False,
    html: Html = None,
) -> None:
    """Which policy would have earned the most, on your own history."""
    import msgspec

    from flows.lab.evaluate import verdict_output
    from flows.lab.evaluate.bandit_advice import of_log, of_rounds
    from flows.lab.evaluate.bandit_page import page
    from flows.lab.evaluate.bandit_play import judge_log, play_all
    from flows.lab.evaluate.bandit_table import no_context
    from flows.lab.evaluate.input_table import read

    table = read(file, encoding)
    if logged:
        if rewards or not (action and reward and propensity):
            raise typer.BadParameter(
                "--logged goes with --action, --reward and --propensity, and without --rewards"
            )
        figures = judge_log(
            table, context, action, reward, propensity, Settings(floor=floor, half_life=half_life)
        )
    elif not rewards:
        raise typer.BadParameter(
            "give --rewards (the reward of every action), or --logged with "
            "--action, --reward and --propensity"
        )
    else:
        figures = play_all(table, context, rewards, floor, half_life)
    advice = of_log(figures) if logged else of_rounds(figures)
    notes = [*([] if context else [no_context(table, figures["context"], logged=logged)]), *table.notes]
    verdict_output.write(html, page(file.name, figures, advice, notes, lang) if html else "")
    shown = {name: value for name, value in figures.items() if name not in _NOT_SHOWN}
    if as_json:
        print(msgspec.json.encode(shown | {"notes": [note.en for note in notes]}).decode())
    else:
        verdict_output.tell(advice, lang, verdict_output.wide())
        print("\n".join([*_lines(shown), *(note.of(lang) for note in notes)]))


def _lines(figures: dict[str, Any]) -> list[str]:
    lines = [
        f"{name:24} {value:.4f}" if isinstance(value, float) else f"{name:24} {value}"
        for name, value in figures.items()
        if name not in ("policies", "over_best_constant")
    ]
    for policy, entry in figures["policies"].items():
        told = (
            f"  {entry['verdict']}: {entry['reason']}"
            if "verdict" in entry
            else f"  second half {entry['second_half']:.4f}"
        )
        lines.append(f"{policy:24} {entry['mean_reward']:.4f}{told}")
    return lines
