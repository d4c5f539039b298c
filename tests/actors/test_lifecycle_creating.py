"""RESERVED and CREATING: from the intent to an owned job, and all that can go wrong in between."""

from __future__ import annotations

import pytest

from flytower.actors.births import resume, row_of
from flytower.actors.creating import CREATE_ATTEMPTS, CREDENTIALS_SECONDS, FIND_RETRY, FIND_RETRY_MAXIMUM
from flytower.actors.events import (
    Created,
    CreateFailed,
    DeleteAsked,
    Due,
    Event,
    FindFailed,
    NotFound,
    Recorded,
    RecordFailed,
    Superseded,
    Wanted,
)
from flytower.actors.failures import NOT_MADE, FailureKind
from flytower.actors.steps import LEDGER_RETRY, RESOLUTION
from flytower.actors.task import Stage
from flytower.connectors.policy import Policy, Recovery
from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError, Status
from tests.actors.lifecycle_steps import META, NOBODY_READS, NOW, REFERENCE, Life, a_task, failure, status_of
from tests.actors.lifecycle_world import World

TOKEN, FIND, NEITHER = (Policy(recovery=recovery) for recovery in (Recovery.TOKEN, Recovery.FIND, Recovery.NEITHER))
DUE = Due(NOBODY_READS)
TIMEOUT = CreateFailed(failure(FailureKind.TIMEOUT))
RAISED = CreateFailed(failure(FailureKind.TRANSIENT))
FULL = "the disk is full"


def reserved(policy: Policy | None = None, **fields: object) -> Life:
    return Life(a_task(Stage.RESERVED, policy, **fields))


def creating(policy: Policy | None = None, **fields: object) -> Life:
    return Life(a_task(Stage.CREATING, policy, **fields))


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
    life.send(CreateFailed(failure(kind)))
    assert (life.over, status_of(created)) == (True, status)


@pytest.mark.parametrize("kind", NOT_MADE)
def test_a_create_that_is_repeated_since_find_knows_nothing_and_was_not_made_is_tried_again(kind: FailureKind) -> None:
    life = not_found_twice(creating(FIND).send(TIMEOUT))
    assert life.invoked == ["create"]
    life.send(CreateFailed(failure(kind, after=30.0)))
    assert (life.stage, life.timer) == (Stage.CREATING, 30.0)


def test_a_create_that_raises_after_a_provisional_answer_shows_in_the_status() -> None:
    life = creating()
    life.create(answer_by=NOW + 8)
    life.send(DUE, after=8.0).send(RAISED)
    assert life.stage is Stage.FINISHED
    assert life.published == [(Phase.RETRYABLE_FAILED, "The job could not be created: HTTP 503")]
    assert life.timer == life.task.policy.retention


# ---- CREATING: nobody knows ------------------------------------------------------------------------------------


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
