"""LIVE: a job that is polled, answers for itself when it can, and keeps its last answer when it cannot."""

from __future__ import annotations

import pytest

from flytower.actors.events import (
    Answering,
    Draining,
    Due,
    PollFailed,
    Recorded,
    RecordFailed,
    Superseded,
    Wanted,
)
from flytower.actors.failures import NOT_MADE, Failure, FailureKind
from flytower.actors.task import TERMINAL, Stage
from flytower.connectors.policy import Policy
from flytower.protocol.generated.flyteidl.admin import Resource
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.runtime.entity import Wake
from tests.actors.lifecycle_steps import (
    META,
    NOW,
    RUNNING,
    Life,
    Reads,
    a_task,
    failure,
    polled,
    resource,
)

DUE = Due(Reads(NOW - 1))


def live(policy: Policy | None = None, **fields: object) -> Life:
    return Life(a_task(Stage.LIVE, policy, **fields))


def polling(policy: Policy | None = None, **fields: object) -> Life:
    return live(policy, calling=True, **fields)


# ---- polling ---------------------------------------------------------------------------------------------------


def test_a_poll_that_is_due_is_made() -> None:
    life = live().send(DUE)
    assert (life.invoked, life.task.polled_at, life.task.calling) == (["get"], NOW, True)


def test_a_poll_under_way_is_not_doubled() -> None:
    assert polling().send(DUE).effects == []


def test_a_poll_that_nobody_has_asked_for_waits() -> None:
    life = live(polled_at=NOW - 10).send(Due(Reads(NOW - 20)))
    assert (life.invoked, life.timer) == ([], 20.0)


def test_a_task_that_nobody_reads_sleeps_and_the_next_read_wakes_it() -> None:
    life = live(polled_at=NOW - 10).send(Due(Reads(NOW - 3600)))
    assert (life.hibernates, life.timer) == (True, None)
    assert life.send(Wanted()).timer == 0.0
    assert life.send(Due(Reads(NOW))).invoked == ["get"]


@pytest.mark.parametrize("calling", [False, True])
def test_a_read_before_anything_is_published_is_answered_by_the_first_poll_which_comes_at_once(
    calling: bool,  # noqa: FBT001 - a table
) -> None:
    life = live(phase=Phase.UNDEFINED, resource=b"", calling=calling)
    read = life.read()
    assert life.timer_left_alone if calling else life.timer == 0.0
    if not calling:
        life.send(Due(Reads(NOW)))
    assert not read.done
    life.send(polled())
    assert read.result() == RUNNING


def test_a_reader_is_answered_by_a_poll_that_brings_nothing_new() -> None:
    """It came right after a restart, before the answer in the ledger was published again."""
    life = live(calling=True)
    read = life.read()
    life.send(polled())
    assert read.result() == RUNNING


def test_news_are_published_and_the_next_poll_comes_soon() -> None:
    life = polling(interval=20.0).send(polled(message="nearly there"))
    assert life.published == [(Phase.RUNNING, "nearly there")]
    assert life.timer == life.task.policy.poll_minimum


def test_without_news_nothing_is_published_and_polls_get_rarer_up_to_the_maximum() -> None:
    life = live(Policy(poll_minimum=1, poll_maximum=5, poll_factor=2))
    pauses = []
    for _ in range(4):
        life.send(DUE).send(polled())
        assert life.published == []
        pauses.append(life.timer)
    assert pauses == [2.0, 4.0, 5.0, 5.0]


def test_ordinary_polls_do_not_trouble_the_ledger() -> None:
    assert polling().send(polled(message="news")).recorded is None


@pytest.mark.parametrize("phase", sorted(TERMINAL))
def test_a_terminal_phase_ends_the_polls_and_goes_to_the_ledger(phase: Phase) -> None:
    life = polling().send(polled(phase, "over"))
    assert (life.stage, life.published) == (Stage.FINISHED, [(phase, "over")])
    assert life.recorded is not None
    assert (life.recorded.phase, life.recorded.resource) == (phase, resource(phase, "over"))
    assert life.timer == life.task.policy.retention


# ---- polls that fail -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FailureKind.TRANSIENT, FailureKind.TIMEOUT, FailureKind.LATER, *NOT_MADE])
def test_while_polls_fail_the_last_answer_stands_with_its_age_and_the_reason(kind: FailureKind) -> None:
    life = polling(answered_at=NOW - 42).send(PollFailed(failure(kind)))
    assert life.published == [(Phase.RUNNING, "busy (last answer 42 s ago: HTTP 503)")]
    assert life.stage is Stage.LIVE


