"""Connectors as a user of flytekit writes them, with nothing of Flytower in them. They do what their `custom` says.

Each leaves a line in the file `record`, in the folder in which the server runs, for all that it is asked.
"""

import asyncio
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
from flyteidl.admin.agent_pb2 import GetTaskLogsResponse, GetTaskLogsResponseBody, GetTaskMetricsResponse
from flyteidl.core.execution_pb2 import TaskExecution, TaskLog
from flyteidl.core.metrics_pb2 import ExecutionMetricResult
from flytekit import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.extend.backend.base_connector import (
    AsyncConnectorBase,
    ConnectorRegistry,
    Resource,
    ResourceMeta,
    SyncConnectorBase,
)
from flytekit.extend.backend.utils import convert_to_flyte_phase
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskExecutionMetadata, TaskTemplate

FOLDER = Path.cwd()


def note(*words: object) -> None:
    with (FOLDER / "record").open("a") as record:
        record.write(" ".join(map(str, words)) + "\n")


def ask(state: str) -> int:
    """Ask the external system for a job's phase; it is not always up, for those that are terminating."""
    if state == "terminating" and (FOLDER / "down").exists():
        note("down")
        raise ConnectionError("HTTP 503")
    return convert_to_flyte_phase(state)


@dataclass
class JobMeta(ResourceMeta):
    job: str
    state: str
    inputs: dict | None = None


class CoroutineConnector(AsyncConnectorBase):
    name = "Coroutine Connector"

    def __init__(self, task_type: str = "fk_coroutine") -> None:
        super().__init__(task_type_name=task_type, metadata_type=JobMeta)

    async def create(
        self,
        task_template: TaskTemplate,
        output_prefix: str,
        inputs: LiteralMap | None = None,
        task_execution_metadata: TaskExecutionMetadata | None = None,
        **kwargs: Any,
    ) -> JobMeta:
        custom = task_template.custom
        given = [type(each).__name__ for each in (task_template, inputs, task_execution_metadata)]
        note("create", output_prefix, type(task_template).__module__, given, sorted(kwargs))
        if custom.get("exit") == "coroutine":
            sys.exit(1)
        if custom.get("exit") == "task":
            exiting = asyncio.create_task(_exit())
            await asyncio.sleep(custom.get("sleep", 0.2))
            note("still here", exiting.done())
        await asyncio.sleep(custom.get("sleep", 0))
        time.sleep(custom.get("block", 0))  # noqa: ASYNC251 - what some plugins really do
        if custom.get("engine"):
            context = FlyteContextManager.current_context()
            note("engine", TypeEngine.literal_map_to_kwargs(context, inputs, {"x": int}))  # as OpenAI's plugin does
        if custom.get("loop"):
            note("loop", await _on_a_loop_of_its_own())
        value = inputs.literals["x"].scalar.primitive.integer if inputs and "x" in inputs.literals else 0
        note("created", output_prefix)
        return JobMeta(job=output_prefix, state=custom.get("state", "succeeded"), inputs={"x": value})

    async def get(self, resource_meta: JobMeta, **kwargs: Any) -> Resource:
        phase = ask(resource_meta.state)
        context = FlyteContextManager.current_context()
        outputs = {"doubled": 2 * resource_meta.inputs["x"], "plain": {"a": [1, 2.5]}, "here": context is not None}
        return Resource(
            phase=phase,
            message=resource_meta.state,
            log_links=[TaskLog(name="console", uri="http://127.0.0.1/console")],
            outputs=outputs if phase == TaskExecution.SUCCEEDED else None,
            custom_info={"job": resource_meta.job},
        )

    async def delete(self, resource_meta: JobMeta, **kwargs: Any) -> None:
        note("delete", resource_meta.job)

    async def get_logs(self, resource_meta: JobMeta, **kwargs: Any) -> GetTaskLogsResponse:
        return GetTaskLogsResponse(body=GetTaskLogsResponseBody(results=["one line", "another"]))

    async def get_metrics(self, resource_meta: JobMeta, **kwargs: Any) -> GetTaskMetricsResponse:
        return GetTaskMetricsResponse(results=[ExecutionMetricResult(metric="cpu")])


async def _exit() -> None:
    sys.exit(1)


async def _on_a_loop_of_its_own() -> str:
    """Do something on a loop in a thread, made here, as clients do that have a synchronous face too."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop_policy(before)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    done = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "done"), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    return await asyncio.to_thread(asyncio.run, asyncio.sleep(0, f"{done} twice"))


class PlainConnector(AsyncConnectorBase):
    """Its methods are plain functions."""

    name = "Plain Connector"

    def __init__(self) -> None:
        super().__init__(task_type_name="fk_plain", metadata_type=JobMeta)

    def create(self, task_template: TaskTemplate, output_prefix: str, **kwargs: Any) -> JobMeta:
        note("create", output_prefix)
        if task_template.custom.get("exit"):
            sys.exit(1)
        if task_template.custom.get("fail"):
            raise ValueError(task_template.custom["fail"])
        time.sleep(task_template.custom.get("block", 0))
        return JobMeta(job=output_prefix, state=task_template.custom.get("state", "running"))

    def get(self, resource_meta: JobMeta, **kwargs: Any) -> Resource:
        literal = TypeEngine.to_literal(FlyteContextManager.current_context(), 1, int, TypeEngine.to_literal_type(int))
        return Resource(phase=ask(resource_meta.state), outputs=LiteralMap({"n": literal}))

    def delete(self, resource_meta: JobMeta, **kwargs: Any) -> None:
        note("delete", resource_meta.job)


@dataclass
class PickledMeta(ResourceMeta):
    job: str

    def encode(self) -> bytes:
        return cloudpickle.dumps(self)

    @classmethod
    def decode(cls, data: bytes) -> "PickledMeta":
        return cloudpickle.loads(data)


class PicklingConnector(AsyncConnectorBase):
    name = "Pickling Connector"

    def __init__(self) -> None:
        super().__init__(task_type_name="fk_pickling", metadata_type=PickledMeta)

    async def create(self, task_template: TaskTemplate, output_prefix: str, **kwargs: Any) -> PickledMeta:
        return PickledMeta(job=output_prefix)

    async def get(self, resource_meta: PickledMeta, **kwargs: Any) -> Resource:
        return Resource(phase=TaskExecution.SUCCEEDED, message=resource_meta.job)

    async def delete(self, resource_meta: PickledMeta, **kwargs: Any) -> None:
        note("delete", resource_meta.job)


class InstantConnector(SyncConnectorBase):
    name = "Instant flytekit Connector"

    def __init__(self) -> None:
        super().__init__(task_type_name="fk_instant")

    async def do(
        self, task_template: TaskTemplate, output_prefix: str, inputs: LiteralMap | None = None, **kwargs: Any
    ) -> Resource:
        if task_template.custom.get("exit"):
            sys.exit(1)
        value = inputs.literals["x"].scalar.primitive.integer
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"doubled": 2 * value})


ConnectorRegistry.register(CoroutineConnector())
ConnectorRegistry.register(CoroutineConnector("fk_blocking"))
ConnectorRegistry.register(PlainConnector())
ConnectorRegistry.register(PicklingConnector())
ConnectorRegistry.register(InstantConnector())
