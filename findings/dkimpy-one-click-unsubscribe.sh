#!/usr/bin/env bash
# A signer that leaves out one of the two headers that have to be signed together.
#
# Surprise: RFC 8058 (one-click unsubscribe) wants both List-Unsubscribe and List-Unsubscribe-Post in the `h=` of a DKIM signature. dkim.sign of
# dkimpy 1.1.8, which signs the first without being asked, leaves the second out. The signature verifies, and nothing says that the mail does
# not qualify: big mailbox providers then show no button, and count the mail as one without.
# Why it matters: `include_headers` has to name all headers as soon as one is to be added.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dkimpy==1.1.8 cryptography==46.0.3
cat > "$folder/show.py" <<'PY'
import base64
import re
from importlib.metadata import version

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

private = rsa.generate_private_key(65537, 2048)
pem = private.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
)
der = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)
mail = (
    b"From: shop@example.com\r\nTo: ana@example.org\r\nSubject: New in store\r\n"
    b"List-Unsubscribe: <https://example.com/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\nHello\r\n"
)
signature = dkim.sign(mail, b"s1", b"example.com", pem)
assert dkim.verify(signature + mail, dnsfunc=lambda *_args, **_kwargs: record)
signed = [name.strip() for name in re.search(rb"h=([^;]*);", re.sub(rb"\s+", b" ", signature))[1].decode().lower().split(":")]
print(f"dkimpy {version('dkimpy')}: verified, h={':'.join(signed)}")
assert "list-unsubscribe" in signed
assert "list-unsubscribe-post" not in signed
PY
"$folder/venv/bin/python" "$folder/show.py"
