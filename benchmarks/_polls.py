"""Polls by entities, beside a trio and an asyncio task for each job: what does nothing, and what has a checkpoint.

Each row in a process of its own.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio
from _apart import figures, report
from _host import running
from _table import print_table

from flytower.runtime.entity import Behaviour, Call, Wake, Woke
from flytower.runtime.host import EntityHost
from flytower.runtime.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import NoReturn

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


async def entity_polls() -> NoReturn:
    host = EntityHost("bench", Poller(), lanes=[Lane("polls", WORKERS)])
    for key in range(JOBS):
        host.start(key, None, [Wake(0, load.period)])
    async with running(host):
        report(await rates(trio_checkpoint, trio.sleep))


async def trio_polls() -> NoReturn:
    async def job() -> None:
        await trio.sleep(random.random() * load.period)
        while True:
            await load.poll()
            await trio.sleep(load.period / 2 + random.random() * load.period)

    async with trio.open_nursery() as nursery:
        for _ in range(JOBS):
            nursery.start_soon(job)
        await trio.sleep(0.1)
        report(await rates(trio_checkpoint, trio.sleep))


async def asyncio_polls() -> NoReturn:
    async def job() -> None:
        await asyncio.sleep(random.random() * load.period)
        while True:
            await load.poll()
            await asyncio.sleep(load.period / 2 + random.random() * load.period)

    _jobs = [asyncio.ensure_future(job()) for _ in range(JOBS)]  # asyncio itself holds them weakly
    await asyncio.sleep(0.1)
    report(await rates(asyncio_checkpoint, asyncio.sleep))


WHO = {
    f"entities, {WORKERS} workers": lambda: trio.run(entity_polls),
    "a trio task per job": lambda: trio.run(trio_polls),
    "an asyncio task per job": lambda: asyncio.run(asyncio_polls()),
}


def measure_polls() -> None:
    for demand in (10_000, 100_000):
        found = {name: figures(__file__, name, str(demand)) for name in WHO}
        ours = next(iter(found.values()))
        rows = [(name, nop, ours[0] / nop, point, ours[1] / point) for name, (nop, point) in found.items()]
        header = ["polls per CPU second", "does nothing", "entities / it", "a checkpoint", "entities / it"]
        print_table(f"{JOBS:,} jobs, {demand:,} polls a second asked for", header, rows)


def main() -> None:
    _, name, demand = sys.argv
    load.period = JOBS / int(demand)
    WHO[name]()


if __name__ == "__main__":
    main()
