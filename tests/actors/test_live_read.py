"""GetTask on a running node: it answers from what is known, at once, whatever the external system does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from flytower.actors.async_service import FIRST_ANSWER_SECONDS
from flytower.connectors.errors import PermanentFailure, RetryLater
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError, Status
from tests.actors.external_system import Condition, ExternalSystem, Weather
from tests.actors.live.client import running
from tests.actors.live.connectors import FAST, NeitherConnector

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.fixture
def system() -> ExternalSystem:
    return ExternalSystem()


async def test_a_read_with_an_answer_at_hand_never_calls_the_external_system(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        await client.get("neither", meta)
        before, now = system.count("get"), trio.current_time()
        for _ in range(1000):
            assert isinstance(client.start_get("neither", meta), bytes)
        assert system.count("get") == before
        assert trio.current_time() == now


@pytest.mark.parametrize(
    "weather", [RuntimeError("HTTP 503"), RetryLater("HTTP 429", after=20.0), Weather.SILENT, Weather.LOST]
)
async def test_an_hour_of_trouble_outside_is_no_error_of_a_single_read(
    autojump_clock: MockClock, system: ExternalSystem, weather: Condition
) -> None:
    async with running(NeitherConnector(system, replace(FAST, failure_age=None))) as client:
        meta = await client.create("neither")
        await client.get("neither", meta)
        system.weather["get"] = weather
        for _ in range(120):
            await trio.sleep(30)
            assert (await client.get("neither", meta)).phase is Phase.RUNNING
        system.calm()
        system.end("job-0", Phase.SUCCEEDED, {"x": 1})
        await trio.sleep(60)
        resource = await client.get("neither", meta)
        assert resource.phase is Phase.SUCCEEDED
        assert resource.outputs is not None


async def test_a_stale_answer_says_how_old_it_is_and_why(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        await client.get("neither", meta)
        system.weather["get"] = RuntimeError("HTTP 503")
        await trio.sleep(60)
        message = (await client.get("neither", meta)).message
        assert message.startswith("at work (last answer ")
        assert "s ago: RuntimeError: HTTP 503" in message
        system.calm()
        await trio.sleep(60)
        assert (await client.get("neither", meta)).message == "at work"


async def test_a_job_that_cannot_be_followed_for_an_hour_is_given_up_and_deleted(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        system.weather["get"] = RuntimeError("HTTP 503")
        for _ in range(150):
            await trio.sleep(30)
            resource = await client.get("neither", meta)
        assert resource.phase is Phase.RETRYABLE_FAILED
        assert "HTTP 503" in resource.message
        assert not system.living()


async def test_a_failure_that_no_poll_can_help_fails_the_task(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        system.weather["get"] = PermanentFailure("access revoked")
        await trio.sleep(60)
        resource = await client.get("neither", meta)
        assert resource.phase is Phase.FAILED
        assert "access revoked" in resource.message


async def test_a_fresh_job_that_is_not_listed_yet_is_not_lost(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.lag = 20.0
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        assert (await client.get("neither", meta)).phase is Phase.INITIALIZING
        await trio.sleep(60)
        assert (await client.get("neither", meta)).phase is Phase.RUNNING


async def test_a_job_that_somebody_else_removed_can_be_tried_again(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        await trio.sleep(60)
        system.delete_now("job-0")
        await client.get("neither", meta)
        await trio.sleep(60)
        assert (await client.get("neither", meta)).phase is Phase.RETRYABLE_FAILED


async def test_a_job_of_another_server_is_adopted_by_its_first_read(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.create_now("made elsewhere")
    async with running(NeitherConnector(system)) as client:
        meta = b'{"job":"job-0"}'
        assert (await client.get("neither", meta)).phase is Phase.RUNNING
        system.end("job-0", Phase.SUCCEEDED)
        await trio.sleep(60)
        assert (await client.get("neither", meta)).phase is Phase.SUCCEEDED
        assert len(client.stages("neither")) == 1
    assert system.count("create") == 0


async def test_a_first_read_that_has_to_wait_is_answered_before_its_deadline(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.create_now("made elsewhere")
    system.weather["get"] = Weather.SILENT
    async with running(NeitherConnector(system)) as client:
        now = trio.current_time()
        assert (await client.get("neither", b'{"job":"job-0"}', deadline=5.0)).phase is Phase.RUNNING
        assert trio.current_time() - now == pytest.approx(4.0, abs=0.1)
        now = trio.current_time()
        assert (await client.get("neither", b'{"job":"job-0"}', deadline=None)).phase is Phase.RUNNING
        assert trio.current_time() - now <= FIRST_ANSWER_SECONDS + 0.1


@pytest.mark.parametrize("meta", [b"", b"rubbish", b"{}", b'{"job":1}', b'{"job":"a","more":1}', b"\xff", b"[]"])
async def test_a_meta_that_is_none_of_the_connector_is_refused(
    autojump_clock: MockClock, system: ExternalSystem, meta: bytes
) -> None:
    async with running(NeitherConnector(system)) as client:
        with pytest.raises(RpcError) as refusal:
            await client.get("neither", meta)
        assert refusal.value.status is Status.INVALID_ARGUMENT
        with pytest.raises(RpcError) as refusal:
            await client.delete("neither", meta)
        assert refusal.value.status is Status.INVALID_ARGUMENT
        assert not client.stages("neither")
    assert not system.calls


async def test_a_reservation_that_the_ledger_does_not_know_is_to_be_tried_again(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = b'{"flytower_task":"' + b"0" * 32 + b'"}'
        assert (await client.get("neither", meta)).phase is Phase.RETRYABLE_FAILED
        await client.delete("neither", meta)
        assert not client.stages("neither")


async def test_a_job_that_nobody_reads_is_polled_ever_more_rarely_and_then_not_at_all(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        await client.create("neither")
        await trio.sleep(3600)
        first_hour = system.count("get")
        await trio.sleep(24 * 3600)
        assert first_hour < 25
        assert system.count("get") - first_hour <= 1


async def test_a_read_wakes_a_job_that_sleeps(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        await trio.sleep(24 * 3600)
        system.end("job-0", Phase.SUCCEEDED)
        assert (await client.get("neither", meta)).phase is Phase.RUNNING
        await trio.sleep(1)
        assert (await client.get("neither", meta)).phase is Phase.SUCCEEDED


async def test_the_answer_of_a_job_that_is_over_never_changes_and_is_never_polled_for(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        system.end("job-0", Phase.SUCCEEDED)
        await trio.sleep(5)
        polls = system.count("get")
        system.end("job-0", Phase.FAILED)
        await trio.sleep(3600)
        assert (await client.get("neither", meta)).phase is Phase.SUCCEEDED
        assert system.count("get") == polls


async def test_what_is_over_is_forgotten_after_its_retention(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(NeitherConnector(system, replace(FAST, retention=100.0))) as client:
        await client.create("neither")
        system.end("job-0", Phase.SUCCEEDED)
        await trio.sleep(50)
        assert client.stages("neither")
        await trio.sleep(100)
        assert not client.stages("neither")
        assert len(client.node.directory) == 0
        assert not client.node.ledger.store.rows()


async def test_a_reader_with_a_rhythm_finds_an_answer_that_is_fresh(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        ages = []
        for _ in range(40):
            await trio.sleep(30)
            await client.get("neither", meta)
            ages.append(trio.current_time() - system.times("get")[-1])
    assert max(ages[10:]) <= 4.0
