#!/usr/bin/env bash
# A client library that takes one and the same kind of timestamp for two different zones, by how old it is.
#
# Surprise: segment-analytics-python 2.4.0 sends a naive datetime (`datetime.now()`, no zone) as local time while it is younger than five
# seconds, and as UTC when it is older. On a machine in Shanghai the same call is eight hours off as soon as a queue, a retry or a night's job
# lies between the event and the call. What arrives bears a zone either way, so no receiver can tell the wrong ones.
# Why it matters: figures by hour and windows ("within 30 minutes") are wrong for just those events that were late anyway.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check segment-analytics-python==2.4.0
cat > "$folder/show.py" <<'PY'
import os
import time
from datetime import UTC, datetime, timedelta

os.environ["TZ"] = "Asia/Shanghai"
time.tzset()
from segment.analytics.client import Client
from segment.analytics.version import VERSION

sent = []
client = Client("key", send=False)
off_h = {}
for name, age_s in (("two seconds old", 2), ("ten seconds old", 10)):
    local = datetime.now() - timedelta(seconds=age_s)
    meant = datetime.now(UTC) - timedelta(seconds=age_s)
    _, message = client.track("ana", "Viewed", timestamp=local)
    stamp = datetime.fromisoformat(message["timestamp"])
    off_h[name] = round((stamp - meant).total_seconds() / 3600)
    print(f"segment-analytics-python {VERSION}, naive and {name}: sent as {message['timestamp']}, {off_h[name]} h off")
assert off_h == {"two seconds old": 0, "ten seconds old": 8}, off_h
PY
"$folder/venv/bin/python" "$folder/show.py"
