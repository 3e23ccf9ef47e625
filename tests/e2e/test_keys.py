"""`millrace keys rotate` on the whole of millrace: killed again and again, while events come in."""

import random
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import msgspec

from tests.e2e.test_vault import known, person
from tests.running import COMMAND, environment, running


def test_a_rotation_that_is_killed_again_and_again_loses_nobody(tmp_path: Path) -> None:
    chance = random.Random(14)
    with running(tmp_path, "[shards]\ncount = 2") as millrace:
        assert millrace.stored([person(n) for n in range(100)], timeout_s=30)
        millrace.eventually(partial(known, millrace, 99))
        argv = [*COMMAND, "keys", "rotate", "-c", str(millrace.file)]
        file = next(tmp_path.rglob("keys.json"))
        killed, people = 0, 100
        while killed < 4:
            assert millrace.stored([person(people)], timeout_s=30)
            people += 1
            with subprocess.Popen(argv, cwd=tmp_path, env=environment()) as rotating:
                before = file.read_bytes()
                while rotating.poll() is None and file.read_bytes() == before:
                    time.sleep(0.001)  # until it has made a key; or has finished what one before it began
                time.sleep(chance.uniform(0, 0.05))
                rotating.kill()
            killed += rotating.returncode == -signal.SIGKILL
        millrace.eventually(partial(known, millrace, people - 1))
        millrace.eventually(lambda: millrace.tried("keys", "rotate").returncode == 0)
        standing = msgspec.json.decode(millrace.command("keys", "status", "--json").splitlines()[-1])
        assert standing["missing"] == []
        assert standing["versions"][-1]["uses"] == standing["data_keys"] >= people
        assert len(standing["versions"]) > killed
        assert all(known(millrace, n) for n in range(people))
