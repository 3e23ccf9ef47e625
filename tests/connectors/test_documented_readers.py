"""The readers that the documentation shows, as they stand there."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import redis

DOCS = Path(__file__).parent.parent.parent / "docs"
# longer than the reader's `block`, and than the 5 s that redis-py 8 waits for an answer unless told otherwise
QUIET_S = 7.0


def test_the_redis_reader_outlives_a_quiet_while(redis_url: str) -> None:
    section = (DOCS / "triggers.md").read_text().partition("## Redis Stream")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    program = (
        found[1]
        .replace("redis://127.0.0.1:6379", redis_url)
        .replace('["action"])', '["action"], flush=True)')
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        time.sleep(QUIET_S)
        client = redis.Redis.from_url(redis_url)
        client.xadd("triggers", {"id": "1", "body": json.dumps({"data": {"action": "call"}})})
        assert reader.stdout is not None
        assert reader.stdout.readline() == "call\n"
    finally:
        reader.kill()
        _, err = reader.communicate()
    assert err == ""
