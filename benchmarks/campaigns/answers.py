"""Answers that get lost, come late, or are asked for by many at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import grpc

from campaigns.kills import TYPES
from campaigns.world import Verdict, World, create_request, new_world, until
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.sql import SqlStore

if TYPE_CHECKING:
    from collections.abc import Callable


class SameKey(NamedTuple):
    """What came of many CreateTasks of one key.

    Args:
        rounds: How many keys.
        creates: Jobs that the external system has created.
        metas: Different resource_metas that were answered, of all keys.
        failed: Calls that were not answered.
    """

    rounds: int
    creates: int
    metas: int
    failed: int


def same_key(rounds: int, callers: int) -> SameKey:
    """Send CreateTasks of one key at once, key after key."""
    metas, failed = 0, 0
    with new_world() as world:
        world.start()
        for number in range(rounds):
            request = create_request("campaign_token", f"s3://same/{number}/0", latency=0.05)
            calls = [world.tasks.CreateTask.future(request, timeout=60) for _ in range(callers)]
            answers = {call.result().resource_meta for call in calls if call.exception() is None}
            failed += sum(call.exception() is not None for call in calls)
            metas += len(answers)
        creates = sum(deed.deed == "create" for deed in world.record())
    return SameKey(rounds, creates, metas, failed)


def lost_answers(tasks: int) -> Verdict:
    """Have the external system do what it is asked, and the answer get lost, for each kind of connector."""
    with new_world() as world:
        world.start()
        for task_type in TYPES:
            calls = [
                world.tasks.CreateTask.future(create_request(task_type, f"s3://lost/{number}/0", lose=True), timeout=60)
                for number in range(tasks)
            ]
            for call in calls:
                call.exception()
        world.settle()
        return world.verdict()


PAUSE = 0.2
"""Seconds between two attempts, where Flyte takes some: a server that refuses all for a while is not asked in a row."""


class Deadlines(NamedTuple):
    """What came of creates that take longer than their callers wait.

    Args:
        tasks: How many.
        provisional: CreateTasks that were answered before their job was there.
        attempts: CreateTasks that were sent.
        orphans: Jobs that run and that no caller knows of, after settling.
        wrongly_deleted: Jobs of current attempts that were deleted.
    """

    tasks: int
    provisional: int
    attempts: int
    orphans: int
    wrongly_deleted: int


def deadlines(tasks: int, slowest: float, deadline: float, seed: int, callers: int = 64) -> Deadlines:
    """Create with a deadline, and go on to the next attempt when there is no answer, as Flyte does."""
    rng = Random(seed)
    latencies = [rng.uniform(0.0, slowest) for _ in range(tasks)]
    with new_world() as world:
        world.start()
        with ThreadPoolExecutor(callers) as threads:
            current = list(
                threads.map(lambda number: _follow(world, number, latencies[number], deadline), range(tasks))
            )
        world.settle()
        record = world.record()
        deleted = {deed.job for deed in record if deed.deed == "delete"}
        rows = {row.name: row for row in world.rows()}
        known = {rows[meta].id for meta, _ in current if meta in rows}
        running = [deed for deed in record if deed.deed == "create" and deed.job not in deleted]
        created = {deed.key: deed.job for deed in record if deed.deed == "create"}
        return Deadlines(
            tasks,
            sum(meta.startswith(b'{"flytower_task"') for meta, _ in current),
            sum(attempts for _, attempts in current),
            sum(deed.key not in known for deed in running),
            sum(created.get(task) in deleted for task in known),
        )


def _follow(world: World, number: int, latency: float, deadline: float) -> tuple[bytes, int]:
    """Create attempt after attempt until one is answered; returns its meta, and how many there were."""
    refused: grpc.RpcError | None = None
    for attempt in range(20):
        prefix = f"s3://slow/{number}/{attempt}"
        try:
            meta = world.create("campaign_token", prefix, timeout=deadline, latency=latency)
        except grpc.RpcError as error:
            refused = error
            time.sleep(PAUSE)
            continue
        until(partial(_runs, world, meta))
        return meta, attempt + 1
    raise RuntimeError(f"twenty attempts without an answer: {refused}")


def _runs(world: World, meta: bytes) -> bool:
    return bool(world.get("campaign_token", meta).message == "running")


class Deletes(NamedTuple):
    """What came of acknowledged deletes.

    Args:
        acknowledged: How many.
        gone: Jobs that the external system has deleted in the end.
        p99: Seconds that a DeleteTask took.
        commit: Seconds that a commit of the ledger takes, p99, measured in the same run on the same disk.
    """

    acknowledged: int
    gone: int
    p99: float
    commit: float


def deletes(tasks: int, failing: int, restarts: int) -> Deletes:
    """Acknowledge deletes, have each fail many times, and kill the server in between."""
    with new_world() as world:
        world.weather(failing_deletes=failing)
        world.start()
        metas = [world.create("campaign_token", f"s3://delete/{number}/0") for number in range(tasks)]
        took = [_timed(partial(world.delete, "campaign_token", meta)) for meta in metas]
        for _ in range(restarts):
            world.kill()
            world.start()
        world.settle()
        gone = sum(deed.deed == "delete" for deed in world.record())
        return Deletes(tasks, gone, _p99(took), _commit_p99(world))


def _commit_p99(world: World) -> float:
    """Measure commits of one row each, where the ledger was."""
    store = SqlStore(f"sqlite:///{world.folder}/commits.sqlite")
    try:
        rows = [Row("0" * 32, seq, "campaign_token", 0, "live") for seq in range(1, 400)]
        return _p99([_timed(partial(store.put, [row])) for row in rows])
    finally:
        store.close()


def _timed(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def _p99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]
