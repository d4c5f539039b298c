"""A caller of a node's services that needs no sockets: it does to a handler what the gRPC server does."""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import trio
from structlog.testing import capture_logs

from flytower.actors.ledger.memory import MemoryStore
from flytower.actors.ledger.store import LedgerError, Store
from flytower.actors.node import Node, NodeConfig, open_node
from flytower.connectors.category import TaskCategory
from flytower.connectors.registry import Registry
from flytower.protocol.calls import Call, Pending
from flytower.protocol.codec import dict_to_struct
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import TaskTemplate
from flytower.protocol.status import RpcError, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from betterproto2 import Message

    from flytower.actors.connector_host import ConnectorHost
    from flytower.connectors.base import AsyncConnectorBase, SyncConnectorBase


class FlakyStore(MemoryStore):
    """A memory store that can be told to fail, as a full disk does: nothing is written."""

    failing = False

    def put(self, rows: Sequence[Any]) -> None:
        self._check()
        super().put(rows)

    def remove(self, ids: Any) -> None:
        self._check()
        super().remove(ids)

    def _check(self) -> None:
        if self.failing:
            raise LedgerError("the disk is full")


class FakeStream:
    """Both directions of a streaming call, as lists."""

    def __init__(self, *requests: Message) -> None:
        self.requests = list(requests)
        self.sent: list[Any] = []

    async def receive(self) -> Any | None:
        await trio.lowlevel.checkpoint()
        return self.requests.pop(0) if self.requests else None

    async def send(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(message)


@asynccontextmanager
async def running(
    *connectors: AsyncConnectorBase | SyncConnectorBase, store: Store | None = None, **config: Any
) -> AsyncIterator[Client]:
    """Run a node of these connectors that nobody serves, and give its client."""
    registry = Registry()
    for connector in connectors:
        registry.register(connector)
    store = store if store is not None else FlakyStore()
    settings = NodeConfig(registry, port=None, metrics_port=None, store=store, **config)
    with capture_logs() as logs:
        async with open_node(settings, rng=Random(7), new_id=_ids().__next__) as node:  # noqa: S311 - spreads timers, keeps no secrets
            yield Client(node, logs)


def _ids() -> Any:
    number = 0
    while True:
        number += 1
        yield f"id-{number}"


class Client:
    """Calls the handlers of a node. Each method raises the RpcError that a caller would be told."""

    def __init__(self, node: Node, logs: Sequence[Any]) -> None:
        self.node = node
        self.logs = logs

    # ---- calls as a gRPC client makes them --------------------------------------------------------------------

    async def create(self, kind: str, prefix: str = "", *, deadline: float | None = None, **custom: Any) -> bytes:
        """Return the resource_meta."""
        answer = await self.answered(self.start_create(kind, prefix, deadline=deadline, **custom), deadline)
        return admin.CreateTaskResponse.parse(answer).resource_meta

    async def get(self, kind: str, meta: bytes, *, deadline: float | None = 10.0) -> admin.Resource:
        """Return the resource."""
        answer = await self.answered(self.start_get(kind, meta, deadline=deadline), deadline)
        resource = admin.GetTaskResponse.parse(answer).resource
        assert resource is not None
        return resource

    async def delete(self, kind: str, meta: bytes, *, deadline: float | None = 10.0) -> None:
        """Return when the wish is durable."""
        assert await self.answered(self.start_delete(kind, meta, deadline=deadline), deadline) == b""

    # ---- the same, without waiting ----------------------------------------------------------------------------

    def start_create(
        self, kind: str, prefix: str = "", *, deadline: float | None = None, **custom: Any
    ) -> Pending[bytes]:
        return self.node.tasks.CreateTask(create_request(kind, prefix, **custom), call("CreateTask", deadline))

    def start_get(self, kind: str, meta: bytes, *, deadline: float | None = 10.0) -> bytes | Pending[bytes]:
        category = admin.TaskCategory(name=kind)
        request = admin.GetTaskRequest(task_category=category, resource_meta=meta)
        return self.node.tasks.GetTask(request, call("GetTask", deadline))

    def start_delete(self, kind: str, meta: bytes, *, deadline: float | None = 10.0) -> Pending[bytes]:
        category = admin.TaskCategory(name=kind)
        request = admin.DeleteTaskRequest(task_category=category, resource_meta=meta)
        return self.node.tasks.DeleteTask(request, call("DeleteTask", deadline))

    async def answered(self, pending: bytes | Pending[bytes], deadline: float | None = None) -> bytes:
        """Wait for an answer as the server does: at the deadline it is withdrawn."""
        if isinstance(pending, bytes):
            return pending
        arrived = trio.Event()
        pending.add_done_callback(lambda _: arrived.set())
        with trio.move_on_after(float("inf") if deadline is None else deadline) as scope:
            await arrived.wait()
        if scope.cancelled_caught:
            pending.withdraw()
            raise RpcError(Status.DEADLINE_EXCEEDED, "The client waited in vain.")
        return pending.result()

    # ---- looking inside ---------------------------------------------------------------------------------------

    @staticmethod
    def category(kind: str) -> TaskCategory:
        return TaskCategory(kind, 0)

    def host(self, kind: str) -> ConnectorHost:
        return self.node.hosts[self.category(kind)]

    def stages(self, kind: str) -> dict[str, str]:
        """Return the stage of each task of a kind, by its id."""
        host = self.host(kind)._host
        keys = host.keys()
        return {str(key): host.state(key).stage.value for key in keys}


def call(method: str, deadline: float | None = None) -> Call:
    """Return a call of a client that waits `deadline` seconds from now."""
    return Call(method, None if deadline is None else trio.current_time() + deadline, {}, "test:1")


def create_request(kind: str, prefix: str = "", **custom: Any) -> admin.CreateTaskRequest:
    """Return a CreateTaskRequest for a task type; `custom` is the template's."""
    template = TaskTemplate(type=kind, custom=dict_to_struct(custom) if custom else None)
    return admin.CreateTaskRequest(template=template, output_prefix=prefix)
