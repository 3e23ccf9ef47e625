"""Try the client of Segment's public API for regulations against a running millrace:
`python -m tests.clients.regulations`. Outside of CI, for it fetches the client."""

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.clients.catalogue import Client, Kind
from tests.clients.install import CannotFetch, command, environment
from tests.clients.pages import CACHE
from tests.running import running

CLIENT = Client(
    name="Segment's public API",
    kind=Kind.NODE,
    packages=("@segment/public-api-sdk-typescript@47.0.0-b8398",),
    program="segment_regulations.js",
    messages=0,
)
CONFIG = """
[shards]
count = 4
[[gateway.write_keys]]
key = "demo"
source = "web"
[[connector]]
name = "crm"
type = "file"
path = "crm.jsonl"
"""
EXPECTED = {
    "status": "FINISHED",
    "destinations": [["crm", "FINISHED"]],
    "listed": [True],
    "suppressed": 2,
    "deleted too late": 422,
    "5001": 422,
    "5000": "taken",
    "by source": "taken",
}


def main() -> int:
    """Return 1 where the client is answered anything but what is expected."""
    try:
        argv = command(CLIENT, CACHE / CLIENT.user)
    except CannotFetch as error:
        print(f"not tried: {error}")
        return 1
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), CONFIG, gateway='privacy_tokens = ["privacy"]') as millrace,
    ):
        event = {"type": "track", "event": "Viewed", "userId": "ana"}
        assert millrace.post("/v1/batch", {"batch": [event]}).status_code == 200
        millrace.eventually(lambda: bool(millrace.profile("ana")))
        done = subprocess.run(
            [*argv, millrace.url, "privacy", "ana"],
            cwd=CACHE / CLIENT.user,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=environment(),
        )
        is_gone = millrace.profile("ana") == {}
    said = dict(msgspec.json.decode(line) for line in done.stdout.splitlines())
    print(done.stdout, done.stderr, f"erased: {is_gone}", sep="\n")
    return int(not (done.returncode == 0 and said == EXPECTED and is_gone))


if __name__ == "__main__":
    sys.exit(main())
