"""FINISHED, DELETING, DELETED and UNKNOWN: how a task's life ends, and what is still asked of it then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.actors.answers import own_resource
from flytower.actors.events import Forget, Invoke
from flytower.actors.refusals import deleted_meanwhile, ledger_unavailable
from flytower.actors.steps import (
    DELETE_BACKOFF_FACTOR,
    LEDGER_RETRY,
    Step,
    confirm_deletes,
    finish,
    is_over,
    keep,
    publish,
    record,
    wake_in,
    wish,
)
from flytower.actors.steps import forget as forget_task
from flytower.actors.task import Stage, Task
from flytower.protocol.generated.flyteidl.admin import Resource
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.runtime.entity import End, Refuse, Reply, Sleep, Wake

if TYPE_CHECKING:
    from flytower.actors.events import (
        Answering,
        CreateAsked,
        DeleteAsked,
        DeleteFailed,
        Due,
        Event,
        ForgetAsked,
        Gone,
        ReadAsked,
        Recorded,
        RecordFailed,
    )


def ignore(task: Task, _event: Event, _now: float) -> Step:
    """Nothing follows from this here; the row in the table says that it may happen."""
    return keep(task)


def recorded(task: Task, event: Recorded, _now: float) -> Step:
    """The ledger has caught up: answer the deletes that waited for it."""
    task = task._replace(durable=event.seq)
    return confirm_deletes(task) if task.durable >= task.seq else keep(task)


def live_record_failed(task: Task, _event: RecordFailed, _now: float) -> Step:
    """LIVE, and the ledger has not taken the adoption: nobody waits for that, and the next reader could repeat it."""
    return keep(task)


def record_failed(task: Task, event: RecordFailed, now: float) -> Step:
    """The ledger has not taken how it ended: who waits for that is refused, and it is sent again."""
    error = ledger_unavailable(task.category, event.reason)
    effects: list[object] = [Refuse(promise, error) for promise in task.deleters]
    task = task._replace(deleters=(), retry_at=now + LEDGER_RETRY)
    return task, [*effects, Wake(LEDGER_RETRY)]


def over_due(task: Task, _event: Due, _now: float) -> Step:
    """Over, and the timer came due: the ledger is to be tried again, or nobody is expected to ask any more."""
    if not task.retry_at:
        return forget_task(task)
    task, effects = record(task._replace(retry_at=0.0))
    return task, [*effects, Wake(task.policy.retention)]


def unknown_due(task: Task, _event: Due, _now: float) -> Step:
    """UNKNOWN, and the ledger is to be tried again. It is kept until somebody has looked after it."""
    return record(task._replace(retry_at=0.0))


def delete_finished(task: Task, event: DeleteAsked, _now: float) -> Step:
    """A DeleteTask after the end: it frees the key. After a success, the connector hears of it only if its author asks.

    Flyte 2 deletes every finished task an hour later: a connector that deploys endpoints would tear down good ones.
    What did not succeed may have left something behind, or may not even be over when it was just lost from sight.
    """
    never_was = task.meta is None  # its create failed, after a provisional answer
    kept = never_was or (task.phase is Phase.SUCCEEDED and not task.policy.delete_after_finish)
    stage = Stage.DELETED if kept else Stage.DELETING
    task, effects = wish(task._replace(stage=stage, failures=0, retry_at=0.0), event)
    return task, [*effects, Sleep() if stage is Stage.DELETING else Wake(task.policy.retention)]


def delete_recorded(task: Task, event: Recorded, _now: float) -> Step:
    """DELETING, and the ledger has the wish: answer, and begin."""
    task = task._replace(durable=event.seq)
    if task.durable < task.seq:
        return keep(task)
    task, effects = confirm_deletes(task._replace(retry_at=0.0))
    return _begin_delete(task, effects)


def delete_record_failed(task: Task, event: RecordFailed, now: float) -> Step:
    """DELETING, and the ledger has not taken the wish: say so, and delete all the same.

    It is sent again with the next try, with the outcome, or with the next DeleteTask, whichever comes first.
    """
    error = ledger_unavailable(task.category, event.reason)
    effects: list[object] = [Refuse(promise, error) for promise in task.deleters]
    return _begin_delete(task._replace(deleters=(), retry_at=now + LEDGER_RETRY), effects)


def delete_due(task: Task, _event: Due, _now: float) -> Step:
    """DELETING, and the next try is due; what the ledger has not taken goes with it."""
    effects: list[object] = []
    if task.retry_at:
        task, effects = record(task._replace(retry_at=0.0))
    return _delete(task, effects)


def delete_again(task: Task, event: DeleteAsked, _now: float) -> Step:
    """DELETING, and asked again: one wish is enough."""
    if not task.wish or task.retry_at:  # or the ledger has not taken it: try again now that somebody waits
        return wish(task._replace(retry_at=0.0), event)
    if event.promise is None:
        return keep(task)
    if task.durable >= task.seq:
        return task, [Reply(event.promise, b"")]
    return task._replace(deleters=(*task.deleters, event.promise)), []


def gone(task: Task, _event: Gone, _now: float) -> Step:
    """DELETING, and the external system has no such job any more."""
    task = task._replace(calling=False, failures=0, retry_at=0.0)
    if task.verdict and not task.wish:
        return finish(task, _phase_of(task.verdict), task.verdict)
    effects: list[object] = []
    if not is_over(task):
        resource = task.verdict or own_resource(Phase.ABORTED, "The task was deleted.")
        task, effects = publish(task, _phase_of(resource), resource)
        task = task._replace(resource=resource)
    task, written = record(task._replace(stage=Stage.DELETED, request=None), "the external system says it is gone")
    return task, [*effects, *written, Wake(task.policy.retention)]


def delete_failed(task: Task, event: DeleteFailed, _now: float) -> Step:
    """DELETING, and the external system did not do it: again, with backoff, until it does."""
    policy, failure = task.policy, event.failure
    pause = min(policy.delete_maximum, policy.delete_minimum * DELETE_BACKOFF_FACTOR**task.failures)
    task = task._replace(calling=False, failures=min(task.failures + 1, MAX_COUNTED_FAILURES))
    effects: list[object] = []
    if task.verdict and not is_over(task):
        task, published = publish(task._replace(resource=task.verdict), _phase_of(task.verdict), task.verdict)
        task, written = record(task)
        effects = [*published, *written]
    return task, [*effects, wake_in(max(pause, failure.after))]


def answering(task: Task, _event: Answering, _now: float) -> Step:
    """DELETING, and the external system answers again, after a delete was refused: it need not wait any longer."""
    return task, [Wake(0.0)] if task.failures and not task.calling else []


def read_deleting(task: Task, event: ReadAsked, _now: float) -> Step:
    """DELETING, and read although nothing was ever published (or not yet, right after a restart)."""
    if is_over(task):
        return read_over(task, event, _now)
    resource = own_resource(Phase.RUNNING, "The task is being deleted.")
    task, effects = publish(task._replace(readers=(*task.readers, event.promise)), Phase.RUNNING, resource)
    return task, effects


def read_over(task: Task, event: ReadAsked, _now: float) -> Step:
    """Over, and read before the last answer was published again (right after a restart)."""
    return task, [Reply(event.promise, task.resource)]


def delete_confirmed(task: Task, event: DeleteAsked, _now: float) -> Step:
    """DELETED, and asked again."""
    if event.promise is None:
        return keep(task)
    if task.durable >= task.seq:
        return task, [Reply(event.promise, b"")]
    return task._replace(deleters=(*task.deleters, event.promise)), []


def forget_asked(task: Task, _event: ForgetAsked, _now: float) -> Step:
    """An operator has looked after the job, or gives it up: nothing external is touched, and the key is free."""
    error = deleted_meanwhile(task)
    waiting = [*(waiter.promise for waiter in task.waiters), *task.deleters]
    answer = task.resource or own_resource(Phase.ABORTED, "The task was forgotten by an operator.")
    answers = [Reply(promise, answer) for promise in task.readers]
    return task, [*(Refuse(promise, error) for promise in waiting), *answers, Forget(), End()]


def delete_unknown(task: Task, event: DeleteAsked, _now: float) -> Step:
    """UNKNOWN, and somebody has looked after it: the key is free again."""
    task, effects = wish(task._replace(stage=Stage.DELETED, retry_at=0.0), event)
    return task, [*effects, Wake(task.policy.retention)]


MAX_COUNTED_FAILURES = 64
"""The backoff has long reached its maximum by then, and 2.0 ** n is still a float."""


def create_deleted(task: Task, event: CreateAsked, _now: float) -> Step:
    """DELETING or DELETED, and a CreateTask overtook the news that the key is free: its caller has to try again."""
    return task, [Refuse(event.promise, deleted_meanwhile(task))]


def _begin_delete(task: Task, effects: list[object]) -> Step:
    """Delete for the first time; after a failure, the timer decides when."""
    return (task, effects) if task.failures else _delete(task, effects)


def _delete(task: Task, effects: list[object]) -> Step:
    if task.calling:
        return task, effects
    return task._replace(calling=True), [*effects, Invoke("delete")]


def _phase_of(resource: bytes) -> Phase:
    return Resource.parse(resource).phase
