"""One connector's trouble on a running node is nobody else's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from flytower.connectors.errors import RetryLater
from flytower.connectors.policy import Policy
from flytower.connectors.resource import Resource
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError, Status
from tests.actors.external_system import ExternalSystem, Weather
from tests.actors.live.client import running
from tests.actors.live.connectors import (
    FAST,
    AsyncioConnector,
    NeitherConnector,
    PoisonConnector,
    ThreadConnector,
    TokenConnector,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from flytower.runtime.tree import Node

BREAKER_FAILURES, BREAKER_SECONDS = Policy().breaker_failures, Policy().breaker_seconds


@pytest.fixture
def system() -> ExternalSystem:
    return ExternalSystem()


@pytest.mark.parametrize(
    "gives",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        BaseExceptionGroup("many", [SystemExit(1), ValueError("inner")]),
        ExceptionGroup("many", [ValueError("one"), ExceptionGroup("more", [OSError("two")])]),
        None,
        "rubbish",
        object(),
        Resource(Phase.UNDEFINED),
        Resource(99),  # type: ignore[arg-type]  # a number that is no phase
        Resource(Phase.SUCCEEDED, outputs={"x": object()}),
    ],
)
async def test_a_poison_connector_hurts_nobody_else(
    autojump_clock: MockClock, system: ExternalSystem, gives: Any
) -> None:
    poison = PoisonConnector(ExternalSystem())
    poison.gives = gives
    async with running(poison, NeitherConnector(system)) as client:
        bad, good = await client.create("poison"), await client.create("neither")
        for _ in range(20):
            await trio.sleep(30)
            assert (await client.get("poison", bad)).phase is Phase.INITIALIZING
            assert (await client.get("neither", good)).phase is Phase.RUNNING
        assert sum(node.restarts for node in client.node.tree().walk()) == 0
        poison.gives = Resource(Phase.SUCCEEDED)
        await trio.sleep(120)
        assert (await client.get("poison", bad)).phase is Phase.SUCCEEDED


async def test_a_connector_whose_every_call_hangs_delays_no_other(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    hanging = ExternalSystem(weather=dict.fromkeys(("create", "get", "delete"), Weather.SILENT))
    policy = replace(FAST, concurrency=2, create_timeout=1000.0)
    async with running(TokenConnector(hanging, policy), NeitherConnector(system)) as client:
        for number in range(50):
            client.start_create("token", f"s3://bucket/{number}/0")
        await trio.sleep(100)
        assert hanging.under_way["create"] == 2
        now = trio.current_time()
        meta = await client.create("neither")
        await client.get("neither", meta)
        await client.delete("neither", meta)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == now
        assert not system.living()


async def test_no_more_calls_a_second_than_the_author_allows(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(NeitherConnector(system, replace(FAST, requests_per_second=5.0))) as client:
        for number in range(100):
            client.start_create("neither", f"s3://bucket/{number}/0")
        await trio.sleep(120)
    times = sorted(time for _, _, time in system.calls)
    assert len(system.deeds("create")) == 100
    windows = [sum(start <= time < start + 10 for time in times) for start in range(100)]
    assert max(windows) <= 5 * 10 + 5
    assert sum(windows) > 5 * 10 * len(windows) / 3


async def test_the_circuit_opens_after_failures_in_a_row_and_closes_with_a_success(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system, replace(FAST, poll_maximum=1.0))) as client:
        meta = await client.create("neither")
        await client.get("neither", meta)
        system.weather["get"] = RuntimeError("HTTP 503")
        before = system.count("get")
        await _read_each_second(lambda: client.get("neither", meta), 20)
        assert system.count("get") - before == BREAKER_FAILURES + 1
        assert "circuit open" in _state_of(client.node.tree(), "neither")
        assert "does not answer" in (await client.get("neither", meta)).message
        system.calm()
        await _read_each_second(lambda: client.get("neither", meta), 2 * BREAKER_SECONDS)
        assert "circuit closed" in _state_of(client.node.tree(), "neither")
        assert (await client.get("neither", meta)).message == "at work"


async def test_a_half_open_circuit_lets_one_call_try(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(NeitherConnector(system, replace(FAST, poll_maximum=1.0))) as client:
        metas = [await client.create("neither") for _ in range(10)]
        system.weather["get"] = RuntimeError("HTTP 503")

        async def read_all() -> None:
            for meta in metas:
                await client.get("neither", meta)

        await _read_each_second(read_all, 10 * BREAKER_SECONDS)
    late = [time for time in system.times("get") if time > 2 * BREAKER_SECONDS]
    assert 6 <= len(late) <= 8


async def test_jobs_that_an_open_circuit_held_back_are_polled_as_soon_as_one_call_succeeds(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        metas = [await client.create("neither") for _ in range(30)]

        async def read_all() -> None:
            for meta in metas:
                await client.get("neither", meta)

        system.weather["get"] = RuntimeError("HTTP 503")
        await _read_each_second(read_all, 300)
        await system.until_called("get", system.count("get") + 1)  # the next call that may try comes as late as can be
        system.calm()
        system.latency["get"] = 2.0
        asked = set(system.calls)
        await _read_each_second(read_all, 1.1 * BREAKER_SECONDS + 4 * 2)
        polled = {about for operation, about, _ in set(system.calls) - asked if operation == "get"}
    assert len(polled) == 30


@pytest.mark.parametrize("told", ["get", "delete"])
async def test_what_one_call_was_told_of_retry_after_holds_for_every_other(
    autojump_clock: MockClock, system: ExternalSystem, told: str
) -> None:
    async with running(NeitherConnector(system)) as client:
        metas = [await client.create("neither") for _ in range(20)]
        await trio.sleep(0.5)  # their first polls are over
        before = system.count(told)
        system.expect(told, RetryLater("HTTP 429", after=15.0))
        if told == "delete":
            await client.delete("neither", metas[0])
        await system.until_called(told, before + 1)
        heard = system.times(told)[-1]
        await client.delete("neither", metas[0])
        created = client.start_create("neither", "s3://bucket/later/0")
        for meta in metas[1:]:
            await client.get("neither", meta)
        await trio.sleep(60)
        assert await client.answered(created)
    after = [time for _, _, time in system.calls if time > heard]
    assert min(after) >= heard + 15.0
    assert {operation for operation, _, time in system.calls if time > heard} == {"create", "get", "delete"}


async def test_a_create_is_refused_where_the_external_system_wants_a_respite_for_longer_than_it_may_take(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    async with running(NeitherConnector(system)) as client:
        await client.create("neither")
        system.expect("get", RetryLater("HTTP 429", after=600.0))
        await trio.sleep(60)
        with pytest.raises(RpcError, match=r"asks to be left alone; asked again in 5.. s. Try again then") as refusal:
            await client.create("neither", "s3://bucket/later/0")
        assert refusal.value.status is Status.RESOURCE_EXHAUSTED
        await trio.sleep(600)
        assert await client.create("neither", "s3://bucket/later/0")
    assert system.count("create") == 2


async def _read_each_second(read: Callable[[], Any], seconds: float) -> None:
    for _ in range(int(seconds)):
        await trio.sleep(1)
        await read()


def _state_of(tree: Node, kind: str) -> str:
    return next(node.state for node in tree.walk() if node.path.endswith(f"/{kind}@0"))


async def test_creates_beyond_the_queue_are_refused_and_not_made(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.latency["create"] = 5.0
    async with running(NeitherConnector(system), tasks=10) as client:
        pending = [client.start_create("neither", f"s3://bucket/{number}/0") for number in range(10)]
        with pytest.raises(RpcError) as refusal:
            client.start_create("neither", "s3://bucket/11/0")
        assert refusal.value.status is Status.RESOURCE_EXHAUSTED
        metas = [await client.answered(answer) for answer in pending]
    assert len(set(metas)) == 10
    assert system.count("create") == 10


async def test_a_connector_may_be_written_for_asyncio(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(AsyncioConnector(system)) as client:
        meta = await client.create("asyncio")
        assert (await client.get("asyncio", meta)).phase is Phase.RUNNING
        await client.delete("asyncio", meta)
        await trio.sleep(5)
        assert (await client.get("asyncio", meta)).phase is Phase.ABORTED
    assert not system.living()


async def test_a_connector_may_be_written_as_plain_functions(system: ExternalSystem) -> None:
    async with running(ThreadConnector(system)) as client:
        meta = await client.create("thread")
        assert (await client.get("thread", meta)).phase is Phase.RUNNING
        await client.delete("thread", meta)
        while (await client.get("thread", meta)).phase is not Phase.ABORTED:
            await trio.lowlevel.checkpoint()
    assert not system.living()


async def test_secrets_of_a_template_are_in_no_error_text(autojump_clock: MockClock, system: ExternalSystem) -> None:
    secret = "hunter2-and-more"  # noqa: S105 - that is what it stands for
    system.weather["create"] = RuntimeError(f"401 for Bearer {secret}")
    async with running(NeitherConnector(system)) as client:
        with pytest.raises(RpcError) as failure:
            await client.create("neither", "s3://bucket/0/0", auth={"api_token": secret})
        assert "401 for Bearer [secret]" in failure.value.message
        system.latency["create"] = 15.0
        meta = await client.create("neither", "s3://bucket/1/0", deadline=10.0, api_token=secret)
        await trio.sleep(20)
        message = (await client.get("neither", meta)).message
        assert "401 for Bearer [secret]" in message
        rows = repr(client.node.ledger.store.rows())
        assert secret not in rows
        assert secret not in client.node.metrics.render().decode()
        assert secret not in repr(client.node.tree())
        assert secret not in repr(client.logs)
