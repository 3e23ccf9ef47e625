"""A schema registry in a thread: as much of its API as the stock serializers of `confluent_kafka` and our
reader ask for."""

import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FIRST_ID = 1_001


@contextmanager
def schema_registry() -> Iterator[str]:
    """Give its URL. Every schema that is registered gets the next id, and a GUID."""
    entries: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            known = next((entry for entry in entries if entry["schema"] == body["schema"]), None)
            if known is None:
                known = {
                    "id": FIRST_ID + len(entries),
                    "guid": str(uuid.uuid4()),
                    "version": 1,
                    "schema": body["schema"],
                }
                entries.append(known)
            self._answer(200, known)

        def do_GET(self) -> None:
            wanted = re.fullmatch(r"/schemas/(id|guid)s/([^/?]+)(?:\?.*)?", self.path)
            found = next((entry for entry in entries if wanted and str(entry[wanted[1]]) == wanted[2]), None)
            self._answer(
                404, {"error_code": 40403, "message": "Schema not found"}
            ) if found is None else self._answer(200, found)

        def _answer(self, status: int, entry: dict[str, Any]) -> None:
            body = json.dumps(entry).encode()
            self.send_response_only(status)
            self.send_header("content-type", "application/vnd.schemaregistry.v1+json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
