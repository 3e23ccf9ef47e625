"""Run the published clients against a running millrace: `python -m tests.clients [NAME ...]`; all of them
write docs/clients.md."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.clients.catalogue import CLIENTS, Client
from tests.clients.install import CannotFetch, arguments, command, environment
from tests.clients.pages import CACHE, put
from tests.running import Running, running

PUBLISH_S = 60
ARRIVE_S = 15
CONFIG = """
[shards]
count = 4

[[aggregate]]
name = "orders"
of = "count"
on = ["Order Completed"]

[[aggregate]]
name = "largest_order"
of = "max"
on = ["Order Completed"]
value = "total"
"""
HEAD = """# Published clients

What others publish, tried against a running millrace by `make clients` (outside CI; it fetches each client \
by its own package manager).
Each program does what its client's own documentation shows, with no option but host and write key, and \
publishes two orders of one user, a
trait where the client can say one, and a few other messages. *Works* means: the client reported no error, \
each of its messages was
applied once, the profile has the trait and both amounts, and nothing is among the dead letters.

| client | version | runs in | messages | result | |
|---|---|---|---|---|---|
"""


class Tried(msgspec.Struct, frozen=True):
    """What came of one client. `result`: `works`, or what was not as it should be; None where it cannot be
    had here."""

    client: Client
    result: str | None
    why: str = ""


def main() -> int:
    """Try each client that is asked for; 1 if one of them does not work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="parts of names; none: all of them, and docs/clients.md is written"
    )
    names = parser.parse_args().names
    wanted = [client for client in CLIENTS if not names or any(name in client.name for name in names)]
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), CONFIG) as millrace:
        tried = []
        for client in wanted:
            tried.append(_say(_try(client, millrace)))
            if not names:
                put("", _page(tried))  # a run that is ended keeps what it found
        dead = millrace.command("dead", "list", "--limit", "20")
    print(dead)
    return int(any(one.result != "works" for one in tried))


def _try(client: Client, millrace: Running) -> Tried:
    try:
        argv = command(client, CACHE / client.user)
    except CannotFetch as error:
        return Tried(client, None, str(error))
    before = _dead(millrace)
    program = [*argv, millrace.url, "demo", client.user, *arguments(client)]
    try:
        done = subprocess.run(
            program,
            cwd=CACHE / client.user,
            capture_output=True,
            text=True,
            timeout=PUBLISH_S,
            check=False,
            env=environment(),
        )
    except subprocess.TimeoutExpired:
        return Tried(client, f"did not end within {PUBLISH_S} s")
    why = (done.stderr or done.stdout).strip()[-1_000:]
    if done.returncode != 0:
        return Tried(client, "reports an error", why)
    fault = _fault(client, millrace)
    if fault is None and (more := _dead(millrace) - before):
        fault = f"{more} of its messages are dead letters"
    return Tried(client, fault or "works", why)


def _fault(client: Client, millrace: Running) -> str | None:
    """What the profile lacks; None when all has arrived, once."""
    end = time.monotonic() + ARRIVE_S
    while (profile := millrace.profile(client.user)).get(
        "events", 0
    ) < client.messages and time.monotonic() < end:
        time.sleep(0.1)
    if not profile:
        return "nothing arrived"
    time.sleep(0.5)  # a message too many would come now
    profile = millrace.profile(client.user)
    figures, traits = profile["aggregates"], profile["traits"]
    expected = {"events": client.messages, "orders": 2, "largest_order": 40.9, **client.traits}
    found = {
        "events": profile["events"],
        "orders": figures.get("orders"),
        "largest_order": figures.get("largest_order"),
        **traits,
    }
    wrong = [
        f"{name} {found.get(name)!r}, expected {value!r}"
        for name, value in expected.items()
        if found.get(name) != value
    ]
    return "; ".join(wrong) or None


def _dead(millrace: Running) -> int:
    return millrace.command("dead", "list", "--limit", "10000").count("e:")


def _say(tried: Tried) -> Tried:
    why = "" if tried.result == "works" else tried.why
    print(f"{tried.client.name:40} {tried.result or 'not tried'} {why}", flush=True)
    return tried


def _page(tried: Sequence[Tried]) -> str:
    return HEAD + "".join(map(_row, tried)) + f"\nTried on {datetime.now(UTC):%Y-%m-%d}.\n"


def _row(tried: Tried) -> str:
    client = tried.client
    packages = ", ".join(f"`{package}`" for package in client.packages) or "as installed"
    result = tried.result or f"not tried: {tried.why}"
    return f"| {client.name} | {packages} | {client.kind} | {client.messages} | {result} | {client.note} |\n"


if __name__ == "__main__":
    sys.exit(main())
