"""Flyte's side of the wire: the official gRPC client and the official messages, and nothing of ours."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Self

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2, literals_pb2
from flyteidl.service import agent_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Phase = execution_pb2.TaskExecution

TERMINAL = {Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED, Phase.RETRYABLE_FAILED}

PATIENCE = 50.0
"""Seconds. A deadline for calls that are not about deadlines: it ends the test before pytest's own does."""

_numbers = count()


def prefix() -> str:
    """Return an output prefix that no other task of this run has; it has no attempt's number at its end."""
    return f"s3://bucket/end-to-end/{next(_numbers)}/outputs"


def literals(**values: int) -> literals_pb2.LiteralMap:
    """Return integers as a LiteralMap, in the order in which they are given."""
    message = literals_pb2.LiteralMap()
    for name, value in values.items():
        message.literals[name].scalar.primitive.integer = value
    return message


def create_request(
    task_type: str, custom: Mapping[str, Any] | None = None, *, version: int = 0, output_prefix: str | None = None
) -> Any:
    """Return a CreateTaskRequest as propeller would send it."""
    request = agent_pb2.CreateTaskRequest(output_prefix=prefix() if output_prefix is None else output_prefix)
    request.template.type = task_type
    request.template.task_type_version = version
    request.template.id.name = "the task"
    request.template.custom.update(custom or {})
    return request


def sync_messages(task_type: str, custom: Mapping[str, Any] | None = None, *, version: int = 0, **inputs: int) -> Any:
    """Return the two messages of an ExecuteTaskSync."""
    header = agent_pb2.ExecuteTaskSyncRequest()
    header.header.CopyFrom(
        agent_pb2.CreateRequestHeader(template=create_request(task_type, custom, version=version).template)
    )
    return header, agent_pb2.ExecuteTaskSyncRequest(inputs=literals(**inputs))


def about(task_type: str, meta: bytes, version: int = 0) -> dict[str, Any]:
    """Return the fields with which flytepropeller names a task: the deprecated one, too."""
    return {
        "task_type": task_type,
        "resource_meta": meta,
        "task_category": agent_pb2.TaskCategory(name=task_type, version=version),
    }


class Flyte:
    """A client with a TCP connection of its own.

    Args:
        target: Where the server listens, "host:port".
    """

    def __init__(self, target: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        self.channel = grpc.insecure_channel(target, options=options)
        self.tasks = agent_pb2_grpc.AsyncAgentServiceStub(self.channel)
        self.sync_tasks = agent_pb2_grpc.SyncAgentServiceStub(self.channel)
        self.metadata = agent_pb2_grpc.AgentMetadataServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.channel.close()

    def create(self, request: Any, timeout: float = PATIENCE) -> bytes:
        meta: bytes = self.tasks.CreateTask(request, timeout=timeout).resource_meta
        return meta

    def get(self, task_type: str, meta: bytes, version: int = 0) -> Any:
        request = agent_pb2.GetTaskRequest(**about(task_type, meta, version))
        return self.tasks.GetTask(request, timeout=PATIENCE).resource

    def delete(self, task_type: str, meta: bytes, version: int = 0) -> None:
        self.tasks.DeleteTask(agent_pb2.DeleteTaskRequest(**about(task_type, meta, version)), timeout=PATIENCE)

    def metrics(self, task_type: str, meta: bytes, **fields: Any) -> Any:
        request = agent_pb2.GetTaskMetricsRequest(**about(task_type, meta), **fields)
        return self.tasks.GetTaskMetrics(request, timeout=PATIENCE)

    def logs(self, task_type: str, meta: bytes, token: str = "", lines: int = 0) -> tuple[str, list[str]]:
        """Read a stream of logs to its end; its token, and the lines."""
        request = agent_pb2.GetTaskLogsRequest(**about(task_type, meta), token=token, lines=lines)
        found: list[str] = []
        for message in self.tasks.GetTaskLogs(request, timeout=PATIENCE):
            token = message.header.token or token
            found.extend(line.message for line in message.body.structured_lines)
        return token, found

    def execute(self, messages: Iterable[Any], timeout: float = PATIENCE) -> list[Any]:
        """Run a sync task; every message that the server sends."""
        return list(self.sync_tasks.ExecuteTaskSync(iter(messages), timeout=timeout))

    def check(self, service: str = "") -> int:
        status: int = self.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE).status
        return status

    def until(self, task_type: str, meta: bytes, *phases: int) -> Any:
        """Ask until the task is in one of the phases, in a terminal one unless told otherwise."""
        while (resource := self.get(task_type, meta)).phase not in (phases or TERMINAL):
            pass
        return resource
