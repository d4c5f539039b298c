"""Connectors of the fake external system, in every flavour that an author can choose."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flytower.connectors.base import AsyncConnectorBase, SyncConnectorBase
from flytower.connectors.flavour import Flavour
from flytower.connectors.policy import Policy, Recovery
from flytower.connectors.resource_meta import ResourceMeta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flytower.connectors.resource import Resource
    from tests.actors.external_system import ExternalSystem

FAST = Policy(create_timeout=20.0, get_timeout=10.0, delete_timeout=30.0)
"""The defaults, but that a create is given up before a test's caller is."""


class JobMeta(ResourceMeta):
    """The name of a job."""

    job: str


class NeitherConnector(AsyncConnectorBase):
    """Cannot repeat a create, nor find what it created. It takes the key for the system's record only."""

    name = "neither"
    recovery = Recovery.NEITHER

    def __init__(self, system: ExternalSystem, policy: Policy = FAST, task_type: str = "") -> None:
        super().__init__(metadata_type=JobMeta, task_type_name=task_type or self.name)
        self.name = task_type or self.name
        self.system = system
        self.policy = replace(policy, recovery=self.recovery)

    async def create(self, idempotency_key: str, **_: Any) -> JobMeta:  # type: ignore[override]  # it asks by name
        return JobMeta(job=await self.system.create(idempotency_key))

    async def get(self, resource_meta: JobMeta, **_: Any) -> Resource:
        return await self.system.get(resource_meta.job)

    async def delete(self, resource_meta: JobMeta, **_: Any) -> None:
        await self.system.delete(resource_meta.job)


class TokenConnector(NeitherConnector):
    """Can repeat a create, if the system honours keys."""

    name = "token"
    recovery = Recovery.TOKEN


class FindConnector(NeitherConnector):
    """Can find what it created."""

    name = "find"
    recovery = Recovery.FIND

    async def find(self, key: str, **_: Any) -> JobMeta | None:
        found = await self.system.find(key)
        return None if found is None else JobMeta(job=found)


class TalkingConnector(NeitherConnector):
    """Has metrics and logs."""

    name = "talking"
    logs_closed = False

    async def get_metrics(self, resource_meta: JobMeta, queries: list[str], **_: Any) -> dict[str, Any]:  # type: ignore[override]  # it asks by name
        self.system.note("metrics", resource_meta.job)
        return {query: {"value": 1.0} for query in queries}

    async def get_logs(self, resource_meta: JobMeta, **_: Any) -> AsyncIterator[str]:
        self.system.note("logs", resource_meta.job)
        try:
            for number in range(3):
                yield f"{resource_meta.job}: line {number}"
        finally:
            self.logs_closed = True


class AsyncioConnector(AsyncConnectorBase):
    """Its coroutines await asyncio."""

    name = "asyncio"
    flavour = Flavour.ASYNCIO

    def __init__(self, system: ExternalSystem) -> None:
        super().__init__(metadata_type=JobMeta, task_type_name=self.name)
        self.system = system

    async def create(self, **_: Any) -> JobMeta:  # type: ignore[override]  # it asks by name
        await asyncio.sleep(1)
        return JobMeta(job=self.system.create_now("key"))

    async def get(self, resource_meta: JobMeta, **_: Any) -> Resource:
        await asyncio.sleep(1)
        return self.system.get_now(resource_meta.job)

    async def delete(self, resource_meta: JobMeta, **_: Any) -> None:
        await asyncio.sleep(1)
        self.system.delete_now(resource_meta.job)


class ThreadConnector(AsyncConnectorBase):
    """Its methods are plain functions, which block."""

    name = "thread"

    def __init__(self, system: ExternalSystem) -> None:
        super().__init__(metadata_type=JobMeta, task_type_name=self.name)
        self.system = system

    def create(self, **_: Any) -> JobMeta:  # type: ignore[override]  # it asks by name
        return JobMeta(job=self.system.create_now("key"))

    def get(self, resource_meta: JobMeta, **_: Any) -> Resource:
        return self.system.get_now(resource_meta.job)

    def delete(self, resource_meta: JobMeta, **_: Any) -> None:
        self.system.delete_now(resource_meta.job)


class PoisonConnector(NeitherConnector):
    """Raises, or returns, whatever it is told to."""

    name = "poison"
    gives: Any = None

    async def get(self, resource_meta: JobMeta, **_: Any) -> Any:
        self.system.note("get", resource_meta.job)
        if isinstance(self.gives, BaseException):
            raise self.gives
        return self.gives


class EchoConnector(SyncConnectorBase):
    """Answers at once, with what it is told to."""

    name = "echo"

    def __init__(self) -> None:
        super().__init__(task_type_name=self.name)
        self.answer: Any = None
        self.asked: list[tuple[str, Any]] = []

    async def do(self, output_prefix: str, inputs: Any = None, **_: Any) -> Any:  # type: ignore[override]  # by name
        self.asked.append((output_prefix, inputs))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer
