"""LIVE: the external job is there, and is polled until it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.actors import polling
from flytower.actors.answers import own_resource, with_note
from flytower.actors.events import Hibernate, Invoke
from flytower.actors.failures import NOT_MADE, FailureKind
from flytower.actors.steps import SUPERSEDED, Step, finish, keep, note_read, publish, record, spare, wake_in, wish
from flytower.actors.task import TERMINAL, Stage, Task
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.runtime.entity import CancelCall, Sleep, Wake

if TYPE_CHECKING:
    from flytower.actors.events import (
        Answering,
        DeleteAsked,
        Draining,
        Due,
        Polled,
        PollFailed,
        ReadAsked,
        Superseded,
        Wanted,
    )
    from flytower.actors.failures import Failure

POLL = Invoke("get")

HIBERNATING = 0.0
"""The interval of a task that is not polled until somebody reads it; then its backoff begins anew."""


def poll_due(task: Task, event: Due, now: float) -> Step:
    """The timer came due: poll, or wait until somebody is interested."""
    if task.calling:
        return keep(task)
    pause = polling.pause(task, now, event.demand)
    if pause == float("inf"):
        return task._replace(interval=HIBERNATING), [Hibernate(), Sleep()]
    if pause > 0.0:
        return task, [wake_in(pause)]
    return task.polling(now), [POLL]


def wanted(task: Task, event: Wanted, now: float) -> Step:
    """Somebody reads a task that slept, or that nobody had read before."""
    asleep = task.interval == HIBERNATING
    task, effects = note_read(task, event, now)
    return task, [*effects, Wake(0.0)] if asleep else effects


def read_first(task: Task, event: ReadAsked, _now: float) -> Step:
    """GetTask before anything is published: the first poll answers it, so that comes at once."""
    task = task._replace(readers=(*task.readers, event.promise))
    return task, [] if task.calling else [Wake(0.0)]


def polled(task: Task, event: Polled, now: float) -> Step:
    """The external system answered."""
    if event.phase in TERMINAL:
        return finish(task._replace(answered_at=now), event.phase, event.resource)
    changed, known = event.resource != task.resource, task.phase
    effects: list[object] = []
    if changed or task.failures or task.readers:
        task, effects = publish(task._replace(resource=event.resource), event.phase, event.resource)
    if event.phase is not known:  # for whoever reads the ledger: operators, and this server after a restart
        task, written = record(task)
        effects = [*effects, *written]
    interval = task.policy.poll_minimum if changed else polling.longer(task)
    return task.answered(now, interval), [*effects, polling.next_poll(interval, now, event.demand)]


def poll_failed(task: Task, event: PollFailed, now: float) -> Step:
    """The external system did not answer: readers keep the last answer, and are told how old it is, and why."""
    failure = event.failure
    first_failure = now if task.failures == 0 else task.failing_since
    if failure.kind in NOT_MADE:
        return _not_polled(task._replace(failing_since=first_failure), failure, now)
    task = task._replace(calling=False, failures=task.failures + 1, failing_since=first_failure, trouble=failure.text)
    if failure.kind is FailureKind.GONE and not _may_be_invisible_yet(task, now):
        text = f"The external system no longer knows the job: {failure.text}"
        return finish(task, Phase.RETRYABLE_FAILED, own_resource(Phase.RETRYABLE_FAILED, text))
    if failure.kind in (FailureKind.PERMANENT, FailureKind.INVALID):
        return _give_up(task, Phase.FAILED, f"The job can no longer be followed: {failure.text}")
    if failure.kind is not FailureKind.LATER and polling.gave_up(task, now):
        return _lost_sight(task, failure, now)
    task = task._replace(interval=polling.longer(task))
    task, effects = publish(task, *_stale(task, failure.text, now))
    return task, [*effects, wake_in(max(polling.rest_of_interval(task, now), failure.after))]


def answering(task: Task, _event: Answering, _now: float) -> Step:
    """The external system answers again, after a poll was refused: it need not wait any longer."""
    return task, [] if task.calling else [Wake(0.0)]


def delete_live(task: Task, event: DeleteAsked, _now: float) -> Step:
    """Somebody wants it gone: stop polling, write the wish down, then delete."""
    task = task._replace(stage=Stage.DELETING, calling=False, failures=0)
    task, effects = wish(task, event)
    return task, [CancelCall("get"), Sleep(), *effects]


def superseded_live(task: Task, _event: Superseded, _now: float) -> Step:
    """A later attempt is there: if nobody ever read this one, its reply was lost, and nobody else will delete it."""
    if not task.unread:
        return spare(task)
    task, effects = record(task._replace(stage=Stage.DELETING, calling=False, failures=0, wish=True), SUPERSEDED)
    return task, [CancelCall("get"), Sleep(), *effects]


def drain_live(task: Task, _event: Draining, _now: float) -> Step:
    """The server stops: a poll under way is of no use to anybody."""
    return task._replace(calling=False), [CancelCall("get")]


def _not_polled(task: Task, failure: Failure, now: float) -> Step:
    """The poll was not made: it comes when it may. Where nobody can say when that is, the backoff does."""
    pause = failure.after or polling.longer(task)
    task = task._replace(
        calling=False,
        failures=max(1, task.failures),
        polled_at=min(task.polled_at, task.answered_at),
        interval=task.interval if failure.after else pause,
    )
    if failure.kind is FailureKind.REFUSED and polling.is_too_old(task, now):
        return _lost_sight(task, failure, now)
    text = f"{task.trouble}; {failure.text}" if task.trouble else failure.text  # a refusal says nothing of the job
    task, effects = publish(task, *_stale(task, text, now))
    return task, [*effects, wake_in(pause)]


def _lost_sight(task: Task, failure: Failure, now: float) -> Step:
    """The policy's limit for polls that fail has passed."""
    text = f"No status of the job for {now - task.failing_since:.0f} s ({task.failures} polls): {failure.text}"
    return _give_up(task, Phase.RETRYABLE_FAILED, text)


def _may_be_invisible_yet(task: Task, now: float) -> bool:
    """Whether "no such job" may mean "not yet": external systems list what they created only after a while."""
    return now - task.live_at < task.policy.not_found_grace


def _stale(task: Task, text: str, now: float) -> tuple[Phase, bytes]:
    """Return the answer to give while the external system does not."""
    if task.resource:
        return task.phase, with_note(task.resource, f"last answer {now - task.answered_at:.0f} s ago: {text}")
    phase = Phase.RUNNING if task.request is None and not task.key else Phase.INITIALIZING
    return phase, own_resource(phase, f"No status from the external system yet: {text}")


def _give_up(task: Task, phase: Phase, text: str) -> Step:
    """Fail a job that cannot be followed, after an attempt to delete it: nobody else will."""
    task, effects = record(task._replace(stage=Stage.DELETING, failures=0, verdict=own_resource(phase, text)), text)
    return task, [Sleep(), *effects]
