"""The three ways in which a task's actor begins, and the row that it begins from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flytower.actors.births import adopt, adopt_to_delete, reserve, restart, resume, row_of
from flytower.actors.creating import CREATE_ATTEMPTS, FIND_RETRY
from flytower.actors.events import CreateFailed, Due, NotFound, PollFailed, Recorded, RecordFailed
from flytower.actors.failures import FailureKind
from flytower.actors.identity import Identity, adopted_id, task_id
from flytower.actors.ledger.row import Row
from flytower.actors.task import Stage
from flytower.connectors.category import TaskCategory
from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.generated.flyteidl.core import TaskTemplate
from flytower.runtime.entity import Wake
from flytower.runtime.promise import Promise
from tests.actors.lifecycle_steps import (
    CATEGORY,
    FIND,
    META,
    NEITHER,
    NOBODY_READS,
    NOW,
    REFERENCE,
    RUNNING,
    TASK,
    TOKEN,
    Life,
    a_task,
    failure,
    resource,
)

if TYPE_CHECKING:
    from flytower.connectors.policy import Policy

REQUEST = CreateTaskRequest(template=TaskTemplate(type="spark"), output_prefix="s3://b/0")
IDENTITY = Identity("k", "p", 3)


def a_row(stage: Stage, policy: Policy = TOKEN, **fields: object) -> Row:
    return row_of(a_task(stage, policy, **fields))


def resumed(row: Row, policy: Policy = TOKEN, *, durable: bool = True) -> Life:
    return Life(*resume(row, policy, NOW, durable=durable))


# ---- reserved --------------------------------------------------------------------------------------------------


def test_a_reserved_task_writes_its_intent_down_and_calls_nobody() -> None:
    life = Life(*reserve(CATEGORY, TOKEN, IDENTITY, 2, "f", REQUEST))
    assert (life.stage, life.invoked, life.published) == (Stage.RESERVED, [], [])
    assert life.recorded == Row(
        id=task_id("k", 2),
        seq=1,
        category_name="spark",
        category_version=0,
        stage="reserved",
        key="k",
        generation=2,
        place="p",
        attempt=3,
        fingerprint="f",
        unread=True,
        request=bytes(REQUEST),
    )


@pytest.mark.parametrize(("policy", "kept"), [(TOKEN, bytes(REQUEST)), (FIND, bytes(REQUEST)), (NEITHER, b"")])
def test_a_request_is_written_down_only_if_create_may_have_to_be_repeated(policy: Policy, kept: bytes) -> None:
    life = Life(*reserve(CATEGORY, policy, IDENTITY, 1, "f", REQUEST))
    assert life.recorded is not None
    assert life.recorded.request == kept


# ---- adopted ---------------------------------------------------------------------------------------------------


def test_a_job_of_another_server_is_adopted_with_one_poll_which_answers_its_reader() -> None:
    life = Life(*adopt(CATEGORY, TOKEN, META, NOW))
    assert (life.stage, life.names, life.invoked) == (Stage.LIVE, [META], ["get"])
    assert life.recorded is not None
    assert (life.recorded.id, life.recorded.meta, life.recorded.key) == (adopted_id(CATEGORY, META), META, "")
    read = life.read()
    life.send(PollFailed(failure()))
    assert b"No status from the external system yet" in read.result()
    assert life.published[0][0] is Phase.RUNNING


def test_a_job_that_another_server_has_just_created_may_be_invisible_for_a_while() -> None:
    """Otherwise it would be called failed, and the DeleteTask that follows would not reach it."""
    life = Life(*adopt(CATEGORY, TOKEN, META, NOW)).send(PollFailed(failure(FailureKind.GONE)))
    assert life.stage is Stage.LIVE
    life.send(Due(NOBODY_READS), after=30.0).send(PollFailed(failure(FailureKind.GONE)))
    assert (life.stage, life.task.phase) == (Stage.FINISHED, Phase.RETRYABLE_FAILED)


def test_a_job_of_another_server_is_deleted_once_that_is_written_down() -> None:
    life = Life(*adopt_to_delete(CATEGORY, TOKEN, META))
    assert (life.stage, life.names, life.invoked) == (Stage.DELETING, [META], [])
    assert life.recorded is not None
    assert life.recorded.wish
    deleted = life.delete()
    life.send(Recorded(1))
    assert (deleted.result(), life.invoked) == (b"", ["delete"])


# ---- resumed ---------------------------------------------------------------------------------------------------


def test_a_row_holds_all_of_a_task_that_must_survive() -> None:
    task = a_task(
        Stage.DELETING,
        place="p",
        attempt=4,
        generation=3,
        fingerprint="f",
        verdict=resource(Phase.FAILED),
        category=TaskCategory("spark", 7),
    )
    again, _ = resume(row_of(task), task.policy, NOW)
    assert row_of(again) == row_of(task)
    assert again.durable == task.seq


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_survives_a_restart_with_its_names_and_answer(stage: Stage) -> None:
    task = a_task(stage, NEITHER)
    life = resumed(row_of(task), NEITHER)
    assert life.task.name in (task.name, REFERENCE)
    assert life.names == ([life.task.name] if life.task.name else [])
    assert [phase for phase, _ in life.published] == ([life.task.phase] if life.task.phase else [])


def test_a_restarted_task_answers_what_it_answered_before() -> None:
    life = resumed(a_row(Stage.LIVE))
    assert life.published == [(Phase.RUNNING, "busy")]
    assert life.task.resource == RUNNING


def test_a_provisional_answer_is_given_again_after_a_restart() -> None:
    life = resumed(a_row(Stage.CREATING, name=REFERENCE, phase=Phase.INITIALIZING))
    assert (life.names, life.published) == ([REFERENCE], [(Phase.INITIALIZING, "The server has restarted.")])
    assert life.create().result() == REFERENCE


def test_polls_of_resumed_jobs_are_spread_over_an_interval() -> None:
    life = resumed(a_row(Stage.LIVE))
    assert [effect for effect in life.effects if isinstance(effect, Wake)] == [Wake(0.0, TOKEN.poll_maximum)]
    assert life.send(Due(NOBODY_READS)).invoked == ["get"]


def test_a_job_that_is_not_listed_yet_is_not_given_up_because_the_server_restarted() -> None:
    life = resumed(a_row(Stage.LIVE)).send(Due(NOBODY_READS)).send(PollFailed(failure(FailureKind.GONE)))
    assert life.stage is Stage.LIVE


def test_a_delete_goes_on_after_a_restart() -> None:
    life = resumed(a_row(Stage.DELETING))
    assert (life.stage, life.invoked) == (Stage.DELETING, ["delete"])


@pytest.mark.parametrize(("stage", "timer"), [(Stage.FINISHED, 86400.0), (Stage.DELETED, 86400.0)])
def test_what_is_over_stays_readable_after_a_restart(stage: Stage, timer: float) -> None:
    life = resumed(a_row(stage))
    assert (life.stage, life.invoked, life.timer) == (stage, [], timer)


def test_an_unknown_task_still_waits_for_a_human() -> None:
    life = resumed(a_row(Stage.UNKNOWN))
    assert (life.stage, life.invoked, life.timer_left_alone) == (Stage.UNKNOWN, [], True)


@pytest.mark.parametrize("stage", [Stage.RESERVED, Stage.CREATING])
@pytest.mark.parametrize(("policy", "operation"), [(TOKEN, "create"), (FIND, "find")])
def test_a_create_that_a_crash_broke_off_is_resolved_as_the_author_declared(
    stage: Stage, policy: Policy, operation: str
) -> None:
    life = resumed(a_row(stage, policy), policy)
    assert (life.stage, life.invoked) == (Stage.CREATING, [operation])


@pytest.mark.parametrize("stage", [Stage.RESERVED, Stage.CREATING])
def test_a_create_that_a_crash_broke_off_is_never_repeated_on_a_guess(stage: Stage) -> None:
    life = resumed(a_row(stage, NEITHER), NEITHER)
    assert (life.stage, life.invoked, life.task.name) == (Stage.UNKNOWN, [], REFERENCE)


def test_a_request_that_was_not_kept_cannot_be_repeated_by_a_connector_that_now_could() -> None:
    assert resumed(a_row(Stage.CREATING, NEITHER), TOKEN).stage is Stage.UNKNOWN


def test_a_repeated_create_that_raises_after_a_restart_does_not_mean_that_there_is_no_job() -> None:
    """The create of the server that died may have happened."""
    life = resumed(a_row(Stage.CREATING)).send(CreateFailed(failure()))
    assert (life.stage, life.timer) == (Stage.CREATING, FIND_RETRY)


def test_a_busy_server_after_a_restart_does_not_make_tasks_unknown() -> None:
    life = resumed(a_row(Stage.CREATING))
    for _ in range(2 * CREATE_ATTEMPTS):
        life.send(CreateFailed(failure(FailureKind.OVERLOAD))).send(Due(NOBODY_READS), after=FIND_RETRY)
        assert life.invoked == ["create"]


def test_a_wish_outlives_a_crash_during_create() -> None:
    life = resumed(a_row(Stage.CREATING, FIND, wish=True), FIND)
    life.send(NotFound()).send(Due(NOBODY_READS), after=FIND_RETRY).send(NotFound())
    assert life.stage is Stage.DELETED


@pytest.mark.parametrize(("wish", "stage"), [(False, Stage.LIVE), (True, Stage.DELETING)])
def test_a_create_whose_result_is_durable_is_over(wish: bool, stage: Stage) -> None:  # noqa: FBT001 - a table
    life = resumed(a_row(Stage.CREATING, wish=wish, meta=META, name=META))
    assert (life.stage, life.names) == (stage, [META])
    assert life.invoked == (["delete"] if wish else [])


# ---- resumed from a row that is still on its way into the ledger -----------------------------------------------


def test_a_reservation_that_is_not_durable_yet_waits_for_the_ledger() -> None:
    life = resumed(a_row(Stage.RESERVED), durable=False)
    assert (life.stage, life.invoked) == (Stage.RESERVED, [])
    assert life.send(Recorded(1)).invoked == ["create"]


def test_a_meta_that_is_not_durable_yet_is_not_given_to_anybody() -> None:
    life = resumed(a_row(Stage.CREATING, meta=META, name=META), durable=False)
    created = life.create()
    assert not created.done
    life.send(Recorded(1))
    assert (created.result(), life.stage) == (META, Stage.LIVE)


def test_a_wish_that_is_not_durable_yet_is_not_confirmed() -> None:
    life = resumed(a_row(Stage.DELETING), durable=False)
    deleted = life.delete()
    assert not deleted.done
    life.send(RecordFailed(2, "the disk is full"))
    assert deleted.done


def test_every_field_of_a_row_comes_from_the_task() -> None:
    """A field that is added to the row and forgotten here would be lost at the first restart."""
    task = a_task(
        Stage.CREATING,
        TOKEN,
        request=REQUEST,
        meta=META,
        name=META,
        phase=Phase.INITIALIZING,
        resource=RUNNING,
        place="p",
        attempt=2,
        generation=2,
        fingerprint="f",
        wish=True,
        verdict=resource(Phase.FAILED),
        created_at=7.5,
        unread=True,
        category=TaskCategory("spark", 1),
    )
    row, empty = row_of(task, 8.5, "why"), Row(TASK, 1, "spark", 1, "creating")
    same = {name for name in Row._fields if getattr(row, name) == getattr(empty, name)}
    assert same == {"id", "seq", "category_name", "category_version", "stage", "withheld", "ended_at"}
    again = resume(row._replace(stage="unknown", withheld=True), TOKEN, NOW)[0]
    assert row_of(again, 8.5, "why") == row._replace(stage="unknown", withheld=True, request=b"")


@pytest.mark.parametrize("stage", Stage)
def test_a_row_says_when_a_task_was_over_and_of_no_other_that_it_is(stage: Stage) -> None:
    row = row_of(a_task(stage), 8.5)
    assert (row.changed_at, row.ended_at) == (8.5, 8.5 if stage in (Stage.FINISHED, Stage.DELETED) else 0.0)


@pytest.mark.parametrize("policy", [TOKEN, FIND, NEITHER])
def test_a_request_with_secrets_is_never_written_down(policy: Policy) -> None:
    life = Life(*reserve(CATEGORY, policy, IDENTITY, 1, "f", REQUEST, withheld=True))
    assert life.recorded is not None
    assert (life.recorded.request, life.recorded.withheld) == (b"", True)


# ---- how long what is over is kept -----------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "left"), [(0.0, 86400.0), (86300.0, 100.0), (90000.0, 0.0), (-5.0, 86400.0)])
def test_what_is_over_is_kept_for_the_rest_of_its_retention_also_through_restarts(age: float, left: float) -> None:
    """Else a server that is restarted every night would never forget. A clock that went back changes nothing."""
    row = row_of(a_task(Stage.FINISHED), 1e9)
    assert Life(*resume(row, TOKEN, NOW, wall=1e9 + age)).timer == left


# ---- begun again from the record -------------------------------------------------------------------------------


def test_an_actor_that_crashed_goes_on_from_its_record_and_owes_nobody_anything() -> None:
    task = a_task(Stage.LIVE, failures=3, calling=True, retry_at=5.0, readers=(Promise(),), attempts=2)
    life = Life(*restart(task, NOW))
    assert (life.stage, life.names, life.published[0]) == (Stage.LIVE, [META], (Phase.RUNNING, "busy"))
    again = life.task
    assert (again.failures, again.calling, again.retry_at, again.readers, again.attempts) == (0, False, 0.0, (), 0)
    assert life.recorded is None


def test_what_the_ledger_had_not_confirmed_before_the_crash_is_sent_once_more() -> None:
    life = Life(*restart(a_task(Stage.RESERVED), NOW))
    assert (life.stage, life.invoked) == (Stage.RESERVED, [])
    assert life.recorded is not None
    assert life.recorded.seq == 1


def test_an_actor_that_crashed_during_create_still_has_its_request() -> None:
    life = Life(*restart(a_task(Stage.CREATING, TOKEN, withheld=True), NOW))
    assert life.invoked == ["create"]
