"""FINISHED, DELETING, DELETED and UNKNOWN: nothing that was deleted lives on, and nothing that is over is lost."""

from __future__ import annotations

import pytest

from flytower.actors.ending import MAX_COUNTED_FAILURES
from flytower.actors.events import Answering, DeleteAsked, DeleteFailed, Gone, Recorded, RecordFailed
from flytower.actors.failures import FailureKind
from flytower.actors.steps import LEDGER_RETRY
from flytower.actors.task import Stage
from flytower.connectors.policy import Policy
from flytower.protocol.generated.flyteidl.admin import Resource
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import Status
from tests.actors.lifecycle_steps import DUE, Life, a_task, failure, resource, status_of

FULL = "the disk is full"
VERDICT = resource(Phase.FAILED, "the job can no longer be followed")
OVER = [Stage.FINISHED, Stage.DELETED, Stage.UNKNOWN]


def deleting(policy: Policy | None = None, **fields: object) -> Life:
    return Life(a_task(Stage.DELETING, policy, **fields))


# ---- DELETING: begin -------------------------------------------------------------------------------------------


def test_the_delete_begins_when_the_wish_is_durable_and_not_before() -> None:
    life = deleting(seq=3, durable=1).send(Recorded(2))
    assert life.invoked == []
    assert life.send(Recorded(3)).invoked == ["delete"]


def test_one_delete_at_a_time() -> None:
    life = deleting(calling=True, seq=3, durable=2).send(Recorded(3))
    assert life.invoked == []


def test_a_wish_that_the_ledger_cannot_take_is_refused_but_the_job_is_deleted_all_the_same() -> None:
    life = Life(a_task(Stage.LIVE))
    deleted = life.delete()
    life.send(RecordFailed(3, FULL))
    assert (status_of(deleted), life.invoked) == (Status.UNAVAILABLE, ["delete"])


def unwritten() -> Life:
    return deleting(seq=3, calling=True).send(RecordFailed(3, FULL))


def test_a_wish_that_the_ledger_could_not_take_goes_with_the_next_try() -> None:
    life = unwritten().send(DeleteFailed(failure())).send(DUE, after=1.0)
    assert life.invoked == ["delete"]
    assert life.recorded is not None
    assert life.recorded.wish


def test_a_wish_that_the_ledger_could_not_take_goes_with_the_next_delete_call() -> None:
    life = unwritten()
    deleted = life.delete()
    assert life.recorded is not None
    assert not deleted.done
    life.send(Recorded(4))
    assert deleted.result() == b""


def test_a_ledger_that_fails_does_not_hasten_deletes() -> None:
    """A failed delete waits for its time, whatever else fails or is confirmed meanwhile."""
    life = unwritten().send(DeleteFailed(failure(FailureKind.LATER, after=60.0)))
    for event in (RecordFailed(3, FULL), Recorded(3)):
        life.send(event)
        assert (life.invoked, life.timer_left_alone) == ([], True)


# ---- DELETING: again -------------------------------------------------------------------------------------------


def test_a_second_delete_of_a_durable_wish_is_confirmed_at_once() -> None:
    life = deleting()
    assert life.delete().result() == b""
    assert life.recorded is None


def test_a_second_delete_waits_for_the_ledger_with_the_first() -> None:
    life = Life(a_task(Stage.LIVE))
    first, second = life.delete(), life.delete()
    assert life.recorded is None
    assert not second.done
    life.send(Recorded(3))
    assert first.result() == second.result() == b""


def test_a_job_that_is_being_given_up_can_be_deleted_by_its_owner_too() -> None:
    life = deleting(wish=False, verdict=VERDICT)
    deleted = life.delete()
    assert life.recorded is not None
    assert life.recorded.wish
    life.send(Recorded(3))
    assert deleted.result() == b""


@pytest.mark.parametrize("stage", [Stage.DELETING, Stage.DELETED])
def test_a_delete_that_nobody_waits_for_changes_nothing_when_it_is_known(stage: Stage) -> None:
    assert Life(a_task(stage)).send(DeleteAsked()).effects == []


@pytest.mark.parametrize("stage", [Stage.DELETING, Stage.DELETED])
def test_a_create_that_comes_too_late_has_to_be_sent_again(stage: Stage) -> None:
    assert status_of(Life(a_task(stage)).create()) is Status.ABORTED


