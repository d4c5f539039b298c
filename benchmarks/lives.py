"""A task's whole life, from its create to the last read, as the number of tasks grows. Half a minute.

Task actors in one process without a socket, see `task_actors.py`. The cost of a task should not grow with their number.
"""

from __future__ import annotations

import json
import sys
import time

import trio
from _apart import figures
from _table import print_heading, print_table
from task_actors import BenchConnector, create, node_with

from flytower.cli.serve import collect_less_often
from flytower.protocol.calls import Call
from flytower.protocol.generated.flyteidl import admin

LIVES = (1_000, 10_000, 50_000)
POLLS = 5  # before a task ends
PERIOD = 0.02  # seconds between two polls, as far as the core keeps up


async def lives(jobs: int) -> list[float]:
    """Return the CPU microseconds and the seconds that each of so many tasks took, from create to the last read."""
    connector = BenchConnector(PERIOD, POLLS)
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
        return [(time.process_time() - began) / jobs * 1e6, time.perf_counter() - wall]


def main() -> None:
    """Print the table."""
    if len(sys.argv) > 1:
        collect_less_often()  # as the server does
        print(json.dumps(trio.run(lives, int(sys.argv[1]))))
        return
    print_heading("A task's whole life")
    found = [figures(__file__, str(count)) for count in LIVES]
    rows = [(f"{count:,} tasks", cpu, wall, cpu / found[0][0]) for count, (cpu, wall) in zip(LIVES, found, strict=True)]
    header = ("", "CPU us a task", "seconds in all", "CPU / of the first")
    print_table(f"Create, {POLLS} polls, the end, a read", header, rows)


if __name__ == "__main__":
    main()
