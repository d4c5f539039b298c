"""When a job is polled: often enough for who reads, seldom enough for who pays."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flytower.actors.answers import Published
from flytower.actors.events import Due, Hibernate, Invoke, Polled, Wanted
from flytower.actors.lifecycle import step
from flytower.actors.polling import EARLY_SHARE, LEAD_MAXIMUM, gave_up, longer, next_poll, pause
from flytower.actors.steps import JITTER
from flytower.actors.task import Stage, Task
from flytower.connectors.policy import Policy
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.runtime.entity import Sleep, Wake
from tests.actors.lifecycle_steps import NOW, RUNNING, Reads, a_task


class Followed:
    """A job that runs without news, and the moments at which it was polled, on a virtual clock.

    Args:
        policy: Its connector's.
        reads: When it is read, in order.
        poll_seconds: How long a poll takes.
        jitter: Which share of the random part of each pause is drawn.
    """

    def __init__(self, policy: Policy, reads: list[float], poll_seconds: float = 0.1, jitter: float = 0.5) -> None:
        self.polls: list[float] = []
        self.ages: list[float] = []  # of the answers that readers got
        self.slept: list[float] = []
        self._poll_seconds, self._jitter = poll_seconds, jitter
        self._task: Task = a_task(Stage.LIVE, policy, polled_at=0.0)
        self._entry = Published(0.0)
        self._timer = 0.0
        self._polled: float | None = None  # when the poll under way is over
        self._answered = 0.0
        for read in reads:
            self.run_until(read)
            self.ages.append(read - self._answered)
            if self._entry.touch(read):
                self._send(Wanted(), read)

    def run_until(self, until: float) -> None:
        while min(self._timer, self._polled or float("inf")) <= until:
            if self._polled is not None:
                now, self._polled = self._polled, None
                self._answered = now
                self._send(Polled(Phase.RUNNING, RUNNING, self._entry), now)
            else:
                now, self._timer = self._timer, float("inf")
                self._send(Due(self._entry), now)

    def _send(self, event: Due | Polled | Wanted, now: float) -> None:
        self._task, effects = step(self._task, event, now)
        for effect in effects:
            match effect:
                case Wake(delay, spread):
                    self._timer = now + max(delay + self._jitter * spread, 0.01)
                case Sleep():
                    self._timer = float("inf")
                case Hibernate():
                    self._entry.asleep = True
                    self.slept.append(now)
                case Invoke():
                    self.polls.append(now)
                    self._polled = now + self._poll_seconds

    def between(self, start: float, end: float) -> int:
        return sum(start <= poll < end for poll in self.polls)


def every(seconds: float, until: float, start: float = 1.0) -> list[float]:
    return [start + seconds * count for count in range(int((until - start) / seconds) + 1)]


JITTERS = [0.0, 0.5, 0.99]


@pytest.mark.parametrize("jitter", JITTERS)
@pytest.mark.parametrize("poll_seconds", [0.05, 1.0])
@pytest.mark.parametrize("rhythm", [27.0, 30.0, 31.0, 60.0])
def test_a_reader_with_a_rhythm_gets_answers_that_are_seconds_old(
    rhythm: float, poll_seconds: float, jitter: float
) -> None:
    """Flytepropeller reads every 30 s, or less often under load."""
    job = Followed(Policy(), every(rhythm, 3600.0), poll_seconds, jitter)
    settled = job.ages[10:]
    assert max(settled) <= 3.0
    assert job.between(1800.0, 3600.0) <= 1800.0 / rhythm + 1


@pytest.mark.parametrize("rhythm", [0.5, 3.0, 20.0])
def test_a_reader_faster_than_the_backoff_gets_answers_as_old_as_the_policy_allows(rhythm: float) -> None:
    job = Followed(Policy(), every(rhythm, 3600.0))
    assert max(job.ages[100:]) <= 30.0 * (1 + JITTER) + 3.0
    assert job.between(1800.0, 3600.0) <= 1800 / 30 + 1


def test_a_poll_that_takes_longer_than_its_lead_is_still_made_once_for_each_read() -> None:
    job = Followed(Policy(), every(30.0, 3600.0), poll_seconds=4.0)
    assert abs(job.between(1800.0, 3600.0) - 60) <= 1


@pytest.mark.parametrize("jitter", JITTERS)
@pytest.mark.parametrize("shift", [1.0, 7.0, 15.0])
def test_two_readers_do_not_double_the_polls(shift: float, jitter: float) -> None:
    alone = Followed(Policy(), every(30.0, 3600.0), jitter=jitter)
    both = Followed(Policy(), sorted(every(30.0, 3600.0) + every(30.0, 3600.0, 1.0 + shift)), jitter=jitter)
    assert both.between(1800.0, 3600.0) <= 1.5 * alone.between(1800.0, 3600.0)
    assert max(both.ages[10:]) <= 30.0 * (1 + JITTER) + 3.0


def test_a_thousand_readers_a_second_do_not_make_polls_more_frequent_than_the_backoff() -> None:
    job = Followed(Policy(poll_minimum=1, poll_maximum=30), every(0.01, 200.0))
    assert all(later - earlier >= 30.0 * (1 - EARLY_SHARE) for earlier, later in pairwise(job.polls[12:]))


def test_a_job_that_nobody_reads_is_polled_ever_more_rarely_and_then_not_at_all() -> None:
    job = Followed(Policy(), [])
    job.run_until(100_000.0)
    gaps = [later - earlier for earlier, later in pairwise(job.polls)]
    assert all(earlier <= later * 1.11 for earlier, later in pairwise(gaps[12:]))
    assert job.between(120.0, 3600.0) < 15
    assert job.between(3600.0, 100_000.0) == 0
    assert len(job.slept) == 1


def test_while_nobody_reads_polls_come_at_the_maximum_and_not_at_the_minimum() -> None:
    job = Followed(Policy(poll_minimum=1, poll_maximum=10), [])
    job.run_until(100.0)
    assert all(later - earlier >= 10.0 for earlier, later in pairwise(job.polls[1:]))


def test_a_read_wakes_a_sleeping_job_at_once() -> None:
    job = Followed(Policy(), [50_000.0])
    job.run_until(50_001.0)
    assert job.between(50_000.0, 50_001.0) == 1


def test_a_reader_that_stops_is_waited_for_half_a_period_and_then_forgotten() -> None:
    job = Followed(Policy(), every(30.0, 600.0))
    job.run_until(3600.0)
    assert job.between(600.0, 720.0) <= 5
    assert job.between(1800.0, 3600.0) <= 3


# ---- the functions --------------------------------------------------------------------------------------------

policies = st.builds(
    lambda low, width, factor: Policy(poll_minimum=low, poll_maximum=low * width, poll_factor=factor),
    st.floats(0.01, 1000),
    st.floats(1, 1000),
    st.floats(1, 10),
)


@given(policy=policies, interval=st.floats(0, 1e7))
def test_the_backoff_never_leaves_the_policys_bounds(policy: Policy, interval: float) -> None:
    after = longer(a_task(Stage.LIVE, policy, interval=interval))
    assert policy.poll_minimum <= after <= policy.poll_maximum


@given(policy=policies)
def test_the_backoff_reaches_the_policys_maximum_if_it_grows(policy: Policy) -> None:
    assume(policy.poll_factor >= 1.1)
    task = a_task(Stage.LIVE, policy, interval=policy.poll_minimum)
    for _ in range(100):
        task = task._replace(interval=longer(task))
    assert task.interval == policy.poll_maximum


@given(
    interval=st.floats(0.01, 3600),
    since_read=st.floats(0, 10_000),
    gap=st.floats(0, 10_000),
)
def test_the_next_poll_is_never_much_sooner_than_the_interval_nor_later_than_the_read_after_it(
    interval: float, since_read: float, gap: float
) -> None:
    delay, spread = next_poll(interval, NOW, Reads(NOW - since_read, gap))
    assert delay >= (1 - EARLY_SHARE) * interval - 1e-6
    assert delay <= interval + gap + 1e-6
    assert 0.0 <= spread <= JITTER * delay + 1e-6


@given(interval=st.floats(0.01, 3600), since_read=st.floats(0, 10_000), gap=st.floats(0.1, 10_000))
def test_a_poll_that_follows_a_rhythm_comes_before_a_read_with_time_to_spare(
    interval: float, since_read: float, gap: float
) -> None:
    assume(since_read <= 1.5 * gap and gap >= interval)
    delay, spread = next_poll(interval, NOW, Reads(NOW - since_read, gap))
    periods = (since_read + delay) / gap
    lead = (-periods % 1.0) * gap
    assert spread < lead <= LEAD_MAXIMUM + 1e-3 or lead <= 1e-3


@pytest.mark.parametrize("demand", [Reads(NOW - 1, 0.0), Reads(NOW - 46, 30.0), Reads(NOW - 1, 2.0)])
def test_without_a_rhythm_the_backoff_decides(demand: Reads) -> None:
    assert next_poll(10.0, NOW, demand) == Wake(10.0, 1.0)


@pytest.mark.parametrize(
    ("polled_at", "demand", "waits"),
    [
        (NOW - 5, Reads(NOW - 1), 0.0),  # read since the last poll
        (NOW - 5, Reads(NOW - 10, 30.0), 0.0),  # about to be read again
        (NOW - 5, Reads(NOW - 10), 25.0),  # nobody waits for it
        (NOW - 40, Reads(NOW - 50), 0.0),  # but the maximum has passed
        (NOW - 40, Reads(NOW - 200), 60.0),  # idle: half of the idle time since the last poll
        (NOW - 40, Reads(NOW - 50, 30.0), 0.0),  # late reader, and the maximum has passed
        (NOW - 40, Reads(NOW - 3600), float("inf")),
    ],
)
def test_how_long_a_due_poll_still_waits(polled_at: float, demand: Reads, waits: float) -> None:
    assert pause(a_task(Stage.LIVE, polled_at=polled_at), NOW, demand) == waits


@pytest.mark.parametrize(
    ("policy", "failures", "since", "given_up"),
    [
        (Policy(failure_age=60), 1, 59.0, False),
        (Policy(failure_age=60), 1, 60.0, True),
        (Policy(failure_age=60), 0, 1000.0, False),
        (Policy(failure_age=None), 1000, 1e9, False),
        (Policy(failure_age=None, failure_count=5), 4, 1e9, False),
        (Policy(failure_age=None, failure_count=5), 5, 0.0, True),
        (Policy(failure_age=60, failure_count=5), 2, 61.0, True),
    ],
)
def test_a_job_is_given_up_by_count_or_by_age_and_only_if_the_policy_says_so(
    policy: Policy,
    failures: int,
    since: float,
    given_up: bool,  # noqa: FBT001 - a table
) -> None:
    task = a_task(Stage.LIVE, policy, failures=failures, failing_since=NOW - since)
    assert gave_up(task, NOW) is given_up
