"""Connectors that write down what they are asked, and answer what a test says."""

from __future__ import annotations

from typing import Any

from flytower.connectors import (
    AsyncConnectorBase,
    Bound,
    Resource,
    ResourceMeta,
    SyncConnectorBase,
    TaskExecution,
    TaskTemplate,
)
from flytower.protocol.generated.flyteidl.core import LiteralMap

META = b'{"job_id":"1"}'


class Meta(ResourceMeta):
    job_id: str


class Recording(AsyncConnectorBase):
    """Notes its calls, and answers what a test has put into `answers`; an exception there is raised."""

    name = "Recording"

    def __init__(self, metadata_type: type[ResourceMeta] = Meta, **answers: Any) -> None:
        super().__init__(task_type_name="recording", metadata_type=metadata_type)
        self.answers = {"create": Meta("1"), "get": Resource(TaskExecution.RUNNING), "delete": None, **answers}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def answer(self, method: str, given: dict[str, Any]) -> Any:
        self.calls.append((method, given))
        if isinstance(self.answers[method], BaseException):
            raise self.answers[method]
        return self.answers[method]

    async def create(self, **kwargs: Any) -> Any:  # type: ignore[override]  # takes whatever it is given
        return self.answer("create", kwargs)

    def get(self, resource_meta: Meta, **kwargs: Any) -> Any:
        return self.answer("get", {"resource_meta": resource_meta, **kwargs})

    async def delete(self, meta: Meta) -> Any:  # type: ignore[override]  # its own name for it, and nothing else
        return self.answer("delete", {"meta": meta})


class Full(Recording):
    def get_metrics(self, resource_meta: Meta, **kwargs: Any) -> Any:
        return self.answer("get_metrics", kwargs)

    def find(self, key: str, **kwargs: Any) -> Any:
        return self.answer("find", {"key": key})


class Sync(SyncConnectorBase):
    name = "Sync"

    def __init__(self, answer: Any = None) -> None:
        super().__init__(task_type_name="sync")
        self.answer = answer

    def do(self, task_template: Any, output_prefix: str, inputs: Any = None, **kwargs: Any) -> Any:
        return self.answer or Resource(
            TaskExecution.SUCCEEDED, outputs={"prefix": output_prefix, "more": sorted(kwargs)}
        )


async def create(bound: Bound, key: str = "k") -> bytes:
    return await bound.create(TaskTemplate(type="recording"), "s3://out", LiteralMap(), None, key)
