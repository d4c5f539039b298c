"""The gateway actor with real sockets: cancelled at every step, and restarted, it loses no job and answers again."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from flytower.actors.ledger import MemoryStore
from flytower.actors.node import Node, NodeConfig, open_node
from flytower.connectors.registry import Registry
from flytower.protocol.client import Client, open_client
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import TaskTemplate
from flytower.protocol.status import RpcError, Status
from flytower.runtime.foreground import QUIET_SECONDS
from flytower.runtime.testing import CancelAtStep, no_leaks
from tests.actors.external_system import ExternalSystem, Weather
from tests.actors.live.connectors import JobMeta, TokenConnector

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

CATEGORY = admin.TaskCategory(name="token")
REQUEST = admin.CreateTaskRequest(template=TaskTemplate(type="token"), output_prefix="s3://bucket/job/0")


class Deployment:
    """A node behind a real socket, its external system, and the ledger that outlives it."""

    def __init__(self) -> None:
        self.system = ExternalSystem(honours_keys=True)
        self.store = MemoryStore()
        self.asked_to_delete = False

    def node(self) -> AbstractAsyncContextManager[Node]:
        registry = Registry()
        registry.register(TokenConnector(self.system))
        return open_node(NodeConfig(registry, port=0, metrics_port=None, store=self.store, grace=1.0))

    async def play(self, client: Client) -> bytes:
        """Create a job, read it, delete it."""
        meta = (await client.create_task(REQUEST)).resource_meta
        await client.get_task(admin.GetTaskRequest(task_category=CATEGORY, resource_meta=meta))
        self.asked_to_delete = True
        await client.delete_task(admin.DeleteTaskRequest(task_category=CATEGORY, resource_meta=meta))
        return meta

    def check(self) -> None:
        """What must hold wherever the node was cut off."""
        assert len(self.system.deeds("create")) <= 1, "a job was created twice"
        assert len(self.system.deeds("delete")) <= self.asked_to_delete, "a cancellation was taken for a delete"
        owned = {row.id for row in self.store.rows()}
        assert {job.key for job in self.system.living()} <= owned, "a job lives that no ledger knows"


async def test_a_node_behind_a_socket_can_be_cancelled_at_any_step_and_leaves_nothing_but_its_ledger() -> None:
    hits = 0
    for k in itertools.count(1):
        deployment = Deployment()
        async with no_leaks():
            with capture_logs(), CancelAtStep(k, every_task=True) as cut:
                async with deployment.node() as node, open_client(*node.address) as client:
                    await deployment.play(client)
        deployment.check()
        hits += cut.hit
        if not cut.hit:
            break
    assert hits > 30


async def test_whoever_calls_has_the_timers_and_the_polls_keep_their_turns_of_the_loop_short() -> None:
    deployment = Deployment()
    async with no_leaks(), deployment.node() as node:
        foreground = node.timers.foreground
        began = trio.current_time()
        assert foreground.is_quiet(began)
        async with open_client(*node.address) as client:
            await deployment.play(client)
        assert not foreground.is_quiet(began)
        assert foreground.is_quiet(trio.current_time() + 2 * QUIET_SECONDS)
        assert all(lane.foreground is foreground for host in node.hosts.values() for lane in host.lanes)


async def test_a_gateway_that_crashes_comes_back_on_its_port_and_the_tasks_never_noticed() -> None:
    deployment = Deployment()
    with capture_logs() as logs:
        async with no_leaks(), deployment.node() as node:
            async with open_client(*node.address) as client:
                meta = (await client.create_task(REQUEST)).resource_meta
            before = node.address
            crash(node)
            async with open_client(*before) as client:
                request = admin.GetTaskRequest(task_category=CATEGORY, resource_meta=meta)
                answer = await until_served(client, request)
            assert node.address == before
    assert answer.resource is not None
    assert len(deployment.system.deeds("create")) == 1
    assert deployment.system.deeds("delete") == []
    assert any("crash" in str(entry["event"]).lower() or "restart" in str(entry["event"]).lower() for entry in logs)


async def test_a_drain_ends_what_does_not_end_within_the_grace_and_leaves_it_to_recovery() -> None:
    deployment = Deployment()
    deployment.system.weather["create"] = Weather.SILENT
    with capture_logs():
        async with (
            no_leaks(),
            deployment.node() as node,
            open_client(*node.address) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(refused, client)
            while not deployment.system.calls:
                await wait_all_tasks_blocked(0.01)
            await node.drain(0.0)
            assert node.calls_in_flight == 0, "nothing is left for the gateway to wait for once more"
    assert [row.stage for row in deployment.store.rows()] == ["reserved"]


async def refused(client: Client) -> None:
    """Create a job, and be told that it cannot be awaited."""
    with pytest.raises(RpcError):
        await client.create_task(REQUEST)


def crash(node: Node) -> None:
    """Cancel the gateway's task behind its supervisor's back."""
    assert node.system is not None
    incarnation = node.system.root._slots["gateway"].incarnation
    assert incarnation is not None
    incarnation._scope.cancel(reason="the test cancels it")


async def until_served(client: Client, request: admin.GetTaskRequest) -> admin.GetTaskResponse:
    """Ask again while nobody listens: the supervisor pauses before it restarts a child."""
    while True:
        try:
            return await client.get_task(request)
        except RpcError as error:
            if error.status is not Status.UNAVAILABLE:
                raise
            await wait_all_tasks_blocked(0.01)


class SpoilingConnector(TokenConnector):
    """Writes into the template that it is given."""

    def __init__(self, system: ExternalSystem) -> None:
        super().__init__(system)
        self.given: list[str] = []

    async def create(self, task_template: TaskTemplate, idempotency_key: str, **_: Any) -> JobMeta:  # type: ignore[override]  # it asks by name
        self.given.append(task_template.type)
        task_template.type = "spoilt"
        return await super().create(idempotency_key)


@pytest.mark.parametrize("leaves_it", [False, True])
async def test_what_a_connector_does_to_its_template_does_not_reach_the_next_task_unless_it_says_that_it_does_nothing(
    *, leaves_it: bool
) -> None:
    connector = SpoilingConnector(ExternalSystem(honours_keys=True))
    connector.shares_templates = leaves_it
    registry = Registry()
    registry.register(connector)
    config = NodeConfig(registry, port=0, metrics_port=None, store=MemoryStore(), grace=1.0)
    async with open_node(config) as node, open_client(*node.address) as client:
        for number in range(3):
            request = admin.CreateTaskRequest(template=TaskTemplate(type="token"), output_prefix=f"s3://b/job/{number}")
            with suppress(RpcError):
                await client.create_task(request)
    assert connector.given == (["token"] if leaves_it else ["token"] * 3)
