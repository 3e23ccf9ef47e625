#!/usr/bin/env bash
# One package with two interfaces that do not read each other's headers.
#
# Surprise: in the binary mode of the HTTP binding an attribute's value is percent-encoded UTF-8 (binding 1.0.2, 3.1.3.2). The package
# cloudevents 2.2.0 brings the interface of its first version along, under `cloudevents.v1`, and that one does neither: it writes the value as it
# is, and hands on as text what another has encoded. `cloudevents.core` does both. So a subject with a Chinese name or a percent sign is another
# one after it went from one interface to the other, whichever way.
# Why it matters: `subject` often is the customer's id. A receiver that decodes must bear values that were never encoded (a lone `%`), and
# one that compares ids sees two customers.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check cloudevents==2.2.0
cat > "$folder/show.py" <<'PY'
import warnings
from importlib.metadata import version

from cloudevents.core.bindings.http import HTTPMessage, from_binary_event, to_binary_event
from cloudevents.core.v1.event import CloudEvent as New

with warnings.catch_warnings(action="ignore"):
    from cloudevents.v1.conversion import to_binary
    from cloudevents.v1.http import CloudEvent as Old
    from cloudevents.v1.http import from_http

SUBJECT = "店长 100%25"
attributes = {"type": "bought", "source": "/shop", "id": "1", "specversion": "1.0", "subject": SUBJECT}
by_new = to_binary_event(New(attributes | {"datacontenttype": "application/json"}, {"total": 1}))
by_old, body = to_binary(Old(attributes, {"total": 1}))
print(f"cloudevents {version('cloudevents')}, subject {SUBJECT!r}")
print(f"  core writes {by_new.headers['ce-subject']!r}, v1 writes {by_old['ce-subject']!r}")
old_reads_new = from_http(by_new.headers, by_new.body)["subject"]
new_reads_old = from_binary_event(HTTPMessage(by_old, body)).get_subject()
new_reads_new = from_binary_event(by_new).get_subject()
print(f"  v1 reads of core {old_reads_new!r}, core reads of v1 {new_reads_old!r}, core of core {new_reads_new!r}")
assert new_reads_new == SUBJECT
assert old_reads_new == by_new.headers["ce-subject"] != SUBJECT
assert by_old["ce-subject"] == SUBJECT != new_reads_old == "店长 100%"
PY
"$folder/venv/bin/python" "$folder/show.py"
