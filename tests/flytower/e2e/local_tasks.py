"""A user's own file: connectors that leave a record, and flytekit tasks that run on them locally."""

import asyncio
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import trio
from flyteidl.core import literals_pb2
from flytekit import PythonFunctionTask, TaskMetadata, workflow
from flytekit.core.base_task import PythonTask
from flytekit.core.interface import Interface
from flytekit.core.utils import load_proto_from_file, write_proto_to_file
from flytekit.extend import TaskPlugins

from flytower import (
    AsyncConnectorBase,
    AsyncConnectorExecutorMixin,
    ConnectorRegistry,
    JobNotFound,
    Policy,
    Resource,
    ResourceMeta,
    SyncConnectorBase,
    SyncConnectorExecutorMixin,
    TaskExecution,
    TaskLog,
)
from flytower.protocol.codec import struct_to_dict
from flytower.protocol.literals import from_literal_map, to_literal_map

RECORD = Path(os.environ["LOCAL_RECORD"])

FAST = Policy(poll_minimum=0.05, poll_maximum=0.1)


def note(*words: object) -> None:
    with RECORD.open("a") as record:
        record.write(" ".join(map(str, words)) + "\n")


class JobMeta(ResourceMeta):
    job: str
    mode: str
    value: int


class JobConnector(AsyncConnectorBase):
    """Doubles x, or goes on for ever, or fails."""

    name = "Local Job"
    policy = FAST

    def __init__(self) -> None:
        super().__init__(task_type_name="local_job", metadata_type=JobMeta)

    async def create(self, task_template: Any, output_prefix: str, inputs: Any, *_: Any, **kwargs: Any) -> JobMeta:
        custom = struct_to_dict(task_template.custom) if task_template.custom else {}
        note("create", custom.get("mode", "ok"), threading.get_ident())
        return JobMeta(job=output_prefix, mode=custom.get("mode", "ok"), value=int(from_literal_map(inputs)["x"]))

    async def get(self, resource_meta: JobMeta, **kwargs: Any) -> Resource:
        if resource_meta.mode == "ok":
            return Resource(phase=TaskExecution.SUCCEEDED, outputs={"o0": 2 * resource_meta.value})
        if resource_meta.mode == "retryable":
            return Resource(phase=TaskExecution.RETRYABLE_FAILED, message="it was preempted")
        links = [TaskLog(name="console", uri="http://127.0.0.1/jobs/a-job-whose-address-is-longer-than-a-line/log")]
        return Resource(phase=TaskExecution.RUNNING, message="[busy]", log_links=links)

    async def delete(self, resource_meta: JobMeta, **kwargs: Any) -> None:
        note("deleting", resource_meta.job)
        if resource_meta.mode == "stubborn":
            await trio.sleep_forever()
        note("delete", resource_meta.job)


class PlainJobConnector(JobConnector):
    """The same with a plain delete."""

    name = "Plain Local Job"

    def __init__(self) -> None:
        AsyncConnectorBase.__init__(self, task_type_name="plain_local_job", metadata_type=JobMeta)

    def delete(self, resource_meta: JobMeta, **kwargs: Any) -> None:  # type: ignore[override]
        note("deleting", resource_meta.job)
        note("delete", resource_meta.job)


class ContainerConnector(AsyncConnectorBase):
    """Stands for a system that runs the task's container: it reads inputs.pb, and writes outputs.pb."""

    name = "Container"
    policy = FAST

    def __init__(self) -> None:
        super().__init__(task_type_name="local_container", metadata_type=JobMeta)

    async def create(self, task_template: Any, output_prefix: str, *_: Any, **kwargs: Any) -> JobMeta:
        args = list(task_template.container.args)
        given = args[args.index("--inputs") + 1]
        assert given == f"{output_prefix}/inputs.pb", given
        inputs = load_proto_from_file(literals_pb2.LiteralMap, given)
        value = inputs.literals["x"].scalar.primitive.integer
        write_proto_to_file(
            literals_pb2.LiteralMap.FromString(bytes(to_literal_map({"o0": value + 1}))), f"{output_prefix}/outputs.pb"
        )
        return JobMeta(job=output_prefix, mode="ok", value=value)

    async def get(self, resource_meta: JobMeta, **kwargs: Any) -> Resource:
        return Resource(phase=TaskExecution.SUCCEEDED)

    async def delete(self, resource_meta: JobMeta, **kwargs: Any) -> None:
        raise JobNotFound("it is over")


