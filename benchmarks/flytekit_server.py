"""What stalls flytekit's server, done to both: the same connectors, side by side. Takes a minute and a half."""

from __future__ import annotations

import subprocess
import sys
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
DEADLINE = 10.0
SLOW = 0.2

Row = tuple[str, ...]
"""What was measured, then a figure for each server, in the order of `BOTH`."""

BOTH = (FLYTEKIT, FLYTOWER)

IMPORTS = {FLYTEKIT: "import flytekit.extend.backend.connector_service", FLYTOWER: "import flytower.cli.serve"}


def main() -> None:
    """Measure, and print a table."""
    print_heading("What stalls flytekit's server")
    rows: list[Row] = [*_blocking_creates(), _listing(), *_slow_reads(), _start(), _memory(), _import()]
    print_table("both servers", ("what", "flytekit", "flytower"), rows)


def _blocking_creates() -> list[Row]:
    """Sixty creates at once that block for three seconds each, asked for with a deadline of ten."""
    found: dict[str, tuple[int, int, int]] = {}
    for kind in BOTH:
        with tempfile.TemporaryDirectory() as folder:
            counted = Path(folder) / "calls.create"
            with running(kind, BENCH_CALLS=str(counted.with_suffix(""))) as server:
                calls = [
                    server.tasks.CreateTask.future(
                        create_request("bench_blocking", f"s3://bench/blocking/{number}/0"), timeout=DEADLINE
                    )
                    for number in range(CREATES)
                ]
                answered = sum(call.exception() is None for call in calls)
                time.sleep(8)  # what goes on although nobody waits
                created = counted.stat().st_size
                found[kind] = (answered, CREATES - answered, max(0, created - answered))
    names = ("answered", "failed", "jobs that were created and that no caller knows")
    return [
        (
            f"{CREATES} blocking 3-s creates, {DEADLINE:.0f}-s deadline: {name}",
            *(str(found[kind][at]) for kind in found),
        )
        for at, name in enumerate(names)
    ]


def _listing() -> Row:
    """ListAgents while a connector's coroutine blocks for three seconds."""
    worst = []
    for kind in BOTH:
        with running(kind, FLYTOWER_FLYTEKIT_OWN_LOOP="bench_stalling") as server:
            creating = server.tasks.CreateTask.future(
                create_request("bench_stalling", "s3://bench/stalling/0"), timeout=60
            )
            time.sleep(0.3)
            worst.append(_longest_listing(server, creating))
    return ("ListAgents while a coroutine blocks for 3 s, the longest (ms)", *(f"{1e3 * each:,.1f}" for each in worst))


def _longest_listing(server: Server, until: grpc.Future) -> float:
    longest = 0.0
    while not until.done():
        begun = time.perf_counter()
        server.metadata.ListAgents(agent_pb2.ListAgentsRequest(), timeout=30)
        longest = max(longest, time.perf_counter() - begun)
    return longest


def _slow_reads() -> list[Row]:
    """GetTask when the external system takes 200 ms."""
    loads = []
    for kind in BOTH:
        with running(kind, BENCH_EXTERNAL_SECONDS=str(SLOW)) as server:
            metas = [server.create("bench_nothing", f"s3://bench/{number}/0") for number in range(16)]
            payloads = [get_request("bench_nothing", meta) for meta in metas]
            server.load("GetTask", payloads, in_flight=16, seconds=1.0)
            loads.append(server.load("GetTask", payloads, in_flight=16, seconds=5.0))
    what = f"GetTask, external system takes {1e3 * SLOW:.0f} ms"
    return [
        (f"{what}: p50 (ms)", *(f"{1e3 * load.p50:,.2f}" for load in loads)),
        (f"{what}: p99 (ms)", *(f"{1e3 * load.p99:,.2f}" for load in loads)),
    ]


def _start() -> Row:
    """From the start of the process to the first answer to ListAgents; Flytower without flytekit's connectors too."""
    seconds = []
    for kind in BOTH:
        with tempfile.TemporaryDirectory() as folder:
            server = Server(kind, Path(folder))
            seconds.append(server.wait())
            server.stop()
    return ("start to first ListAgents (s)", *(f"{each:.2f}" for each in seconds))


def _memory() -> Row:
    figures = []
    for kind in BOTH:
        with running(kind) as server:
            time.sleep(1)
            figures.append(server.pss_mib())
    return ("idle memory, PSS (MiB)", *(f"{each:.0f}" for each in figures))


def _import() -> Row:
    """Import time, without flytekit for Flytower: who does not serve its connectors does not import it."""
    return ("import (s); Flytower's without flytekit", *(f"{_import_seconds(code):.2f}" for code in IMPORTS.values()))


def _import_seconds(code: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
