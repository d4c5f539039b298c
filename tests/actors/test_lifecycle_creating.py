"""RESERVED and CREATING: from the intent to an owned job, and all that can go wrong in between."""

from __future__ import annotations

import math

import pytest

from flytower.actors.events import (
    Created,
    CreateFailed,
    DeleteAsked,
    Recorded,
    RecordFailed,
    Superseded,
    Wanted,
)
from flytower.actors.failures import FailureKind
from flytower.actors.steps import LEDGER_RETRY, RESOLUTION
from flytower.actors.task import Stage
from flytower.connectors.policy import Policy, Recovery
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError, Status
from tests.actors.lifecycle_steps import (
    DUE,
    FIND,
    META,
    NEITHER,
    NOW,
    RAISED,
    REFERENCE,
    TOKEN,
    Life,
    a_task,
    creating,
    failure,
    status_of,
)
from tests.actors.lifecycle_world import World

FULL = "the disk is full"


def reserved(policy: Policy | None = None, **fields: object) -> Life:
    return Life(a_task(Stage.RESERVED, policy, **fields))


# ---- RESERVED -------------------------------------------------------------------------------------------------


def test_create_is_called_once_the_intent_is_durable() -> None:
    life = reserved()
    life.create()
    assert life.invoked == []
    life.send(Recorded(1))
    assert (life.stage, life.invoked) == (Stage.CREATING, ["create"])


def test_an_intent_that_the_ledger_cannot_take_is_refused_and_leaves_nothing_behind() -> None:
    """Not even a wish that is on its way: it would come back as a task that nobody has asked for."""
    life = reserved()
    created, deleted = life.create(), life.delete()
    life.send(RecordFailed(1, FULL))
    assert life.over
    assert status_of(created) is status_of(deleted) is Status.UNAVAILABLE
    with pytest.raises(RpcError, match=FULL):
        created.result()


def test_a_task_that_is_deleted_before_its_intent_is_durable_is_never_created() -> None:
    life = reserved()
    created, deleted = life.create(), life.delete()
    life.send(Recorded(1))
    assert (life.stage, life.invoked) == (Stage.RESERVED, [])
    life.send(Recorded(2))
    assert (life.stage, life.invoked) == (Stage.DELETED, [])
    assert life.published == [(Phase.ABORTED, "The task was deleted before its job was created.")]
    assert status_of(created) is Status.ABORTED
    assert not deleted.done
    life.send(Recorded(3))
    assert deleted.result() == b""


def test_nobody_gets_a_provisional_answer_before_the_intent_is_durable() -> None:
    life = reserved()
    created = life.create(answer_by=NOW + 8)
    life.send(DUE, after=9.0)
    assert not created.done
    life.send(Recorded(1))
    assert life.timer == RESOLUTION
    life.send(DUE)
    assert created.result() == REFERENCE


@pytest.mark.parametrize("stage", [Stage.RESERVED, Stage.CREATING])
@pytest.mark.parametrize(("read", "wished"), [(False, True), (True, False)])
def test_an_attempt_that_a_later_one_replaces_is_deleted_unless_somebody_has_read_it(
    stage: Stage,
    read: bool,  # noqa: FBT001 - a table
    wished: bool,  # noqa: FBT001 - a table
) -> None:
    life = Life(a_task(stage, place="p", unread=True))
    if read:
        life.send(Wanted())
        assert life.recorded is not None
        assert not life.recorded.unread, "a server that begins anew has to know it"
    life.send(Superseded())
    assert life.stage is stage
    assert life.task.wish is wished
    assert life.recorded is not None
    assert life.recorded.wish is wished
    assert life.recorded.place == ("p" if wished else "")


@pytest.mark.parametrize("stage", [Stage.RESERVED, Stage.CREATING, Stage.LIVE])
def test_only_the_first_read_is_written_down(stage: Stage) -> None:
    life = Life(a_task(stage, place="p", unread=True)).send(Wanted())
    assert life.recorded is not None
    assert life.send(Wanted()).effects == []


def test_being_replaced_twice_is_written_down_once() -> None:
    assert creating(wish=True).send(Superseded()).effects == []


# ---- CREATING: joining, waiting, provisional answers -----------------------------------------------------------


@pytest.mark.parametrize("stage", [Stage.RESERVED, Stage.CREATING, Stage.LIVE, Stage.FINISHED, Stage.UNKNOWN])
def test_the_same_key_with_other_parameters_is_refused(stage: Stage) -> None:
    life = Life(a_task(stage, fingerprint="one"))
    assert status_of(life.create(fingerprint="other")) is Status.FAILED_PRECONDITION


@pytest.mark.parametrize("fingerprints", [("one", "one"), ("", "one"), ("one", "")])
@pytest.mark.parametrize("stage", [Stage.LIVE, Stage.FINISHED, Stage.UNKNOWN])
def test_a_repeated_create_gets_the_same_answer_byte_for_byte(stage: Stage, fingerprints: tuple[str, str]) -> None:
    """A fingerprint that is not known agrees with all."""
    life = Life(a_task(stage, fingerprint=fingerprints[0]))
    assert life.create(fingerprint=fingerprints[1]).result() == life.task.name


