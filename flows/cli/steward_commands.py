"""The commands `millrace identity ...` and `millrace review ...`.

Each calls one function of `flows.cli.identity_screen` or `flows.cli.review_screen`, imported when it is
needed.
"""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import AsJson, ConfigFile
from schemas import bilingual
from schemas.config import Config
from schemas.config.toml import load

identity = typer.Typer(no_args_is_help=True, help="Who a customer is and why; unite and part customers.")
review = typer.Typer(no_args_is_help=True, help="Pairs of customers that may be one, for a person to decide.")

Lang = Annotated[bilingual.Lang, typer.Option(help="The language of evidence.")]
Who = Annotated[
    str, typer.Argument(metavar="NAMESPACE:VALUE", help="Such as email:ana@example.org, or customer:HEX.")
]
Reason = Annotated[str, typer.Option(help="Why; the ledger keeps it.")]
PairId = Annotated[str, typer.Argument(metavar="ID", help="Of `review list`, or how it begins.")]


def _load(path: Path | None) -> Config:
    """Stewards send nothing to a receiver: its secret may be missing."""
    return load(path, secrets=False)


@identity.command("show")
def identity_show(who: Who, lang: Lang = "en", as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Print a customer's identifiers, what united them, who is kept apart, what waits for a decision."""
    from flows.cli.identity_screen import show

    return show(_load(config), who, lang, as_json)


@identity.command("history")
def identity_history(who: Who, lang: Lang = "en", as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Print each union and undo of a customer, and the triggers that went out while it was united."""
    from flows.cli.identity_screen import history

    return history(_load(config), who, lang, as_json)


@identity.command("link")
def identity_link(
    one: Who,
    other: Who,
    force: Annotated[bool, typer.Option("--force", help="Though both are verified.")] = False,
    reason: Reason = "",
    config: ConfigFile = None,
) -> int:
    """Unite two customers."""
    from flows.cli.identity_screen import order

    return order(_load(config), "link", (one, other), forced=force, reason=reason)


@identity.command("unlink")
def identity_unlink(one: Who, other: Who, reason: Reason = "", config: ConfigFile = None) -> int:
    """Undo the last union that made these two one; without one, the second becomes a customer of its own."""
    from flows.cli.identity_screen import order

    return order(_load(config), "unlink", (one, other), reason=reason)


@identity.command("apart")
def identity_apart(one: Who, other: Who, reason: Reason = "", config: ConfigFile = None) -> int:
    """Never unite these two."""
    from flows.cli.identity_screen import order

    return order(_load(config), "apart", (one, other), reason=reason)


@identity.command("release")
def identity_release(
    who: Annotated[
        str, typer.Argument(metavar="NAMESPACE:VALUE", help="Or identifier:HEX, as `suspended` lists it.")
    ],
    config: ConfigFile = None,
) -> int:
    """Make a suspended identifier evidence again."""
    from flows.cli.identity_screen import order

    return order(_load(config), "release", (who,))


@identity.command("suspended")
def identity_suspended(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """List the identifiers that are evidence no longer."""
    from flows.cli.identity_screen import suspended

    return suspended(_load(config), as_json)


@identity.command("recent")
def identity_recent(
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="The newest so many.")] = 20,
    lang: Lang = "en",
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """List the last unions, undos, pairs put to review and suspensions, a line each."""
    from flows.cli.identity_screen import recent

    return recent(_load(config), limit, lang, as_json)


@identity.command("unmerge")
def identity_unmerge(
    target: Annotated[
        str | None,
        typer.Argument(metavar="UNION|NAMESPACE:VALUE", help="A number in the ledger, or a customer."),
    ] = None,
    rule: Annotated[
        str | None, typer.Option(metavar="event|match|link|SOURCE", help="All unions made by this.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="All from then on: 2026-01-31T12:00:00Z, or 30m ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="And before then.")] = None,
    identifier: Annotated[
        str | None,
        typer.Option(
            metavar="NAMESPACE:VALUE", help="Whose evidence this is, such as a user id sent for everybody."
        ),
    ] = None,
    rate: Annotated[
        str, typer.Option(metavar="N/s", help="At most so many a second (up to 1000).")
    ] = "100/s",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before many are undone.")] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Undo unions: one, those of a customer, or all that fit. Started again it goes on where it was."""
    from flows.cli.identity_screen import Selection, unmerge

    chosen = Selection(target=target, rule=rule, since=since, until=until, identifier=identifier)
    if (target is not None) == chosen.wants_many():
        raise typer.BadParameter(
            "give a union or a customer, or some of --rule, --since, --until, --identifier"
        )
    number = rate.removesuffix("/s")
    if not number.isdecimal() or not 1 <= int(number[:9]) <= 1_000:
        raise typer.BadParameter(f"--rate {rate}: expected from 1/s to 1000/s")
    return unmerge(
        _load(config), chosen, int(number), dry_run, lambda what: yes or typer.confirm(f"{what}?"), as_json
    )


@review.command("list")
def review_list(
    limit: Annotated[int, typer.Option(min=1, help="The oldest so many.")] = 50,
    after: Annotated[
        str, typer.Option(metavar="NEXT", help="Those behind a page before: what it ended with.")
    ] = "",
    lang: Lang = "en",
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """List the pairs that wait, the oldest first."""
    from flows.cli.review_screen import listing

    return listing(_load(config), after, limit, lang, as_json)


@review.command("show")
def review_show(pair: PairId, lang: Lang = "en", as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Print both sides and the evidence for and against."""
    from flows.cli.review_screen import show

    return show(_load(config), pair, lang, as_json)


@review.command("accept")
def review_accept(pair: PairId, reason: Reason = "", config: ConfigFile = None) -> int:
    """They are one: unite them, and let matching learn from it."""
    from flows.cli.review_screen import decide

    return decide(_load(config), pair, "accept", reason)


@review.command("reject")
def review_reject(pair: PairId, reason: Reason = "", config: ConfigFile = None) -> int:
    """They are not one: never unite them, and let matching learn from it."""
    from flows.cli.review_screen import decide

    return decide(_load(config), pair, "reject", reason)


@review.command("unsure")
def review_unsure(pair: PairId, reason: Reason = "", config: ConfigFile = None) -> int:
    """Nobody can tell: take the pair off the queue."""
    from flows.cli.review_screen import decide

    return decide(_load(config), pair, "unsure", reason)
