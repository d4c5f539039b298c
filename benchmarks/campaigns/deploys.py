"""Deploys: a server that begins with thousands of tasks, and one that is stopped in the middle of its work."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from campaigns.world import World, create_request, new_world, until
from flytower.actors.ledger.opening import open_to_read
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.sql import SqlStore

PAGE_KIB = 4

POLL_MAXIMUM = "30"
"""The default of a policy: first polls after a restart are spread over as many seconds."""


RUNS = 10
"""Stops in a row of servers on one ledger: a thousand jobs live in the end, and their polls are not what is tried."""


class Restart(NamedTuple):
    """What it takes to begin with many live tasks.

    Args:
        tasks: How many.
        empty: Seconds until a server without tasks is ready.
        ready: Seconds until this one is.
        owned: Seconds until it owns all of them.
        reading: Seconds that reading the rows takes by itself.
        kib: Memory for each task, in KiB.
    """

    tasks: int
    empty: float
    ready: float
    owned: float
    reading: float
    kib: float


def restart(tasks: int) -> Restart:
    """Start a server on a ledger with live tasks."""
    with new_world() as world:
        empty = world.start()
        before = _resident_kib(world)
        world.terminate()
        rows = [_live(number) for number in range(tasks)]
        store = SqlStore(world.ledger)
        for start in range(0, tasks, 1000):
            store.put(rows[start : start + 1000])
        store.close()
        reading = _reading(world.ledger)
        begun = time.monotonic()
        ready = world.start(CAMPAIGN_POLL_MAXIMUM=POLL_MAXIMUM)
        until(lambda: world.owned() == tasks)
        owned = time.monotonic() - begun
        return Restart(tasks, empty, ready, owned, reading, (_resident_kib(world) - before) / tasks)


def _live(number: int) -> Row:
    meta = b'{"job": "job-%d"}' % number
    return Row(
        id=f"{number:032x}",
        seq=3,
        category_name="campaign_token",
        category_version=0,
        stage="live",
        key=f"{number:032x}",
        place=f"{number:032x}",
        meta=meta,
        name=meta,
        phase=2,
        resource=b"\x1a\x07running(\x02",
        created_at=time.time(),
    )


def _reading(ledger: str) -> float:
    store = open_to_read(ledger)
    begun = time.monotonic()
    store.rows(("campaign_token", 0))
    took = time.monotonic() - begun
    store.close()
    return took


def _resident_kib(world: World) -> int:
    return PAGE_KIB * int(Path(f"/proc/{world.server.pid}/statm").read_text().split()[1])


class Drain(NamedTuple):
    """What came of SIGTERM with creates in flight.

    Args:
        runs: How often.
        calls: CreateTasks that were in flight, all runs together.
        cut: Those that were not answered.
        deletes: Jobs that the external system was asked to delete.
        bad_exits: Exit codes other than 0.
        slowest: Seconds from the signal to the end, at the most.
    """

    runs: int
    calls: int
    cut: int
    deletes: int
    bad_exits: int
    slowest: float


def drain(runs: int, creates: int, latency: float) -> Drain:
    """Stop a server in the middle of creates, again and again."""
    parts = [_drain(min(RUNS, runs - done), creates, latency) for done in range(0, runs, RUNS)]
    return Drain(
        runs=runs,
        calls=runs * creates,
        cut=sum(part.cut for part in parts),
        deletes=sum(part.deletes for part in parts),
        bad_exits=sum(part.bad_exits for part in parts),
        slowest=max(part.slowest for part in parts),
    )


def _drain(runs: int, creates: int, latency: float) -> Drain:
    """Do so with one ledger: each server also owns the jobs of those before it."""
    cut = bad_exits = 0
    slowest = 0.0
    with new_world() as world:
        for run in range(runs):
            world.start(CAMPAIGN_POLL_MAXIMUM=POLL_MAXIMUM)
            calls = [
                world.tasks.CreateTask.future(
                    create_request("campaign_token", f"s3://drain/{run}/{number}/0", latency=latency), timeout=60
                )
                for number in range(creates)
            ]
            until(lambda: _in_flight(world) >= creates)
            begun = time.monotonic()
            bad_exits += world.terminate() != 0
            slowest = max(slowest, time.monotonic() - begun)
            cut += sum(call.exception() is not None for call in calls)
        deletes = sum(deed.deed == "delete" for deed in world.record())
    return Drain(runs, runs * creates, cut, deletes, bad_exits, slowest)


def _in_flight(world: World) -> int:
    return world.gauge("flytower_grpc_calls_in_flight")
