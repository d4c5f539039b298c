"""Whole task actors: the polls that a core can do, what a live task weighs, and a task's whole life. Under a minute.

Everything runs in one process without a socket: a node with a ledger in memory, its gateway's handlers called directly,
beside a bare trio task (and an asyncio task) per job that sleeps and calls. Each row in a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from _table import print_heading, print_table

from flytower.actors.node import Node, NodeConfig, open_node
from flytower.connectors.base import AsyncConnectorBase
from flytower.connectors.policy import Policy
from flytower.connectors.registry import Registry
from flytower.connectors.resource import Resource
from flytower.connectors.resource_meta import ResourceMeta
from flytower.protocol.calls import Call
from flytower.protocol.decode import decode_untrusted
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.generated.flyteidl.core import TaskLog, TaskTemplate
from flytower.runtime.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

JOBS = 50_000
PERIOD = 5.0  # seconds between two polls of a job: 10,000 polls a second
SECONDS = 4.0  # that a rate is measured for
AT_ONCE = 500  # creates in flight
LIVES = (1_000, 10_000, 50_000)
POLLS = 5  # before a task of the last table ends


class JobMeta(ResourceMeta):
    """Names a job."""

    job: str


class BenchConnector(AsyncConnectorBase):
    """Its jobs run for ever, or for a number of polls; counts the polls.

    Args:
        ending: After how many polls a job succeeds; 0 for never.
        checkpoint: Whether a poll waits once.
    """

    name = "Bench"

    def __init__(self, period: float, ending: int = 0, *, checkpoint: bool = False) -> None:
        super().__init__(task_type_name="bench", metadata_type=JobMeta)
        self.policy = Policy(poll_minimum=period, poll_maximum=period)
        self.polls = 0
        self._ending = ending
        self._checkpoint = checkpoint
        self._seen: dict[str, int] = {}
        self._running = Resource(Phase.RUNNING, "it runs", [TaskLog(uri="https://logs.example/x", name="Logs")])

    async def create(self, task_template: TaskTemplate, output_prefix: str, **_: Any) -> JobMeta:  # type: ignore[override]
        """Begin a job."""
        return JobMeta(job=output_prefix)

    async def get(self, resource_meta: JobMeta, **_: Any) -> Resource:
        """Count a poll."""
        self.polls += 1
        if self._checkpoint:
            await trio.lowlevel.checkpoint()
        if self._ending:
            seen = self._seen[resource_meta.job] = self._seen.get(resource_meta.job, 0) + 1
            if seen >= self._ending:
                return Resource(Phase.SUCCEEDED, outputs={"polls": seen})
        return self._running

    async def delete(self, resource_meta: JobMeta, **_: Any) -> None:
        """Do nothing."""


def node_with(connector: BenchConnector, jobs: int) -> Any:
    """Open a node without sockets."""
    registry = Registry()
    registry.register(connector)
    return open_node(NodeConfig(registry, port=None, metrics_port=None, tasks=jobs + 1))


async def create(node: Node, numbers: Sequence[int]) -> list[bytes]:
    """Create jobs, some at once, and return their resource_metas."""
    metas: list[bytes] = []
    call = Call("CreateTask", None, {}, "bench")
    for start in range(0, len(numbers), AT_ONCE):
        pending: list[Any] = []
        for number in numbers[start : start + AT_ONCE]:
            message = admin.CreateTaskRequest(
                template=TaskTemplate(type="bench"), output_prefix=f"s3://bench/{number}/0"
            )
            request = decode_untrusted(admin.CreateTaskRequest, bytes(message))
            pending.append(node.tasks.CreateTask(request, call))
        for promise in pending:
            arrived = trio.Event()
            promise.add_done_callback(lambda _, arrived=arrived: arrived.set())
            await arrived.wait()
            metas.append(admin.CreateTaskResponse.parse(promise.result()).resource_meta)
    return metas


def resident() -> int:
    """Return the bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


# ---- polls, and memory ----------------------------------------------------------------------------------------


async def rate(count: Callable[[], int], sleep: Callable[[float], Awaitable[Any]]) -> float:
    """Return polls for each second of CPU."""
    await sleep(1.0)
    before, began = count(), time.process_time()
    await sleep(SECONDS)
    return (count() - before) / (time.process_time() - began)


async def actors(checkpoint: bool) -> tuple[float, float]:  # noqa: FBT001 - from the command line
    """Return polls per CPU second, and bytes for each task."""
    connector = BenchConnector(PERIOD, checkpoint=checkpoint)
    async with node_with(connector, JOBS) as node:
        gc.collect()
        before = resident()
        await create(node, range(JOBS))
        while connector.polls < 2 * JOBS:  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.1)
        gc.collect()
        weight = (resident() - before) / JOBS
        polls = await rate(lambda: connector.polls, trio.sleep)
    return polls, weight


