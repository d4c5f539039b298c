"""RESERVED and CREATING: from the intent to a job that is known by its resource_meta."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.actors.answers import own_resource
from flytower.actors.bulkhead import ROUNDING
from flytower.actors.events import Forget, Invoke, Name
from flytower.actors.failures import NOT_MADE, FailureKind
from flytower.actors.identity import encode_reference
from flytower.actors.refusals import create_failed, deleted_meanwhile, invalid, ledger_unavailable, overloaded, spared
from flytower.actors.steps import (
    LEDGER_RETRY,
    SUPERSEDED,
    Step,
    confirm_deletes,
    disagrees,
    finish,
    join,
    keep,
    publish,
    rearm,
    record,
    spare,
    wish,
)
from flytower.actors.task import Stage, Task
from flytower.connectors.policy import Recovery
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.runtime.entity import End, Refuse, Reply, Sleep, Wake

if TYPE_CHECKING:
    from flytower.actors.events import (
        CreateAsked,
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

CREATE_ATTEMPTS = 20
"""How often create (with its token) or find is called for one job before nobody can say whether it exists: with the
pauses below, for a quarter of an hour. An outage that broke a create off lasts that long."""

FIND_RETRY = 5.0
"""Seconds until another attempt to find out what became of a create that broke off: most systems' listing delay."""

FIND_RETRY_MAXIMUM = 60.0
"""The longest such pause; it doubles from one to the next."""

CREDENTIALS_SECONDS = 3600.0
"""How long a create that broke off waits for a request with its credentials: Flyte sends one soon, or never."""


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
    error = ledger_unavailable(task.category, event.reason)
    refused = [*_refuse_all(task, error), *(Refuse(promise, error) for promise in task.deleters)]
    return task, [*refused, Forget(), End()]  # a wish that is on its way may still be written


def create_again(task: Task, event: CreateAsked, now: float) -> Step:
    """CREATING, and asked again: wait for the same answer. A request that had to be forgotten is there again."""
    waited = _lacks_credentials(task)
    if event.request is not None and task.request is None and task.meta is None and not disagrees(task, event):
        task = task._replace(request=event.request)
    task, effects = join(task, event, now)
    if not waited or _lacks_credentials(task):
        return task, effects
    task, more = recover(task._replace(retry_at=0.0), now)
    return task, [*effects, *more]


def create_due(task: Task, _event: Due, now: float) -> Step:
    """CREATING, and some answer or another try is due."""
    task, effects = _answer_provisionally(task, now)
    if task.retry_at and now >= task.retry_at:
        task, again = _try_again(task._replace(retry_at=0.0))
        effects += again
    return task, [*effects, rearm(task, now)] if task.stage is Stage.CREATING else effects


def created(task: Task, event: Created, _now: float) -> Step:
    """CREATING, and the connector has given the job's resource_meta: into the ledger with it, then reply."""
    name = task.name or (event.meta if event.unique else encode_reference(task.id))
    task, recorded = record(task._replace(meta=event.meta, name=name, request=None), "create has returned")
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
    error = ledger_unavailable(task.category, event.reason)
    effects: list[object] = [Refuse(promise, error) for promise in task.deleters]
    task = task._replace(deleters=())
    if task.meta is not None:
        task = task._replace(retry_at=now + LEDGER_RETRY)
    return task, [*effects, rearm(task, now)]


def create_refused(task: Task, event: CreateFailed, now: float) -> Step:
    """CREATING, and create raised: there is no job. Without an answer in time, there may be one."""
    failure, recovery = event.failure, task.policy.recovery
    if failure.kind is FailureKind.TIMEOUT:
        return recover(task, now)
    uncertain = failure.kind is FailureKind.UNCERTAIN
    if uncertain and recovery is Recovery.NEITHER:
        return _unknown(task)
    # what became of an earlier one is still not known, or find has looked and create was not made
    again = recovery is Recovery.TOKEN or (failure.kind in NOT_MADE and not task.wish)
    if uncertain or (task.attempts > 1 and again):
        return _try_later(task, failure, now)
    if task.wish:
        return _never_created(task)
    if failure.kind is FailureKind.SPARED and failure.after <= task.policy.create_timeout + ROUNDING:
        return _wait_for_welcome(task, failure, now)
    return _not_created(task, failure.text, _refusal(task, failure))


def _not_created(task: Task, text: str, error: RpcError) -> Step:
    """There is no job: say so to all who wait; without a name that somebody was given, that is all there is to it."""
    if task.name:
        resource = own_resource(Phase.RETRYABLE_FAILED, f"The job could not be created: {text}")
        return finish(task, Phase.RETRYABLE_FAILED, resource)
    return task, [*_refuse_all(task, error), Forget(), End()]


def _refusal(task: Task, failure: Failure) -> RpcError:
    """Say whose fault it is that there is no job."""
    if failure.kind is FailureKind.OVERLOAD:
        return overloaded(task)
    if failure.kind is FailureKind.SPARED:
        return spared(task, failure.text)
    return (invalid if failure.kind is FailureKind.INVALID else create_failed)(task, failure.text)


