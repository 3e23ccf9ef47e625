"""The commands `millrace subject ...`: what customers may ask of their own data.

Each calls one function of `flows.cli.subject_screen`, imported when it is needed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import AsJson, ConfigFile
from schemas import bilingual
from schemas.config import Config
from schemas.config.toml import load
from schemas.records.privacy_requests import Right

subject = typer.Typer(no_args_is_help=True, help="What customers ask of their own data: erasure, requests.")
receipt = typer.Typer(no_args_is_help=True, help="Signed receipts of erasures, and whether one is genuine.")
subject.add_typer(receipt, name="receipt")

Who = Annotated[
    str,
    typer.Argument(metavar="ID|NAMESPACE:VALUE", help="A customer's id, or such as email:ana@example.org."),
]
What = Annotated[str, typer.Option("--reason", help="What is asked for. No personal data.")]
Request = Annotated[
    str, typer.Argument(metavar="REQUEST|ID", help="The id of a request, or of its customer.")
]


def _load(path: Path | None) -> Config:
    """Nothing is sent to a receiver from here: its secret may be missing."""
    return load(path, secrets=False)


@subject.command("erase")
def subject_erase(
    who: Who,
    reason: Annotated[str, typer.Option(help="Why; the request keeps it. No personal data.")] = "",
    suppress: Annotated[
        bool, typer.Option("--suppress", help="Drop what names the customer from then on.")
    ] = False,
    wait: Annotated[int, typer.Option(min=0, metavar="SECONDS", help="How long to wait for it.")] = 60,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Erase a customer for good; ends with a signed receipt. Exit code 3 where it goes on by itself."""
    from flows.cli.subject_screen import erase

    if not yes and not typer.confirm(f"erase {who} for good?"):
        return 1
    return erase(_load(config), who, reason, wait, suppress=suppress, as_json=as_json)


@subject.command("unsuppress")
def subject_unsuppress(
    identifier: Annotated[str, typer.Argument(metavar="NAMESPACE:VALUE", help="Such as user_id:ana.")],
    config: ConfigFile = None,
) -> int:
    """Take events that name this identifier again."""
    from flows.cli.subject_screen import unsuppress

    return unsuppress(_load(config), identifier)


@subject.command("hold")
def subject_hold(who: Who, reason: What, config: ConfigFile = None) -> int:
    """Keep a customer from being erased, by retention or by a request: there is a dispute, or a duty."""
    from flows.cli.subject_screen import hold

    return hold(_load(config), who, reason)


@subject.command("release")
def subject_release(who: Who, config: ConfigFile = None) -> int:
    """Take a customer off hold. 1 if it was not on hold."""
    from flows.cli.subject_screen import release

    return release(_load(config), who)


@subject.command("held")
def subject_held(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """List who is on hold, since when and why."""
    from flows.cli.subject_screen import held

    return held(_load(config), as_json)


@subject.command("export")
def subject_export(
    who: Who,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="A page for the customer, instead of JSON.")
    ] = None,
    lang: Annotated[bilingual.Lang, typer.Option(help="The language of the page.")] = "en",
    config: ConfigFile = None,
) -> int:
    """Print everything that is held of a customer, in the clear, as one JSON object."""
    from flows.cli.subject_screen import export

    return export(_load(config), who, html, lang)


