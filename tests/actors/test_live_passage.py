"""The calls that no actor answers: metrics, logs, and tasks that are over at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from flytower.connectors.resource import Resource
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskTemplate
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError, Status
from tests.actors.external_system import ExternalSystem
from tests.actors.live.client import FakeStream, call, running
from tests.actors.live.connectors import FAST, EchoConnector, NeitherConnector, TalkingConnector

if TYPE_CHECKING:
    from trio.testing import MockClock

TALKING = admin.TaskCategory(name="talking")


@pytest.fixture
def system() -> ExternalSystem:
    return ExternalSystem()


# ---- metrics and logs -----------------------------------------------------------------------------------------


async def test_metrics_pass_through_for_a_job_by_its_provisional_name_too(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    system.latency["create"] = 15.0
    async with running(TalkingConnector(system)) as client:
        meta = await client.create("talking", "s3://bucket/0/0", deadline=10.0)
        request = admin.GetTaskMetricsRequest(resource_meta=meta, task_category=TALKING, queries=["cpu"])
        with pytest.raises(RpcError) as refusal:
            await client.node.tasks.GetTaskMetrics(call("GetTaskMetrics"), FakeStream(request))
        assert refusal.value.status is Status.UNAVAILABLE
        await trio.sleep(10)
        stream = FakeStream(request)
        await client.node.tasks.GetTaskMetrics(call("GetTaskMetrics"), stream)
        assert [result.metric for result in stream.sent[0].results] == ["cpu"]
    assert ("metrics", "job-0") in [(what, job) for what, job, _ in system.calls]


async def test_logs_pass_through_as_a_stream(autojump_clock: MockClock, system: ExternalSystem) -> None:
    async with running(TalkingConnector(system)) as client:
        meta = await client.create("talking")
        stream = FakeStream(admin.GetTaskLogsRequest(resource_meta=meta, task_category=TALKING))
        await client.node.tasks.GetTaskLogs(call("GetTaskLogs"), stream)
        lines = [line.message for message in stream.sent for line in message.body.structured_lines]
    assert lines == [f"job-0: line {number}" for number in range(3)]


async def test_a_reader_of_logs_that_hangs_up_ends_the_stream(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    connector = TalkingConnector(system)

    class Stuck(FakeStream):
        async def send(self, message: Any) -> None:
            await trio.sleep_forever()

    async with running(connector) as client:
        meta = await client.create("talking")
        stream = Stuck(admin.GetTaskLogsRequest(resource_meta=meta, task_category=TALKING))
        with trio.move_on_after(5):
            await client.node.tasks.GetTaskLogs(call("GetTaskLogs"), stream)
    assert connector.logs_closed


async def test_a_stream_of_logs_ends_at_the_connector_s_limit_of_time(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    class Stuck(FakeStream):
        async def send(self, message: Any) -> None:
            await trio.sleep_forever()

    async with running(TalkingConnector(system, replace(FAST, logs_timeout=60.0))) as client:
        meta = await client.create("talking")
        stream = Stuck(admin.GetTaskLogsRequest(resource_meta=meta, task_category=TALKING))
        now = trio.current_time()
        with pytest.raises(RpcError) as failure:
            await client.node.tasks.GetTaskLogs(call("GetTaskLogs"), stream)
        assert failure.value.status is Status.DEADLINE_EXCEEDED
        assert trio.current_time() - now == pytest.approx(60.0)


async def test_more_streams_of_logs_than_the_connector_can_bear_are_refused(
    autojump_clock: MockClock, system: ExternalSystem
) -> None:
    class Stuck(FakeStream):
        async def send(self, message: Any) -> None:
            await trio.sleep_forever()

    async with running(TalkingConnector(system, replace(FAST, concurrency=3))) as client:
        meta = await client.create("talking")
        request = admin.GetTaskLogsRequest(resource_meta=meta, task_category=TALKING)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(client.node.tasks.GetTaskLogs, call("GetTaskLogs"), Stuck(request))
            await trio.sleep(1)
            with pytest.raises(RpcError) as refusal:
                await client.node.tasks.GetTaskLogs(call("GetTaskLogs"), FakeStream(request))
            assert refusal.value.status is Status.RESOURCE_EXHAUSTED
            nursery.cancel_scope.cancel()
        stream = FakeStream(request)
        await client.node.tasks.GetTaskLogs(call("GetTaskLogs"), stream)
        assert stream.sent


@pytest.mark.parametrize("method", ["GetTaskLogs", "GetTaskMetrics"])
async def test_a_connector_without_metrics_or_logs_says_so(
    autojump_clock: MockClock, system: ExternalSystem, method: str
) -> None:
    request = {"GetTaskLogs": admin.GetTaskLogsRequest, "GetTaskMetrics": admin.GetTaskMetricsRequest}[method]
    category = admin.TaskCategory(name="neither")
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither")
        stream = FakeStream(request(resource_meta=meta, task_category=category))
        with pytest.raises(RpcError) as refusal:
            await getattr(client.node.tasks, method)(call(method), stream)
        assert refusal.value.status is Status.UNIMPLEMENTED
        with pytest.raises(RpcError) as refusal:
            await getattr(client.node.tasks, method)(call(method), FakeStream())
        assert refusal.value.status is Status.INVALID_ARGUMENT


# ---- ExecuteTaskSync ------------------------------------------------------------------------------------------


def header(prefix: str = "s3://out", kind: str = "echo") -> admin.ExecuteTaskSyncRequest:
    template = TaskTemplate(type=kind)
    return admin.ExecuteTaskSyncRequest(header=admin.CreateRequestHeader(template=template, output_prefix=prefix))


def inputs() -> admin.ExecuteTaskSyncRequest:
    return admin.ExecuteTaskSyncRequest(inputs=LiteralMap())


async def execute(connector: EchoConnector, *messages: admin.ExecuteTaskSyncRequest) -> list[Any]:
    stream = FakeStream(*messages)
    async with running(connector) as client:
        await client.node.sync_tasks.ExecuteTaskSync(call("ExecuteTaskSync"), stream)
    return stream.sent


@pytest.fixture
def echo() -> EchoConnector:
    connector = EchoConnector()
    connector.answer = Resource(Phase.SUCCEEDED, outputs={"x": 1})
    return connector


@pytest.mark.parametrize(
    ("messages", "given"),
    [
        ([header(), inputs()], LiteralMap()),
        ([inputs(), header()], LiteralMap()),
        ([header()], None),
        ([header(), inputs(), inputs()], LiteralMap()),
    ],
    ids=["header first", "inputs first", "no inputs", "more than it takes"],
)
async def test_a_sync_task_is_answered_with_exactly_one_message(
    autojump_clock: MockClock, echo: EchoConnector, messages: list[Any], given: LiteralMap | None
) -> None:
    (answer,) = await execute(echo, *messages)
    assert answer.header.resource.phase is Phase.SUCCEEDED
    assert answer.header.resource.outputs.literals["x"].scalar.primitive.integer == 1
    assert answer.outputs is None
    assert echo.asked == [("s3://out", given)]


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([header(), header("s3://other"), inputs()], Status.INVALID_ARGUMENT),
        ([inputs(), inputs(), header()], Status.INVALID_ARGUMENT),
        ([inputs()], Status.INVALID_ARGUMENT),
        ([], Status.INVALID_ARGUMENT),
        ([header(kind="")], Status.INVALID_ARGUMENT),
        ([header(kind="nothing")], Status.NOT_FOUND),
    ],
    ids=["two headers", "inputs twice", "no header", "nothing", "no type", "no connector"],
)
async def test_a_sync_request_that_makes_no_sense_is_refused(
    autojump_clock: MockClock, echo: EchoConnector, messages: list[Any], status: Status
) -> None:
    async with running(echo) as client:
        stream = FakeStream(*messages)
        with pytest.raises(RpcError) as refusal:
            await client.node.sync_tasks.ExecuteTaskSync(call("ExecuteTaskSync"), stream)
    assert refusal.value.status is status
    assert not stream.sent
    assert not echo.asked


@pytest.mark.parametrize(
    "answer",
    [Resource(Phase.RUNNING), Resource(Phase.UNDEFINED), None, "done", RuntimeError("HTTP 500"), SystemExit(1)],
)
async def test_a_sync_connector_that_gives_no_terminal_answer_is_an_error(
    autojump_clock: MockClock, echo: EchoConnector, answer: Any
) -> None:
    echo.answer = answer
    async with running(echo) as client:
        stream = FakeStream(header(), inputs())
        with pytest.raises(RpcError) as failure:
            await client.node.sync_tasks.ExecuteTaskSync(call("ExecuteTaskSync"), stream)
        assert failure.value.status is Status.INTERNAL
        assert failure.value.message.startswith("failed to do echo task with error:\n ")
        echo.answer = Resource(Phase.FAILED, "no")
        await client.node.sync_tasks.ExecuteTaskSync(call("ExecuteTaskSync"), stream := FakeStream(header()))
        assert stream.sent[0].header.resource.phase is Phase.FAILED


async def test_sync_and_async_connectors_are_not_taken_for_one_another(
    autojump_clock: MockClock, system: ExternalSystem, echo: EchoConnector
) -> None:
    async with running(echo, NeitherConnector(system)) as client:
        with pytest.raises(RpcError) as refusal:
            await client.create("echo")
        assert refusal.value.status is Status.UNIMPLEMENTED
        with pytest.raises(RpcError) as refusal:
            await client.node.sync_tasks.ExecuteTaskSync(call("ExecuteTaskSync"), FakeStream(header(kind="neither")))
        assert refusal.value.status is Status.UNIMPLEMENTED
