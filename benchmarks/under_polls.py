"""GetTask while thousands of tasks are polled, beside the same server without the polls. Under a minute.

One reader that waits for each answer before it asks again: what it waits for beyond the call itself is the event loop.
"""

from __future__ import annotations

from statistics import median

from _table import print_heading, print_table
from peers.servers import ALONE, Load, Server, create_request, get_request, running

TASKS = 10_000
AT_ONCE = 200
SECONDS = 4.0
ROUNDS = 3


def main() -> None:
    """Measure, and print a table."""
    print_heading("Reads under polls")
    with running(ALONE, FLYTOWER_MODULES="native_connectors") as server:
        rows = [("nobody is polled", *_row(server, "bench_quiet")), _polled(server)]
    print_table(
        f"GetTask, one reader, {TASKS:,} live tasks",
        ("", "p50 ms", "p99 ms", "CPU of the server %", "p99 / without polls"),
        [(*row[:-1], row[2] / rows[0][2]) for row in rows],
    )


def _polled(server: Server) -> tuple[str, float, float, float, float]:
    return (f"{TASKS:,} polls a second", *_row(server, "bench_polled"))


def _row(server: Server, task_type: str) -> tuple[float, float, float, float]:
    """Return p50, p99, the server's load, and a place for the ratio."""
    metas: list[bytes] = []
    for start in range(0, TASKS, AT_ONCE):
        calls = [
            server.tasks.CreateTask.future(create_request(task_type, f"s3://bench/{task_type}/{number}/0"), timeout=60)
            for number in range(start, start + AT_ONCE)
        ]
        metas += [call.result().resource_meta for call in calls]
    payload = get_request(task_type, metas[0])
    loads: list[Load] = []
    busy: list[float] = []
    for _ in range(ROUNDS):
        before = server.cpu()
        loads.append(server.flood("GetTask", payload, in_flight=1, seconds=SECONDS))
        busy.append(100 * (server.cpu() - before) / SECONDS)
    return 1e3 * median(load.p50 for load in loads), 1e3 * median(load.p99 for load in loads), median(busy), 0.0


if __name__ == "__main__":
    main()
