"""Users of Redis as `deploy/redis/users.acl` has them: each process can do its work, and `profile` and
`learn` cannot read what they are not to see."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import redis

from flows.lab.chaos.ports import free_ports
from state.redis.embedded import Embedded
from tests.running import COMMAND
from tests.waiting import eventually

FILE = Path(__file__).parent.parent.parent / "deploy" / "redis" / "users.acl"
USERS = {
    "gateway": "millrace",
    "resolve": "millrace",
    "profile": "millrace-profile",
    "learn": "millrace-learn",
    "deliver": "millrace",
}
CONFIG = """
[redis]
url = "{url}"
[gateway]
listen = "127.0.0.1:{port}"
read_tokens = ["reading"]
[[gateway.write_keys]]
key = "demo"
source = "web"
[metrics]
listen = "127.0.0.1:{metrics}"
[data]
folder = "{folder}"
[matching]
enabled = false
"""


@pytest.fixture
def url() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="mr-") as folder,
        Embedded(Path(folder), fsync="no").running() as url,
    ):
        client = redis.Redis.from_url(url)
        for line in FILE.read_text().splitlines():
            if line.startswith("user "):
                _, *words = line.replace("CHANGE-ME", "secret").split()
                client.execute_command("ACL", "SETUSER", *words)
        yield url


def as_user(url: str, name: str) -> str:
    return url.replace("unix://", f"unix://{name}:secret@")


def test_each_process_works_with_what_it_may_and_sees_no_more(url: str, tmp_path: Path) -> None:
    ports = free_ports(1 + len(USERS))
    log = tmp_path / "log"
    with ExitStack() as stack:
        output = stack.enter_context(log.open("ab"))

        def end(process: subprocess.Popen[bytes]) -> None:
            process.terminate()
            process.wait(30)

        for (flow, name), metrics in zip(USERS.items(), ports[1:], strict=True):
            file = tmp_path / f"{flow}.toml"
            made = CONFIG.format(url=as_user(url, name), port=ports[0], metrics=metrics, folder=tmp_path)
            file.write_text(made)
            file.chmod(0o600)
            process = subprocess.Popen(
                [*COMMAND, "run", flow, "-c", str(file)], stdout=output, stderr=output, env={**os.environ}
            )
            stack.callback(end, process)
        http = httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}", timeout=10)

        def ready() -> bool:
            try:
                return http.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        eventually(ready, log.read_text, 60)
        batch = [
            {"type": "identify", "userId": f"u{n}", "messageId": f"i{n}", "traits": {"email": f"u{n}@a.org"}}
            for n in range(20)
        ] + [
            {"type": "track", "event": "Order Completed", "userId": f"u{n % 20}", "messageId": f"o{n}",
             "properties": {"total": 5}}
            for n in range(100)
        ]  # fmt: skip
        assert http.post("/v1/batch", json={"batch": batch}, auth=("demo", "")).status_code == 200

        def applied() -> bool:
            answer = http.get("/v1/profiles/user_id:u7", auth=("reading", ""))
            return answer.status_code == 200 and answer.json()["events"] == 6

        eventually(applied, log.read_text, 60)
        client = redis.Redis.from_url(url)
        eventually(lambda: any(client.scan_iter(match="mr:{models}:*", count=1000)))
    assert not re.search("NOPERM|no permission|no_permission", log.read_text(), re.IGNORECASE), (
        log.read_text()[-4000:]
    )
    sealed = list(client.scan_iter(match="mr:{s*}:xs:*", count=1000))
    keys = list(client.scan_iter(match="mr:{keys}:*", count=1000))
    assert sealed
    assert keys
    profile = redis.Redis.from_url(as_user(url, "millrace-profile"))
    learn = redis.Redis.from_url(as_user(url, "millrace-learn"))
    assert profile.hgetall(sealed[0])
    for client_of, key in ((profile, keys[0]), (learn, keys[0]), (learn, sealed[0])):
        with pytest.raises(redis.exceptions.NoPermissionError):
            client_of.hgetall(key)
    with pytest.raises(redis.exceptions.ResponseError, match="access"):
        learn.eval(f"return redis.call('HGETALL', '{keys[0].decode()}')", 0)


@pytest.mark.parametrize("flow", ["profile", "learn"])
def test_who_is_the_first_to_come_may_be(url: str, tmp_path: Path, flow: str) -> None:
    """On an empty server, before any other process."""
    port, metrics = free_ports(2)
    file, log = tmp_path / "millrace.toml", tmp_path / "log"
    file.write_text(CONFIG.format(url=as_user(url, USERS[flow]), port=port, metrics=metrics, folder=tmp_path))
    file.chmod(0o600)
    with log.open("ab") as output:
        process = subprocess.Popen([*COMMAND, "run", flow, "-c", str(file)], stdout=output, stderr=output)
    begun = {"profile": "profile_starts", "learn": "model_taken"}[flow]
    try:
        eventually(lambda: begun in log.read_text(), log.read_text, 60)
    finally:
        process.terminate()
        process.wait(30)
    assert "no permission" not in log.read_text()
