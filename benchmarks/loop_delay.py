"""How late the event loop is while a server does everything at once, at 70 % of a core. A minute.

The figures are the server's own: its histogram of how late the loop was (`flytower_loop_delay_seconds`), which is read
before and after. The load comes from other processes: reads at a rate, tasks that are created and deleted at a rate;
ten thousand other tasks are polled meanwhile. The rates are first tried, and scaled so that the server uses 70 %.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from _table import print_heading, print_table
from peers.native_connectors import STEADY
from peers.servers import ALONE, HERE, Server, create_request, get_request, running

TASKS = 10_000
AT_ONCE = 200

LOAD = 0.70
"""Of one core; the server cannot use more than one."""

READS, CREATES = 1_500, 60
"""For each second of the trial. A create costs about ten reads, and its delete some more."""

TRIALS = 2
"""A call is the cheaper the more of them come at once, so that one trial does not tell."""

TRIAL_SECONDS, SECONDS = 1.0, 6.0

EDGE_SECONDS = 2.0
"""Before and after what is measured the load is there already: the processes that make it take a second to start."""

BEATS = {"FLYTOWER_WATCHDOG": "0.02", "FLYTOWER_LOG_LEVEL": "critical"}
"""The loop's delay is looked at four times in this many seconds: ten times as often as usual, for enough of them."""

BUCKET = re.compile(r'^flytower_loop_delay_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)

LEDGERS = {"in memory": "memory://", "in SQLite": "sqlite:///FOLDER/ledger.sqlite"}

Buckets = dict[float, float]
"""How many delays were at most so many seconds."""


class Mix(NamedTuple):
    """What came of a load.

    Args:
        busy: The server's share of a core.
        delays: Of the event loop.
        reads: Answered, for each second.
        read_p99: Seconds.
        creates: Created and deleted, for each second.
        create_p99: Seconds.
    """

    busy: float
    delays: Buckets
    reads: float
    read_p99: float
    creates: float
    create_p99: float


def main() -> None:
    """Measure, and print two tables."""
    print_heading("Delay of the event loop")
    rows: list[tuple[object, ...]] = []
    mixes: list[tuple[object, ...]] = []
    for name, ledger in LEDGERS.items():
        with running(ALONE, ledger, FLYTOWER_MODULES="native_connectors", **BEATS) as server:
            rows.append((f"ledger {name}: idle", *_figures(_idle(server))))
            meta = _live_tasks(server)
            mix = _at_the_load(server, meta)
            rows.append((f"ledger {name}: {100 * mix.busy:.0f} % of a core", *_figures(mix.delays)))
            mixes.append(
                (f"ledger {name}", mix.reads, 1e3 * mix.read_p99, mix.creates, 1e3 * mix.create_p99, TASKS / STEADY)
            )
    print_table("Late by", ("", "p50 ms", "p99 ms", "at most ms", "over 20 ms, %", "looks"), rows)
    header = ("the load, each second", "reads", "their p99 ms", "created, deleted", "creates' p99 ms", "polls")
    print_table("Meanwhile", header, mixes)


def _live_tasks(server: Server) -> bytes:
    """Create the tasks that are polled; return the resource_meta of one."""
    meta = b""
    for start in range(0, TASKS, AT_ONCE):
        calls = [
            server.tasks.CreateTask.future(create_request("bench_steady", f"s3://bench/steady/{number}/0"), timeout=60)
            for number in range(start, start + AT_ONCE)
        ]
        meta = [call.result().resource_meta for call in calls][-1]
    return meta


def _idle(server: Server) -> Buckets:
    before = _delays(server)
    time.sleep(TRIAL_SECONDS)
    return _between(before, _delays(server))


def _at_the_load(server: Server, meta: bytes) -> Mix:
    begun, clock = server.cpu(), time.perf_counter()
    time.sleep(TRIAL_SECONDS)
    polls = (server.cpu() - begun) / (time.perf_counter() - clock)
    factor = 1.0
    for _ in range(TRIALS):
        trial = _mixed(server, meta, factor, TRIAL_SECONDS)
        factor *= (LOAD - polls) / (trial.busy - polls)
    return _mixed(server, meta, factor, SECONDS)


def _mixed(server: Server, meta: bytes, factor: float, seconds: float) -> Mix:
    """Read, create and delete for a time, `factor` times as often as in the trial."""
    payload, whole = get_request("bench_steady", meta), seconds + 2 * EDGE_SECONDS
    reads, creates = int(READS * factor), CREATES * factor
    with ThreadPoolExecutor(2) as threads:
        churn = threads.submit(_churn, server, creates, whole)
        flood = threads.submit(server.flood, "GetTask", payload, in_flight=64, seconds=whole, rate=reads)
        time.sleep(EDGE_SECONDS)
        before, used, clock = _delays(server), server.cpu(), time.perf_counter()
        time.sleep(seconds)
        busy = (server.cpu() - used) / (time.perf_counter() - clock)
        delays = _between(before, _delays(server))
        read, made = flood.result(), churn.result()
    return Mix(busy, delays, read.calls / whole, read.p99, made["created"] / whole, made["p99"])


def _churn(server: Server, rate: float, seconds: float) -> dict[str, float]:
    prefix = f"s3://bench/churn/{time.time_ns()}"
    asked = {"target": server.target, "task_type": "bench_steady", "prefix": prefix, "rate": rate, "seconds": seconds}
    command = [sys.executable, "-m", "peers.churn"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=True, cwd=HERE.parent)
    found: dict[str, float] = json.loads(done.stdout)
    if found["errors"]:
        raise RuntimeError(f"{found['errors']:.0f} calls failed")
    return found


def _delays(server: Server) -> Buckets:
    with urllib.request.urlopen(server.metrics_page) as page:
        text = page.read().decode()
    return {float(bound): float(count) for bound, count in BUCKET.findall(text)}


def _between(before: Buckets, after: Buckets) -> Buckets:
    return {bound: count - before[bound] for bound, count in after.items()}


def _figures(delays: Buckets) -> tuple[object, ...]:
    """Return p50, p99, the largest, the share above 20 ms, and how many there are."""
    count = delays[float("inf")]
    largest = next(bound for bound, seen in delays.items() if seen == count)
    late = 100 * (1 - delays[0.02] / count)
    return 1e3 * _quantile(delays, 0.50), 1e3 * _quantile(delays, 0.99), 1e3 * largest, late, int(count)


def _quantile(delays: Buckets, share: float) -> float:
    """Return a quantile, as Prometheus' histogram_quantile finds it: on a straight line inside its bucket."""
    wanted = share * delays[float("inf")]
    below, seen = 0.0, 0.0
    for bound, count in delays.items():
        if count >= wanted:
            return below + (bound - below) * (wanted - seen) / (count - seen)
        below, seen = bound, count
    return below


if __name__ == "__main__":
    main()
