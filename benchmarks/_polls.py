"""Polls by entities, beside a trio and an asyncio task for each job: what does nothing, and what has a checkpoint."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio
from _host import running
from _table import print_table

from flytower.runtime.entity import Behaviour, Call, Wake, Woke
from flytower.runtime.host import EntityHost
from flytower.runtime.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence


JOBS = 50_000
WORKERS = 64
SECONDS = 1.0  # that each rate is measured for


@dataclass
class Load:
    """What all jobs do, and how often they did."""

    period: float
    poll: Callable[[], Awaitable[None]]
    count: int = 0


load = Load(0.0, trio.lowlevel.checkpoint)


async def nothing() -> None:
    load.count += 1


async def trio_checkpoint() -> None:
    load.count += 1
    await trio.lowlevel.checkpoint()


async def asyncio_checkpoint() -> None:
    load.count += 1
    await asyncio.sleep(0)


class Poller(Behaviour[None]):
    """Polls when it wakes, and sleeps when it has polled."""

    def transition(self, state: None, message: object, now: float) -> tuple[None, Sequence[object]]:
        """Poll or sleep."""
        if type(message) is Woke:
            return None, (Call("polls", "poll", load.poll, 30.0),)
        return None, (Wake(load.period / 2, load.period),)


async def rates(checkpoint: Callable[[], Awaitable[None]], sleep: Callable[[float], Awaitable[Any]]) -> list[float]:
    """Return the polls in each CPU second, of a poll that does nothing and of one with a checkpoint."""
    result = []
    for poll in (nothing, checkpoint):
        load.poll = poll
        await sleep(0.3)
        load.count, began = 0, time.process_time()
        await sleep(SECONDS)
        result.append(load.count / (time.process_time() - began))
    return result


async def entity_polls() -> list[float]:
    host = EntityHost("bench", Poller(), lanes=[Lane("polls", WORKERS)])
    for key in range(JOBS):
        host.start(key, None, [Wake(0, load.period)])
    async with running(host):
        return await rates(trio_checkpoint, trio.sleep)


async def trio_polls() -> list[float]:
    async def job() -> None:
        await trio.sleep(random.random() * load.period)
        while True:
            await load.poll()
            await trio.sleep(load.period / 2 + random.random() * load.period)

    async with trio.open_nursery() as nursery:
        for _ in range(JOBS):
            nursery.start_soon(job)
        await trio.sleep(0.1)
        result = await rates(trio_checkpoint, trio.sleep)
        nursery.cancel_scope.cancel()
    return result


async def asyncio_polls() -> list[float]:
    async def job() -> None:
        await asyncio.sleep(random.random() * load.period)
        while True:
            await load.poll()
            await asyncio.sleep(load.period / 2 + random.random() * load.period)

    jobs = [asyncio.ensure_future(job()) for _ in range(JOBS)]
    await asyncio.sleep(0.1)
    result = await rates(asyncio_checkpoint, asyncio.sleep)
    for task in jobs:
        task.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    return result


def run_asyncio(function: Callable[[], Coroutine[Any, Any, list[float]]]) -> list[float]:
    return asyncio.run(function())


def measure_polls() -> None:
    for demand in (10_000, 100_000):
        load.period = JOBS / demand
        figures = []
        for run, polls in ((trio.run, entity_polls), (trio.run, trio_polls), (run_asyncio, asyncio_polls)):
            gc.collect()
            figures.append(run(polls))
        names = (f"entities, {WORKERS} workers", "a trio task per job", "an asyncio task per job")
        rows = [
            (name, nop, figures[0][0] / nop, point, figures[0][1] / point)
            for name, (nop, point) in zip(names, figures, strict=True)
        ]
        header = ["polls per CPU second", "does nothing", "entities / it", "a checkpoint", "entities / it"]
        print_table(f"{JOBS:,} jobs, {demand:,} polls a second asked for", header, rows)
