"""Connectors for the benchmarks, as a user of flytekit writes them: both servers serve this very file."""

import asyncio
import os
import time
from dataclasses import dataclass
from typing import Any

from flyteidl.core.execution_pb2 import TaskExecution, TaskLog
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta

EXTERNAL_SECONDS = float(os.environ.get("BENCH_EXTERNAL_SECONDS", "0"))
"""How long the external system takes to say how a job is."""

BLOCKED_SECONDS = float(os.environ.get("BENCH_BLOCKED_SECONDS", "3"))
"""How long a create that blocks takes."""

CALLS = os.environ.get("BENCH_CALLS")
"""A file that gets a byte for each call of the external system."""


def count(operation: str) -> None:
    """Note a call of the external system."""
    if CALLS:
        with open(f"{CALLS}.{operation}", "ab") as file:  # noqa: PTH123 - as plain as it gets
            file.write(b".")


@dataclass
class JobMeta(ResourceMeta):  # type: ignore[misc]  # flytekit has no types
    """What names a job."""

    job: str


class NothingConnector(AsyncConnectorBase):  # type: ignore[misc]  # likewise
    """Does nothing, at once."""

    name = "Nothing"

    def __init__(self) -> None:
        super().__init__(task_type_name="bench_nothing", metadata_type=JobMeta)

    async def create(self, task_template: Any, output_prefix: str, **kwargs: Any) -> JobMeta:
        """Begin a job."""
        return JobMeta(job=output_prefix)

    async def get(self, resource_meta: JobMeta, **kwargs: Any) -> Resource:
        """Say that it runs."""
        count("get")
        if EXTERNAL_SECONDS:
            await asyncio.sleep(EXTERNAL_SECONDS)
        return Resource(phase=TaskExecution.RUNNING)

    async def delete(self, resource_meta: JobMeta, **kwargs: Any) -> None:
        """End it."""


class RichConnector(NothingConnector):
    """Says a lot: three log links, ten outputs, custom info."""

    name = "Rich"

    def __init__(self) -> None:
        AsyncConnectorBase.__init__(self, task_type_name="bench_rich", metadata_type=JobMeta)

    async def get(self, resource_meta: JobMeta, **kwargs: Any) -> Resource:
        """Say how it is."""
        return Resource(
            phase=TaskExecution.RUNNING,
            message="halfway there",
            log_links=[TaskLog(name=f"log {n}", uri=f"http://127.0.0.1/logs/{n}") for n in range(3)],
            outputs={f"output_{n}": n for n in range(10)},
            custom_info={"cluster": "c1", "user": "u", "tags": ["a", "b"], "progress": 0.5},
        )


class BlockingConnector(NothingConnector):
    """Its create is a plain function that takes a while."""

    name = "Blocking"

    def __init__(self) -> None:
        AsyncConnectorBase.__init__(self, task_type_name="bench_blocking", metadata_type=JobMeta)

    def create(self, task_template: Any, output_prefix: str, **kwargs: Any) -> JobMeta:
        """Begin a job, slowly."""
        time.sleep(BLOCKED_SECONDS)
        count("create")
        return JobMeta(job=output_prefix)


class StallingConnector(NothingConnector):
    """Its create is a coroutine that blocks."""

    name = "Stalling"

    def __init__(self) -> None:
        AsyncConnectorBase.__init__(self, task_type_name="bench_stalling", metadata_type=JobMeta)

    async def create(self, task_template: Any, output_prefix: str, **kwargs: Any) -> JobMeta:
        """Begin a job, and stop everybody meanwhile."""
        time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 - what some plugins really do
        return JobMeta(job=output_prefix)


for _connector in (NothingConnector(), RichConnector(), BlockingConnector(), StallingConnector()):
    ConnectorRegistry.register(_connector)
