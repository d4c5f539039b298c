"""A connector of Flytower's own: its jobs run for ever, and are polled each second, each four seconds, or never."""

from __future__ import annotations

from typing import Any

from flytower import AsyncConnectorBase, ConnectorRegistry, Policy, Resource, ResourceMeta, TaskExecution

NEVER = 3600.0

STEADY = 4.0
"""Seconds between two polls where they are to be a part of a load, not all of it."""


class JobMeta(ResourceMeta):
    """Names a job."""

    job: str


class NativeConnector(AsyncConnectorBase):
    """Does nothing, at its own pace.

    Args:
        task_type: Its type of task.
        period: Seconds between two polls.
    """

    def __init__(self, task_type: str, period: float) -> None:
        self.name = task_type
        self.policy = Policy(poll_minimum=period, poll_maximum=period, idle_after=NEVER, hibernate_after=NEVER)
        super().__init__(task_type_name=task_type, metadata_type=JobMeta)

    async def create(self, task_template: Any, output_prefix: str, **_: Any) -> JobMeta:  # type: ignore[override]
        """Begin a job."""
        return JobMeta(job=output_prefix)

    async def get(self, resource_meta: JobMeta, **_: Any) -> Resource:
        """Say that it runs."""
        return Resource(phase=TaskExecution.RUNNING)

    async def delete(self, resource_meta: JobMeta, **_: Any) -> None:
        """Do nothing."""


ConnectorRegistry.register(NativeConnector("bench_quiet", NEVER))
ConnectorRegistry.register(NativeConnector("bench_polled", 1.0))
"""It makes a poll of each job a second."""

ConnectorRegistry.register(NativeConnector("bench_steady", STEADY))
