"""Local runs: the mixins give a task an `execute` that goes through the same actors as the server."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flytower.actors.local import (
    OUTPUTS_FILE,
    AsyncConnectorExecutorMixin,
    Heard,
    LocalExecutionFailed,
    LocalTimeout,
    SyncConnectorExecutorMixin,
    follow,
    outputs_of,
    run_task,
)
from flytower.actors.local_run import DELETE_SECONDS, LocalRun
from flytower.actors.node import NodeConfig, open_node
from flytower.connectors.base import AsyncConnectorBase, SyncConnectorBase
from flytower.connectors.errors import FlyteConnectorNotFound
from flytower.connectors.policy import Policy
from flytower.connectors.registry import ConnectorRegistry, Registry
from flytower.connectors.resource import Resource
from flytower.connectors.resource_meta import ResourceMeta
from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskTemplate
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.literals import from_literal_map, to_literal_map

if TYPE_CHECKING:
    from collections.abc import Iterator


class CounterMeta(ResourceMeta):
    """Names one count."""

    number: int


class CounterConnector(AsyncConnectorBase):
    """Counts polls up to three, then succeeds with its input doubled; keeps a record of what it did."""

    name = "Counter"
    policy = Policy(poll_minimum=0.01, poll_maximum=0.02)

    def __init__(self) -> None:
        super().__init__(task_type_name="counter", metadata_type=CounterMeta)
        self.record: list[str] = []
        self.inputs: dict[str, object] = {}
        self.prefix = ""
        self.polls = 0
        self.ends_with = Phase.SUCCEEDED
        self.writes_file = False
        self.created = trio.Event()
        self.may_say_so = trio.Event()  # that it has created
        self.may_say_so.set()
        self.deleting = trio.Event()
        self.stubborn = False

    async def create(  # type: ignore[override]  # it asks for less than it is offered
        self, task_template: TaskTemplate, output_prefix: str, inputs: Any = None, **_: Any
    ) -> CounterMeta:
        self.record.append(f"create {task_template.id.name if task_template.id else ''}")
        self.inputs = from_literal_map(inputs)
        self.prefix = output_prefix
        self.created.set()
        await self.may_say_so.wait()
        return CounterMeta(number=1)

    async def get(self, resource_meta: CounterMeta, **_: Any) -> Resource:
        self.polls += 1
        if self.polls < 3:
            return Resource(phase=Phase.RUNNING, message=f"poll {self.polls}")
        outputs = {"doubled": 2 * int(str(self.inputs["value"]))}
        if self.writes_file:
            await (trio.Path(self.prefix) / OUTPUTS_FILE).write_bytes(bytes(to_literal_map(outputs)))
            return Resource(phase=self.ends_with)
        return Resource(phase=self.ends_with, message="it broke", outputs=outputs)

    async def delete(self, resource_meta: CounterMeta, **_: Any) -> None:
        self.record.append(f"delete {resource_meta.number}")
        self.deleting.set()
        if self.stubborn:
            await trio.sleep_forever()


class DoublingConnector(SyncConnectorBase):
    """Doubles at once."""

    name = "Doubling"

    def __init__(self) -> None:
        super().__init__(task_type_name="doubling")

    async def do(
        self, task_template: TaskTemplate, output_prefix: str, inputs: LiteralMap | None = None, **_: Any
    ) -> Resource:
        value = from_literal_map(inputs or LiteralMap())["value"]
        if value == "for ever":
            await trio.sleep_forever()
        if value == 0:
            return Resource(phase=Phase.FAILED, message="zero stays zero")
        return Resource(phase=Phase.SUCCEEDED, outputs={"doubled": 2 * int(str(value))})


class CounterTask(AsyncConnectorExecutorMixin):
    task_type = "counter"
    name = "my_counter"
    task_config = {"unit": "apples"}  # noqa: RUF012 - as users write it


class DoublingTask(SyncConnectorExecutorMixin):
    task_type = "doubling"


async def run_async_task(
    registry: Registry,
    template: TaskTemplate,
    inputs: LiteralMap,
    prefix: str,
    progress: Heard = lambda _: None,
    timeout: float | None = None,  # noqa: ASYNC109 - the task's
) -> dict[str, object]:
    """Run a task on a node of its own."""
    async with open_node(NodeConfig(registry, port=None, metrics_port=None)) as node:
        return outputs_of(await follow(node, template, inputs, prefix, progress, timeout), prefix)


@pytest.fixture
def counter() -> Iterator[CounterConnector]:
    before = ConnectorRegistry.default.copy()
    connector = CounterConnector()
    ConnectorRegistry.register(connector, override=True)
    ConnectorRegistry.register(DoublingConnector(), override=True)
    yield connector
    ConnectorRegistry.default.restore(before)


def test_an_async_task_is_created_once_followed_to_its_end_and_gives_its_outputs(counter: CounterConnector) -> None:
    assert CounterTask().execute(value=21) == {"doubled": 42}
    assert counter.record == ["create my_counter"]


def test_outputs_that_the_connector_does_not_return_are_read_from_the_file_under_the_prefix(
    counter: CounterConnector,
) -> None:
    counter.writes_file = True
    assert CounterTask().execute(value=4) == {"doubled": 8}


def test_a_task_that_fails_raises_with_its_phase_and_message(counter: CounterConnector) -> None:
    counter.ends_with = Phase.RETRYABLE_FAILED
    with pytest.raises(LocalExecutionFailed, match=r"RETRYABLE_FAILED: it broke") as caught:
        CounterTask().execute(value=1)
    assert caught.value.resource.phase is Phase.RETRYABLE_FAILED


def test_it_runs_inside_a_running_asyncio_loop(counter: CounterConnector) -> None:
    async def notebook() -> object:
        return CounterTask().execute(value=3)

    assert asyncio.run(notebook()) == {"doubled": 6}


async def test_it_runs_inside_trio(counter: CounterConnector) -> None:
    assert await trio.to_thread.run_sync(lambda: CounterTask().execute(value=5)) == {"doubled": 10}


def test_a_sync_task_calls_do_and_gives_its_outputs(counter: CounterConnector) -> None:
    assert DoublingTask().execute(value=8) == {"doubled": 16}


def test_a_sync_task_that_does_not_succeed_raises(counter: CounterConnector) -> None:
    with pytest.raises(LocalExecutionFailed, match="zero stays zero"):
        DoublingTask().execute(value=0)


def test_a_sync_task_that_takes_longer_than_it_may_ends(counter: CounterConnector) -> None:
    template, inputs = DoublingTask().task_template(), to_literal_map({"value": "for ever"})
    with pytest.raises(LocalTimeout, match=r"within 0.1 s; its call was cancelled"):
        run_task(template, inputs, "here/0", timeout=0.1)


def test_a_type_without_a_connector_is_named(counter: CounterConnector) -> None:
    class Unserved(AsyncConnectorExecutorMixin):
        task_type = "unserved"

    with pytest.raises(FlyteConnectorNotFound, match="unserved"):
        Unserved().execute()


async def test_an_interrupted_run_deletes_its_job_and_waits_for_that() -> None:
    connector, registry = CounterConnector(), Registry()
    connector.polls = -(10**9)  # it never ends
    registry.register(connector)
    template, inputs = CounterTask().task_template(), to_literal_map({"value": 1})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_async_task, registry, template, inputs, "here/0")
        await connector.created.wait()
        nursery.cancel_scope.cancel()
    assert connector.record == ["create my_counter", "delete 1"]


async def test_an_interrupted_run_waits_for_its_deletion_for_so_long_and_then_says_what_it_leaves(
    autojump_clock: object, capsys: pytest.CaptureFixture[str]
) -> None:
    connector, registry = CounterConnector(), Registry()
    connector.polls, connector.stubborn = -(10**9), True
    registry.register(connector)
    template, inputs = CounterTask().task_template(), to_literal_map({"value": 1})

    async def work(run: LocalRun[Any]) -> Any:
        return await follow(node, template, inputs, "here/0", heard.send_nowait, run=run)

    run, begun = LocalRun[Any]("it"), 0.0
    heard, answers = trio.open_memory_channel[Any](math.inf)
    async with open_node(NodeConfig(registry, port=None, metrics_port=None)) as node, trio.open_nursery() as nursery:
        nursery.start_soon(run.live, work)
        await answers.receive()
        begun = trio.current_time()
        run.interrupt()
    assert trio.current_time() - begun == pytest.approx(DELETE_SECONDS)
    said = 'it: given up; its job may still run, delete it by hand: {"number":1}\n'
    assert capsys.readouterr().err == said


async def test_a_run_that_is_given_up_names_the_job_that_its_create_returned_after_the_interruption(
    autojump_clock: object, capsys: pytest.CaptureFixture[str]
) -> None:
    connector, registry = CounterConnector(), Registry()
    connector.may_say_so, connector.stubborn = trio.Event(), True
    registry.register(connector)
    template, inputs = CounterTask().task_template(), to_literal_map({"value": 1})

    async def work(run: LocalRun[Any]) -> Any:
        return await follow(node, template, inputs, "here/0", lambda _: None, run=run)

    run = LocalRun[Any]("it")
    async with open_node(NodeConfig(registry, port=None, metrics_port=None)) as node, trio.open_nursery() as nursery:
        nursery.start_soon(run.live, work)
        await connector.created.wait()
        run.interrupt()
        await wait_all_tasks_blocked()
        connector.may_say_so.set()
        await connector.deleting.wait()
        run.interrupt()
        nursery.cancel_scope.cancel()
    said = 'it: given up; its job may still run, delete it by hand: {"number":1}\n'
    assert capsys.readouterr().err == said


async def test_progress_hears_each_new_answer_once() -> None:
    connector, registry = CounterConnector(), Registry()
    registry.register(connector)
    heard: list[str] = []
    outputs = await run_async_task(
        registry,
        CounterTask().task_template(),
        to_literal_map({"value": 2}),
        "here/0",
        lambda resource: heard.append(resource.phase.name),
    )
    assert outputs == {"doubled": 4}
    assert heard[-1] == "SUCCEEDED"
    assert heard.count("SUCCEEDED") == 1


async def test_a_task_that_takes_longer_than_it_may_is_deleted(autojump_clock: object) -> None:
    connector, registry = CounterConnector(), Registry()
    connector.polls = -(10**9)
    registry.register(connector)
    template, inputs = CounterTask().task_template(), to_literal_map({"value": 1})
    late = pytest.RaisesExc(LocalTimeout, match="within 60 s; its job was deleted")
    with pytest.RaisesGroup(late, flatten_subgroups=True):
        await run_async_task(registry, template, inputs, "here/0", timeout=60.0)
    assert connector.record == ["create my_counter", "delete 1"]