class AddConnector(SyncConnectorBase):
    name = "Add"

    def __init__(self) -> None:
        super().__init__(task_type_name="local_add")

    async def do(self, task_template: Any, output_prefix: str, inputs: Any = None, **kwargs: Any) -> Resource:
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"o0": int(from_literal_map(inputs)["x"]) + 100})


for connector in (JobConnector(), PlainJobConnector(), ContainerConnector(), AddConnector()):
    ConnectorRegistry.register(connector)


class JobTask(AsyncConnectorExecutorMixin, PythonTask):  # type: ignore[misc]
    def __init__(self, name: str, mode: str = "ok", task_type: str = "local_job", timeout: int | None = None) -> None:
        metadata = TaskMetadata(timeout=timedelta(seconds=timeout)) if timeout else None
        interface = Interface(inputs={"x": int}, outputs={"o0": int})
        super().__init__(task_type=task_type, name=name, interface=interface, metadata=metadata)
        self._mode = mode

    def get_custom(self, settings: Any) -> dict:
        return {"mode": self._mode}


class AddTask(SyncConnectorExecutorMixin, PythonTask):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        super().__init__("local_add", name, None, interface=Interface(inputs={"x": int}, outputs={"o0": int}))


class InContainer(NamedTuple):
    """Configures a function task for the container connector."""

    size: int = 1


class ContainerTask(AsyncConnectorExecutorMixin, PythonFunctionTask):  # type: ignore[misc]
    def __init__(self, task_config: InContainer, task_function: Any, **kwargs: Any) -> None:
        super().__init__(task_config, task_function, task_type="local_container", **kwargs)


TaskPlugins.register_pythontask_plugin(InContainer, ContainerTask)

from flytekit import task  # noqa: E402 - after the plugin, as users write it

double = JobTask("double")
for_ever = JobTask("for_ever", "for_ever")
plain_for_ever = JobTask("plain_for_ever", "for_ever", "plain_local_job")
stubborn = JobTask("stubborn", "stubborn")
preempted = JobTask("preempted", "retryable")
too_slow = JobTask("too_slow", "for_ever", timeout=1)
add = AddTask("add")


@task(task_config=InContainer())
def in_container(x: int) -> int:
    """Never called here: the external system runs it, and its answer is another."""
    return -x


@workflow
def double_and_add(x: int = 4) -> int:
    return add(x=double(x=x))


@workflow
def all_kinds(x: int = 4) -> int:
    return in_container(x=add(x=double(x=x)))


def main(what: str) -> None:
    if what == "together":
        with ThreadPoolExecutor(4) as threads:
            print(sorted(threads.map(lambda x: double(x=x), range(4))))
    elif what == "in asyncio":
        print(asyncio.run(_in_asyncio()))
    elif what == "in trio":
        print(trio.run(_in_trio))
    elif what == "elsewhere":
        thread = threading.Thread(target=lambda: for_ever(x=1), daemon=True)
        thread.start()
        while not RECORD.exists():
            time.sleep(0.01)
        raise RuntimeError("something else went wrong")
    else:
        print(globals()[what](x=4))


async def _in_asyncio() -> int:
    loop = type(asyncio.get_running_loop()).__module__
    assert loop.startswith("asyncio."), loop
    return double(x=7)


async def _in_trio() -> int:
    return double(x=8)


if __name__ == "__main__":
    main(sys.argv[1])
