"""RESERVED and CREATING: from the intent to a job that is known by its resource_meta."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.actors.answers import own_resource
from flytower.actors.events import Forget, Invoke, Name
from flytower.actors.failures import FailureKind
from flytower.actors.identity import encode_reference
from flytower.actors.refusals import create_failed, deleted_meanwhile, invalid, ledger_unavailable, overloaded
from flytower.actors.steps import LEDGER_RETRY, Step, confirm_deletes, finish, keep, publish, rearm, record, wish
from flytower.actors.task import Stage, Task
from flytower.connectors.policy import Recovery
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.runtime.entity import End, Refuse, Reply, Sleep, Wake

if TYPE_CHECKING:
    from flytower.actors.events import (
        Created,
        CreateFailed,
        DeleteAsked,
        Due,
        FindFailed,
        NotFound,
        Recorded,
        RecordFailed,
        Superseded,
    )
    from flytower.actors.failures import Failure
    from flytower.protocol.status import RpcError

CREATE_ATTEMPTS = 5
"""How often create (with its token) or find is called for one job before nobody can say whether it exists."""

FIND_RETRY = 5.0
"""Seconds until another attempt to find out what became of a create that broke off: most systems' listing delay."""


def intended(task: Task, event: Recorded, now: float) -> Step:
    """RESERVED, and the intent is durable: create, unless somebody wanted it deleted before."""
    task = task._replace(durable=event.seq)
    if task.durable < task.seq:
        return keep(task)
    if task.wish:
        return _never_created(task)
    task = task._replace(stage=Stage.CREATING, attempts=1)
    return task, [Invoke("create"), rearm(task, now)]


def intent_refused(task: Task, event: RecordFailed, _now: float) -> Step:
    """RESERVED, and the ledger cannot take the intent: nothing was begun, so nothing is kept."""
    error = ledger_unavailable(task, event.reason)
    refused = [*_refuse_all(task, error), *(Refuse(promise, error) for promise in task.deleters)]
    return task, [*refused, Forget(), End()]  # a wish that is on its way may still be written


def create_due(task: Task, _event: Due, now: float) -> Step:
    """CREATING, and some answer or another try is due."""
    task, effects = _answer_provisionally(task, now)
    if task.retry_at and now >= task.retry_at:
        task = task._replace(retry_at=0.0)
        task, again = record(task) if task.meta is not None else (task, [_resolve(task)])
        effects += again
    return task, [*effects, rearm(task, now)]


def created(task: Task, event: Created, _now: float) -> Step:
    """CREATING, and the connector has given the job's resource_meta: into the ledger with it, then reply."""
    name = task.name or (event.meta if event.unique else encode_reference(task.id))
    task, recorded = record(task._replace(meta=event.meta, name=name, request=None))
    return task, [Name(name), *recorded]


def create_recorded(task: Task, event: Recorded, now: float) -> Step:
    """CREATING, and the ledger has caught up: when it has the job's meta, the job is owned."""
    task = task._replace(durable=event.seq)
    if task.durable < task.seq:
        return keep(task)
    task, confirmed = confirm_deletes(task)
    if task.meta is None:
        return task, confirmed
    effects: list[object] = [*confirmed, *(Reply(waiter.promise, task.name) for waiter in task.waiters)]
    task = task._replace(waiters=(), attempts=0, failures=0, retry_at=0.0, live_at=now, calling=True)
    if task.wish:
        return task._replace(stage=Stage.DELETING), [*effects, Invoke("delete"), rearm(task, now)]
    task = task._replace(stage=Stage.LIVE, interval=task.policy.poll_minimum, polled_at=now)
    return task, [*effects, Invoke("get"), rearm(task, now)]


def create_record_failed(task: Task, event: RecordFailed, now: float) -> Step:
    """CREATING, and the ledger cannot take a change: the job's meta is held in memory, and sent again."""
    error = ledger_unavailable(task, event.reason)
    effects: list[object] = [Refuse(promise, error) for promise in task.deleters]
    task = task._replace(deleters=())
    if task.meta is not None:
        task = task._replace(retry_at=now + LEDGER_RETRY)
    return task, [*effects, rearm(task, now)]


def create_refused(task: Task, event: CreateFailed, now: float) -> Step:
    """CREATING, and create raised: there is no job. Without an answer in time, there may be one."""
    if event.failure.kind is FailureKind.TIMEOUT:
        return recover(task, now)
    if task.attempts > 1 and task.policy.recovery is Recovery.TOKEN:
        return _try_later(task, event.failure, now)  # what became of the earlier one is still not known
    if task.wish:
        return _never_created(task)
    if task.name:
        text = f"The job could not be created: {event.failure.text}"
        return finish(task, Phase.RETRYABLE_FAILED, own_resource(Phase.RETRYABLE_FAILED, text))
    return task, [*_refuse_all(task, _refusal(task, event.failure)), Forget(), End()]