def test_all_who_join_a_create_get_the_meta_once_it_is_durable_and_nobody_before() -> None:
    life = creating()
    first = life.create()
    life.send(Created(META))
    second = life.create()  # between the connector's answer and the ledger's
    assert life.names == []
    assert not first.done
    assert not second.done
    life.send(Recorded(2))
    assert first.result() == second.result() == META
    assert (life.stage, life.invoked, life.timer) == (Stage.LIVE, ["get"], None)


def test_the_task_answers_to_its_meta_from_the_moment_that_it_is_known() -> None:
    life = creating().send(Created(META))
    assert life.names == [META]
    assert life.recorded is not None
    assert (life.recorded.meta, life.recorded.name, life.recorded.request) == (META, META, b"")


def test_a_meta_that_another_task_answers_to_is_replaced_by_a_reference() -> None:
    life = creating()
    created = life.create()
    life.send(Created(META, unique=False)).send(Recorded(2))
    assert created.result() == REFERENCE
    assert life.task.meta == META


def test_a_slow_create_is_answered_with_a_reference_before_the_deadline_and_reads_as_initializing() -> None:
    life = creating()
    hurried, patient = life.create(answer_by=NOW + 8), life.create()
    assert life.timer == 8.0
    life.send(DUE, after=8.0)
    assert hurried.result() == patient.result() == REFERENCE
    assert life.names == [REFERENCE]
    assert life.timer is None
    assert [phase for phase, _ in life.published] == [Phase.INITIALIZING]
    assert life.recorded is not None
    assert life.recorded.name == REFERENCE


def test_what_was_answered_provisionally_is_answered_for_ever() -> None:
    life = creating()
    first = life.create(answer_by=NOW + 8)
    life.send(DUE, after=8.0)
    life.send(Recorded(2)).send(Created(META)).send(Recorded(3))
    assert life.stage is Stage.LIVE
    assert life.task.meta == META
    assert first.result() == life.create().result() == REFERENCE


def test_the_timer_is_set_to_the_first_deadline_of_all_who_wait() -> None:
    life = creating()
    life.create(answer_by=NOW + 8)
    life.create(answer_by=NOW + 2)
    assert life.timer == 2.0
    life.create(answer_by=NOW + 5)
    assert life.timer == 2.0


def test_a_timer_that_comes_early_answers_nobody_and_is_set_again() -> None:
    life = creating()
    created = life.create(answer_by=NOW + 8)
    life.send(DUE, after=1.0)
    assert (created.done, life.timer) == (False, 7.0)


def test_a_job_that_is_there_but_not_in_the_ledger_is_answered_with_a_reference() -> None:
    """The connector's own meta must not be given out before it is durable: after a crash nobody would know it."""
    life = creating()
    created = life.create(answer_by=NOW + 8)
    life.send(Created(META)).send(DUE, after=8.0)
    assert created.result() == REFERENCE
    life.send(Recorded(3))
    assert life.stage is Stage.LIVE
    assert life.create().result() == REFERENCE


def test_a_read_of_a_reservation_is_answered_by_the_first_publication() -> None:
    life = creating()
    read = life.read()
    life.create(answer_by=NOW + 8)
    life.send(DUE, after=8.0)
    assert b"being created" in read.result()


# ---- CREATING: the ledger --------------------------------------------------------------------------------------


def test_a_meta_that_the_ledger_cannot_take_is_held_and_sent_again() -> None:
    life = creating()
    created = life.create()
    life.send(Created(META)).send(RecordFailed(2, FULL))
    assert (created.done, life.timer) == (False, LEDGER_RETRY)
    life.send(DUE, after=LEDGER_RETRY)
    assert life.recorded is not None
    assert life.recorded.meta == META
    life.send(Recorded(3))
    assert created.result() == META


def test_a_retry_that_a_later_change_has_made_needless_is_not_made() -> None:
    life = creating().send(Created(META)).send(RecordFailed(2, FULL))
    life.send(DeleteAsked()).send(Recorded(3))
    assert (life.stage, life.task.retry_at, life.timer) == (Stage.DELETING, 0.0, None)


def test_a_confirmation_of_an_older_change_confirms_nothing_newer() -> None:
    life = creating()
    deleted = life.delete()
    life.send(Recorded(1))
    assert not deleted.done
    life.send(Recorded(2))
    assert deleted.result() == b""
    assert life.stage is Stage.CREATING


def test_a_delete_that_the_ledger_cannot_take_is_refused_while_the_create_goes_on() -> None:
    life = creating()
    deleted = life.delete()
    life.send(RecordFailed(2, FULL))
    assert (life.stage, status_of(deleted), life.task.wish) == (Stage.CREATING, Status.UNAVAILABLE, True)


