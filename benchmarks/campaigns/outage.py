"""An hour in which the external system does not answer: in virtual time, through a whole node."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

import structlog
import trio
from trio.testing import MockClock

import flytower
from flytower.actors.node import NodeConfig, open_node
from flytower.actors.steps import JITTER
from flytower.connectors.registry import Registry
from flytower.protocol.calls import Call, Pending
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import TaskTemplate

READ_SECONDS = 30.0
"""How often flytepropeller reads a task."""

RETRY_AFTER = 20.0
"""What the external system asks for when it answers 429."""

OUTAGE_SECONDS = 3600.0

POLICY = flytower.Policy(failure_age=None)
"""Nothing is given up in that hour: what is asked for is that all recover."""

WEATHERS = ("503", "hang", "429")


class JobMeta(flytower.ResourceMeta):
    """What names a job."""

    job: str


@dataclass
class External:
    """A system that answers, or not."""

    weather: str = "fine"
    calls: list[tuple[float, str]] = field(default_factory=list)
    told_at: float = float("inf")  # when it last asked to be left alone
    too_soon: int = 0

    async def ask(self, job: str) -> None:
        """Be asked about a job."""
        now = trio.current_time()
        self.calls.append((now, job))
        self.too_soon += self.told_at < now < self.told_at + RETRY_AFTER
        if self.weather == "503":
            raise RuntimeError("HTTP 503")
        if self.weather == "429":
            self.told_at = now
            raise flytower.RetryLater("HTTP 429", after=RETRY_AFTER)
        if self.weather == "hang":
            await trio.sleep_forever()


class Connector(flytower.AsyncConnectorBase):
    """A connector to it."""

    name = "Outage"
    policy = POLICY

    def __init__(self, external: External) -> None:
        super().__init__(task_type_name="outage", metadata_type=JobMeta)
        self.external = external

    async def create(self, task_template: Any, output_prefix: str, *_: Any, **kwargs: Any) -> JobMeta:
        """Begin a job."""
        return JobMeta(job=output_prefix)

    async def get(self, resource_meta: JobMeta, **kwargs: Any) -> flytower.Resource:
        """Say how a job is."""
        await self.external.ask(resource_meta.job)
        return flytower.Resource(phase=flytower.TaskExecution.RUNNING, message="running")

    async def delete(self, resource_meta: JobMeta, **kwargs: Any) -> None:
        """End a job."""


class Outage(NamedTuple):
    """What came of it.

    Args:
        weather: What the external system answered.
        reads: GetTasks.
        errors: GetTasks that were not answered with a resource.
        stale: Answers that said how old they are, and why.
        too_soon: Calls of the external system before it wanted one, be it about another job.
        calls: All calls of the external system in that hour.
        recovered: Seconds from the end of the outage until every task was polled again.
        bound: Seconds that this may take: one backoff, with its jitter.
    """

    weather: str
    reads: int
    errors: int
    stale: int
    too_soon: int
    calls: int
    recovered: float
    bound: float


def outage(weather: str, tasks: int) -> Outage:
    """Live through an hour of one weather."""
    with structlog.testing.capture_logs():
        return trio.run(_outage, weather, tasks, clock=MockClock(autojump_threshold=0))


async def _outage(weather: str, tasks: int) -> Outage:
    external, registry = External(), Registry()
    registry.register(Connector(external))
    async with open_node(NodeConfig(registry, port=None, metrics_port=None), rng=Random(1)) as node:
        metas = [await _create(node.tasks, f"s3://outage/{number}/0") for number in range(tasks)]
        await trio.sleep(60)
        for meta in metas:
            await _read(node.tasks, meta)
        external.weather, external.calls = weather, []
        reads = errors = stale = 0
        end = trio.current_time() + OUTAGE_SECONDS
        while trio.current_time() < end:
            await trio.sleep(READ_SECONDS)
            for meta in metas:
                message = await _read(node.tasks, meta)
                reads, errors, stale = reads + 1, errors + (message is None), stale + ("last answer" in (message or ""))
        calls, external.weather, external.calls = len(external.calls), "fine", []
        over = trio.current_time()
        while len({job for _, job in external.calls}) < tasks:
            await trio.sleep(0.5)
            for meta in metas:
                await _read(node.tasks, meta)
        last = max(min(at for at, job in external.calls if job == each) for each in {job for _, job in external.calls})
        bound = (1.0 + JITTER) * POLICY.poll_maximum
        return Outage(weather, reads, errors, stale, external.too_soon, calls, last - over, bound)


async def _create(service: Any, prefix: str) -> bytes:
    request = admin.CreateTaskRequest(template=TaskTemplate(type="outage"), output_prefix=prefix)
    answer = await _given(service.CreateTask(request, _call("CreateTask")))
    return admin.CreateTaskResponse.parse(answer).resource_meta


async def _read(service: Any, meta: bytes) -> str | None:
    request = admin.GetTaskRequest(task_category=admin.TaskCategory(name="outage"), resource_meta=meta)
    resource = admin.GetTaskResponse.parse(await _given(service.GetTask(request, _call("GetTask")))).resource
    running = resource is not None and resource.phase is flytower.TaskExecution.RUNNING
    return resource.message if resource is not None and running else None


def _call(method: str) -> Call:
    return Call(method, trio.current_time() + 10.0, {}, "campaign")


async def _given(answer: bytes | Pending[bytes]) -> bytes:
    if isinstance(answer, bytes):
        return answer
    arrived = trio.Event()
    answer.add_done_callback(lambda _: arrived.set())
    await arrived.wait()
    return answer.result()
