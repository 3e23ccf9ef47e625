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

PEOPLE = 200


def test_a_rotation_that_is_killed_again_and_again_loses_nobody(tmp_path: Path) -> None:
    chance = random.Random(14)
    with running(tmp_path, "[shards]\ncount = 2") as millrace:
        assert millrace.stored([person(n) for n in range(100)])
        millrace.eventually(partial(known, millrace, 99))
        argv = [*COMMAND, "keys", "rotate", "-c", str(millrace.file)]
        killed = 0
        for n in range(100, PEOPLE):
            assert millrace.stored([person(n)])
            if n % 10:
                continue
            with subprocess.Popen(
                argv, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL
            ) as rotating:
                time.sleep(chance.uniform(0.4, 1.2))
                rotating.kill()
            killed += rotating.returncode == -signal.SIGKILL
        assert killed > 3
        millrace.eventually(partial(known, millrace, PEOPLE - 1))
        millrace.eventually(lambda: millrace.tried("keys", "rotate").returncode == 0)
        standing = msgspec.json.decode(millrace.command("keys", "status", "--json").splitlines()[-1])
        assert standing["missing"] == []
        assert standing["versions"][-1]["uses"] == standing["data_keys"] >= PEOPLE
        assert len(standing["versions"]) > 2
        assert all(known(millrace, n) for n in range(PEOPLE))
