"""How many polls one core can do: 50,000 whole task actors, all due again and again, beside a bare task per job.

Less than a minute. The tasks are those of a node that was there before, which had no time to poll them: the next one
takes them over as after a restart, and its policy asks for more polls than there is time for.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING

import trio
from _apart import figures, report
from _table import print_heading, print_table
from task_actors import JOBS, BenchConnector, asyncio_tasks, create, node_with, rates, trio_tasks, without_collector

from flytower.actors.ledger.memory import MemoryStore
from flytower.cli.serve import collect_less_often

if TYPE_CHECKING:
    from collections.abc import Callable

PERIOD = 0.5  # seconds between two polls of a job: 100,000 polls a second
SELDOM = 3_600.0  # and in the node before


async def actors() -> None:
    """Report both rates of task actors."""
    collect_less_often()  # as the server does
    store = MemoryStore()
    async with node_with(BenchConnector(SELDOM), JOBS, store) as node:
        await create(node, range(JOBS))
    connector = BenchConnector(PERIOD)
    async with node_with(connector, JOBS, store):
        while connector.polls < JOBS:  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.1)
        report(await rates(connector, trio.sleep))


TABLE: dict[str, Callable[[], object]] = {
    "a task actor per job": lambda: trio.run(actors),
    "a trio task per job": lambda: trio.run(partial(trio_tasks, PERIOD)),
    "an asyncio task per job": lambda: asyncio.run(asyncio_tasks(PERIOD)),
}

ALONE = {"a trio task per job, no collector": lambda: without_collector(partial(trio_tasks, PERIOD))}
"""Rows that are only measured when asked for by name."""


def main() -> None:
    """Print the table."""
    if len(sys.argv) > 1:
        (TABLE | ALONE)[sys.argv[1]]()
    print_heading("As many polls as a core can do")
    found = {name: figures(__file__, name) for name in TABLE}
    ours = found["a task actor per job"]
    rows = [(name, plain, ours[0] / plain, point, ours[1] / point) for name, (plain, point, *_) in found.items()]
    header = ("polls per CPU second", "does nothing", "actors / it", "a checkpoint", "actors / it")
    print_table(f"{JOBS:,} live tasks, {JOBS / PERIOD:,.0f} polls a second asked for", header, rows)


if __name__ == "__main__":
    main()
