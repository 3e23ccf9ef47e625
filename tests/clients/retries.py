"""What published clients do when they are refused with 429: `python -m tests.clients.retries [NAME ...]`;
`--write` puts it into docs/clients.md."""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from tests.clients.catalogue import CLIENTS, Client
from tests.clients.install import CannotFetch, arguments, command, environment
from tests.clients.pages import CACHE, put
from tests.clients.refusing import refusing
from tests.connectors.gateway_server import served

TIMES = (1, 5)  # how often in a row; each time they are told to come again after a second
WAIT_S = 60
HEADING = "## Refused with 429"
HEAD = f"""{HEADING}

The same programs against a server that refuses the first requests with 429 and `Retry-After: 1`, and then \
takes all; how many of a client's
messages it had when the program had ended by itself. The gateway stores nothing of a request that it \
refuses: what is not sent again is
lost. A program that flushes or closes its client waits as long as the client's own defaults let it; those \
for Node.js of Segment's kind set
`maxRetries: 3`. A browser's page is left after three seconds: what a client would send later, or from the \
next page, is not seen here,
nor what Jitsu's for Node.js might send half a second after its last message.
*Says so*: the program ends with an error.

| client | runs in | refused once | refused five times |
|---|---|---|---|
"""


def main() -> int:
    """Try each client that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names or kinds; none: all of them")
    parser.add_argument("--write", action="store_true", help="put what was found into docs/clients.md")
    asked = parser.parse_args()
    wanted = [
        client
        for client in CLIENTS
        if not asked.names or any(name in (client.kind, client.name) for name in asked.names)
    ]
    rows = []
    with served() as gateway:
        for client in wanted:
            untroubled = _tried(client, 0, gateway.url)  # else there is nothing to compare with
            tried = (
                [_tried(client, times, gateway.url) for times in TIMES]
                if untroubled == "all"
                else [f"cannot tell: {untroubled}"]
            )
            rows.append(_row(client, tried))
            print(rows[-1], end="", flush=True)
    if asked.write:
        put(HEADING, HEAD + "".join(rows))
    return 0


def _tried(client: Client, times: int, gateway: str) -> str:
    try:
        argv = command(client, CACHE / client.user)
    except CannotFetch as error:
        return f"not tried: {error}"
    with refusing(times, gateway) as server:
        program: Sequence[str] = [*argv, server.url, "demo", client.user, *arguments(client)]
        try:
            done = subprocess.run(
                program,
                cwd=CACHE / client.user,
                capture_output=True,
                text=True,
                timeout=WAIT_S,
                check=False,
                env=environment(),
            )
            ended = "" if done.returncode == 0 else ", says so"
        except subprocess.TimeoutExpired:
            ended = f", still running after {WAIT_S} s"
        return f"{_counted(len(server.taken), client.messages)}{ended}"


def _counted(taken: int, messages: int) -> str:
    if taken >= messages:
        return "all"
    return f"{taken} of {messages}" if taken else "none"


def _row(client: Client, found: Sequence[str]) -> str:
    return f"| {client.name} | {client.kind} | {' | '.join([*found, ''][: len(TIMES)])} |\n"


if __name__ == "__main__":
    sys.exit(main())
