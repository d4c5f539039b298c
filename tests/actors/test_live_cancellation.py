"""Cancellation at every step of a node, and of its parts: still consistent, each job cleaned up or owned."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import trio

from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError, Status
from flytower.runtime.supervisor import Supervisor
from flytower.runtime.testing import CancelAtStep, no_leaks
from tests.actors.external_system import ExternalSystem
from tests.actors.live.client import Client, FlakyStore, running
from tests.actors.live.connectors import FindConnector, NeitherConnector, TokenConnector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

CONNECTORS = {connector.name: connector for connector in (TokenConnector, FindConnector, NeitherConnector)}

T = TypeVar("T")


class Scenario:
    """One job that is deleted and one that is not, and what their caller was told."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.system = ExternalSystem(honours_keys=kind == "token", latency={"create": 0.5, "get": 0.2, "delete": 0.5})
        self.store = FlakyStore()
        self.created: dict[str, bytes] = {}
        self.asked_to_delete = False
        self.deleted = False

    def node(self) -> Any:
        return running(CONNECTORS[self.kind](self.system), store=self.store)

    async def play(self, client: Client) -> None:
        """Create, poll, read, delete."""
        for place in ("stays", "goes"):
            meta = await self.persist(partial(client.create, self.kind, f"s3://{place}/0", deadline=10.0))
            assert self.created.setdefault(place, meta) == meta
        await trio.sleep(1)
        for meta in self.created.values():
            assert (await self.persist(partial(client.get, self.kind, meta))).phase in {
                Phase.RUNNING,
                Phase.INITIALIZING,
                Phase.FAILED,  # of a create that nobody can know of
            }
        self.asked_to_delete = True
        await self.persist(lambda: client.delete(self.kind, self.created["goes"]))
        self.deleted = True
        await trio.sleep(5)

    async def persist(self, do: Callable[[], Awaitable[T]]) -> T:
        """Call again while the node says that it is restarting, as Flyte does."""
        for _ in range(60):
            try:
                return await do()
            except RpcError as error:
                if error.status is not Status.UNAVAILABLE:
                    raise
                await trio.sleep(1)
        raise AssertionError("the node never came back")

    async def judge(self, client: Client) -> None:
        """Let time pass, and look at what is left."""
        await trio.sleep(300)
        deleted = {deed.job for deed in self.system.deeds("delete")}
        created = self.system.deeds("create")
        assert len({deed.key for deed in created}) == len(created), "a job was created twice"
        assert len(deleted) <= self.asked_to_delete, "something was deleted that nobody wanted deleted"
        stages = client.stages(self.kind)
        assert set(stages.values()) <= {"live", "deleted", "unknown"}
        living = {job.key for job in self.system.living()}
        owned = {task for task, stage in stages.items() if stage in {"live", "unknown"}}
        assert living <= owned, "a job lives that nobody owns"
        if self.deleted and "unknown" not in stages.values():
            assert len(deleted) == 1
            assert sorted(stages.values()) == ["deleted", "live"]


@pytest.mark.parametrize("kind", CONNECTORS)
async def test_a_node_cancelled_at_any_step_leaves_all_to_the_next_one(autojump_clock: MockClock, kind: str) -> None:
    hits = 0
    for k in itertools.count(1):
        scenario = Scenario(kind)
        async with no_leaks():
            with CancelAtStep(k, every_task=True) as cut:
                async with scenario.node() as client:
                    await scenario.play(client)
            hits += cut.hit
        assert len(scenario.system.deeds("delete")) <= scenario.asked_to_delete
        async with scenario.node() as client:
            await scenario.judge(client)
            if "stays" in scenario.created:
                assert await client.create(kind, "s3://stays/0") == scenario.created["stays"]
        if not cut.hit:
            break
    assert hits > 30


class CrashAtStep(trio.abc.Instrument):
    """Cancel one child of the node, and nothing else, at the k-th step of any task."""

    def __init__(self, client: Client, path: str, k: int) -> None:
        self.client = client
        self.path = path
        self.left = k
        self.hit = False

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.hit = True
            cancel_child(self.client, self.path)


def cancel_child(client: Client, path: str) -> None:
    """Cancel the task of one child of the tree."""
    assert client.node.system is not None
    supervisor: Any = client.node.system.root
    *parents, name = path.split("/")
    for parent in parents:
        supervisor = supervisor._slots[parent].incarnation.child
    assert isinstance(supervisor, Supervisor)
    slot = supervisor._slots.get(name)
    if slot is not None and slot.incarnation is not None:
        slot.incarnation._scope.cancel(reason="the test cancels it")


@pytest.mark.parametrize("path", ["timers", "ledger", "registry", "connectors", "connectors/token@0", "janitor"])
async def test_a_part_cancelled_at_any_step_is_missed_by_nobody(autojump_clock: MockClock, path: str) -> None:
    hits = 0
    for k in itertools.count(1):
        scenario = Scenario("token")
        async with no_leaks(), scenario.node() as client:
            cut = CrashAtStep(client, path, k)
            trio.lowlevel.add_instrument(cut)
            await scenario.play(client)
            trio.lowlevel.remove_instrument(cut)
            await scenario.judge(client)
            assert scenario.deleted
            hits += cut.hit
        if not cut.hit:
            break
    assert hits > 5