# ---- CREATING: deleted meanwhile -------------------------------------------------------------------------------


def test_a_job_that_was_deleted_while_it_was_created_is_deleted_as_soon_as_it_is_known() -> None:
    life = creating()
    created, deleted = life.create(), life.delete()
    life.send(Recorded(2))
    assert deleted.result() == b""
    life.send(Created(META)).send(Recorded(3))
    assert (life.stage, life.invoked) == (Stage.DELETING, ["delete"])
    assert created.result() == META


def test_a_create_that_raised_after_the_delete_has_left_nothing_to_delete() -> None:
    life = creating()
    created, deleted = life.create(), life.delete()
    life.send(RAISED)
    assert (life.stage, status_of(created), life.timer) == (Stage.DELETED, Status.ABORTED, life.task.policy.retention)
    assert not deleted.done, "the wish is not durable yet"
    life.send(Recorded(3))
    assert deleted.result() == b""


# ---- CREATING: create raised -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FailureKind.TRANSIENT, Status.INTERNAL),
        (FailureKind.PERMANENT, Status.INTERNAL),
        (FailureKind.LATER, Status.INTERNAL),
        (FailureKind.OVERLOAD, Status.RESOURCE_EXHAUSTED),
        (FailureKind.SPARED, Status.RESOURCE_EXHAUSTED),
    ],
)
@pytest.mark.parametrize("policy", [TOKEN, FIND, NEITHER])
def test_a_first_create_that_raises_is_reported_and_the_key_is_as_if_it_had_never_been(
    policy: Policy, kind: FailureKind, status: Status
) -> None:
    life = creating(policy)
    created = life.create()
    life.send(CreateFailed(failure(kind, after=policy.create_timeout + 1)))
    assert (life.over, status_of(created)) == (True, status)


def test_a_create_that_the_external_system_does_not_want_yet_waits_and_its_caller_gets_a_provisional_answer() -> None:
    life = creating()
    created = life.create(answer_by=NOW + 8)
    life.send(CreateFailed(failure(FailureKind.SPARED, after=30.0)))
    assert (life.stage, life.timer) == (Stage.CREATING, 8.0)
    life.send(DUE, after=8.0)
    assert (created.result(), life.invoked, life.timer) == (REFERENCE, [], 22.0)
    assert life.send(DUE, after=22.0).invoked == ["create"]
    life.send(CreateFailed(failure(FailureKind.SPARED, after=5.0)))
    assert life.send(DUE, after=5.0).invoked == ["create"], "again, if it has been told so again"
    assert life.send(RAISED).stage is Stage.FINISHED, "this was its first real attempt"


def test_a_wait_that_rounding_makes_longer_than_a_create_may_take_is_none_too_long() -> None:
    """(30.7 + 20.0) - 30.7 is more than 20.0."""
    life = creating()
    life.create()
    life.send(
        CreateFailed(failure(FailureKind.SPARED, after=math.nextafter(life.task.policy.create_timeout, math.inf)))
    )
    assert (life.over, life.stage) == (False, Stage.CREATING)


def test_one_that_is_deleted_meanwhile_is_never_made() -> None:
    life = creating()
    life.create()
    life.send(CreateFailed(failure(FailureKind.SPARED, after=30.0)))
    life.delete()
    life.send(DUE, after=30.0)
    assert (life.stage, life.invoked, life.timer) == (Stage.DELETED, [], life.task.policy.retention)


def test_a_create_that_raises_after_a_provisional_answer_shows_in_the_status() -> None:
    life = creating()
    life.create(answer_by=NOW + 8)
    life.send(DUE, after=8.0).send(RAISED)
    assert life.stage is Stage.FINISHED
    assert life.published == [(Phase.RETRYABLE_FAILED, "The job could not be created: HTTP 503")]
    assert life.timer == life.task.policy.retention


# ---- the same with an external system, a ledger and crashes -----------------------------------------------------


@pytest.mark.parametrize("recovery", [Recovery.TOKEN, Recovery.FIND])
def test_a_create_that_takes_effect_after_it_was_given_up_does_not_make_a_second_job(recovery: Recovery) -> None:
    world = World(recovery)
    world.create()
    world.flush()
    world.lose(world.calls()[0], "late")
    world.settle()
    assert [deed[0] for deed in world.external.deeds] == ["create"]


def test_a_delete_during_a_create_that_fails_is_confirmed_only_when_a_crash_cannot_undo_it() -> None:
    world = World(Recovery.TOKEN)
    world.create()
    world.flush()
    [actor] = world.actors.values()
    deleted = world.delete_actor(actor)
    world.fail(actor, FailureKind.TRANSIENT)
    assert not deleted.done
    world.flush()
    assert deleted.result() == b""
    world.crash_server("never")
    world.settle()
    assert world.external.jobs == {}