def test_notes_do_not_pile_up_and_go_with_the_first_good_poll() -> None:
    life = polling(answered_at=NOW)
    life.send(PollFailed(failure()), after=1.0).send(DUE).send(PollFailed(failure()), after=1.0)
    assert life.published == [(Phase.RUNNING, "busy (last answer 2 s ago: HTTP 503)")]
    life.send(DUE).send(polled())
    assert life.published == [(Phase.RUNNING, "busy")]
    assert life.task.failures == 0


@pytest.mark.parametrize(("key", "phase"), [("k", Phase.INITIALIZING), ("", Phase.RUNNING)])
def test_a_job_that_never_answered_is_said_to_be_starting_or_running_if_it_was_adopted(key: str, phase: Phase) -> None:
    life = polling(key=key, phase=Phase.UNDEFINED, resource=b"").send(PollFailed(failure()))
    assert life.published == [(phase, "No status from the external system yet: HTTP 503")]


def test_the_external_system_is_not_asked_sooner_than_it_wants() -> None:
    assert polling().send(PollFailed(failure(FailureKind.LATER, after=77.0))).timer == 77.0


@pytest.mark.parametrize("kind", [FailureKind.SPARED, FailureKind.REFUSED])
def test_a_poll_that_was_not_made_comes_when_it_may_and_its_backoff_stays(kind: FailureKind) -> None:
    life = polling(interval=8.0, answered_at=NOW - 9).send(PollFailed(failure(kind, after=3.0)))
    assert (life.timer, life.task.interval, life.task.failures) == (3.0, 8.0, 1)
    life.send(Due(Reads(NOW - 5)), after=3.0)
    assert life.invoked == ["get"], "who has read since the last real poll still waits for one"


def test_while_polls_are_refused_the_reason_of_the_last_that_was_made_stands() -> None:
    life = polling(answered_at=NOW - 9).send(PollFailed(failure()))
    life.send(DUE).send(PollFailed(Failure(FailureKind.REFUSED, "it does not answer", 20.0)))
    assert life.published == [(Phase.RUNNING, "busy (last answer 9 s ago: HTTP 503; it does not answer)")]
    life.send(DUE).send(polled()).send(DUE).send(PollFailed(Failure(FailureKind.REFUSED, "not now", 20.0)))
    assert life.published == [(Phase.RUNNING, "busy (last answer 0 s ago: not now)")]


def test_a_poll_without_a_worker_comes_ever_later() -> None:
    assert polling(interval=4.0).send(PollFailed(failure(FailureKind.OVERLOAD))).timer == 6.0


def test_a_task_whose_poll_was_refused_polls_as_soon_as_the_external_system_answers_others() -> None:
    assert live().send(Answering()).timer == 0.0
    assert live(calling=True).send(Answering()).effects == []


def test_a_poll_that_hung_has_used_up_its_part_of_the_pause() -> None:
    life = polling(interval=8.0, polled_at=NOW).send(PollFailed(failure(FailureKind.TIMEOUT)), after=10.0)
    assert life.timer == 2.0
    assert polling(interval=1.0, polled_at=NOW).send(PollFailed(failure(FailureKind.TIMEOUT)), after=10.0).timer == 1.0


def test_a_job_is_given_up_by_its_age_also_while_the_circuit_keeps_it_from_being_polled() -> None:
    life = polling(Policy(failure_age=60)).send(PollFailed(failure()))
    life.send(DUE).send(PollFailed(failure(FailureKind.REFUSED, after=20.0)), after=60.0)
    assert life.stage is Stage.DELETING


def test_polls_that_fail_get_rarer_too() -> None:
    life = polling(interval=4.0, polled_at=NOW).send(PollFailed(failure()))
    assert life.timer == 6.0


@pytest.mark.parametrize(
    ("policy", "failures", "seconds"),
    [
        (Policy(failure_age=60), 2, 60.0),
        (Policy(failure_age=None, failure_count=3), 3, 0.0),
        (Policy(failure_age=3600, failure_count=2), 2, 1.0),
    ],
)
def test_only_the_policys_limit_fails_a_job_that_cannot_be_polled_and_it_is_deleted_first(
    policy: Policy, failures: int, seconds: float
) -> None:
    life = polling(policy)
    for _ in range(failures - 1):
        life.send(PollFailed(failure()))
        assert life.stage is Stage.LIVE
        life.send(DUE)
    life.send(PollFailed(failure(FailureKind.TIMEOUT)), after=seconds)
    assert (life.stage, life.published, life.timer) == (Stage.DELETING, [], None)
    verdict = Resource.parse(life.task.verdict)
    assert verdict.phase is Phase.RETRYABLE_FAILED
    assert verdict.message == f"No status of the job for {seconds:.0f} s ({failures} polls): HTTP 503"
    assert life.send(Recorded(3)).invoked == ["delete"]


