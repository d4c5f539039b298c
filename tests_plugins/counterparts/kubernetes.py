"""Kubernetes: services and stateful sets of one namespace."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests_plugins.counterparts.jobs import Counterpart, Jobs, Place
from tests_plugins.counterparts.web import Answer, Asked, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

AVAILABLE = {"running": 0, "done": 1}

SITE = """
from kubernetes import client

configuration = client.Configuration()
configuration.host = "http://127.0.0.1:{port}"
client.Configuration.set_default(configuration)
"""
"""Outside of a cluster the plugin takes the client's default, and that is said like this."""


class Kubernetes:
    """Its endpoints; a stateful set is a job, a service is what goes with it."""

    def __init__(self) -> None:
        self.jobs = Jobs()
        self.services: set[str] = set()

    def __call__(self, asked: Asked) -> Answer:
        """Answer."""
        match asked.method, asked.path.split("/namespaces/flyte/")[1].split("/"):
            case "POST", ["services"]:
                name = asked.json()["metadata"]["name"]
                self.services.add(name)
                return 201, _object("Service", name, {})
            case "DELETE", ["services", name]:
                self.services.discard(name)
                return 200, _object("Service", name, {})
            case "POST", ["statefulsets"]:
                name = asked.json()["metadata"]["name"]
                return 201, self._stateful_set(self.jobs.create(asked.text, name))
            case "GET", ["statefulsets", name]:
                return 200, self._stateful_set(name)
            case "DELETE", ["statefulsets", name]:
                self.jobs.cancel(name)
                return 200, _object("Status", name, {})
        return 404, {}

    def _stateful_set(self, name: str) -> dict[str, Any]:
        state = self.jobs.state(name)
        if state not in AVAILABLE:
            return _object("StatefulSet", name, {"replicas": 0})
        return _object("StatefulSet", name, {"replicas": 1, "availableReplicas": AVAILABLE[state]})


def _object(kind: str, name: str, status: dict[str, int]) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, "status": status}


@contextmanager
def kubernetes(place: Place) -> Iterator[Counterpart]:
    """Run it, and have the plugin's client find it."""
    api = Kubernetes()
    with serving(api) as port:
        (place.folder / "sitecustomize.py").write_text(SITE.format(port=port))
        yield Counterpart({"PYTHONPATH": str(place.folder)}, lambda: api.jobs.record)