# ---- DELETING: outcomes ----------------------------------------------------------------------------------------


def test_a_job_that_is_gone_was_aborted_and_stays_readable_for_the_retention() -> None:
    life = deleting(calling=True).send(Gone())
    assert (life.stage, life.published) == (Stage.DELETED, [(Phase.ABORTED, "The task was deleted.")])
    assert life.timer == life.task.policy.retention


def test_the_ledger_knows_the_answer_of_a_deleted_task() -> None:
    """After a restart it must not be said to be running again."""
    life = deleting(calling=True).send(Gone())
    assert life.recorded is not None
    assert (life.recorded.phase, Resource.parse(life.recorded.resource).phase) == (Phase.ABORTED, Phase.ABORTED)


def test_deleting_what_has_finished_does_not_change_its_answer() -> None:
    life = deleting(calling=True, phase=Phase.SUCCEEDED, resource=resource(Phase.SUCCEEDED)).send(Gone())
    assert (life.stage, life.published) == (Stage.DELETED, [])
    assert life.recorded is not None
    assert life.recorded.resource == resource(Phase.SUCCEEDED)


def test_a_delete_is_tried_again_for_ever_with_growing_pauses() -> None:
    life = deleting(Policy(delete_minimum=1, delete_maximum=10), calling=True)
    pauses = []
    for _ in range(MAX_COUNTED_FAILURES * 20):
        life.send(DeleteFailed(failure()))
        pauses.append(life.timer)
        assert life.send(DUE).invoked == ["delete"]
    assert pauses[:6] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert set(pauses[6:]) == {10.0}


def test_a_delete_is_not_tried_sooner_than_the_external_system_wants() -> None:
    assert deleting(calling=True).send(DeleteFailed(failure(FailureKind.LATER, after=77.0))).timer == 77.0


def test_a_delete_that_was_refused_is_tried_as_soon_as_the_external_system_answers_others() -> None:
    life = deleting(calling=True).send(DeleteFailed(failure(FailureKind.REFUSED, after=20.0)))
    assert life.send(Answering()).timer == 0.0
    assert life.send(DUE).invoked == ["delete"]
    assert life.send(Answering()).effects == [], "one is under way"


def test_a_job_that_was_given_up_gets_its_verdict_when_it_is_gone() -> None:
    life = deleting(calling=True, wish=False, verdict=VERDICT).send(Gone())
    assert (life.stage, life.published) == (Stage.FINISHED, [(Phase.FAILED, "the job can no longer be followed")])
    assert life.recorded is not None
    assert life.recorded.resource == VERDICT


def test_a_job_that_was_given_up_and_then_deleted_gets_its_verdict_and_is_deleted() -> None:
    life = deleting(calling=True, verdict=VERDICT).send(Gone())
    assert (life.stage, life.published) == (Stage.DELETED, [(Phase.FAILED, "the job can no longer be followed")])


def test_the_verdict_comes_after_one_try_to_delete_even_if_that_fails_and_outlives_a_crash() -> None:
    life = deleting(calling=True, wish=False, verdict=VERDICT).send(DeleteFailed(failure()))
    assert (life.stage, life.published) == (Stage.DELETING, [(Phase.FAILED, "the job can no longer be followed")])
    assert life.recorded is not None
    assert (life.recorded.phase, life.recorded.resource) == (Phase.FAILED, VERDICT)
    life.send(Recorded(3))
    assert life.invoked == [], "the confirmation of the verdict is no reason to try again at once"
    assert life.send(DUE).send(DeleteFailed(failure())).published == []


# ---- reads -----------------------------------------------------------------------------------------------------


def test_a_read_while_deleting_is_answered_although_nothing_was_ever_published() -> None:
    life = deleting(phase=Phase.UNDEFINED, resource=b"")
    assert Resource.parse(life.read().result()).message == "The task is being deleted."
    assert [phase for phase, _ in life.published] == [Phase.RUNNING]


@pytest.mark.parametrize("stage", OVER)
def test_a_read_of_what_is_over_gets_its_last_answer(stage: Stage) -> None:
    life = Life(a_task(stage))
    assert life.read().result() == life.task.resource
    assert life.published == []


def test_a_read_while_a_finished_job_is_deleted_does_not_bring_it_back_to_life() -> None:
    life = deleting(phase=Phase.SUCCEEDED, resource=resource(Phase.SUCCEEDED))
    assert life.read().result() == resource(Phase.SUCCEEDED)
    assert life.published == []


