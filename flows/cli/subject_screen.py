"""What `millrace subject` prints."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from flows.cli.printing import console, folded, moment_text, print_json, printable
from flows.runtime.deployment import Deployment
from flows.services.retention import holds
from flows.services.subjects import confirming, consenting, exporting, objecting, requests
from schemas.bilingual import Lang
from schemas.config import Config
from schemas.errors import Unusable
from schemas.records.privacy_requests import PrivacyRequest, Right, Step

GOES_ON = 3  # the exit code where what was asked is not done yet
_WAITS = {
    Step.ASKED: "waits until what came in before is resolved",
    Step.DETACHED: "waits for `profile`, `deliver` and `match` to hand over what is on its way",
    Step.SETTLED: "the directory forgets it next",
    Step.GONE: "waits for `profile` and `learn`",
    Step.SWEPT: "waits for receivers to answer",
}


def erase(config: Config, who: str, reason: str, wait_s: int, *, suppress: bool, as_json: bool) -> int:
    """Ask for an erasure and wait for it. Raises `Unusable` where nobody is known so, `Unreachable`."""
    deployment, out = Deployment(config), Console(highlight=False, soft_wrap=True)
    asked = requests.erase(deployment, who, by="command", note=reason, suppress=suppress)
    if asked.already and not as_json:
        out.print(f"{asked.request.id} was asked for before: nothing new is begun", markup=False)

    def told(request: PrivacyRequest) -> None:
        if not as_json:
            out.print(f"{request.id} {request.step}", markup=False)

    found = requests.wait(deployment, asked.request.id, wait_s, told)
    if as_json:
        print_json({**requests.plain(found), "already": asked.already})
    elif found.step == Step.CANCELLED:
        out.print("it was taken back", markup=False)
    elif found.step == Step.ASKED and found.begins_ms > time.time() * 1000:
        begins = moment_text(found.begins_ms)
        out.print(
            f"begins {begins}; until then `millrace subject cancel {found.id}` takes it back", markup=False
        )
    elif found.step != Step.DONE:
        out.print(f"{_WAITS[found.step]}; `millrace run privacy` carries it on", markup=False)
    elif found.receipt:
        out.print(f"done; `millrace subject receipt show {found.id}` prints the receipt", markup=False)
    else:
        out.print(found.note or f"done by {found.joined}, whose receipt it is", markup=False)
    return 0 if found.step == Step.DONE else GOES_ON


def unsuppress(config: Config, named: str) -> int:
    """Take events of an identifier again. Raises `Unusable`, `Unreachable`."""
    if not requests.unsuppress(Deployment(config), named):
        print(f"{named} is not suppressed", file=sys.stderr)
        return 1
    print(f"events that name {named} are taken again")
    return 0


def hold(config: Config, who: str, reason: str) -> int:
    """Put a customer on hold. Raises `Unusable` where nobody is known so, `Unreachable`."""
    print(f"{holds.hold(Deployment(config), who, by='command', note=reason)} is on hold: not erased")
    return 0


def release(config: Config, who: str) -> int:
    """Take a customer off hold. Raises `Unusable` where nobody is known so, `Unreachable`."""
    released = holds.release(Deployment(config), who)
    print("released: it is erased again when it is due, or asked for" if released else "it was not on hold")
    return 0 if released else 1


def held(config: Config, as_json: bool) -> int:
    """List who is on hold. Raises `Unreachable`."""
    found = holds.everything(Deployment(config))
    if as_json:
        print_json(found)
        return 0
    table = folded(Table("customer", "since", "by", "reason"))
    for one in found:
        table.add_row(one["customer"], one["since"], one["by"], printable(one["note"]))
    console().print(table)
    return 0


def export(config: Config, who: str, html: Path | None, lang: Lang) -> int:
    """Print all that is held of a customer, or write it as a page. Raises `Unusable`, `Unreachable`,
    `OSError`."""
    found = exporting.export(Deployment(config), who)
    if html is None:
        print_json(found)
        return 0
    from flows.services.pages.subject_page import page

    html.touch(mode=0o600)  # before there is anything in it
    html.write_text(page(found, lang), encoding="utf-8")
    print(f"written to {html}")
    return 0


def show_consent(config: Config, who: str, said: list[str], version: str, wait_s: int, as_json: bool) -> int:
    """Print what a customer allows, after what it says now. Raises `Unusable`, `Unreachable`."""
    deployment, holds = Deployment(config), True
    if said:
        words: dict[str, bool | str] = dict(_word(one) for one in said)
        consenting.say(deployment, who, words, by="command", version=version)
        holds = consenting.holds(deployment, who, words, wait_s=wait_s)
    found = consenting.said(deployment, who)
    if as_json:
        print_json({**msgspec.to_builtins(found), "holds": holds})
        return 0 if holds else GOES_ON
    out = console()
    table = folded(Table("purpose", "allowed", "not by", "not with"))
    for one in found.purposes:
        allowed = "required" if one.required else "yes" if one.allowed else "no"
        not_by = [name for name, may in one.channels.items() if not may] if one.allowed else []
        not_with = [name for name, may in one.categories.items() if not may] if one.allowed else []
        table.add_row(one.purpose, allowed, ", ".join(not_by), ", ".join(not_with))
    out.print(table)
    if found.words:
        spoken = folded(Table("said", "word", "when", "by", "version", "proof"))
        for word in found.words:
            spoken.add_row(
                printable(word.thing),
                "yes" if word.granted else "no",
                moment_text(word.at_ms),
                printable(word.channel),
                printable(word.version),
                printable(word.proof),
            )
        out.print(spoken)
    else:
        out.print("nothing was said: this is what holds before any word", markup=False)
    if not holds:
        out.print("what was said now waits in the raw log: `millrace run` carries it out", markup=False)
    return 0 if holds else GOES_ON


def confirm(config: Config, who: str, purpose: str, code: str, version: str, as_json: bool) -> int:
    """Send a code, or take the yes that it confirms. Raises `Unusable`, `Unreachable`."""
    deployment = Deployment(config)
    if code:
        proof = confirming.confirm(deployment, who, purpose, code, by="command", version=version)
        if as_json:
            print_json({"purpose": purpose, "proof": proof})
        else:
            print(f"taken, with {proof} as its proof: `millrace subject consent` shows when it counts")
        return 0
    sent = confirming.ask(deployment, who, purpose)
    if as_json:
        print_json(sent)
        return 0
    for name, said in sent.to.items():
        print(f"{name}: {printable(said)}")
    print(f"the code holds until {moment_text(sent.until_ms)}")
    return 0


def _word(said: str) -> tuple[str, str]:
    thing, equals, word = said.partition("=")
    if not (thing and equals and word):
        raise Unusable(f"expected THING=WORD, such as marketing=no; got {said!r}")
    return thing, word


def ask(
    config: Config, right: Right, who: str, reason: str, as_json: bool, purposes: Sequence[str] = ()
) -> int:
    """Note a request that people answer. Raises `Unusable`, `Unreachable`."""
    asked = objecting.ask(Deployment(config), right, who, by="command", note=reason, purposes=purposes)
    return _show(asked.request, as_json)


def close(config: Config, name: str, done: bool, reason: str, as_json: bool) -> int:
    """Note that a request was answered. Raises `Unusable`, `Unreachable`."""
    return _show(requests.close(Deployment(config), name, done=done, note=reason), as_json)


def cancel(config: Config, name: str, as_json: bool) -> int:
    """Take a request back. Raises `Unusable`, `Unreachable`."""
    return _show(requests.cancel(Deployment(config), name), as_json)


def _show(request: PrivacyRequest, as_json: bool) -> int:
    if as_json:
        print_json(requests.plain(request))
    else:
        print(f"{request.id} {request.step}, due {moment_text(request.due_ms)}")
    return 0


def status(config: Config, named: str, as_json: bool) -> int:
    """Print how far requests have come. Raises `Unusable`, `Unreachable`."""
    deployment = Deployment(config)
    found = [requests.opened(deployment, one) for one in requests.of(deployment, named)]
    if as_json:
        print_json(found)
        return 0
    out = console()
    for request in found:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in request.items():
            if value not in ("", {}, None):
                table.add_row(name, printable(value if isinstance(value, str) else _text(value)))
        out.print(table)
    if not found:
        out.print(f"nothing was asked about {named}", markup=False)
    return 0


def listing(config: Config, unfinished: bool, as_json: bool) -> int:
    """List requests. Raises `Unreachable`."""
    found = requests.everything(Deployment(config), unfinished=unfinished)
    if as_json:
        print_json([requests.plain(one) for one in found])
        return 0
    table = folded(Table("request", "right", "asked", "due", "state"))
    for one in found:
        table.add_row(one.id, one.right, moment_text(one.asked_ms), moment_text(one.due_ms), one.step)
    console().print(table)
    return 0


def show_receipt(config: Config, named: str) -> int:
    """Print a receipt, byte for byte. Raises `Unusable`, `Unreachable`."""
    sys.stdout.write(requests.receipt(Deployment(config), named).decode())
    sys.stdout.flush()
    return 0


def show_key(config: Config) -> int:
    """Print the public key. Raises `ConfigError` where there is no key file."""
    print(Deployment(config).receipt_signer.public)
    return 0


def verify(config: Config | None, file: Path, public: str | None, as_json: bool) -> int:
    """Print what a genuine receipt says. Raises `Foreign` for any other."""
    deployment = None if config is None else Deployment(config)
    found = requests.verify(deployment, file.read_bytes(), public)
    if as_json:
        print_json(found)
    else:
        print(f"genuine: {printable(_text(found))}")
    return 0


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