@subject.command("consent")
def subject_consent(
    who: Who,
    words: Annotated[
        list[str] | None,
        typer.Option("--say", metavar="THING=WORD", help="Such as marketing=no, email=no, mode=basic."),
    ] = None,
    version: Annotated[str, typer.Option(help="Of the text that was agreed to.")] = "",
    wait: Annotated[int, typer.Option(min=0, metavar="SECONDS", help="How long to wait for it.")] = 15,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Print what a customer allows, and take down what it says anew. Exit code 3 where `resolve` has not come
    to it yet."""
    from flows.cli.subject_screen import show_consent

    return show_consent(_load(config), who, words or [], version, wait, as_json)


@subject.command("confirm")
def subject_confirm(
    who: Who,
    purpose: Annotated[str, typer.Argument(help="A purpose that needs a confirmation, such as sharing.")],
    code: Annotated[str, typer.Option(help="What the customer was sent; without it a code is sent.")] = "",
    version: Annotated[str, typer.Option(help="Of the text that was agreed to.")] = "",
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Send a customer a code, and with it take the customer's yes to a purpose that needs one."""
    from flows.cli.subject_screen import confirm

    # what sends the code needs its secret
    return confirm(load(config) if not code else _load(config), who, purpose, code, version, as_json)


@subject.command("correct")
def subject_correct(who: Who, reason: What, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Note that a customer asks for a correction, with the date by which it is due."""
    return _ask("correct", who, reason, as_json, config)


@subject.command("restrict")
def subject_restrict(who: Who, reason: What, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Refuse all purposes that the customer is asked for, and note what people have to see to besides."""
    return _ask("restrict", who, reason, as_json, config)


@subject.command("object")
def subject_object(
    who: Who,
    reason: What,
    purpose: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this one; several times. Without it all that are asked for."),
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Refuse purposes for a customer who objects to them; done at once."""
    return _ask("object", who, reason, as_json, config, purpose or ())


@subject.command("move")
def subject_move(who: Who, reason: What, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Note that a customer asks for the data to be handed to somebody else; `export` gives it."""
    return _ask("move", who, reason, as_json, config)


@subject.command("complain")
def subject_complain(who: Who, reason: What, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Note a customer's complaint, with the date by which it is due."""
    return _ask("complain", who, reason, as_json, config)


def _ask(
    right: Right, who: str, reason: str, as_json: bool, config: Path | None, purposes: Sequence[str] = ()
) -> int:
    from flows.cli.subject_screen import ask

    return ask(_load(config), right, who, reason, as_json, purposes)


@subject.command("close")
def subject_close(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="Its id.")],
    refused: Annotated[bool, typer.Option("--refused", help="It was refused, for this reason.")] = False,
    reason: Annotated[str, typer.Option(help="What was done, or why not. No personal data.")] = "",
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Note that people have answered a request; an erasure ends by itself."""
    from flows.cli.subject_screen import close

    return close(_load(config), request, not refused, reason, as_json)


@subject.command("cancel")
def subject_cancel(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="Its id.")],
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Take a request back that has not begun; an erasure begins after `rights.grace`."""
    from flows.cli.subject_screen import cancel

    return cancel(_load(config), request, as_json)


@subject.command("status")
def subject_status(request: Request, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Print how far a request has come, or those of a customer."""
    from flows.cli.subject_screen import status

    return status(_load(config), request, as_json)


@subject.command("list")
def subject_list(
    unfinished: Annotated[bool, typer.Option("--open", help="Only those that are not done.")] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """List all requests, when each is due, and how far it has come."""
    from flows.cli.subject_screen import listing

    return listing(_load(config), unfinished, as_json)


@receipt.command("show")
def receipt_show(request: Request, config: ConfigFile = None) -> int:
    """Print the signed receipt, as it is to be handed over."""
    from flows.cli.subject_screen import show_receipt

    return show_receipt(_load(config), request)


@receipt.command("key")
def receipt_key(config: ConfigFile = None) -> int:
    """Print the public key that verifies receipts; it may be handed to anybody."""
    from flows.cli.subject_screen import show_key

    return show_key(_load(config))


@receipt.command("verify")
def receipt_verify(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A receipt.")],
    key: Annotated[
        str | None, typer.Option(metavar="BASE64", help="The public key; without it this deployment's own.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Say whether a receipt is genuine and unchanged, and what it says."""
    from flows.cli.subject_screen import verify

    return verify(None if key else _load(config), file, key, as_json)
