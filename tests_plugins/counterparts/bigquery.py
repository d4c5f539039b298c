"""BigQuery: insert a job, look at it, cancel it; and where a service account gets its tokens."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests_plugins.counterparts.jobs import Counterpart, Jobs, Place
from tests_plugins.counterparts.web import Answer, Asked, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DESTINATION = {"projectId": "project", "datasetId": "data", "tableId": "table"}

STATES: dict[str, dict[str, Any]] = {
    "running": {"state": "RUNNING"},
    "done": {"state": "DONE"},
    "cancelled": {"state": "DONE", "errorResult": {"reason": "stopped"}, "errors": [{"reason": "stopped"}]},
}


class BigQuery:
    """Its endpoints."""

    def __init__(self) -> None:
        self.jobs = Jobs()

    def __call__(self, asked: Asked) -> Answer:
        """Answer."""
        if asked.path == "/token":
            return 200, {"access_token": "the token", "token_type": "Bearer", "expires_in": 3600}
        if asked.headers["Authorization"] != "Bearer the token":
            return 401, {}
        match asked.method, asked.path.removeprefix("/bigquery/v2/projects/project/jobs").split("/")[1:]:
            case "POST", []:
                return 200, self._job(self.jobs.create(asked.text, asked.json()["jobReference"]["jobId"]))
            case "GET", [job]:
                return 200, self._job(job)
            case "POST", [job, "cancel"]:
                self.jobs.cancel(job)
                return 200, {"job": self._job(job)}
        return 404, {}

    def _job(self, job: str) -> dict[str, Any]:
        query = {"query": "...", "destinationTable": DESTINATION}
        reference = {"projectId": "project", "jobId": job, "location": "EU"}
        configuration = {"jobType": "QUERY", "query": query}
        return {"jobReference": reference, "configuration": configuration, "status": STATES[self.jobs.state(job)]}


@contextmanager
def bigquery(place: Place) -> Iterator[Counterpart]:
    """Run it, with a service account."""
    api = BigQuery()
    with serving(api) as port:
        account = place.folder / "account.json"
        account.write_text(json.dumps(_account(place.folder, f"http://127.0.0.1:{port}/token")))
        variables = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(account),
            "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        }
        yield Counterpart(variables, lambda: api.jobs.record)


def _account(folder: Path, tokens: str) -> dict[str, str]:
    key = folder / "account.pem"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    return {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "1",
        "private_key": key.read_text(),
        "client_email": "account@project",
        "token_uri": tokens,
    }
