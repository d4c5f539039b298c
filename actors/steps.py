"""The small moves that the transitions of the life cycle are made of. Each takes a task and returns it with effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from flytower.actors.events import Forget, Publish, Record
from flytower.actors.refusals import different_parameters
from flytower.actors.task import TERMINAL, Stage, Task, Waiter
from flytower.runtime.entity import End, Refuse, Reply, Sleep, Wake

if TYPE_CHECKING:
    from flytower.actors.events import CreateAsked, DeleteAsked, ReadAsked, Wanted
    from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase

Step: TypeAlias = tuple[Task, list[object]]
"""A task after a transition, and the effects to perform, in order."""

LEDGER_RETRY = 1.0
"""Seconds until a change that the ledger could not take is sent again: a full disk or a failover takes seconds."""

DELETE_BACKOFF_FACTOR = 2.0
"""How the pause between failing deletes grows: an outage of minutes costs a handful of calls."""

SUPERSEDED = "a later attempt was created, and nobody has read this one"
"""Why a task is deleted that nobody asked to delete, for the history."""

RESOLUTION = 0.010
"""Seconds. A pause is at least as long: timers are that late anyway, and what rounding leaves of one (1e-14 s) would
end before the clock has moved, again and again."""

READ = "somebody has read it for the first time"
"""Why a task is written whose job has not changed, for the history."""

SPARED = "a later attempt was created; whoever has read this one sees to its end"
"""Why a task leaves its place, for the history."""

JITTER = 0.1
"""Share of every pause that is drawn at random on top of it, so that tasks created together drift apart."""


def keep(task: Task) -> Step:
    """Change nothing."""
    return task, []


def wake_in(seconds: float) -> Wake:
    """Set the timer, with jitter."""
    return Wake(seconds, seconds * JITTER)


def rearm(task: Task, now: float) -> object:
    """Set the timer to the first of: an answer that is due, something to try again. Without either, take it away."""
    moments = [waiter.answer_by for waiter in task.waiters if waiter.answer_by < float("inf")]
    if task.retry_at:
        moments.append(task.retry_at)
    return Wake(max(RESOLUTION, min(moments) - now)) if moments else Sleep()


def record(task: Task, note: str = "") -> Step:
    """Send the task as it is now to the ledger. The note is for people: why it changes, where that is not plain."""
    return task._replace(seq=task.seq + 1), [Record(note)]


def publish(task: Task, phase: Phase, resource: bytes) -> Step:
    """Make `resource` the answer to all readers, those that wait included."""
    effects: list[object] = [Publish(phase, resource)]
    effects += [Reply(promise, resource) for promise in task.readers]
    return task._replace(phase=phase, readers=()), effects


def finish(task: Task, phase: Phase, resource: bytes) -> Step:
    """Enter FINISHED: the last answer stands, and stays readable until the retention has passed."""
    task = task._replace(stage=Stage.FINISHED, resource=resource, calling=False, failures=0, request=None)
    task, published = publish(task, phase, resource)
    task, recorded = record(task)
    return task, [*published, *recorded, Wake(task.policy.retention)]


def join(task: Task, event: CreateAsked, now: float) -> Step:
    """CreateTask again while the first is under way: wait for the same answer."""
    if disagrees(task, event):
        return task, [Refuse(event.promise, different_parameters(task))]
    if task.name and task.name != task.meta:  # a reference; the connector's own meta is given once it is durable
        return task, [Reply(event.promise, task.name)]
    task = task._replace(waiters=(*task.waiters, Waiter(event.promise, event.answer_by)))
    return task, [rearm(task, now)]


def replay(task: Task, event: CreateAsked, _now: float) -> Step:
    """CreateTask again after the first was answered: the same answer, byte for byte."""
    if disagrees(task, event):
        return task, [Refuse(event.promise, different_parameters(task))]
    return task, [Reply(event.promise, task.name)]


def disagrees(task: Task, event: CreateAsked) -> bool:
    """Whether a CreateTask for this key asks for something else. Unknown fingerprints agree with all."""
    return bool(task.fingerprint and event.fingerprint and task.fingerprint != event.fingerprint)


def await_answer(task: Task, event: ReadAsked, _now: float) -> Step:
    """GetTask before anything is published: the first publication answers it."""
    return task._replace(readers=(*task.readers, event.promise)), []


def wish(task: Task, event: DeleteAsked) -> Step:
    """Write down that somebody wants it deleted; the answer follows when the ledger has that."""
    if event.promise is not None:
        task = task._replace(deleters=(*task.deleters, event.promise))
    return record(task._replace(wish=True), "somebody asked to delete it")


def confirm_deletes(task: Task) -> Step:
    """Answer the DeleteTasks that wait for their wish to be durable."""
    return task._replace(deleters=()), [Reply(promise, b"") for promise in task.deleters]


def forget(task: Task) -> Step:
    """End the actor and take the task out of the ledger: whoever asks for it from now on adopts it anew."""
    return task, [Forget(), End()]


def note_read(task: Task, _event: Wanted, _now: float) -> Step:
    """Write down that somebody knows the task: it is not deleted when a later attempt comes, be it after a restart."""
    return record(task._replace(unread=False), READ) if task.unread else keep(task)


def spare(task: Task) -> Step:
    """Leave a replaced attempt to whoever has read it, for good.

    Outside of its place no later attempt replaces it, nor does a server that begins anew and cannot know who read what.
    """
    return record(task._replace(place=""), SPARED) if task.place else keep(task)


def is_over(task: Task) -> bool:
    """Whether the published phase is a terminal one."""
    return task.phase in TERMINAL
