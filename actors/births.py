"""The ways in which a task's actor begins: reserved by a CreateTask, adopted from its resource_meta, or resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.actors import creating
from flytower.actors.answers import own_resource
from flytower.actors.events import Invoke, Name, Publish, Record
from flytower.actors.identity import adopted_id, task_id
from flytower.actors.ledger.row import Row
from flytower.actors.steps import Step, record
from flytower.actors.task import Stage, Task
from flytower.connectors.category import TaskCategory
from flytower.connectors.policy import Recovery
from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.received import received
from flytower.runtime.entity import Wake

if TYPE_CHECKING:
    from flytower.actors.identity import Identity
    from flytower.connectors.policy import Policy

OVER = (Stage.FINISHED, Stage.DELETED)
"""The stages in which nothing is left to do, and a task is only kept to be read."""


def reserve(
    category: TaskCategory,
    policy: Policy,
    identity: Identity,
    generation: int,
    fingerprint: str,
    request: CreateTaskRequest,
    *,
    withheld: bool = False,
) -> Step:
    """Begin a task whose job is yet to be created: the intent goes into the ledger first.

    Args:
        category: Its task category.
        policy: What its connector's author declared.
        identity: Its key and its place.
        generation: Which task under that key it is.
        fingerprint: What a retried CreateTask must agree in.
        request: What to create.
        withheld: Whether the request carries secrets, and must not be written down.
    """
    task = Task(
        id=task_id(identity.key, generation),
        category=category,
        policy=policy,
        stage=Stage.RESERVED,
        key=identity.key,
        generation=generation,
        place=identity.place,
        attempt=identity.attempt,
        fingerprint=fingerprint,
        request=request,
        withheld=withheld,
        unread=bool(identity.place),  # without a place no later attempt is known to be one
    )
    return record(task)


def adopt(category: TaskCategory, policy: Policy, meta: bytes, now: float) -> Step:
    """Begin a task that is known by its resource_meta only (created by another server, or before a ledger was lost)."""
    task = _adopted(category, policy, meta)._replace(
        stage=Stage.LIVE, interval=policy.poll_minimum, polled_at=now, live_at=now, calling=True
    )  # it may have been created a moment ago, too fresh to be listed
    task, effects = record(task)
    return task, [Name(meta), *effects, Invoke("get")]


def adopt_to_delete(category: TaskCategory, policy: Policy, meta: bytes) -> Step:
    """Begin a task that is known by its resource_meta only, and is to be deleted."""
    task, effects = record(_adopted(category, policy, meta)._replace(stage=Stage.DELETING, wish=True))
    return task, [Name(meta), *effects]


def resume(row: Row, policy: Policy, now: float, *, durable: bool = True, wall: float = 0.0) -> Step:
    """Begin a task again from its row, after a restart of the server.

    Args:
        row: Its last row.
        policy: What its connector's author declares by now.
        now: Trio's clock.
        durable: Whether the ledger has confirmed the row; otherwise it is sent once more.
        wall: The time in Unix seconds: what is over is kept for the rest of its retention.
    """
    task = _from_row(row, policy)._replace(durable=row.seq if durable else row.seq - 1)
    age = max(0.0, wall - row.ended_at) if row.ended_at else 0.0
    return _again(task, now, max(0.0, policy.retention - age))


def restart(task: Task, now: float) -> Step:
    """Begin a task again from its record, after its actor crashed by a mistake of this program.

    What the ledger has not confirmed is sent once more: the crash may have come before it was.
    """
    task = task._replace(
        interval=task.policy.poll_minimum,
        polled_at=0.0,
        answered_at=0.0,
        failures=0,
        failing_since=0.0,
        trouble="",
        attempts=0,
        calling=False,
        retry_at=0.0,
        waiters=(),
        readers=(),
        deleters=(),
    )
    return _again(task, now, task.policy.retention)


def row_of(task: Task, wall: float = 0.0, note: str = "") -> Row:
    """Return the durable part of a task.

    Args:
        task: The task.
        wall: The time in Unix seconds.
        note: Why it changes.
    """
    repeatable = task.request is not None and task.policy.recovery is not Recovery.NEITHER and not task.withheld
    return Row(
        id=task.id,
        seq=task.seq,
        category_name=task.category.name,
        category_version=task.category.version,
        stage=task.stage.value,
        key=task.key,
        generation=task.generation,
        place=task.place,
        attempt=task.attempt,
        fingerprint=task.fingerprint,
        request=received(task.request) if repeatable else b"",
        meta=task.meta,
        name=task.name,
        phase=int(task.phase),
        resource=task.resource,
        wish=task.wish,
        verdict=task.verdict,
        withheld=task.withheld,
        unread=task.unread,
        created_at=task.created_at,
        changed_at=wall,
        ended_at=wall if task.stage in OVER else 0.0,
        note=note,
    )


def _adopted(category: TaskCategory, policy: Policy, meta: bytes) -> Task:
    return Task(id=adopted_id(category, meta), category=category, policy=policy, stage=Stage.LIVE, meta=meta, name=meta)


def _again(task: Task, now: float, left: float) -> Step:
    """Enter the directory as before, and go on. `left` is what remains of the retention, in seconds."""
    effects: list[object] = []
    if task.name:
        effects.append(Name(task.name))
    if task.phase is not Phase.UNDEFINED:
        effects.append(Publish(task.phase, task.resource or own_resource(task.phase, "The server has restarted.")))
    if task.durable < task.seq:
        effects.append(Record("once more, after a restart"))
    task, more = _go_on(task._replace(live_at=now), now, left)  # a fresh job may still be invisible
    return task, [*effects, *more]


def _go_on(task: Task, now: float, left: float) -> Step:
    """Take up each stage where it was left."""
    if task.stage in (Stage.RESERVED, Stage.CREATING):
        if task.durable < task.seq and (task.meta is not None or task.stage is Stage.RESERVED):
            return task, []  # what it waited for is still to come
        if task.meta is None:
            # a create may have been under way, and counts
            return creating.recover(task._replace(stage=Stage.CREATING, attempts=1), now)
        # create has returned, and just the reply is missing
        task = task._replace(stage=Stage.DELETING if task.wish else Stage.LIVE)
    if task.stage is Stage.LIVE:
        return task, [_spread(task)]
    if task.stage is Stage.DELETING:
        return task._replace(calling=True), [Invoke("delete")]
    if task.stage is Stage.UNKNOWN:
        return task, []
    return task, [Wake(left)]


def _spread(task: Task) -> Wake:
    """Poll within one interval from now, at a random moment: thousands of tasks are resumed at once."""
    return Wake(0.0, task.policy.poll_maximum)


def _from_row(row: Row, policy: Policy) -> Task:
    return Task(
        id=row.id,
        category=TaskCategory(row.category_name, row.category_version),
        policy=policy,
        stage=Stage(row.stage),
        key=row.key,
        generation=row.generation,
        place=row.place,
        attempt=row.attempt,
        fingerprint=row.fingerprint,
        request=CreateTaskRequest.parse(row.request) if row.request else None,
        seq=row.seq,
        meta=row.meta,
        name=row.name,
        phase=Phase(row.phase),
        resource=row.resource,
        interval=policy.poll_minimum,
        wish=row.wish,
        verdict=row.verdict,
        withheld=row.withheld,
        unread=row.unread,
        created_at=row.created_at,
    )
