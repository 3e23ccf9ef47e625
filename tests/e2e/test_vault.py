"""The whole of millrace with its keys in a real server of Vault's API, which is killed and started again."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.running import Running, running

if TYPE_CHECKING:
    from tests.vault_server import VaultServer

CONFIG = """
[shards]
count = 2
[keys]
provider = "vault"
[keys.vault]
url = "{url}"
token = "{token}"
"""


def known(millrace: Running, number: int) -> bool:
    """Return whether what is sealed of somebody opens."""
    found = millrace.profile(f"u{number}").get("identifiers", {})
    return str(found.get("email", "")).startswith("p")


def person(number: int) -> dict[str, object]:
    traits = {"email": f"p{number}@example.com", "phone": f"+49151234567{number:02}"}
    return {"type": "identify", "userId": f"u{number}", "traits": traits, "messageId": f"m{number}"}


def test_what_comes_while_the_keys_are_away_is_taken_and_waits_and_nobody_ends(
    vault: "VaultServer", tmp_path: Path
) -> None:
    with running(tmp_path, CONFIG.format(url=vault.url, token=vault.token)) as millrace:
        assert millrace.stored([person(n) for n in range(5)])
        millrace.eventually(partial(known, millrace, 4))
        flows = {flow: millrace.pids(flow) for flow in ("resolve", "profile", "match", "deliver", "gateway")}
        vault.kill()
        try:
            assert millrace.stored([person(n) for n in range(5, 15)]), "the gateway needs no such key"
            millrace.eventually(lambda: "window_waits" in millrace.log.read_text())
            assert millrace.profile("u9") == {}
            answer = millrace.http.get("/v1/profiles/user_id:u0", auth=("demo-read", ""))
            assert (answer.status_code, answer.json()["code"]) == (503, "state_unreachable")
            waits = [line for line in millrace.log.read_text().splitlines() if "window_waits" in line]
            assert all(vault.url in line for line in waits)
        finally:
            vault.start()
            vault.unseal()
        for n in range(15):
            millrace.eventually(partial(known, millrace, n))
        assert {flow: millrace.pids(flow) for flow in flows} == flows
        standing = msgspec.json.decode(millrace.command("keys", "status", "--json").splitlines()[-1])
        done = msgspec.json.decode(millrace.command("keys", "rotate", "--json").splitlines()[-1])
        assert (done["made"], done["rewrapped"], done["left"]) == (True, standing["data_keys"], 0)
        assert millrace.stored([person(n) for n in range(15, 20)])
        millrace.eventually(partial(known, millrace, 19))
        assert known(millrace, 3)
        written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
        assert b"@example.com" not in written
