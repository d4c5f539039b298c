"""DeleteTask on a running node: the wish is kept at once, and fulfilled however long it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from flytower.connectors.errors import RetryLater
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError, Status
from tests.actors.external_system import ExternalSystem, Weather
from tests.actors.live.client import FlakyStore, running
from tests.actors.live.connectors import FAST, NeitherConnector

if TYPE_CHECKING:
    from trio.testing import MockClock

PREFIX = "s3://bucket/run/node/0"


@pytest.fixture
def system() -> ExternalSystem:
    return ExternalSystem()


async def test_a_delete_is_handled_at_once_while_a_poll_is_under_way_and_ends_it(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system, replace(FAST, get_timeout=1000.0))) as client:
        meta = await client.create("neither")
        await client.get("neither", meta)
        system.weather["get"] = Weather.SILENT
        await trio.sleep(60)
        assert system.under_way["get"] == 1
        now = trio.current_time()
        await client.delete("neither", meta)
        await trio.testing.wait_all_tasks_blocked()
        assert not system.living()
        assert system.under_way["get"] == 0
        assert trio.current_time() == now
        assert (await client.get("neither", meta)).phase is Phase.ABORTED


async def test_a_storm_of_silent_polls_delays_no_delete(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(NeitherConnector(system, replace(FAST, get_timeout=1000.0, concurrency=4))) as client:
        metas = [await client.create("neither") for _ in range(20)]
        system.weather["get"] = Weather.SILENT
        await trio.sleep(60)
        assert system.under_way["get"] == 4
        now = trio.current_time()
        for meta in metas:
            await client.delete("neither", meta)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == now
        assert not system.living()


async def test_a_delete_that_fails_twenty_times_is_repeated_until_the_job_is_gone(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        system.expect("delete", *(RuntimeError("HTTP 503") for _ in range(20)))
        await client.delete("neither", meta)
        await trio.sleep(2 * 3600)
        assert system.count("delete") >= 21
        assert not system.living()
        assert (await client.get("neither", meta)).phase is Phase.ABORTED
    assert len(system.deeds("delete")) == 1


async def test_a_delete_without_reply_is_repeated(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        system.expect("delete", Weather.LOST)
        await client.delete("neither", meta)
        await trio.sleep(120)
        assert set(client.stages("neither").values()) == {"deleted"}
    assert system.count("delete") == 2


async def test_a_delete_waits_as_long_as_the_system_asks_for(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        system.expect("delete", RetryLater("busy", after=500.0))
        await client.delete("neither", meta)
        await trio.sleep(3600)
    first, second = system.times("delete")
    assert second - first >= 500.0


async def test_a_delete_of_what_has_succeeded_does_not_reach_the_connector(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        system.end("job-0", Phase.SUCCEEDED)
        await trio.sleep(5)
        await client.delete("neither", meta)
        await trio.sleep(3600)
        assert (await client.get("neither", meta)).phase is Phase.SUCCEEDED
    assert system.count("delete") == 0


async def test_a_delete_of_what_has_succeeded_reaches_a_connector_that_asks_for_it(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system, replace(FAST, delete_after_finish=True))) as client:
        meta = await client.create("neither")
        system.end("job-0", Phase.SUCCEEDED)
        await trio.sleep(5)
        await client.delete("neither", meta)
        await trio.sleep(60)
        assert (await client.get("neither", meta)).phase is Phase.SUCCEEDED
    assert system.count("delete") == 1


@pytest.mark.parametrize("delete_after_finish", [False, True])
async def test_a_delete_of_a_task_whose_create_failed_has_nothing_to_delete(
    autojump_clock: MockClock, system: ExternalSystem, *, delete_after_finish: bool
) -> None:
    system.latency["create"] = 15.0
    system.expect("create", RuntimeError("no quota"))
    async with running(NeitherConnector(system, replace(FAST, delete_after_finish=delete_after_finish))) as client:
        meta = await client.create("neither", PREFIX, deadline=10.0)
        await trio.sleep(10)
        await client.delete("neither", meta)
        await trio.sleep(600)
        assert set(client.stages("neither").values()) == {"deleted"}
    assert system.count("delete") == 0


async def test_a_delete_during_the_create_deletes_the_job_as_soon_as_it_is_there(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.latency["create"] = 15.0
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither", PREFIX, deadline=10.0)
        await client.delete("neither", meta)
        await trio.sleep(30)
        assert (await client.get("neither", meta)).phase is Phase.ABORTED
    assert len(system.deeds("create")) == len(system.deeds("delete")) == 1
    assert system.count("get") == 0


async def test_deletes_of_the_same_job_are_all_answered_and_done_once(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.latency["delete"] = 10.0
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        for _ in range(20):
            await client.delete("neither", meta)
        await trio.sleep(60)
        await client.delete("neither", meta)
    assert system.count("delete") == 1


async def test_a_job_of_another_server_is_deleted_by_its_meta_alone(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.create_now("made elsewhere")
    async with running(NeitherConnector(system)) as client:
        await client.delete("neither", b'{"job":"job-0"}')
        await trio.sleep(1)
        assert not system.living()
        await client.delete("neither", b'{"job":"never was"}')
        await trio.sleep(1)
        assert set(client.stages("neither").values()) == {"deleted"}
    assert system.count("get") == 0


async def test_a_delete_that_the_ledger_cannot_note_says_so_and_is_done_all_the_same(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    store = FlakyStore()
    async with running(NeitherConnector(system), store=store) as client:
        meta = await client.create("neither")
        store.failing = True
        with pytest.raises(RpcError, match="the disk is full") as refusal:
            await client.delete("neither", meta)
        assert refusal.value.status is Status.UNAVAILABLE
        await trio.sleep(60)
        assert not system.living()
        store.failing = False
        await client.delete("neither", meta)
        assert [row.stage for row in store.rows()] == ["deleted"]


async def test_a_delete_of_a_finished_task_is_answered_after_the_ledger_has_failed(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    store = FlakyStore()
    async with running(NeitherConnector(system), store=store) as client:
        meta = await client.create("neither")
        system.end("job-0", Phase.SUCCEEDED)
        await trio.sleep(5)
        store.failing = True
        with pytest.raises(RpcError):
            await client.delete("neither", meta)
        store.failing = False
        await client.delete("neither", meta)
        assert [row.stage for row in store.rows()] == ["deleted"]


async def test_a_delete_of_a_task_of_which_nobody_can_know_frees_its_key(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.expect("create", Weather.LOST)
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither", PREFIX)
        await client.delete("neither", meta)
        assert await client.create("neither", PREFIX) == b'{"job":"job-1"}'
