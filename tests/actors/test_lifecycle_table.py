"""The table as a whole: what can happen when, what cannot, and what holds for every row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    Publish,
    ReadAsked,
    Record,
    Recorded,
    RecordFailed,
    Superseded,
    Wanted,
)
from flytower.actors.failures import FailureKind
from flytower.actors.lifecycle import TABLE, IllegalTransition, step
from flytower.actors.task import TERMINAL, Stage
from flytower.connectors.policy import Policy, Recovery
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.runtime.entity import Refuse, Reply
from flytower.runtime.promise import Promise
from tests.actors.lifecycle_invariants import LEGAL
from tests.actors.lifecycle_steps import META, NOBODY_READS, NOW, a_task, failure, polled

ANY_STAGE = {
    CreateAsked,
    ReadAsked,
    DeleteAsked,
    Superseded,
    Recorded,
    RecordFailed,
    Due,
    Wanted,
    Answering,
    Draining,
    ForgetAsked,
}
"""What clients, the ledger, timers and the server do does not ask first where a task is in its life."""

OUTCOMES = {
    Stage.RESERVED: set(),
    Stage.CREATING: {Created, CreateFailed, NotFound, FindFailed},
    Stage.LIVE: {Polled, PollFailed},
    Stage.FINISHED: set(),
    Stage.DELETING: {Gone, DeleteFailed},
    Stage.DELETED: set(),
    Stage.UNKNOWN: set(),
}
"""Which calls can be under way in a stage, so which outcomes can come."""

EVERY_OUTCOME: set[type[Any]] = set().union(*OUTCOMES.values())

promise: Promise[Any] = Promise()
EXAMPLES: list[Event] = [
    CreateAsked(promise, NOW + 8, "f"),
    ReadAsked(promise),
    Wanted(),
    DeleteAsked(promise),
    DeleteAsked(),
    Superseded(),
    Recorded(1),
    Recorded(9),
    RecordFailed(9, "the disk is full"),
    Due(NOBODY_READS),
    Created(META),
    Created(META, unique=False),
    NotFound(),
    *(CreateFailed(failure(kind)) for kind in FailureKind),
    *(FindFailed(failure(kind)) for kind in FailureKind),
    *(polled(phase) for phase in sorted({Phase.RUNNING, *TERMINAL})),
    *(PollFailed(failure(kind)) for kind in FailureKind),
    Gone(),
    DeleteFailed(failure()),
    Answering(),
    Draining(),
    ForgetAsked(),
]


@pytest.mark.parametrize("stage", Stage)
def test_each_stage_takes_what_can_come_from_outside_and_the_outcomes_of_its_own_calls(stage: Stage) -> None:
    assert set(TABLE[stage]) == ANY_STAGE | OUTCOMES[stage]


@pytest.mark.parametrize("stage", Stage)
def test_the_outcome_of_a_call_that_cannot_be_under_way_raises_and_names_task_and_event(stage: Stage) -> None:
    for event in EXAMPLES:
        if type(event) in EVERY_OUTCOME - OUTCOMES[stage]:
            with pytest.raises(
                IllegalTransition, match=f"{type(event).__name__} cannot happen to <Task .*{stage.value}"
            ):
                step(a_task(stage), event, NOW)


fields = st.fixed_dictionaries(
    {},
    optional={
        "wish": st.booleans(),
        "calling": st.booleans(),
        "failures": st.integers(0, 70),
        "attempts": st.integers(1, 6),
        "retry_at": st.sampled_from([0.0, NOW - 1, NOW + 1]),
        "durable": st.integers(0, 2),
        "verdict": st.sampled_from([b"", bytes.fromhex("2808")]),
        "fingerprint": st.sampled_from(["", "f", "g"]),
        "withheld": st.booleans(),
    },
)
policies = st.builds(
    Policy,
    recovery=st.sampled_from(Recovery),
    delete_after_finish=st.booleans(),
    failure_count=st.sampled_from([None, 1, 3]),
    failure_age=st.sampled_from([None, 10.0]),
)


@settings(max_examples=300, deadline=None)
@given(stage=st.sampled_from(Stage), policy=policies, fields=fields, index=st.integers(0, 1000))
def test_whatever_a_task_looks_like_every_row_keeps_the_rules_of_the_life_cycle(
    stage: Stage, policy: Policy, fields: dict[str, Any], index: int
) -> None:
    """The next stage is a drawn one; each change counts and goes to the ledger; phases are real and do not go back."""
    possible = [event for event in EXAMPLES if type(event) in TABLE[stage]]
    task = a_task(stage, policy, **fields)
    event = possible[index % len(possible)]
    after, effects = step(task, event, NOW)
    assert after.stage in LEGAL[stage]
    assert after.seq == task.seq + sum(isinstance(effect, Record) for effect in effects)
    assert (after.id, after.category, after.key, after.generation) == (
        task.id,
        task.category,
        task.key,
        task.generation,
    )
    assert after.wish or not task.wish, "a wish was forgotten"
    for effect in effects:
        if isinstance(effect, Publish):
            assert effect.phase is not Phase.UNDEFINED
            assert task.phase not in TERMINAL or effect.phase in TERMINAL
    answers = [effect for effect in effects if isinstance(effect, Reply | Refuse)]
    asked = isinstance(event, CreateAsked | ReadAsked | DeleteAsked) and event[0] is not None
    kept = len(after.waiters) + len(after.readers) + len(after.deleters)
    assert len(answers) + kept == int(asked), "who asked is neither answered nor remembered"


@pytest.mark.parametrize("stage", [Stage.RESERVED, Stage.FINISHED, Stage.DELETING, Stage.DELETED, Stage.UNKNOWN])
def test_a_stage_in_which_nothing_is_polled_does_not_care_that_it_is_wanted(stage: Stage) -> None:
    task = a_task(stage)
    assert step(task, Wanted(), NOW) == (task, [])


@pytest.mark.parametrize("stage", set(Stage) - {Stage.LIVE})
def test_a_server_that_stops_changes_nothing_about_a_task(stage: Stage) -> None:
    """Cancellation is never taken for a delete, and a create or delete under way is not given up."""
    task = a_task(stage)
    assert step(task, Draining(), NOW) == (task, [])


@pytest.mark.parametrize("stage", [Stage.FINISHED, Stage.DELETING, Stage.DELETED, Stage.UNKNOWN])
def test_a_later_attempt_does_not_touch_one_that_is_over_or_being_deleted(stage: Stage) -> None:
    task = a_task(stage)
    assert step(task, Superseded(), NOW) == (task, [])


def test_a_task_shows_who_it_is_and_where_it_is() -> None:
    assert repr(a_task(Stage.LIVE)) == "<Task 01234567 spark_v0 live RUNNING seq=2>"


@pytest.mark.parametrize(
    ("stage", "wish", "freed"),
    [
        (Stage.RESERVED, False, False),
        (Stage.CREATING, True, True),
        (Stage.LIVE, False, False),
        (Stage.FINISHED, False, False),
        (Stage.DELETING, False, True),
        (Stage.DELETED, False, True),
        (Stage.UNKNOWN, False, False),
        (Stage.UNKNOWN, True, True),
    ],
)
def test_a_key_is_free_for_a_new_generation_once_the_task_is_to_be_deleted(
    stage: Stage,
    wish: bool,  # noqa: FBT001 - a table
    freed: bool,  # noqa: FBT001 - a table
) -> None:
    assert a_task(stage, wish=wish).freed is freed
