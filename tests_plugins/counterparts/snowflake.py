"""Snowflake: log in with a key, run a query without waiting, look at it, cancel it.

Its client knows but one host for an account, so what leads there is a proxy, as many an office has one: it opens
every tunnel to the local server, which speaks TLS with a certificate for that host.
"""

from __future__ import annotations

import re
import select
import socket
import socketserver
import subprocess
import threading
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests_plugins.counterparts.jobs import Counterpart, Jobs, Place
from tests_plugins.counterparts.web import Answer, Asked, certified, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "account.snowflakecomputing.com"

STATES = {"running": "RUNNING", "done": "SUCCESS", "cancelled": "FAILED_WITH_ERROR"}

CANCEL = re.compile(r"SELECT SYSTEM\$CANCEL_QUERY\('(.+)'\)")

IN_PROGRESS = "333334"
"""Snowflake's code of a query that goes on after the answer."""

SESSION = {
    "token": "the token",
    "masterToken": "the master token",
    "validityInSeconds": 3600,
    "masterValidityInSeconds": 14400,
    "sessionId": 1,
    "parameters": [],
    "sessionInfo": {"databaseName": "d", "schemaName": "s", "warehouseName": "w", "roleName": "r"},
}


class Snowflake:
    """Its endpoints."""

    def __init__(self) -> None:
        self.jobs = Jobs()

    def __call__(self, asked: Asked) -> Answer:
        """Answer."""
        if asked.path == "/session/v1/login-request":
            data = asked.json()["data"]
            known = data["AUTHENTICATOR"] == "SNOWFLAKE_JWT" and data["TOKEN"].count(".") == 2
            return _said(SESSION) if known else (403, {})
        if asked.path in {"/session", "/telemetry/send"}:
            return _said(None)
        if asked.headers["Authorization"] != 'Snowflake Token="the token"':
            return 401, {}
        if asked.path.startswith("/monitoring/queries/"):
            query = asked.path.split("/")[-1]
            return _said({"queries": [{"id": query, "status": STATES[self.jobs.state(query)]}]})
        return self._query(asked.json()) if asked.path == "/queries/v1/query-request" else (404, {})

    def _query(self, wanted: dict[str, Any]) -> Answer:
        cancel = CANCEL.fullmatch(wanted["sqlText"])
        if cancel is not None:
            self.jobs.cancel(cancel[1])
            column = {"name": "CANCELLED", "type": "text", "nullable": True, "scale": None, "precision": None}
            rows = {"rowtype": [column], "rowset": [["cancelled"]], "total": 1, "returned": 1}
            return _said({**rows, "queryId": "cancelling", "queryResultFormat": "json", "parameters": []})
        if not wanted["asyncExec"]:
            return 400, {}
        query = self.jobs.create(wanted["sqlText"], str(uuid.uuid4()))
        return _said({"queryId": query, "getResultUrl": f"/queries/{query}/result"}, IN_PROGRESS)


def _said(data: Any, code: str | None = None) -> Answer:
    return 200, {"data": data, "code": code, "message": None, "success": True}


class _Proxy(socketserver.StreamRequestHandler):
    to: int

    def handle(self) -> None:
        """Open a tunnel, wherever it was to lead."""
        while self.rfile.readline().strip():
            pass
        with socket.create_connection(("127.0.0.1", self.to)) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            here: socket.socket = self.connection
            while True:
                for one in select.select([here, there], [], [])[0]:
                    data = one.recv(65536)
                    if not data:
                        return
                    (there if one is here else here).sendall(data)


class _Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A tunnel that breaks is no news."""


@contextmanager
def _proxy(to: int) -> Iterator[int]:
    with _Threads(("127.0.0.1", 0), type("Proxy", (_Proxy,), {"to": to})) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def snowflake(place: Place) -> Iterator[Counterpart]:
    """Run it, with a key for its user."""
    certificate, context = certified(place.folder, HOST)
    key = place.folder / "user.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", str(key)], check=True, capture_output=True)
    api = Snowflake()
    with serving(api, context) as port, _proxy(port) as proxy:
        variables = {
            "HTTPS_PROXY": f"http://127.0.0.1:{proxy}",
            "https_proxy": f"http://127.0.0.1:{proxy}",
            "REQUESTS_CA_BUNDLE": str(certificate),
            "SSL_CERT_FILE": str(certificate),
            "_FSEC_SNOWFLAKE_PRIVATE_KEY": key.read_text(),
            "HOME": str(place.folder),  # where it keeps caches
        }
        yield Counterpart(variables, lambda: api.jobs.record)
