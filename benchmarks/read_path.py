"""GetTask and CreateTask beside flytekit's server: the same connectors and load, in alternating rounds. Under a minute.

CPU of the server per call (user and system, from /proc) is the figure to trust on a machine that others use too.
Reads are made by h2load (Debian: nghttp2-client), creates by gRPC's C core, each in a process of its own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from _table import print_heading, print_table
from peers import real_task
from peers.servers import FLYTEKIT, FLYTOWER, Load, Server, create_request, get_request, running

ROUNDS = 3
SECONDS = 1.0
IN_FLIGHT = 32
TASKS = 32
MANY = 1_000
CREATES = 6_000  # more than a round can send: a create that is sent again costs less
EXTERNAL = 0.1
READERS_SECONDS = 2.0  # each of two rounds: more than one poll of Flytower's


def main() -> None:
    """Measure, and print a table."""
    print_heading("GetTask and CreateTask beside flytekit's server")
    rows = [*_reads(), *_slow_reads(), _external_calls(), *_creates()]
    print_table("server", ("what", "flytekit", "flytower", "ratio"), rows)


def _reads() -> list[tuple[str, str, str, float]]:
    rows = []
    with running(FLYTEKIT) as peer, running(FLYTOWER) as ours:
        for task_type, what in (("bench_nothing", "nothing"), ("bench_rich", "3 links, 10 outputs, custom_info")):
            loads: dict[str, list[Load]] = {FLYTEKIT: [], FLYTOWER: []}
            payloads = {server.kind: _metas(server, task_type, TASKS) for server in (peer, ours)}
            for _ in range(ROUNDS):
                for server in (peer, ours):
                    call = payloads[server.kind][0]
                    loads[server.kind].append(server.flood("GetTask", call, in_flight=IN_FLIGHT, seconds=SECONDS))
            rows.append(_row(f"GetTask, {what}: CPU per call (us)", loads, "cpu"))
    return rows


def _slow_reads() -> list[tuple[str, str, str, float]]:
    loads: dict[str, list[Load]] = {FLYTEKIT: [], FLYTOWER: []}
    slow = {"BENCH_EXTERNAL_SECONDS": str(EXTERNAL)}
    for kind in (FLYTEKIT, FLYTOWER):
        with running(kind, **slow) as server:
            payloads = _metas(server, "bench_nothing", MANY)
            server.load("GetTask", payloads, in_flight=MANY // 4, seconds=1.0)  # the first answers
            for _ in range(ROUNDS):
                loads[kind].append(server.flood("GetTask", payloads[0], in_flight=IN_FLIGHT, seconds=SECONDS))
    rates = {kind: median(load.calls / load.seconds for load in found) for kind, found in loads.items()}
    what = f"GetTask, external system takes {1e3 * EXTERNAL:.0f} ms, {MANY:,} live tasks"
    latency = {kind: 1e3 * median(load.p50 for load in found) for kind, found in loads.items()}
    return [
        (f"{what}: p50 (ms)", *_cells(latency)),
        (f"{what}: calls per second", *_cells(rates)),
    ]


def _external_calls() -> tuple[str, str, str, float]:
    """Two readers that ask for the same tasks, each as often."""
    calls: dict[str, float] = {}
    for kind in (FLYTEKIT, FLYTOWER):
        with tempfile.TemporaryDirectory() as folder:
            counted = Path(folder) / "calls.get"
            with running(kind, BENCH_CALLS=str(counted.with_suffix(""))) as server:
                payloads = _metas(server, "bench_nothing", TASKS)
                for _ in range(2):
                    server.load("GetTask", payloads, in_flight=2, seconds=READERS_SECONDS)
                calls[kind] = counted.stat().st_size / TASKS
    return (f"external calls per task, two readers without a pause, {2 * READERS_SECONDS:.0f} s", *_cells(calls))


def _creates() -> list[tuple[str, str, str, float]]:
    rows = []
    template = real_task.template("bench_nothing")
    for what, ledger in (("memory ledger", "memory://"), ("SQLite ledger", "sqlite:///FOLDER/ledger.sqlite")):
        loads: dict[str, list[Load]] = {FLYTEKIT: [], FLYTOWER: []}
        with running(FLYTEKIT) as peer, running(FLYTOWER, ledger) as ours:
            for turn in range(ROUNDS):
                for server in (peer, ours):
                    payloads = [_create(template, f"s3://bench/{turn}/{number}/0") for number in range(CREATES)]
                    load = server.load("CreateTask", payloads, in_flight=IN_FLIGHT, seconds=SECONDS)
                    if load.calls > CREATES:
                        raise RuntimeError(f"{load.calls:,} calls with {CREATES:,} creates")
                    loads[server.kind].append(load)
        rows.append(_row(f"CreateTask, real template, {what}: CPU per call (us)", loads, "cpu"))
    return rows


def _create(template: bytes, prefix: str) -> bytes:
    request = create_request("bench_nothing", prefix)
    request.template.ParseFromString(template)
    request.inputs.literals["x"].scalar.primitive.integer = 7
    encoded: bytes = request.SerializeToString()
    return encoded


def _metas(server: Server, task_type: str, count: int) -> list[bytes]:
    calls = [
        server.tasks.CreateTask.future(create_request(task_type, f"s3://bench/{task_type}/{number}/0"), timeout=60)
        for number in range(count)
    ]
    return [get_request(task_type, call.result().resource_meta) for call in calls]


def _row(what: str, loads: dict[str, list[Load]], figure: str) -> tuple[str, str, str, float]:
    return (what, *_cells({kind: median(getattr(load, figure) for load in found) for kind, found in loads.items()}))


def _cells(figures: dict[str, float]) -> tuple[str, str, float]:
    peer, ours = figures[FLYTEKIT], figures[FLYTOWER]
    return f"{peer:,.1f}", f"{ours:,.1f}", ours / peer


if __name__ == "__main__":
    main()
