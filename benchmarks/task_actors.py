"""Whole task actors: the polls that a core can do, and what a live task weighs. Less than a minute.

Everything runs in one process without a socket: a node with a ledger in memory, its gateway's handlers called directly,
beside a bare trio task (and an asyncio task) per job that sleeps and calls. Each in a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from _apart import figures, report
from _table import print_heading, print_table
from trio.testing import wait_all_tasks_blocked

from flytower.actors.node import Node, NodeConfig, open_node
from flytower.cli.serve import collect_less_often
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

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import NoReturn

    from flytower.actors.ledger.store import Store

JOBS = 50_000
PERIOD = 5.0  # seconds between two polls of a job: 10,000 polls a second
SECONDS = 1.5  # that a rate is measured for
AT_ONCE = 500  # creates in flight; JOBS is a multiple of it


class JobMeta(ResourceMeta):
    """Names a job."""

    job: str


class BenchConnector(AsyncConnectorBase):
    """Its jobs run for ever, or for a number of polls; counts the polls.

    Args:
        ending: After how many polls a job succeeds; 0 for never.
    """

    name = "Bench"

    def __init__(self, period: float, ending: int = 0) -> None:
        super().__init__(task_type_name="bench", metadata_type=JobMeta)
        self.policy = Policy(poll_minimum=period, poll_maximum=period)
        self.polls = 0
        self._ending = ending
        self.checkpoint = False  # whether a poll waits once
        self._seen: dict[str, int] = {}
        self.running = Resource(Phase.RUNNING, "it runs", [TaskLog(uri="https://logs.example/x", name="Logs")])

    async def create(self, task_template: TaskTemplate, output_prefix: str, **_: Any) -> JobMeta:  # type: ignore[override]
        """Begin a job."""
        return JobMeta(job=output_prefix)

    async def get(self, resource_meta: JobMeta, **_: Any) -> Resource:
        """Count a poll."""
        self.polls += 1
        if self.checkpoint:
            await trio.lowlevel.checkpoint()
        if self._ending:
            seen = self._seen[resource_meta.job] = self._seen.get(resource_meta.job, 0) + 1
            if seen >= self._ending:
                return Resource(Phase.SUCCEEDED, outputs={"polls": seen})
        return self.running

    async def delete(self, resource_meta: JobMeta, **_: Any) -> None:
        """Do nothing."""


def node_with(connector: BenchConnector, jobs: int, store: Store | None = None) -> Any:
    """Open a node without sockets."""
    registry = Registry()
    registry.register(connector)
    return open_node(NodeConfig(registry, port=None, metrics_port=None, tasks=jobs + 1, store=store))


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


async def rates(connector: BenchConnector, sleep: Callable[[float], Awaitable[Any]]) -> list[float]:
    """Return polls for each second of CPU, of a poll that does nothing and of one with a checkpoint."""
    found = []
    for connector.checkpoint in (False, True):
        await sleep(0.3)
        before, began = connector.polls, time.process_time()
        await sleep(SECONDS)
        found.append((connector.polls - before) / (time.process_time() - began))
    return found


async def actors() -> NoReturn:
    """Report both rates, and bytes for each task."""
    collect_less_often()  # as the server does
    connector = BenchConnector(PERIOD)
    async with node_with(connector, JOBS) as node:
        gc.collect()
        before = resident()
        for start in range(0, JOBS, AT_ONCE):
            await create(node, range(start, start + AT_ONCE))
        while connector.polls < 2 * JOBS:  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.1)
        gc.collect()
        weight = (resident() - before) / JOBS
        report([*await rates(connector, trio.sleep), weight])


async def trio_tasks(period: float = PERIOD) -> NoReturn:
    """Report the same of a bare trio task for each job."""
    connector = BenchConnector(period)

    async def job(number: int) -> None:
        meta = JobMeta(job=f"s3://bench/{number}/0")
        await trio.sleep(random.random() * period)
        while True:
            await connector.get(meta)
            await trio.sleep(period * (0.95 + random.random() / 10))

    gc.collect()
    before = resident()
    async with trio.open_nursery() as nursery:
        for number in range(JOBS):
            nursery.start_soon(job, number)
        await trio.sleep(period)
        gc.collect()
        weight = (resident() - before) / JOBS
        report([*await rates(connector, trio.sleep), weight])


async def sleepers() -> NoReturn:
    """Report the bytes of a bare trio task that sleeps in a loop, in its first sleep: after more it is heavier."""

    async def sleeper() -> None:
        while True:  # noqa: ASYNC110 - it waits for nothing
            await trio.sleep(PERIOD)

    gc.collect()
    before = resident()
    async with trio.open_nursery() as nursery:
        for _ in range(JOBS):
            nursery.start_soon(sleeper)
        await wait_all_tasks_blocked()
        gc.collect()
        report([(resident() - before) / JOBS])


async def asyncio_tasks(period: float = PERIOD) -> NoReturn:
    """Report the same of a bare asyncio task for each job."""
    connector = BenchConnector(period)

    async def get(_meta: JobMeta) -> Resource:
        connector.polls += 1
        if connector.checkpoint:
            await asyncio.sleep(0)
        return connector.running

    async def job(number: int) -> None:
        meta = JobMeta(job=f"s3://bench/{number}/0")
        await asyncio.sleep(random.random() * period)
        while True:
            await get(meta)
            await asyncio.sleep(period * (0.95 + random.random() / 10))

    gc.collect()
    before = resident()
    _jobs = [asyncio.ensure_future(job(number)) for number in range(JOBS)]  # asyncio itself holds them weakly
    await asyncio.sleep(period)
    gc.collect()
    weight = (resident() - before) / JOBS
    report([*await rates(connector, asyncio.sleep), weight])


def without_collector(work: Callable[[], Awaitable[NoReturn]]) -> NoReturn:
    """Run it without the garbage collector, which takes most of the time of bare trio tasks."""
    gc.disable()
    trio.run(work)


# ---- the table ------------------------------------------------------------------------------------------------

SLEEPERS = "a trio task that only sleeps"

WHO = {
    "a task actor per job": lambda: trio.run(actors),
    "a trio task per job": lambda: trio.run(trio_tasks),
    "an asyncio task per job": lambda: asyncio.run(asyncio_tasks()),
    SLEEPERS: lambda: trio.run(sleepers),
}


def main() -> None:
    """Print the table."""
    if len(sys.argv) > 1:
        WHO[sys.argv[1]]()
    print_heading("Task actors")
    found = {name: figures(__file__, name) for name in WHO}
    ours = found["a task actor per job"]
    rates_of = {name: figures for name, figures in found.items() if name != SLEEPERS}
    rows = [(name, plain, ours[0] / plain, point, ours[1] / point) for name, (plain, point, _) in rates_of.items()]
    header = ("polls per CPU second", "does nothing", "actors / it", "a checkpoint", "actors / it")
    print_table(f"{JOBS:,} live tasks, {JOBS / PERIOD:,.0f} polls a second asked for", header, rows)
    weights = [(name, weight, ours[-1] / weight) for name, (*_, weight) in found.items()]
    print_table("Memory, the published answer included", ("", "bytes a task", "actors / it"), weights)


if __name__ == "__main__":
    main()
