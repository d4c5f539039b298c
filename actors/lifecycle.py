"""The life cycle of a task: the table of what can happen when, and what follows.

    RESERVED -> CREATING -> LIVE -> FINISHED
       |           |         |         |
       +-----------+----+----+---------+--> DELETING -> DELETED
                   |
                   +--> UNKNOWN

No `await`, no clock, no I/O: `step` maps a task and an event to the task after it and the effects to perform. What is
not in the table cannot happen; if it does, that is a mistake in this program, and raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from flytower.actors import creating, ending, living, steps
from flytower.actors.events import (
    Answering,
    CreateAsked,
    Created,
    CreateFailed,
    DeleteAsked,
    DeleteFailed,
    Draining,
    Due,
    Event,
    FindFailed,
    ForgetAsked,
    Gone,
    NotFound,
    Polled,
    PollFailed,
    ReadAsked,
    Recorded,
    RecordFailed,
    Superseded,
    Wanted,
)
from flytower.actors.steps import Step
from flytower.actors.task import Stage, Task

Transition: TypeAlias = Callable[[Task, Any, float], Step]


class IllegalTransition(Exception):  # noqa: N818 - the state machine's term
    """An event came that this stage has no row for: a mistake in this program, not of a client or a connector."""

    def __init__(self, task: Task, event: object) -> None:
        super().__init__(f"{type(event).__name__} cannot happen to {task!r}; its actor is restarted from the ledger")


_ALL_QUIET: Mapping[type[Event], Transition] = {
    Wanted: ending.ignore,
    Answering: ending.ignore,
    Superseded: ending.ignore,
    Draining: ending.ignore,
    ForgetAsked: ending.forget_asked,
    Recorded: ending.recorded,
    RecordFailed: ending.record_failed,
}
"""The rows of every stage in which nothing but the ledger is waited for."""

TABLE: Mapping[Stage, Mapping[type[Event], Transition]] = {
    Stage.RESERVED: {
        CreateAsked: steps.join,
        ReadAsked: steps.await_answer,
        DeleteAsked: creating.wish_early,
        Superseded: creating.superseded_early,
        Recorded: creating.intended,
        RecordFailed: creating.intent_refused,
        Due: ending.ignore,
        Wanted: steps.note_read,
        Answering: ending.ignore,
        ForgetAsked: ending.forget_asked,
        Draining: ending.ignore,
    },
    Stage.CREATING: {
        CreateAsked: creating.create_again,
        ReadAsked: steps.await_answer,
        DeleteAsked: creating.wish_early,
        Superseded: creating.superseded_early,
        Recorded: creating.create_recorded,
        RecordFailed: creating.create_record_failed,
        Due: creating.create_due,
        Created: creating.created,
        CreateFailed: creating.create_refused,
        NotFound: creating.not_found,
        FindFailed: creating.find_failed,
        Wanted: steps.note_read,
        Answering: ending.ignore,
        ForgetAsked: ending.forget_asked,
        Draining: ending.ignore,
    },
    Stage.LIVE: {
        **_ALL_QUIET,
        CreateAsked: steps.replay,
        ReadAsked: living.read_first,
        DeleteAsked: living.delete_live,
        Superseded: living.superseded_live,
        Due: living.poll_due,
        Wanted: living.wanted,
        Answering: living.answering,
        Polled: living.polled,
        PollFailed: living.poll_failed,
        RecordFailed: ending.live_record_failed,
        Draining: living.drain_live,
    },
    Stage.FINISHED: {
        **_ALL_QUIET,
        CreateAsked: steps.replay,
        ReadAsked: ending.read_over,
        DeleteAsked: ending.delete_finished,
        Due: ending.over_due,
    },
    Stage.DELETING: {
        **_ALL_QUIET,
        CreateAsked: ending.create_deleted,
        ReadAsked: ending.read_deleting,
        DeleteAsked: ending.delete_again,
        Recorded: ending.delete_recorded,
        RecordFailed: ending.delete_record_failed,
        Due: ending.delete_due,
        Gone: ending.gone,
        Answering: ending.answering,
        DeleteFailed: ending.delete_failed,
    },
    Stage.DELETED: {
        **_ALL_QUIET,
        CreateAsked: ending.create_deleted,
        ReadAsked: ending.read_over,
        DeleteAsked: ending.delete_confirmed,
        Due: ending.over_due,
    },
    Stage.UNKNOWN: {
        **_ALL_QUIET,
        CreateAsked: steps.replay,
        ReadAsked: ending.read_over,
        DeleteAsked: ending.delete_unknown,
        Due: ending.unknown_due,
    },
}
"""(stage, event) -> transition. The whole life of a task is here."""


def step(task: Task, event: Event, now: float) -> Step:
    """Return what a task becomes by an event, and the effects to perform, in order.

    Raises:
        IllegalTransition: The table has no row for it.
    """
    transition = TABLE[task.stage].get(type(event))
    if transition is None:
        raise IllegalTransition(task, event)
    return transition(task, event, now)
