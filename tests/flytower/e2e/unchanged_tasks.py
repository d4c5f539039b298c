"""A user's own file: tasks of flytekit's classes, with nothing of Flytower but the line that has them run on it."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import trio
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit import workflow
from flytekit.core.base_task import PythonTask
from flytekit.core.interface import Interface
from flytekit.extend.backend.base_connector import (
    AsyncConnectorBase,
    AsyncConnectorExecutorMixin,
    ConnectorRegistry,
    Resource,
    ResourceMeta,
)
from flytekit.extras.webhook import WebhookTask
from flytekit.sensor.file_sensor import FileSensor

from flytower import run_flytekit_locally

HERE = Path.cwd()


def note(*words: object) -> None:
    with (HERE / "record").open("a") as record:
        record.write(" ".join(map(str, words)) + "\n")


@dataclass
class JobMeta(ResourceMeta):
    job: str
    mode: str


class JobConnector(AsyncConnectorBase):
    """Goes on for ever unless its mode says otherwise."""

    name = "Unchanged Job"

    def __init__(self, task_type: str = "unchanged_job") -> None:
        super().__init__(task_type_name=task_type, metadata_type=JobMeta)

    async def create(self, task_template: Any, **_: Any) -> JobMeta:
        mode = task_template.custom["mode"]
        if mode == "exits":
            sys.exit(3)
        note("create", mode)
        while mode == "blocks" and not (HERE / "go").exists():
            time.sleep(0.01)  # noqa: ASYNC251 - what some plugins really do
        return JobMeta(job=f"job-of-{task_template.id.name}", mode=mode)

    async def get(self, resource_meta: JobMeta, **_: Any) -> Resource:
        ends = resource_meta.mode in ("ends", "blocks")
        return Resource(phase=TaskExecution.SUCCEEDED if ends else TaskExecution.RUNNING, message="it is there")

    async def delete(self, resource_meta: JobMeta, **_: Any) -> None:
        note("deleting", resource_meta.mode)
        if resource_meta.mode == "stubborn":
            await never(f"stopped {resource_meta.mode}")
        note("delete", resource_meta.mode)


async def never(when_cancelled: str) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note(when_cancelled)
        raise


class PlainJobConnector(JobConnector):
    """The same, deleted by a plain function."""

    name = "Unchanged Plain Job"

    def delete(self, resource_meta: JobMeta, **_: Any) -> None:
        note("deleting", resource_meta.mode)
        note("delete", resource_meta.mode)


ConnectorRegistry.register(JobConnector())
ConnectorRegistry.register(PlainJobConnector("unchanged_plain_job"))


class Job(AsyncConnectorExecutorMixin, PythonTask):
    def __init__(self, mode: str, task_type: str = "unchanged_job") -> None:
        self._mode = mode
        super().__init__(task_type, mode, None, interface=Interface(inputs={}, outputs={}))

    def get_custom(self, settings: Any) -> dict:
        return {"mode": self._mode}


class Choosing(Job):
    """Decides itself whether a connector is to run it, as the task of flytekit's plugin for Spark does."""

    def execute(self, **inputs: Any) -> Any:
        note("chosen")
        return AsyncConnectorExecutorMixin.execute(self, **inputs)


on_flytower = run_flytekit_locally()

for_ever, plain_for_ever = Job("for_ever"), Job("plain_for_ever", "unchanged_plain_job")
stubborn, exits, blocks = Job("stubborn"), Job("exits"), Job("blocks")
ends, choosing = Job("ends", "unchanged_plain_job"), Choosing("ends")

awaited, impatient = FileSensor("awaited"), FileSensor("impatient", timeout=timedelta(seconds=1))

hook = WebhookTask(
    "hook",
    url=os.environ.get("OWN_TASKS_URL", ""),
    data={"number": "{inputs.x}"},
    dynamic_inputs={"x": int},
    show_data=True,
)


@workflow
def wait_and_call(path: str, x: int = 7) -> dict:
    """Wait for a file, and call a webhook."""
    awaited(path=path)
    return hook(x=x)


@workflow
def wait_for_ever() -> None:
    for_ever()


@workflow
def plainly_wait_for_ever() -> None:
    plain_for_ever()


async def coroutine(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def in_threads(*tasks: Any) -> None:
    """Run tasks at once."""
    with ThreadPoolExecutor(len(tasks)) as threads:
        list(threads.map(lambda task: task(), tasks))


def outlive() -> str:
    """Go on after a connector has exited."""
    try:
        exits()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return f"still here: {error}"
    return "nothing was raised"


def one_blocks() -> str:
    """Run a task whose coroutine blocks until another task is over."""
    with ThreadPoolExecutor(1) as threads:
        blocked = threads.submit(blocks)
        while not (HERE / "record").exists():
            time.sleep(0.01)
        ends()
        (HERE / "go").touch()
        blocked.result()
    return "both are over"


def for_a_while(path: str) -> None:
    """Leave Flytower again."""
    with on_flytower:
        FileSensor("here")(path=path)
    FileSensor("there")(path=path)


DOES: dict[str, Callable[..., Any]] = {
    "workflow": lambda path: wait_and_call(path=path),
    "in asyncio": lambda path: asyncio.run(coroutine(lambda: wait_and_call(path=path))),
    "in trio": lambda path: trio.run(coroutine, lambda: wait_and_call(path=path)),
    "for ever": for_ever,
    "for ever in asyncio": lambda: asyncio.run(coroutine(for_ever)),
    "for ever in trio": lambda: trio.run(coroutine, for_ever),
    "for ever in threads": lambda: in_threads(for_ever, plain_for_ever),
    "stubborn in threads": lambda: in_threads(stubborn, stubborn),
    "impatient": lambda path: impatient(path=path),
    "choosing": choosing,
    "outlive": outlive,
    "one blocks": one_blocks,
    "for a while": for_a_while,
}

if __name__ == "__main__":
    json.dump(DOES[sys.argv[1]](*sys.argv[2:]), sys.stdout)