def _refusal(task: Task, failure: Failure) -> RpcError:
    """Say whose fault it is that there is no job."""
    if failure.kind is FailureKind.OVERLOAD:
        return overloaded(task)
    return (invalid if failure.kind is FailureKind.INVALID else create_failed)(task, failure.text)


def recover(task: Task, now: float) -> Step:
    """CREATING, and nobody knows whether the job exists: do what the connector's author declared to be safe."""
    if task.attempts < CREATE_ATTEMPTS:
        task = task._replace(attempts=task.attempts + 1)
        if task.policy.recovery is Recovery.FIND or (task.policy.recovery is Recovery.TOKEN and task.request):
            return task, [_resolve(task), rearm(task, now)]
    return _unknown(task)


def not_found(task: Task, _event: NotFound, now: float) -> Step:
    """CREATING, and find has looked twice: the job is not there, so it may be created.

    Twice, since a create that broke off may still be on its way, and systems list late what they have.
    """
    if not task.failures:
        task = task._replace(failures=1, retry_at=now + FIND_RETRY)
        return task, [rearm(task, now)]
    task = task._replace(failures=0)
    if task.wish:
        return _never_created(task)
    if task.request is None or task.attempts >= CREATE_ATTEMPTS:
        return _unknown(task)
    task = task._replace(attempts=task.attempts + 1)
    return task, [Invoke("create"), rearm(task, now)]


def find_failed(task: Task, event: FindFailed, now: float) -> Step:
    """CREATING, and find could not look: look again later, a bounded number of times."""
    return _try_later(task, event.failure, now)


def wish_early(task: Task, event: DeleteAsked, _now: float) -> Step:
    """RESERVED or CREATING, and somebody wants it deleted: the create goes on, and its job is deleted after it."""
    return wish(task, event)


def superseded_early(task: Task, event: Superseded, _now: float) -> Step:
    """RESERVED or CREATING, and a later attempt is there: nobody waits for this one unless somebody has read it."""
    return keep(task) if event.read or task.wish else record(task._replace(wish=True))


def _answer_provisionally(task: Task, now: float) -> Step:
    """Name the reservation when somebody's deadline is near: a slow create neither fails the task nor leaks a job.

    All who wait get it: a second answer for the same key would have to be the same anyway.
    """
    if not any(waiter.answer_by <= now for waiter in task.waiters):
        return keep(task)
    name = encode_reference(task.id)  # even when the job is there, as long as the ledger does not have its meta
    effects: list[object] = [Name(name), *(Reply(waiter.promise, name) for waiter in task.waiters)]
    text = "The job is being created; its external system has not answered yet."
    task, published = publish(
        task._replace(name=name, waiters=()), Phase.INITIALIZING, own_resource(Phase.INITIALIZING, text)
    )
    task, recorded = record(task)
    return task, [*effects, *published, *recorded]


def _resolve(task: Task) -> Invoke:
    """Find out what became of a create that broke off, in the way that the connector's author declared."""
    return Invoke("find" if task.policy.recovery is Recovery.FIND else "create")


def _try_later(task: Task, failure: Failure, now: float) -> Step:
    """Find out again after a pause. What was not even tried does not count."""
    tried = failure.kind not in (FailureKind.LATER, FailureKind.OVERLOAD)
    if tried and task.attempts >= CREATE_ATTEMPTS:
        return _unknown(task)
    task = task._replace(attempts=task.attempts + tried, retry_at=now + max(FIND_RETRY, failure.after))
    return task, [rearm(task, now)]


def _never_created(task: Task) -> Step:
    """Deleted before there was a job. Who asked for that is answered when it is durable."""
    effects = _refuse_all(task, deleted_meanwhile(task))
    resource = own_resource(Phase.ABORTED, "The task was deleted before its job was created.")
    task = task._replace(stage=Stage.DELETED, resource=resource, waiters=(), request=None, retry_at=0.0, wish=True)
    task, published = publish(task, Phase.ABORTED, resource)
    task, recorded = record(task)
    return task, [*effects, *published, *recorded, Wake(task.policy.retention)]


def _unknown(task: Task) -> Step:
    """Neither created again nor polled: a second job would be worse than a failed task."""
    effects: list[object] = []
    name = task.name or encode_reference(task.id)
    if not task.name:
        effects.append(Name(name))
    effects += [Reply(waiter.promise, name) for waiter in task.waiters]
    task = task._replace(stage=Stage.UNKNOWN, name=name, waiters=(), request=None, retry_at=0.0)
    text = (
        "The create of this job broke off, and its connector can neither repeat nor find it: the job may exist or not. "
        "It is not created a second time. Look in the external system, then delete the task."
    )
    resource = own_resource(Phase.FAILED, text)
    task, published = publish(task._replace(resource=resource), Phase.FAILED, resource)
    task, recorded = record(task)
    return task, [*effects, *published, *recorded, Sleep()]


def _refuse_all(task: Task, error: Exception) -> list[object]:
    return [Refuse(waiter.promise, error) for waiter in task.waiters]
