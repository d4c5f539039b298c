"""What stalls flytekit's server, done to both: the same connectors, side by side. Half a minute.

What starts and memory cost is in start.py.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from _table import print_heading, print_table
from flyteidl.admin import agent_pb2
from peers.servers import FLYTEKIT, FLYTOWER, Server, create_request, get_request, running

if TYPE_CHECKING:
    import grpc

CREATES = 60
BLOCKED = 1.0  # seconds that a create blocks
DEADLINE = 3.5
LATER = 3.0  # until what goes on although nobody waits has ended
SLOW = 0.2
EVERY = 0.02

Row = tuple[str, ...]
"""What was measured, then a figure for each server, in the order of `BOTH`."""

BOTH = (FLYTEKIT, FLYTOWER)


def main() -> None:
    """Measure, and print the table."""
    print_heading("What stalls flytekit's server")
    rows: list[Row] = [*_blocking_creates(), *_listing(), *_slow_reads()]
    print_table("The same connectors (flytekit's) in both", ("what", *BOTH), rows)


def _blocking_creates() -> list[Row]:
    """Sixty creates at once, each of which blocks, asked for with a deadline that three rounds of them reach."""
    found: dict[str, tuple[int, ...]] = {}
    for kind in BOTH:
        with tempfile.TemporaryDirectory() as folder:
            counted = Path(folder) / "calls.create"
            with running(kind, BENCH_CALLS=str(counted.with_suffix("")), BENCH_BLOCKED_SECONDS=str(BLOCKED)) as server:
                calls = [
                    server.tasks.CreateTask.future(
                        create_request("bench_blocking", f"s3://bench/blocking/{number}/0"), timeout=DEADLINE
                    )
                    for number in range(CREATES)
                ]
                answered = sum(call.exception() is None for call in calls)
                time.sleep(LATER)
                created = counted.stat().st_size
                found[kind] = (answered, CREATES - answered, created, max(0, created - answered))
    names = ("answered", "failed", "jobs created", "jobs left behind, which no caller knows")
    return [
        (
            f"{CREATES} blocking {BLOCKED:.0f}-s creates, {DEADLINE:.1f}-s deadline: {name}",
            *(str(found[kind][at]) for kind in found),
        )
        for at, name in enumerate(names)
    ]


def _listing() -> list[Row]:
    """ListAgents while a coroutine blocks for three seconds: asked for at a rate, whether answered or not."""
    found: list[list[float]] = []
    for kind in BOTH:
        with running(kind, FLYTOWER_FLYTEKIT_OWN_LOOP="bench_stalling") as server:
            creating = server.tasks.CreateTask.future(
                create_request("bench_stalling", "s3://bench/stalling/0"), timeout=60
            )
            found.append(sorted(_listings(server, creating)))
    what = f"ListAgents {1 / EVERY:.0f} times a second while a coroutine blocks for 3 s"
    return [
        (f"{what}: p50 (ms)", *(f"{1e3 * took[len(took) // 2]:,.1f}" for took in found)),
        (f"{what}: p99 (ms)", *(f"{1e3 * took[int(0.99 * (len(took) - 1))]:,.1f}" for took in found)),
    ]


def _listings(server: Server, until: grpc.Future) -> list[float]:
    took: list[float] = []
    asked: list[grpc.Future] = []
    while not until.done():
        begun = time.perf_counter()
        call = server.metadata.ListAgents.future(agent_pb2.ListAgentsRequest(), timeout=30)
        call.add_done_callback(lambda _, begun=begun: took.append(time.perf_counter() - begun))
        asked.append(call)
        time.sleep(EVERY)
    for call in asked:
        call.result()
    while len(took) < len(asked):
        time.sleep(EVERY)  # the callbacks have a thread of their own
    return took


def _slow_reads() -> list[Row]:
    """GetTask when the external system takes 200 ms."""
    loads = []
    for kind in BOTH:
        with running(kind, BENCH_EXTERNAL_SECONDS=str(SLOW)) as server:
            metas = [server.create("bench_nothing", f"s3://bench/{number}/0") for number in range(16)]
            payloads = [get_request("bench_nothing", meta) for meta in metas]
            server.load("GetTask", payloads, in_flight=16, seconds=1.0)
            loads.append(server.load("GetTask", payloads, in_flight=16, seconds=3.0))
    what = f"GetTask, external system takes {1e3 * SLOW:.0f} ms"
    return [
        (f"{what}: p50 (ms)", *(f"{1e3 * load.p50:,.2f}" for load in loads)),
        (f"{what}: p99 (ms)", *(f"{1e3 * load.p99:,.2f}" for load in loads)),
    ]


if __name__ == "__main__":
    main()