@pytest.mark.parametrize("policy", [Policy(failure_age=None), Policy(failure_age=10, failure_count=1)])
@pytest.mark.parametrize("kind", [FailureKind.LATER, FailureKind.SPARED, FailureKind.OVERLOAD])
def test_a_job_is_not_failed_because_polls_were_put_off(kind: FailureKind, policy: Policy) -> None:
    life = polling(policy)
    for _ in range(50):
        life.send(PollFailed(failure(kind)), after=100.0).send(DUE)
    assert life.stage is Stage.LIVE


def test_a_job_that_may_fail_for_ever_stays_alive_without_a_limit() -> None:
    life = polling(Policy(failure_age=None))
    for _ in range(100):
        life.send(PollFailed(failure()), after=3600.0).send(DUE)
    assert life.stage is Stage.LIVE


def test_a_job_that_no_poll_can_follow_any_more_is_failed_after_a_delete() -> None:
    life = polling().send(PollFailed(failure(FailureKind.PERMANENT)))
    assert (life.stage, life.published) == (Stage.DELETING, [])
    assert Resource.parse(life.task.verdict).phase is Phase.FAILED
    assert life.task.wish is False


def test_a_fresh_job_may_be_invisible_for_a_while() -> None:
    life = polling(live_at=NOW).send(PollFailed(failure(FailureKind.GONE)), after=29.0)
    assert life.stage is Stage.LIVE
    life.send(DUE).send(PollFailed(failure(FailureKind.GONE)), after=1.0)
    assert (life.stage, life.task.phase) == (Stage.FINISHED, Phase.RETRYABLE_FAILED)
    assert life.published == [(Phase.RETRYABLE_FAILED, "The external system no longer knows the job: HTTP 503")]


# ---- deleting, superseding, draining ---------------------------------------------------------------------------


def test_a_delete_stops_the_poll_under_way_and_begins_when_the_wish_is_durable() -> None:
    life = polling()
    deleted = life.delete()
    assert (life.stage, life.cancelled, life.timer, life.invoked) == (Stage.DELETING, ["get"], None, [])
    assert life.recorded is not None
    assert life.recorded.wish
    assert not deleted.done
    life.send(Recorded(3))
    assert (deleted.result(), life.invoked) == (b"", ["delete"])


@pytest.mark.parametrize("read", [False, True])
def test_a_live_attempt_that_a_later_one_replaces_is_deleted_unless_somebody_has_read_it(
    read: bool,  # noqa: FBT001 - a table
) -> None:
    life = polling(place="p", unread=not read).send(Superseded())
    if read:
        assert (life.stage, life.cancelled, life.task.wish) == (Stage.LIVE, [], False)
        assert life.recorded is not None
        assert life.recorded.place == "", "it is its reader's from now on"
        assert life.send(Superseded()).effects == []
    else:
        assert (life.stage, life.cancelled, life.timer) == (Stage.DELETING, ["get"], None)
        assert life.recorded is not None
        assert life.recorded.wish


def test_a_server_that_stops_gives_up_a_poll_and_deletes_nothing() -> None:
    life = polling().send(Draining())
    assert (life.stage, life.cancelled, life.task.calling, life.invoked) == (Stage.LIVE, ["get"], False, [])


# ---- the ledger ------------------------------------------------------------------------------------------------


def test_an_adoption_that_the_ledger_cannot_take_does_not_end_the_polls() -> None:
    life = polling(durable=1).send(RecordFailed(2, "the disk is full"))
    assert (life.stage, life.effects) == (Stage.LIVE, [])


def test_an_adoption_is_confirmed_in_silence() -> None:
    life = polling(durable=1).send(Recorded(2))
    assert (life.task.durable, life.effects) == (2, [])


# ---- found by reading ------------------------------------------------------------------------------------------


def test_a_repeated_create_of_a_live_job_disturbs_no_poll() -> None:
    life = polling()
    assert life.create().result() == META
    assert life.task.calling
    assert life.timer_left_alone


def test_the_next_poll_comes_just_before_the_next_read() -> None:
    life = polling(interval=4.0).send(polled(demand=Reads(NOW - 1, 30.0)))
    [wake] = [effect for effect in life.effects if isinstance(effect, Wake)]
    assert wake.delay == 27.0
    assert wake.delay + wake.spread < 29.0
