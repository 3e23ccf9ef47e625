#!/usr/bin/env bash
# A request that offers HTTP/2 loses its body on the way to the application.
#
# Surprise: clients that speak HTTP/2 in the clear (the HttpClient of Java 11 and later, `curl --http2`) send their first request as HTTP/1.1
# with an offer to upgrade (`Connection: Upgrade, HTTP2-Settings`, `Upgrade: h2c`). A server that does not want it ignores the offer and reads
# the request (RFC 9110, 7.8). uvicorn 0.54.0 does so with `http="h11"`. With httptools 0.9.0, which it prefers where that is installed, the
# application gets the request with an empty body, and answers as if nothing had been sent.
# Why it matters: an intake answers 200 to an event whose data it never had.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=python3
for each in python3.12 python3.11; do "$each" -c '' 2>/dev/null && { python=$each; break; }; done
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0
cat > "$folder/show.py" <<'PY'
import socket
import threading
import time
from importlib.metadata import version

import uvicorn

BODY = b'{"event": "Order Completed"}'
REQUEST = (
    b"POST /events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQBAAAAAAIAAAAA\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
)
received = {}


async def app(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    received[scope["app_name"]] = body
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0"), (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b""})


for http in ("h11", "httptools"):

    async def named(scope, receive, send, http=http):
        if scope["type"] == "http":
            await app({**scope, "app_name": http}, receive, send)

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(named, http=http, ws="none", lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    with socket.create_connection(listener.getsockname(), timeout=10) as client:
        client.sendall(REQUEST + BODY)
        status = client.recv(4096).split(b"\r\n")[0].decode()
    print(f"uvicorn {version('uvicorn')} on {http} {version(http)}: {status!r}, the application got {len(received[http])} of {len(BODY)} bytes")
    server.should_exit = True
    thread.join(10)
assert received == {"h11": BODY, "httptools": b""}, received
PY
"$folder/venv/bin/python" "$folder/show.py"
