"""A server that runs, with what a test needs around it."""

from __future__ import annotations

import os
import subprocess  # noqa: TC003 - the protocol's annotations are read by dataclass
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - likewise
from typing import Any, Protocol, TypeAlias

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.flytower.e2e.client import Flyte, create_request
from tests.flytower.e2e.job_processes import alive, marked


class ServerProcess(Protocol):
    """A running `flytower serve`."""

    process: subprocess.Popen[str]
    grpc: str
    metrics: str

    def stop(self, number: int = ...) -> int: ...
    def log(self) -> str: ...


@dataclass(frozen=True)
class Deployment:
    """A running server.

    Args:
        server: Its process.
        flyte: A client.
        folder: Where it runs; its connectors find here the files that they wait for, and keep their record here.
        mark: What its shell jobs are marked with.
    """

    server: ServerProcess
    flyte: Flyte
    folder: Path
    mark: str

    def shell(self, command: str | list[str]) -> Any:
        """Return a request for a shell job."""
        return create_request("shell", marked(command, self.mark))

    def running_jobs(self) -> list[int]:
        """Return the processes of all its shell jobs."""
        return alive(self.mark)

    def long_job(self) -> tuple[Any, bytes]:
        """Create a shell job that goes on for long, and wait until its process is there; its request and its meta."""
        silence = self.folder / "silence"
        if not silence.exists():
            os.mkfifo(silence)
        request = self.shell(f"echo up; read word < {silence}")  # neither forks nor execs: its processes stay the same
        meta = self.flyte.create(request)
        until(lambda: self.flyte.logs("shell", meta)[1])
        return request, meta

    def allow(self, name: str) -> None:
        """Let the calls go on that wait for this file."""
        (self.folder / name).touch()

    def record(self) -> list[str]:
        """Return what the external system has been asked, call by call."""
        path = self.folder / "record"
        return path.read_text().splitlines() if path.exists() else []

    def creates(self, request: Any) -> int:
        """Return how often the external system was asked for the job of a request."""
        return self.record().count(f"create {request.output_prefix}")

    def deletes(self, request: Any) -> list[int]:
        """Return how often each job that there is for a request was to be deleted, oldest first."""
        record = [line.split() for line in self.record()]
        jobs = [words[2] for words in record if words[:2] == ["created", request.output_prefix]]
        return [record.count(["delete", job]) for job in jobs]

    def samples(self) -> dict[tuple[str, ...], float]:
        """Return what the metrics page shows: (name, value of each label, in the order of their names) -> figure."""
        page = httpx.get(f"http://{self.server.metrics}/metrics", trust_env=False).text
        return {
            (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }


Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]


def until(condition: Callable[[], object]) -> None:
    """Wait for what another process does; pytest's timeout ends it."""
    while not condition():
        pass
