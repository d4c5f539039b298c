"""A fake external system in a process of its own: small, honest, and with a record of all that it has done.

`python -m campaigns.external_system RECORD` prints the port that it listens on. Each create says how it is to be
treated (`latency`, `lose` the answer); `POST /weather` says how deletes are.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


class ExternalSystem:
    """Jobs that run until they are deleted.

    Args:
        record: A file. Each create and each delete that is executed is a line in it before anybody is told.
    """

    def __init__(self, record: Path) -> None:
        self._record = record.open("a", buffering=1)
        self._lock = threading.Lock()
        self._jobs: dict[str, str] = {}  # job -> key
        self._by_key: dict[str, str] = {}
        self._deleted: set[str] = set()
        self._failing: defaultdict[str, int] = defaultdict(int)  # job -> deletes that have failed
        self._answered: set[str] = set()
        self.weather: dict[str, Any] = {}

    def create(self, key: str, *, honoured: bool) -> str:
        """Begin a job; with an honoured key, the one that there is already."""
        with self._lock:
            if honoured and key in self._by_key:
                return self._by_key[key]
            job = f"job-{len(self._jobs)}"
            self._jobs[job] = self._by_key[key] = key
            self._by_key[key] = job
            self._write("create", job)
            return job

    def first_answer(self, key: str) -> bool:
        """Whether this is the first answer about a key."""
        first = key not in self._answered
        self._answered.add(key)
        return first

    def find(self, key: str) -> str | None:
        """Look a job up by its key."""
        return self._by_key.get(key)

    def state(self, job: str) -> str:
        """Say whether a job runs."""
        if job not in self._jobs or job in self._deleted:
            return "gone"
        return "running"

    def delete(self, job: str) -> bool:
        """End a job; False when the weather makes that fail."""
        with self._lock:
            if self._failing[job] < self.weather.get("failing_deletes", 0):
                self._failing[job] += 1
                return False
            if job in self._jobs and job not in self._deleted:
                self._deleted.add(job)
                self._write("delete", job)
            return True

    def _write(self, deed: str, job: str) -> None:
        line = {"deed": deed, "job": job, "key": self._jobs[job], "at": time.time()}
        self._record.write(json.dumps(line) + "\n")


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 in front of it."""

    protocol_version = "HTTP/1.1"
    system: ExternalSystem

    def do_POST(self) -> None:
        """Create a job, or change the weather."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/weather":
            self.system.weather = body
            self._answer(200, {})
            return
        time.sleep(float(body.get("latency", 0.0)))
        job = self.system.create(body["key"], honoured=body["honoured"])
        if body.get("lose") and self.system.first_answer(body["key"]):
            self.close_connection = True  # it was done, and nobody hears of it
            return
        self._answer(200, {"job": job})

    def do_GET(self) -> None:
        """Find a job by its key, or say how one is."""
        url = urlsplit(self.path)
        if url.path == "/jobs":
            job = self.system.find(parse_qs(url.query)["key"][0])
            self._answer(200 if job else 404, {"job": job})
            return
        state = self.system.state(url.path.rpartition("/")[2])
        self._answer(404 if state == "gone" else 200, {"state": state})

    def do_DELETE(self) -> None:
        """End a job."""
        done = self.system.delete(self.path.rpartition("/")[2])
        self._answer(200 if done else 503, {})

    def log_message(self, *_: object) -> None:
        """Be quiet: the record says it all."""

    def _answer(self, status: int, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: callers die in the middle of a sentence, that is what campaigns are for."""


def main(record: Path) -> None:
    """Serve until killed."""
    Handler.system = ExternalSystem(record)
    with _Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