# ---- FINISHED, DELETED, UNKNOWN: deletes -----------------------------------------------------------------------


def test_deleting_a_finished_task_frees_its_key_and_does_not_touch_what_it_has_made() -> None:
    life = Life(a_task(Stage.FINISHED))
    deleted = life.delete()
    assert (life.stage, life.task.freed, life.timer) == (Stage.DELETED, True, life.task.policy.retention)
    life.send(Recorded(3))
    assert (deleted.result(), life.invoked) == (b"", [])


def test_deleting_a_finished_task_reaches_the_connector_whose_author_wants_that() -> None:
    life = Life(a_task(Stage.FINISHED, Policy(delete_after_finish=True)))
    deleted = life.delete()
    assert (life.stage, life.timer) == (Stage.DELETING, None)
    life.send(Recorded(3))
    assert (deleted.result(), life.invoked) == (b"", ["delete"])


def test_deleting_a_deleted_task_is_confirmed_at_once() -> None:
    assert Life(a_task(Stage.DELETED)).delete().result() == b""


def test_deleting_a_deleted_task_waits_for_a_ledger_that_is_behind() -> None:
    life = deleting(calling=True).send(Gone())
    deleted = life.delete()
    assert not deleted.done
    life.send(Recorded(3))
    assert deleted.result() == b""


def test_an_unknown_task_stays_until_somebody_has_looked_after_it() -> None:
    life = Life(a_task(Stage.UNKNOWN))
    deleted = life.delete()
    assert (life.stage, life.invoked, life.timer) == (Stage.DELETED, [], life.task.policy.retention)
    life.send(Recorded(2))
    assert deleted.result() == b""


# ---- FINISHED, DELETED, UNKNOWN: the ledger and the retention --------------------------------------------------


@pytest.mark.parametrize("stage", [Stage.FINISHED, Stage.DELETED])
def test_what_is_over_is_forgotten_after_its_retention(stage: Stage) -> None:
    assert Life(a_task(stage)).send(DUE).over


@pytest.mark.parametrize("stage", OVER)
def test_how_it_ended_is_sent_to_the_ledger_until_it_is_taken(stage: Stage) -> None:
    life = Life(a_task(stage, durable=0))
    for failures in range(3):
        life.send(RecordFailed(life.task.seq, FULL))
        assert (life.timer, life.recorded) == (LEDGER_RETRY, None), failures
        life.send(DUE, after=LEDGER_RETRY)
        assert not life.over
        assert life.recorded is not None
    life.send(Recorded(life.task.seq))
    assert life.task.durable == life.task.seq


@pytest.mark.parametrize("stage", [Stage.FINISHED, Stage.DELETED])
def test_the_retention_goes_on_after_the_ledger_was_tried_again(stage: Stage) -> None:
    life = Life(a_task(stage)).send(RecordFailed(2, FULL)).send(DUE, after=LEDGER_RETRY)
    assert life.timer == life.task.policy.retention
    assert life.send(DUE).over


def test_a_delete_of_a_task_whose_end_the_ledger_could_not_take_is_not_left_without_an_answer() -> None:
    life = deleting(calling=True).send(Gone()).send(RecordFailed(3, FULL))
    deleted = life.delete()
    life.send(DUE, after=LEDGER_RETRY).send(Recorded(4))
    assert deleted.result() == b""


def test_a_finished_task_that_is_deleted_while_the_ledger_fails_keeps_its_retention() -> None:
    """The timer that was to try the ledger again must not be taken for the end of the retention."""
    life = Life(a_task(Stage.FINISHED)).send(RecordFailed(2, FULL))
    life.delete()
    assert life.timer == life.task.policy.retention


def test_who_deletes_a_finished_task_is_refused_when_the_ledger_cannot_take_it() -> None:
    life = Life(a_task(Stage.FINISHED))
    deleted = life.delete()
    life.send(RecordFailed(3, FULL))
    assert status_of(deleted) is Status.UNAVAILABLE


@pytest.mark.parametrize("stage", OVER)
def test_an_old_confirmation_answers_nobody(stage: Stage) -> None:
    life = Life(a_task(stage, seq=9, durable=0)).send(Recorded(8))
    assert (life.task.durable, life.effects) == (8, [])
