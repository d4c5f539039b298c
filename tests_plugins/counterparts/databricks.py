"""Databricks: submit a run, look at it, cancel it. With TLS, since its connector speaks nothing else."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests_plugins.counterparts.jobs import Counterpart, Jobs, Place
from tests_plugins.counterparts.web import Answer, Asked, certified, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

STATES = {
    "running": {"life_cycle_state": "RUNNING"},
    "done": {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS", "state_message": "done"},
    "cancelled": {"life_cycle_state": "TERMINATED", "result_state": "CANCELED"},
}


class Databricks:
    """Its three endpoints."""

    def __init__(self) -> None:
        self.jobs = Jobs()

    def __call__(self, asked: Asked) -> Answer:
        """Answer."""
        if asked.headers["Authorization"] != "Bearer the token":
            return 401, {"message": "who are you?"}
        match asked.method, asked.path.removeprefix("/api/2.1/jobs/runs/"):
            case "POST", "submit":
                return 200, {"run_id": int(self.jobs.create(asked.text))}
            case "GET", "get":
                return 200, {"job_id": 1, "state": STATES[self.jobs.state(asked.query["run_id"])]}
            case "POST", "cancel":
                self.jobs.cancel(str(asked.json()["run_id"]))
                return 200, {}
        return 404, {}


@contextmanager
def databricks(place: Place) -> Iterator[Counterpart]:
    """Run it."""
    certificate, context = certified(place.folder, "localhost")
    api = Databricks()
    with serving(api, context) as port:
        variables = {
            "SSL_CERT_FILE": str(certificate),
            "FLYTE_DATABRICKS_INSTANCE": f"localhost:{port}",
            "FLYTE_DATABRICKS_ACCESS_TOKEN": "the token",
            "_FSEC_FLYTE_DATABRICKS_ACCESS_TOKEN": "the token",
        }
        yield Counterpart(variables, lambda: api.jobs.record)
