"""Crashes and restarts of a node's parts: what the ledger has is taken up again, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
import trio.testing

from flytower.actors.events import Gone
from flytower.actors.janitor import ROUND_SECONDS
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError, Status
from flytower.runtime.testing import no_leaks
from tests.actors.external_system import ExternalSystem, Weather
from tests.actors.live.client import Client, FlakyStore, running
from tests.actors.live.connectors import FindConnector, NeitherConnector, TokenConnector

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

PREFIX = "s3://bucket/run/node/0"


@pytest.fixture
def system() -> ExternalSystem:
    return ExternalSystem(honours_keys=True)


async def boom() -> NoReturn:
    raise RuntimeError("boom")


def crash_host(client: Client, kind: str) -> None:
    """Crash a connector's host from inside."""
    nursery = client.host(kind)._host._lanes["poll"]._nursery
    assert nursery is not None
    nursery.start_soon(boom)


def crash_actor(client: Client, kind: str, times: int = 1) -> None:
    """Crash the actors of a kind with an event that cannot happen to them."""
    for task in client.stages(kind):
        for _ in range(times):
            client.host(kind).tell(task, Gone())


async def test_a_node_that_ends_leaves_nothing_running_and_no_job_deleted(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with no_leaks():
        async with running(NeitherConnector(system)) as client:
            for _ in range(300):
                await client.create("neither")
            system.weather["get"] = Weather.SILENT
            await trio.sleep(35)
            hosts = list(client.node.hosts.values())
        assert [host._host.keys() for host in hosts] == [[]]
        assert len(client.node.directory) == 0
        assert client.node.timers.statistics().pending == 0
    assert len(system.living()) == 300
    assert system.count("delete") == 0


async def test_a_new_node_on_the_same_ledger_goes_on_where_the_last_one_stopped(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    store = FlakyStore()
    async with running(NeitherConnector(system), store=store) as client:
        live = await client.create("neither", "s3://bucket/live/0")
        over = await client.create("neither", "s3://bucket/over/0")
        gone = await client.create("neither", "s3://bucket/gone/0")
        system.end("job-1", Phase.SUCCEEDED, {"x": 1})
        system.weather["delete"] = RuntimeError("HTTP 503")
        await client.delete("neither", gone)
        await trio.sleep(60)
        before = await client.get("neither", over)
    system.calm()
    async with running(NeitherConnector(system), store=store) as client:
        assert await client.get("neither", over) == before
        assert (await client.get("neither", live)).phase is Phase.RUNNING
        assert await client.create("neither", "s3://bucket/live/0") == live
        await trio.sleep(1)
        assert [job.name for job in system.living()] == ["job-0", "job-1"]
        assert await client.create("neither", "s3://bucket/gone/0") == b'{"job":"job-3"}'
    assert system.count("create") == 4


@pytest.mark.parametrize(("connector", "creates"), [(TokenConnector, 2), (FindConnector, 1)], ids=["repeated", "found"])
async def test_a_create_that_a_stop_cut_off_is_resolved_by_the_next_node(
    autojump_clock: MockClock, system: ExternalSystem, connector: type[NeitherConnector], creates: int
) -> None:
    store = FlakyStore()
    system.expect("create", Weather.LOST)
    kind = connector.name
    async with running(connector(system), store=store) as client:
        client.start_create(kind, PREFIX)
        await trio.sleep(1)
    async with running(connector(system), store=store) as client:
        await trio.sleep(60)
        assert set(client.stages(kind).values()) == {"live"}
        assert await client.create(kind, PREFIX) == b'{"job":"job-0"}'
    assert system.count("create") == creates
    assert len(system.deeds("create")) == 1


async def test_an_attempt_that_was_read_before_it_was_replaced_is_left_alone_by_the_next_node_too(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    store = FlakyStore()
    async with running(NeitherConnector(system), store=store) as client:
        await client.get("neither", await client.create("neither", "s3://bucket/run/node/0"))
        await client.create("neither", "s3://bucket/run/node/1")
        await client.create("neither", "s3://bucket/run/node/2")
    async with running(NeitherConnector(system), store=store) as client:
        await trio.sleep(60)
    assert [job.name for job in system.living()] == ["job-0", "job-2"]


@pytest.mark.parametrize("read", [False, True])
async def test_a_next_attempt_that_comes_after_a_restart_replaces_the_earlier_one_unless_somebody_had_read_it(
    autojump_clock: MockClock,
    system: ExternalSystem,
    read: bool,  # noqa: FBT001 - a table
) -> None:
    store = FlakyStore()
    async with running(NeitherConnector(system), store=store) as client:
        meta = await client.create("neither", "s3://bucket/run/node/0")
        if read:
            await client.get("neither", meta)
    async with running(NeitherConnector(system), store=store) as client:
        await client.create("neither", "s3://bucket/run/node/1")
        await trio.sleep(60)
    assert [job.name for job in system.living()] == (["job-0"] if read else []) + ["job-1"]


async def test_a_create_that_a_stop_cut_off_is_never_repeated_where_nobody_can_know(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    store = FlakyStore()
    system.expect("create", Weather.LOST)
    async with running(NeitherConnector(system), store=store) as client:
        client.start_create("neither", PREFIX)
        await trio.sleep(1)
    async with running(NeitherConnector(system), store=store) as client:
        meta = await client.create("neither", PREFIX)
        assert (await client.get("neither", meta)).phase is Phase.FAILED
    assert system.count("create") == 1


async def test_a_stop_answers_all_who_wait(autojump_clock: MockClock, system: ExternalSystem) -> None:
    system.weather["create"] = Weather.SILENT
    async with running(NeitherConnector(system)) as client:
        pending = client.start_create("neither", PREFIX)
        await trio.sleep(1)
    with pytest.raises(RpcError) as failure:
        pending.result()
    assert failure.value.status is Status.UNAVAILABLE


async def test_a_stop_waits_for_creates_under_way(autojump_clock: MockClock, system: ExternalSystem) -> None:
    store = FlakyStore()
    system.latency["create"] = 3.0
    async with running(NeitherConnector(system), store=store) as client:
        pending = client.start_create("neither", PREFIX)
        await trio.sleep(1)
    assert pending.result()
    assert [row.meta for row in store.rows()] == [b'{"job":"job-0"}']


async def test_an_actor_that_crashes_goes_on_from_the_ledger(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither", PREFIX)
        await client.get("neither", meta)
        crash_actor(client, "neither")
        assert (await client.get("neither", meta)).phase is Phase.RUNNING
        system.end("job-0", Phase.SUCCEEDED)
        await trio.sleep(60)
        assert (await client.get("neither", meta)).phase is Phase.SUCCEEDED
    assert system.count("create") == 1


async def test_an_actor_that_crashed_too_often_is_missed_and_replaced_and_its_key_never_given_away(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither", PREFIX)
        await client.get("neither", meta)
        crash_actor(client, "neither", times=4)
        assert not client.stages("neither")
        assert (await client.get("neither", meta)).phase is Phase.RUNNING
        with pytest.raises(RpcError) as refusal:
            await client.create("neither", PREFIX)
        assert refusal.value.status is Status.UNAVAILABLE
        await trio.sleep(ROUND_SECONDS + 1)
        assert await client.create("neither", PREFIX) == meta
        assert list(client.stages("neither").values()) == ["live"]
    assert system.count("create") == 1


async def test_a_reservation_whose_actor_is_missed_is_not_given_up(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.weather["create"] = Weather.SILENT
    async with running(TokenConnector(system)) as client:
        meta = await client.create("token", PREFIX, deadline=10.0)
        crash_actor(client, "token", times=4)
        assert (await client.get("token", meta)).phase is Phase.INITIALIZING
        with pytest.raises(RpcError) as refusal:
            await client.delete("token", meta)
        assert refusal.value.status is Status.UNAVAILABLE
        system.calm()
        await trio.sleep(ROUND_SECONDS + 30)
        assert (await client.get("token", meta)).phase is Phase.RUNNING


async def test_a_host_that_crashes_is_restarted_with_all_its_tasks(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system), TokenConnector(ExternalSystem())) as client:
        metas = [await client.create("neither") for _ in range(200)]
        other = client.host("token")
        crash_host(client, "neither")
        await trio.sleep(10)
        assert client.host("token") is other
        for meta in metas:
            assert (await client.get("neither", meta)).phase is Phase.RUNNING
        assert list(client.stages("neither").values()) == ["live"] * 200
    assert system.count("create") == 200
    assert system.count("delete") == 0


class AtEveryStep(trio.abc.Instrument):
    """Do something after each step of any task, as a server between two frames could."""

    def __init__(self, do: Callable[[], object]) -> None:
        self.do = do

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.do()


async def test_reads_at_every_step_of_a_restart_are_answered_and_make_no_second_actor(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    answers: list[object] = []
    async with running(NeitherConnector(system)) as client:
        metas = [await client.create("neither") for _ in range(300)]
        system.end("job-299", Phase.SUCCEEDED)
        await trio.sleep(60)
        reader = AtEveryStep(lambda: answers.extend(client.start_get("neither", meta) for meta in metas[::-50]))
        crash_host(client, "neither")
        trio.lowlevel.add_instrument(reader)
        await trio.sleep(1)
        trio.lowlevel.remove_instrument(reader)
        assert client.stages("neither")
        await trio.sleep(60)
        assert len(client.stages("neither")) == 300
        assert sum(node.restarts for node in client.node.tree().walk()) == 1
    assert len(answers) > 100
    assert all(isinstance(answer, bytes) for answer in answers)


@pytest.mark.parametrize("kind", ["neither", "token"])
async def test_a_delete_is_kept_through_three_restarts_and_twenty_failures(
    autojump_clock: MockClock, system: ExternalSystem, kind: str
) -> None:
    store, connector = FlakyStore(), {"neither": NeitherConnector, "token": TokenConnector}[kind]
    async with running(connector(system), store=store) as client:
        meta = await client.create(kind, PREFIX)
        system.expect("delete", *(RuntimeError("HTTP 503") for _ in range(20)))
        await client.delete(kind, meta)
    for _ in range(3):
        async with running(connector(system), store=store) as client:
            await trio.sleep(600)
    async with running(connector(system), store=store) as client:
        await trio.sleep(3600)
        assert (await client.get(kind, meta)).phase is Phase.ABORTED
    assert len(system.deeds("delete")) == 1
