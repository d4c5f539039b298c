"""CREATING, and nobody knows whether there is a job: what its connector's author declared decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flytower.actors.births import resume, row_of
from flytower.actors.creating import CREATE_ATTEMPTS, CREDENTIALS_SECONDS, FIND_RETRY, FIND_RETRY_MAXIMUM
from flytower.actors.events import (
    Created,
    CreateFailed,
    DeleteAsked,
    Event,
    FindFailed,
    NotFound,
    Recorded,
    Superseded,
)
from flytower.actors.failures import NOT_MADE, FailureKind
from flytower.actors.task import Stage
from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError
from tests.actors.lifecycle_steps import (
    DUE,
    FIND,
    META,
    NEITHER,
    NOW,
    RAISED,
    REFERENCE,
    TIMEOUT,
    TOKEN,
    Life,
    a_task,
    creating,
    failure,
)

if TYPE_CHECKING:
    from flytower.connectors.policy import Policy


@pytest.mark.parametrize(("policy", "operation"), [(TOKEN, "create"), (FIND, "find")])
def test_a_create_without_an_answer_is_resolved_as_the_author_declared(policy: Policy, operation: str) -> None:
    life = creating(policy).send(TIMEOUT)
    assert (life.stage, life.invoked) == (Stage.CREATING, [operation])


def test_a_create_that_nobody_may_repeat_or_find_is_unknown_and_waits_for_a_human() -> None:
    life = creating(NEITHER)
    created, deleted = life.create(answer_by=NOW + 80), life.delete()
    life.send(TIMEOUT, after=60.0)
    assert (life.stage, life.invoked, created.result()) == (Stage.UNKNOWN, [], REFERENCE)
    [(phase, text)] = life.published
    assert phase is Phase.FAILED
    assert "may exist or not" in text
    assert life.timer is None, "the deadline of a waiter that has its answer must not come due"
    life.send(Recorded(3))
    assert deleted.result() == b""


def test_an_unknown_task_keeps_the_reference_that_was_given() -> None:
    life = creating(NEITHER, name=REFERENCE).send(TIMEOUT)
    assert (life.names, life.task.name) == ([], REFERENCE)


def test_without_the_request_a_create_cannot_be_repeated() -> None:
    """Its row was written when the connector could not repeat a create; now it could."""
    assert creating(TOKEN, request=None).send(TIMEOUT).stage is Stage.UNKNOWN


def test_a_create_with_its_token_is_repeated_a_bounded_number_of_times() -> None:
    life = creating(TOKEN)
    for _ in range(CREATE_ATTEMPTS - 1):
        assert life.send(TIMEOUT).invoked == ["create"]
    assert life.send(TIMEOUT).stage is Stage.UNKNOWN


def test_a_repeated_create_that_raises_says_nothing_about_the_first_and_is_tried_again() -> None:
    """Otherwise the job of a create that timed out would live on with nobody to own it."""
    life = creating(TOKEN)
    created = life.create()
    life.send(TIMEOUT).send(RAISED)
    assert (life.stage, life.invoked, life.timer) == (Stage.CREATING, [], FIND_RETRY)
    life.send(DUE, after=FIND_RETRY)
    assert life.invoked == ["create"]
    life.send(Created(META)).send(Recorded(2))
    assert created.result() == META


@pytest.mark.parametrize(("policy", "failed"), [(TOKEN, CreateFailed), (FIND, FindFailed)])
def test_what_became_of_a_create_is_asked_for_a_bounded_number_of_times(
    policy: Policy, failed: type[CreateFailed | FindFailed]
) -> None:
    life = creating(policy).send(TIMEOUT)
    asked = 1
    pauses = []
    while life.send(failed(failure())).stage is Stage.CREATING:
        pauses.append(life.timer)
        life.send(DUE, after=life.timer or 0.0)
        asked += len(life.invoked)
    assert pauses[:5] == [FIND_RETRY, 2 * FIND_RETRY, 4 * FIND_RETRY, 8 * FIND_RETRY, FIND_RETRY_MAXIMUM]
    assert (life.stage, asked) == (Stage.UNKNOWN, CREATE_ATTEMPTS - 1)


@pytest.mark.parametrize("kind", [FailureKind.LATER, *NOT_MADE])
@pytest.mark.parametrize(("policy", "failed"), [(TOKEN, CreateFailed), (FIND, FindFailed)])
def test_asking_that_was_put_off_does_not_count_and_comes_not_sooner_than_allowed(
    policy: Policy, failed: type[CreateFailed | FindFailed], kind: FailureKind
) -> None:
    life = creating(policy).send(TIMEOUT)
    for _ in range(3 * CREATE_ATTEMPTS):
        life.send(failed(failure(kind, after=30.0)))
        assert life.timer == 30.0
        life.send(DUE, after=29.0)
        assert life.invoked == []
        life.send(DUE, after=1.0)
        assert len(life.invoked) == 1
    assert life.send(failed(failure())).stage is Stage.CREATING


def test_a_job_that_is_not_found_is_looked_for_once_more_before_it_is_created() -> None:
    """The create that broke off may still take effect, and systems list late what they have."""
    life = creating(FIND).send(TIMEOUT).send(NotFound())
    assert (life.invoked, life.timer) == ([], FIND_RETRY)
    life.send(DUE, after=FIND_RETRY)
    assert life.invoked == ["find"]
    assert life.send(NotFound()).invoked == ["create"]


def test_a_job_that_is_found_is_owned() -> None:
    life = creating(FIND)
    created = life.create()
    life.send(TIMEOUT).send(NotFound()).send(DUE, after=FIND_RETRY).send(Created(META)).send(Recorded(2))
    assert (life.stage, created.result()) == (Stage.LIVE, META)


def not_found_twice(life: Life) -> Life:
    return life.send(NotFound()).send(DUE, after=FIND_RETRY).send(NotFound())


def test_a_job_that_is_not_there_and_not_wanted_is_not_created() -> None:
    life = creating(FIND)
    deleted = life.delete()
    not_found_twice(life.send(TIMEOUT))
    assert (life.stage, life.invoked) == (Stage.DELETED, [])
    assert life.send(Recorded(3)).stage is Stage.DELETED
    assert deleted.result() == b""


def test_a_job_that_is_not_there_and_whose_request_is_lost_is_unknown() -> None:
    assert not_found_twice(creating(FIND, request=None).send(TIMEOUT)).stage is Stage.UNKNOWN


def test_creating_what_is_never_found_ends() -> None:
    life = creating(FIND)
    creates = 0
    while life.stage is Stage.CREATING:
        assert life.send(TIMEOUT).invoked == ["find"]
        creates += not_found_twice(life).invoked == ["create"]
    assert (life.stage, creates) == (Stage.UNKNOWN, CREATE_ATTEMPTS // 2 - 1)


# ---- the connection broke --------------------------------------------------------------------------------------


BROKE = CreateFailed(failure(FailureKind.UNCERTAIN))


@pytest.mark.parametrize(("policy", "asked"), [(TOKEN, "create"), (FIND, "find")])
def test_a_create_whose_answer_was_lost_is_repeated_or_looked_for(policy: Policy, asked: str) -> None:
    life = creating(policy)
    created = life.create()
    life.send(BROKE)
    assert (life.stage, life.invoked, life.timer, created.done) == (Stage.CREATING, [], FIND_RETRY, False)
    assert life.send(DUE, after=FIND_RETRY).invoked == [asked]


def test_a_create_whose_answer_was_lost_and_that_nobody_can_repeat_or_find_is_unknown() -> None:
    life = creating(NEITHER)
    created = life.create()
    assert life.send(BROKE).stage is Stage.UNKNOWN
    assert created.result() == REFERENCE
    assert life.published[-1][0] is Phase.FAILED


# ---- credentials that only a request carries --------------------------------------------------------------------


def restarted(policy: Policy = TOKEN, **fields: object) -> Life:
    """A create that a crash broke off, whose request was never written down."""
    row = row_of(a_task(Stage.CREATING, policy, withheld=True, **fields))
    assert row.request == b""
    return Life(*resume(row, policy, NOW))


def test_a_create_that_a_crash_broke_off_waits_for_the_credentials_to_come_again() -> None:
    life = restarted()
    assert (life.stage, life.invoked, life.published[0][0]) == (Stage.CREATING, [], Phase.INITIALIZING)
    created = life.create(request=CreateTaskRequest())
    assert life.invoked == ["create"]
    life.send(Created(META)).send(Recorded(2))
    assert (created.result(), life.stage) == (META, Stage.LIVE)


def test_a_request_with_other_parameters_brings_no_credentials() -> None:
    life = restarted(fingerprint="f")
    refused = life.create(fingerprint="g", request=CreateTaskRequest())
    with pytest.raises(RpcError, match="other parameters"):
        refused.result()
    assert (life.invoked, life.task.request) == ([], None)


def test_a_create_that_is_looked_for_meanwhile_keeps_the_request_for_when_it_is_not_found() -> None:
    life = restarted(FIND)
    assert life.invoked == ["find"]
    life.create(request=CreateTaskRequest())
    assert life.invoked == []
    assert not_found_twice(life).invoked == ["create"]


def test_a_job_that_is_not_there_and_whose_credentials_are_lost_does_not_exist() -> None:
    """Nobody was given a name for it: it is as if it had never been asked for. Else its reader is told."""
    assert not_found_twice(restarted(FIND)).over
    life = not_found_twice(restarted(FIND, name=REFERENCE))
    assert (life.stage, life.task.phase) == (Stage.FINISHED, Phase.RETRYABLE_FAILED)


@pytest.mark.parametrize("event", [DeleteAsked(), Superseded()])
def test_a_wish_ends_the_wait_for_credentials_since_nobody_sends_them_again(event: Event) -> None:
    life = restarted(unread=True).send(event)
    assert (life.stage, life.task.wish) == (Stage.UNKNOWN, True)


def test_a_wish_from_before_the_crash_needs_no_wait() -> None:
    assert restarted(wish=True).stage is Stage.UNKNOWN


def test_credentials_that_never_come_leave_the_job_unknown() -> None:
    life = restarted()
    assert life.timer == CREDENTIALS_SECONDS
    assert life.send(DUE, after=CREDENTIALS_SECONDS).stage is Stage.UNKNOWN


@pytest.mark.parametrize("kind", NOT_MADE)
def test_a_create_that_is_repeated_since_find_knows_nothing_and_was_not_made_is_tried_again(kind: FailureKind) -> None:
    life = not_found_twice(creating(FIND).send(TIMEOUT))
    assert life.invoked == ["create"]
    life.send(CreateFailed(failure(kind, after=30.0)))
    assert (life.stage, life.timer) == (Stage.CREATING, 30.0)
