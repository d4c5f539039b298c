"""The conformance suite finds what the server cannot live with, and passes what is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flytower.connectors import (
    AsyncConnectorBase,
    JobNotFound,
    Policy,
    Recovery,
    Resource,
    ResourceMeta,
    TaskExecution,
    TaskTemplate,
)
from flytower.connectors.testing import ConformanceError, check_connector

if TYPE_CHECKING:
    import trio.testing


class Meta(ResourceMeta):
    job_id: str


class Good(AsyncConnectorBase):
    """A small external system with its own record, and a connector that does everything right."""

    policy = Policy(recovery=Recovery.TOKEN)

    def __init__(self) -> None:
        super().__init__(task_type_name="good", metadata_type=Meta)
        self.jobs: dict[str, str] = {}

    async def create(self, idempotency_key: str, **kwargs: Any) -> Meta:  # type: ignore[override]
        self.jobs.setdefault(idempotency_key, "running")
        return Meta(idempotency_key)

    async def get(self, resource_meta: Meta, **kwargs: Any) -> Resource:
        if resource_meta.job_id not in self.jobs:
            raise JobNotFound(resource_meta.job_id)
        return Resource(TaskExecution.RUNNING)

    async def delete(self, resource_meta: Meta, **kwargs: Any) -> None:
        if self.jobs.pop(resource_meta.job_id, None) is None:
            raise JobNotFound(resource_meta.job_id)


class Finding(Good):
    policy = Policy(recovery=Recovery.FIND)

    async def find(self, key: str, **kwargs: Any) -> Meta | None:
        return Meta(key) if key in self.jobs else None


class Doubling(Good):
    async def create(self, idempotency_key: str, **kwargs: Any) -> Meta:  # type: ignore[override]
        job_id = f"job-{len(self.jobs)}"
        self.jobs[job_id] = "running"
        return Meta(job_id)


class Sharing(Good):
    async def create(self, idempotency_key: str, **kwargs: Any) -> Meta:  # type: ignore[override]
        self.jobs["only"] = "running"
        return Meta("only")


class FailingTwice(Good):
    async def delete(self, resource_meta: Meta, **kwargs: Any) -> None:
        del self.jobs[resource_meta.job_id]


class Immortal(Good):
    async def delete(self, resource_meta: Meta, **kwargs: Any) -> None: ...


class Undefined(Good):
    async def get(self, resource_meta: Meta, **kwargs: Any) -> Resource:
        return Resource(TaskExecution.UNDEFINED)


class Finding2(Finding):
    async def find(self, key: str, **kwargs: Any) -> Meta | None:
        return Meta(key)


class Unsteady(Meta):
    def encode(self) -> bytes:
        return super().encode() + b" " * id(self)


@pytest.mark.parametrize("kind", [Good, Finding])
async def test_a_connector_that_is_right_passes_and_nothing_is_left(kind: type[Good]) -> None:
    connector = kind()
    await check_connector(connector, TaskTemplate())
    assert connector.jobs == {}


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (Doubling, "the same idempotency_key must give the same metadata"),
        (Sharing, "two keys must give two jobs"),
        (FailingTwice, "delete must be idempotent; the second call raised KeyError"),
        (Immortal, "a deleted job must end"),
        (Undefined, "get must answer for a job that was just created"),
        (Finding2, "find must give None for a key unheard of"),
    ],
)
async def test_a_rule_that_is_broken_is_named(
    kind: type[Good], rule: str, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(ConformanceError, match=rule):
        await check_connector(kind(), TaskTemplate())


async def test_the_shell_connector_conforms(shell: Any, template: Any) -> None:
    await check_connector(shell.bound.connector, template(command="sleep 60"))
