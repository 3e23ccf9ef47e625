#!/usr/bin/env bash
# Two phone numbers in one cell are one valid number with the other as its extension; and E.164 drops every extension without a word.
#
# Surprise: phonenumbers (the Python port of libphonenumber) parses "13800138000;13900139000" as the valid number 13800138000, extension
# 13900139000, though with a comma, a slash or a blank in between it refuses. Formatted as E.164, which has no extensions, two people behind
# one switchboard ("ext. 801" and "ext. 802") are the same number.
# Why it matters: E.164 is the usual key to find a customer by. Whoever writes `format_number(parse(x), E164)` unites the colleagues of a company.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check phonenumbers==9.0.43
"$folder/venv/bin/python" - <<'PY'
import sys

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat


def read(text: str) -> tuple[str, str | None]:
    try:
        number = phonenumbers.parse(text, "CN")
    except NumberParseException as error:
        return f"refused ({error.error_type})", None
    valid = phonenumbers.is_valid_number(number)
    return phonenumbers.format_number(number, PhoneNumberFormat.E164) + ("" if valid else " (not valid)"), number.extension


print("phonenumbers", phonenumbers.__version__)
found = {}
for text in ("13800138000;13900139000", "13800138000,13900139000", "13800138000/13900139000", "13800138000 13900139000",
             "0755-26012345 ext. 801", "0755-26012345 ext. 802", "0755-26012345转801"):
    found[text] = read(text)
    print(f"{text!r}: {found[text][0]}, extension {found[text][1]}")
as_expected = (
    found["13800138000;13900139000"] == ("+8613800138000", "13900139000")
    and found["0755-26012345 ext. 801"][0] == found["0755-26012345 ext. 802"][0] == "+8675526012345"
)
if not as_expected:
    sys.exit("it behaves otherwise now")
PY