def recover(task: Task, now: float) -> Step:
    """CREATING, and nobody knows whether the job exists: do what the connector's author declared to be safe."""
    if _lacks_credentials(task):
        return _wait_for_credentials(task, now)
    if task.attempts < CREATE_ATTEMPTS:
        task = task._replace(attempts=task.attempts + 1)
        if task.policy.recovery is Recovery.FIND or (
            task.policy.recovery is Recovery.TOKEN and task.request is not None
        ):
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
    if task.request is None and task.withheld:
        text = "its create broke off, and the credentials for another came with its request"
        return _not_created(task, text, create_failed(task, text))
    if task.request is None or task.attempts >= CREATE_ATTEMPTS:
        return _unknown(task)
    task = task._replace(attempts=task.attempts + 1)
    return task, [Invoke("create"), rearm(task, now)]


def find_failed(task: Task, event: FindFailed, now: float) -> Step:
    """CREATING, and find could not look: look again later, a bounded number of times."""
    return _try_later(task, event.failure, now)


def wish_early(task: Task, event: DeleteAsked, _now: float) -> Step:
    """RESERVED or CREATING, and somebody wants it deleted: the create goes on, and its job is deleted after it."""
    task, effects = wish(task, event)
    return _with_wish(task, effects)


def superseded_early(task: Task, _event: Superseded, _now: float) -> Step:
    """RESERVED or CREATING, and a later attempt is there: nobody waits for this one unless somebody has read it."""
    if task.wish:
        return keep(task)
    if not task.unread:
        return spare(task)
    task, effects = record(task._replace(wish=True), SUPERSEDED)
    return _with_wish(task, effects)


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
    task, recorded = record(task, "a caller's deadline was near: it got a provisional answer")
    return task, [*effects, *published, *recorded]


def _wait_for_welcome(task: Task, failure: Failure, now: float) -> Step:
    """Create when the external system wants it, and not sooner. Who asked for it need not wait for that."""
    task = task._replace(attempts=0, retry_at=now + failure.after)
    return task, [rearm(task, now)]


def _try_again(task: Task) -> Step:
    """Send to the ledger what it has not taken, create at last, or find out again what became of the create."""
    if task.meta is not None:
        return record(task)
    if not task.attempts:
        return _never_created(task) if task.wish else (task._replace(attempts=1), [Invoke("create")])
    return _unknown(task) if _lacks_credentials(task) else (task, [_resolve(task)])


def _lacks_credentials(task: Task) -> bool:
    """Whether create can only be repeated when its request comes again: with its secrets, it was never written down."""
    repeatable = task.stage is Stage.CREATING and task.meta is None and task.policy.recovery is Recovery.TOKEN
    return repeatable and task.withheld and task.request is None


def _wait_for_credentials(task: Task, now: float) -> Step:
    """Do nothing until the request comes again, which it does when its caller has not got an answer."""
    if task.wish:  # then nobody sends it again
        return _unknown(task)
    task = task._replace(retry_at=now + CREDENTIALS_SECONDS)
    text = "The create of this job broke off; it goes on when its request, and the credentials in it, come again."
    task, effects = publish(task, Phase.INITIALIZING, own_resource(Phase.INITIALIZING, text))
    return task, [*effects, rearm(task, now)]


def _with_wish(task: Task, effects: list[object]) -> Step:
    """Go on with a create whose job is to be deleted. Who wants that does not send the request again."""
    if not _lacks_credentials(task):
        return task, effects
    task, more = _unknown(task)
    return task, [*effects, *more]


def _resolve(task: Task) -> Invoke:
    """Find out what became of a create that broke off, in the way that the connector's author declared."""
    return Invoke("find" if task.policy.recovery is Recovery.FIND else "create")


def _try_later(task: Task, failure: Failure, now: float) -> Step:
    """Find out again after a pause. What was not even tried does not count."""
    tried = failure.kind is not FailureKind.LATER and failure.kind not in NOT_MADE
    if tried and task.attempts >= CREATE_ATTEMPTS:
        return _unknown(task)
    pause = min(FIND_RETRY_MAXIMUM, FIND_RETRY * 2.0 ** max(0, task.attempts - 2))
    task = task._replace(attempts=task.attempts + tried, retry_at=now + max(pause, failure.after))
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
    effects: list[object] = [] if task.name else [Name(encode_reference(task.id))]
    task = _named(task)
    effects += [Reply(waiter.promise, task.name) for waiter in task.waiters]
    task = task._replace(stage=Stage.UNKNOWN, waiters=(), request=None, retry_at=0.0)
    text = (
        "The create of this job broke off, and its connector can neither repeat nor find it: the job may exist or not. "
        "It is not created a second time. Look in the external system, then delete the task."
    )
    resource = own_resource(Phase.FAILED, text)
    task, published = publish(task._replace(resource=resource), Phase.FAILED, resource)
    task, recorded = record(task)
    return task, [*effects, *published, *recorded, Sleep()]


def _named(task: Task) -> Task:
    """Have a task whose create gave no resource_meta answer to a reference."""
    return task._replace(name=task.name or encode_reference(task.id))


def _refuse_all(task: Task, error: Exception) -> list[object]:
    return [Refuse(waiter.promise, error) for waiter in task.waiters]
