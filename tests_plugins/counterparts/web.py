"""Local HTTP servers: what they have in common."""

from __future__ import annotations

import gzip
import json
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Answer = tuple[int, dict[str, Any]]
"""A status, and what is said in JSON."""


class Asked:
    """A request.

    Args:
        method: GET, POST, ...
        url: Path and query.
        headers: Names and values.
        body: As it was sent.
    """

    def __init__(self, method: str, url: str, headers: Any, body: bytes) -> None:
        parts = urlsplit(url)
        self.method, self.path, self.headers = method, parts.path, headers
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.text = (gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body).decode()

    def json(self) -> Any:
        """Read the body."""
        return json.loads(self.text)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # some clients mind a connection that is closed behind an answer
    answer: Callable[[Asked], Answer]

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, said = type(self).answer(Asked(self.command, self.path, self.headers, body))
        except Exception as error:  # noqa: BLE001 - whoever asked shows it
            status, said = 500, {"message": repr(error)}
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _do  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a client may keep its connection

    def handle_error(self, *_: object) -> None:
        """A client that has gone is no news."""


@contextmanager
def serving(answer: Callable[[Asked], Answer], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve what a function answers; the port."""
    handler = type("Handler", (_Handler,), {"answer": staticmethod(answer)})
    with _Server(("127.0.0.1", 0), handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def certified(folder: Path, host: str) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate for a host; its file, and what a server needs."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={host}", "-days", "1"]
    extensions = ["-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=critical,CA:FALSE"]
    names = [*extensions, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *made, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context
