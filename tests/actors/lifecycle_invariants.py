"""What must hold for the tasks of a world: at every moment, and once the faults have stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.actors.births import row_of
from flytower.actors.identity import adopted_id
from flytower.actors.task import Stage
from flytower.connectors.policy import Recovery
from tests.actors.lifecycle_fakes import CATEGORY, ELSEWHERE, TICK

if TYPE_CHECKING:
    from tests.actors.lifecycle_world import World


def check(world: World) -> None:
    """Check what must hold after every step."""
    for actor in world.actors.values():
        task, written = actor.task, world.in_ledger(actor.task.id)
        if task.id in world.confirmed:
            assert task.wish, "a confirmed wish was forgotten"
        busy = actor.call is not None or actor.timer is not None or written
        if task.stage is Stage.RESERVED:
            assert written, "a reservation waits for nothing"
        elif task.stage is Stage.LIVE:
            assert actor.call == "get" or actor.timer is not None or actor.asleep, "a live task is never polled again"
        elif task.stage is not Stage.UNKNOWN:
            assert busy, f"{task!r} is stuck"
        if task.deleters:
            assert written or actor.timer is not None, "a DeleteTask waits for nothing"
        if task.stage is Stage.CREATING and any(waiter.answer_by < float("inf") for waiter in task.waiters):
            assert actor.timer is not None, "nobody will give the provisional answer"
            assert actor.timer <= max(world.now, min(waiter.answer_by for waiter in task.waiters)) + TICK
    for token in {job.token for job in world.external.jobs.values()} - world.forgotten:
        if world.policy.recovery is not Recovery.NEITHER:
            assert len(world.external.living(token)) <= 1, "two jobs live for one task"
        else:
            created = [deed for deed in world.external.deeds if deed[:2] == ("create", token)]
            assert len(created) <= 1, "create was called again although nobody may repeat it"


def check_settled(world: World) -> None:
    """Check what must hold when nothing is owed any more."""
    for promise in world.waiting:
        assert promise.done, "a call was never answered"
    assert {row.id for row in world.store.rows()} <= set(world.actors), "the ledger has a task without an actor"
    waiting_for_credentials: set[str] = set()
    owned = {actor.task.meta for actor in world.actors.values() if actor.task.stage is Stage.LIVE}
    for actor in world.actors.values():
        if actor.task.withheld and actor.task.request is None and actor.task.stage is Stage.CREATING:
            waiting_for_credentials.add(actor.task.id)
            continue
        assert actor.task.stage in (Stage.LIVE, Stage.FINISHED, Stage.DELETED, Stage.UNKNOWN), "never came to rest"
        row = world.store.get(actor.task.id)
        if actor.task.stage is Stage.LIVE:
            assert row is not None or not actor.task.key, "a job of ours is in no ledger"
        else:
            assert row is not None, "the ledger does not know that it ended"
            assert row._replace(note="") == row_of(actor.task), "the ledger does not know how it ended"
    for job in world.external.jobs.values():
        if job.alive and job.token not in world.unknown | world.forgotten | waiting_for_credentials:
            assert not {job.token, adopted_id(CATEGORY, job.meta)} & world.confirmed, "a deleted job lives"
            assert job.token not in world.superseded, "a superseded job lives that nobody will delete"
            assert job.meta in owned or job.token == ELSEWHERE, "a job lives that nobody owns"


LEGAL = {
    Stage.RESERVED: {Stage.RESERVED, Stage.CREATING, Stage.DELETED},
    Stage.CREATING: {Stage.CREATING, Stage.LIVE, Stage.FINISHED, Stage.DELETING, Stage.DELETED, Stage.UNKNOWN},
    Stage.LIVE: {Stage.LIVE, Stage.FINISHED, Stage.DELETING},
    Stage.FINISHED: {Stage.FINISHED, Stage.DELETING, Stage.DELETED},
    Stage.DELETING: {Stage.DELETING, Stage.DELETED, Stage.FINISHED},
    Stage.DELETED: {Stage.DELETED},
    Stage.UNKNOWN: {Stage.UNKNOWN, Stage.DELETED},
}
"""Which stage may follow which: the drawing of the life cycle, written a second time."""