async def trio_tasks(checkpoint: bool) -> tuple[float, float]:  # noqa: FBT001 - likewise
    """Return the same of a bare task for each job."""
    connector = BenchConnector(PERIOD, checkpoint=checkpoint)

    async def job(number: int) -> None:
        meta = JobMeta(job=f"s3://bench/{number}/0")
        await trio.sleep(random.random() * PERIOD)
        while True:
            await connector.get(meta)
            await trio.sleep(PERIOD * (0.95 + random.random() / 10))

    gc.collect()
    before = resident()
    async with trio.open_nursery() as nursery:
        for number in range(JOBS):
            nursery.start_soon(job, number)
        await trio.sleep(PERIOD)
        gc.collect()
        weight = (resident() - before) / JOBS
        polls = await rate(lambda: connector.polls, trio.sleep)
        nursery.cancel_scope.cancel()
    return polls, weight


async def asyncio_tasks(checkpoint: bool) -> tuple[float, float]:  # noqa: FBT001 - likewise
    """Return the same of a bare asyncio task for each job."""
    count = 0

    async def job() -> None:
        nonlocal count
        await asyncio.sleep(random.random() * PERIOD)
        while True:
            count += 1
            if checkpoint:
                await asyncio.sleep(0)
            await asyncio.sleep(PERIOD * (0.95 + random.random() / 10))

    gc.collect()
    before = resident()
    jobs = [asyncio.ensure_future(job()) for _ in range(JOBS)]
    await asyncio.sleep(PERIOD)
    gc.collect()
    weight = (resident() - before) / JOBS
    polls = await rate(lambda: count, asyncio.sleep)
    for task in jobs:
        task.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    return polls, weight


# ---- a whole life ---------------------------------------------------------------------------------------------


async def lives(jobs: int) -> tuple[float, float]:
    """Return the CPU microseconds and the seconds that each of so many tasks took, from create to the last read."""
    connector = BenchConnector(0.02, POLLS)
    async with node_with(connector, jobs) as node:
        began, wall = time.process_time(), time.perf_counter()
        metas = await create(node, range(jobs))
        while connector.polls < POLLS * jobs:  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.02)
        await trio.sleep(0.05)
        category = admin.TaskCategory(name="bench")
        for meta in metas:
            request = admin.GetTaskRequest(task_category=category, resource_meta=meta)
            answer = node.tasks.GetTask(request, Call("GetTask", None, {}, "bench"))
            assert isinstance(answer, bytes)
        return (time.process_time() - began) / jobs * 1e6, time.perf_counter() - wall


# ---- the tables -----------------------------------------------------------------------------------------------


def figures(*what: str) -> tuple[float, float]:
    """Measure one row in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *what], check=True, capture_output=True, text=True)
    first, second = json.loads(done.stdout)
    return first, second


def measure(what: str, detail: str) -> tuple[float, float]:
    """Measure in this process."""
    if what == "lives":
        return trio.run(lives, int(detail))
    checkpoint = detail == "checkpoint"
    if what == "asyncio":
        return asyncio.run(asyncio_tasks(checkpoint))
    return trio.run(actors if what == "actors" else trio_tasks, checkpoint)


def main() -> None:
    """Print the tables."""
    if len(sys.argv) == 3:
        print(json.dumps(measure(*sys.argv[1:])))
        return
    print_heading("Task actors")
    print(f"{JOBS:,} live tasks, {JOBS / PERIOD:,.0f} polls a second; timers tick every {Timers()._tick * 1e3:.0f} ms")
    names = {"actors": "a task actor per job", "trio": "a trio task per job", "asyncio": "an asyncio task per job"}
    found = {who: [figures(who, poll) for poll in ("nothing", "checkpoint")] for who in names}
    ours = found["actors"]
    rows = [
        (name, plain, ours[0][0] / plain, point, ours[1][0] / point, weight, ours[0][1] / weight)
        for (plain, weight), (point, _), name in ((*found[who], name) for who, name in names.items())
    ]
    header = (
        "polls per CPU second",
        "does nothing",
        "actors / it",
        "a checkpoint",
        "actors / it",
        "bytes",
        "actors / it",
    )
    print_table("Polls", header, rows)
    lived = [figures("lives", str(count)) for count in LIVES]
    print_table(
        f"Create, {POLLS} polls, the end, a read",
        ("", "CPU us a task", "seconds in all", "CPU / of the first"),
        [(f"{count:,} tasks", cpu, wall, cpu / lived[0][0]) for count, (cpu, wall) in zip(LIVES, lived, strict=True)],
    )


if __name__ == "__main__":
    main()
