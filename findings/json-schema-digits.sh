#!/usr/bin/env bash
# One schema, two kept validators, two verdicts: what a digit is.
#
# Surprise: `"pattern": "^1\\d{10}$"` takes the full-width number 1３８００１３８０００ in jsonschema 4.26.0, which hands patterns to Python's `re`
# (where \d is every decimal digit of Unicode), and refuses it in jsonschema-rs 0.61.2 and in Ajv 8.17.1, which read it as ECMA-262 does, as JSON
# Schema recommends. Input methods for Chinese and Japanese write full-width digits when they are switched that way.
# Why it matters: a tracking plan that was tested with one validator lets telephone numbers through, or stops them, in the other one. `[0-9]`
# says the same everywhere.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jsonschema==4.26.0 jsonschema-rs==0.61.2
(cd "$folder" && npm install --silent --no-audit --no-fund ajv@8.17.1 >/dev/null)
cat > "$folder/show.py" <<'PY'
import jsonschema
import jsonschema_rs

schema = {"type": "string", "pattern": r"^1\d{10}$"}
for value in ("13800138000", "1３８００１３８０００"):
    print("python", value, jsonschema.Draft202012Validator(schema).is_valid(value))
    print("rust", value, jsonschema_rs.Draft202012Validator(schema).is_valid(value))
PY
cat > "$folder/show.js" <<'JS'
const valid = new (require('ajv'))().compile({ type: 'string', pattern: '^1\\d{10}$' })
for (const value of ['13800138000', '1３８００１３８０００']) console.log('ajv', value, valid(value) ? 'True' : 'False')
JS
{ "$folder/venv/bin/python" "$folder/show.py"; (cd "$folder" && node show.js); } | tee "$folder/out"
grep -qx 'python 1３８００１３８０００ True' "$folder/out"
grep -qx 'rust 1３８００１３８０００ False' "$folder/out"
grep -qx 'ajv 1３８００１３８０００ False' "$folder/out"
[ "$(grep -c ' 13800138000 True' "$folder/out")" = 3 ]
