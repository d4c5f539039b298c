"""CreateTask on a running node: one external job for one key, whatever happens to those who asked for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from flytower.connectors.errors import RetryLater
from flytower.connectors.policy import Recovery
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError, Status
from tests.actors.external_system import ExternalSystem, Weather
from tests.actors.live.client import FlakyStore, running
from tests.actors.live.connectors import FAST, FindConnector, NeitherConnector, TokenConnector

if TYPE_CHECKING:
    from trio.testing import MockClock

PREFIX = "s3://bucket/run/node/0"


@pytest.fixture
def system() -> ExternalSystem:
    return ExternalSystem(honours_keys=True)


async def test_two_hundred_creates_of_one_key_at_once_are_one_external_create_and_one_meta(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.latency["create"] = 3.0
    metas: list[bytes] = []
    async with running(NeitherConnector(system)) as client:

        async def ask() -> None:
            metas.append(await client.create("neither", PREFIX))

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(ask)
    assert len(metas) == 200
    assert len(set(metas)) == 1
    assert system.count("create") == 1


async def test_a_create_that_is_asked_again_later_gets_the_same_bytes(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        first = await client.create("neither", PREFIX)
        await trio.sleep(3600)
        assert await client.create("neither", PREFIX) == first
        system.end("job-0", Phase.SUCCEEDED)
        await client.get("neither", first)
        await trio.sleep(60)
        assert await client.create("neither", PREFIX) == first
    assert system.count("create") == 1


async def test_creates_that_nothing_identifies_are_all_different_jobs(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        assert await client.create("neither") != await client.create("neither")


async def test_a_create_outlives_its_caller(autojump_clock: MockClock, system: ExternalSystem) -> None:
    system.latency["create"] = 15.0
    async with running(NeitherConnector(system)) as client:
        pending = client.start_create("neither", PREFIX)
        await trio.sleep(1)
        pending.withdraw()
        await trio.sleep(20)
        assert len(system.living()) == 1
        assert await client.create("neither", PREFIX) == b'{"job":"job-0"}'
    assert system.count("create") == 1


async def test_a_slow_create_is_answered_provisionally_at_four_fifths_of_the_deadline(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.latency["create"] = 15.0
    async with running(NeitherConnector(system)) as client:
        started = trio.current_time()
        meta = await client.create("neither", PREFIX, deadline=10.0)
        assert trio.current_time() - started == pytest.approx(8.0, abs=0.1)
        assert meta.startswith(b'{"flytower_task":')
        assert (await client.get("neither", meta)).phase is Phase.INITIALIZING


async def test_the_real_job_appears_behind_its_provisional_meta(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.latency["create"] = 15.0
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither", PREFIX, deadline=10.0)
        await trio.sleep(10)
        assert (await client.get("neither", meta)).phase is Phase.RUNNING
        assert await client.create("neither", PREFIX) == meta
        await client.delete("neither", meta)
        await trio.sleep(1)
    assert not system.living()


async def test_a_create_that_fails_after_its_provisional_answer_is_a_failed_task(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.latency["create"] = 15.0
    system.expect("create", RuntimeError("no quota"))
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither", PREFIX, deadline=10.0)
        await trio.sleep(10)
        resource = await client.get("neither", meta)
        assert resource.phase is Phase.RETRYABLE_FAILED
        assert "no quota" in resource.message


async def test_a_create_that_fails_tells_its_caller_why_and_frees_the_key(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.expect("create", RuntimeError("no quota"))
    async with running(NeitherConnector(system)) as client:
        with pytest.raises(RpcError, match="no quota") as failure:
            await client.create("neither", PREFIX)
        assert failure.value.status is Status.INTERNAL
        assert await client.create("neither", PREFIX) == b'{"job":"job-0"}'


async def test_a_create_that_fails_in_a_second_generation_frees_the_key_again(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        await client.delete("neither", await client.create("neither", PREFIX))
        await trio.sleep(1)
        system.expect("create", RuntimeError("no quota"))
        with pytest.raises(RpcError, match="no quota"):
            await client.create("neither", PREFIX)
        assert await client.create("neither", PREFIX) == b'{"job":"job-1"}'


async def test_the_same_key_with_other_parameters_is_refused(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(NeitherConnector(system)) as client:
        await client.create("neither", PREFIX, size=1)
        with pytest.raises(RpcError) as refusal:
            await client.create("neither", PREFIX, size=2)
        assert refusal.value.status is Status.FAILED_PRECONDITION
    assert system.count("create") == 1


async def test_a_delete_frees_the_key_for_a_job_with_other_parameters(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        first = await client.create("neither", PREFIX, size=1)
        await client.delete("neither", first)
        second = await client.create("neither", PREFIX, size=2)
        await trio.sleep(1)
        assert second != first
        assert [job.name for job in system.living()] == ["job-1"]


async def test_an_attempt_that_nobody_ever_read_is_deleted_when_the_next_one_comes(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        await client.create("neither", "s3://bucket/run/node/0")
        await client.create("neither", "s3://bucket/run/node/1")
        await trio.sleep(1)
    assert [job.name for job in system.living()] == ["job-1"]


async def test_an_attempt_that_was_read_is_left_to_whoever_read_it(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        await client.get("neither", await client.create("neither", "s3://bucket/run/node/0"))
        await client.create("neither", "s3://bucket/run/node/1")
        await trio.sleep(60)
    assert len(system.living()) == 2


async def test_an_attempt_that_is_superseded_while_it_is_created_is_deleted_after_it(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.latency["create"] = 5.0
    async with running(NeitherConnector(system)) as client:
        client.start_create("neither", "s3://bucket/run/node/0")
        await trio.sleep(1)
        await client.create("neither", "s3://bucket/run/node/1")
        await trio.sleep(10)
    assert [job.name for job in system.living()] == ["job-1"]


async def test_jobs_of_another_place_are_never_superseded(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(NeitherConnector(system)) as client:
        await client.create("neither", "s3://bucket/run/one/0")
        await client.create("neither", "s3://bucket/run/other/1")
        await trio.sleep(60)
    assert len(system.living()) == 2


async def test_a_create_without_reply_is_repeated_with_its_token(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.expect("create", Weather.LOST)
    async with running(TokenConnector(system)) as client:
        assert await client.create("token", PREFIX) == b'{"job":"job-0"}'
    assert system.count("create") == 2
    assert len(system.deeds("create")) == 1


async def test_a_create_whose_repetition_fails_is_repeated_until_its_job_is_there(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.expect("create", Weather.LOST, ConnectionError("reset"), ConnectionError("reset"))
    async with running(TokenConnector(system)) as client:
        assert await client.create("token", PREFIX) == b'{"job":"job-0"}'
        await client.delete("token", b'{"job":"job-0"}')
        await trio.sleep(1)
    assert not system.living()


async def test_a_create_without_reply_is_looked_for(autojump_clock: MockClock, system: ExternalSystem) -> None:
    system.honours_keys = False
    system.expect("create", Weather.LOST)
    async with running(FindConnector(system)) as client:
        assert await client.create("find", PREFIX) == b'{"job":"job-0"}'
    assert system.count("create") == 1


async def test_a_create_that_was_looked_for_and_is_not_there_is_made(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.expect("create", Weather.SILENT)
    async with running(FindConnector(system)) as client:
        assert await client.create("find", PREFIX) == b'{"job":"job-0"}'


async def test_a_create_without_reply_is_never_repeated_where_nobody_can_know(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.expect("create", Weather.LOST)
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither", PREFIX)
        resource = await client.get("neither", meta)
        assert resource.phase is Phase.FAILED
        assert "may exist or not" in resource.message
        assert await client.create("neither", PREFIX) == meta
    assert system.count("create") == 1


async def test_a_task_of_which_nobody_can_know_stays_so_after_the_deadline_of_its_create(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.expect("create", Weather.LOST)
    async with running(NeitherConnector(system, replace(FAST, create_timeout=5.0))) as client:
        meta = await client.create("neither", PREFIX, deadline=60.0)
        await trio.sleep(120)
        assert set(client.stages("neither").values()) == {"unknown"}
        assert (await client.get("neither", meta)).phase is Phase.FAILED
        assert sum(node.restarts for node in client.node.tree().walk()) == 0


async def test_a_search_waits_as_long_as_the_system_asks_for(autojump_clock: MockClock, system: ExternalSystem) -> None:
    system.expect("create", Weather.LOST)
    system.expect("find", RetryLater("busy", after=40.0))
    async with running(FindConnector(system)) as client:
        assert await client.create("find", PREFIX) == b'{"job":"job-0"}'
    first, second = system.times("find")
    assert second - first >= 40.0


async def test_a_create_that_the_ledger_cannot_note_is_not_begun(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    store = FlakyStore()
    store.failing = True
    async with running(NeitherConnector(system), store=store) as client:
        with pytest.raises(RpcError) as refusal:
            await client.create("neither", PREFIX)
        assert refusal.value.status is Status.UNAVAILABLE
        assert not system.calls
        store.failing = False
        assert await client.create("neither", PREFIX)


async def test_a_job_is_named_to_its_caller_only_when_the_ledger_has_it(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    store = FlakyStore()
    system.latency["create"] = 2.0
    async with running(NeitherConnector(system), store=store) as client:
        pending = client.start_create("neither", PREFIX)
        await trio.sleep(1)
        store.failing = True
        await trio.sleep(10)
        assert not pending.done  # type: ignore[attr-defined]  # it is a promise
        store.failing = False
        await client.answered(pending)
        assert [row.meta for row in store.rows()] == [b'{"job":"job-0"}']


async def test_a_create_beyond_the_room_of_the_host_is_refused_at_once(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system), tasks=2) as client:
        await client.create("neither")
        await client.create("neither")
        with pytest.raises(RpcError) as refusal:
            await client.create("neither")
        assert refusal.value.status is Status.RESOURCE_EXHAUSTED
    assert system.count("create") == 2


async def test_a_create_that_was_refused_for_want_of_room_leaves_nothing_behind(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system, replace(FAST, retention=10.0)), tasks=1) as client:
        first = await client.create("neither")
        with pytest.raises(RpcError):
            await client.create("neither", PREFIX)
        assert len(client.node.directory) == 1
        await client.delete("neither", first)
        await trio.sleep(20)
        assert await client.create("neither", PREFIX) == b'{"job":"job-1"}'


@pytest.mark.parametrize(("kind", "status"), [("", Status.INVALID_ARGUMENT), ("nothing", Status.NOT_FOUND)])
async def test_a_create_for_no_connector_is_refused(
    autojump_clock: MockClock, system: ExternalSystem, kind: str, status: Status
) -> None:
    async with running(NeitherConnector(system)) as client:
        with pytest.raises(RpcError) as refusal:
            await client.create(kind, PREFIX)
        assert refusal.value.status is status


@pytest.mark.parametrize("connector", [TokenConnector, FindConnector, NeitherConnector])
async def test_what_an_author_declares_is_what_the_node_goes_by(
    autojump_clock: MockClock, system: ExternalSystem, connector: type[NeitherConnector]
) -> None:
    assert connector(system).policy.recovery in Recovery
    async with running(connector(system)) as client:
        assert await client.create(connector.name, PREFIX) == b'{"job":"job-0"}'
