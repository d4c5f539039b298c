"""What keeps one external system's trouble from spreading."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.actors.bulkhead import ROUNDING, CircuitBreaker, CircuitOpen, Respite, TokenBucket
from flytower.connectors.errors import RetryLater

BREAKER_FAILURES, BREAKER_SECONDS = 5, 30.0


def test_without_a_rate_nothing_waits() -> None:
    bucket = TokenBucket(None)
    assert {bucket.reserve(0.0) for _ in range(1000)} == {0.0}


def test_a_second_worth_of_calls_starts_at_once_and_the_rest_at_the_rate() -> None:
    bucket = TokenBucket(4.0)
    assert [bucket.reserve(100.0) for _ in range(7)] == [0.0, 0.0, 0.0, 0.0, 0.25, 0.5, 0.75]


def test_a_pause_saves_up_no_more_than_the_burst() -> None:
    bucket = TokenBucket(2.0)
    bucket.reserve(0.0)
    assert [bucket.reserve(1000.0) for _ in range(3)] == [0.0, 0.0, 0.5]


def test_the_first_call_at_a_slow_rate_need_not_wait() -> None:
    bucket = TokenBucket(0.1)
    assert [bucket.reserve(50.0) for _ in range(3)] == [0.0, 10.0, 20.0]


@given(st.floats(0.05, 1000), st.lists(st.floats(0, 10), min_size=1, max_size=60))
def test_no_window_of_time_sees_more_than_the_rate_and_one_burst(rate: float, pauses: list[float]) -> None:
    bucket, now, starts = TokenBucket(rate), 0.0, []
    for pause in pauses:
        now += pause
        starts.append(now + bucket.reserve(now))
    assert all(earlier <= later + 1e-9 for earlier, later in pairwise(starts))
    burst = max(rate, 1.0)
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            assert last - first + 1 <= burst + rate * (starts[last] - starts[first]) + 1 + 1e-6


def failed(times: int, at: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker(BREAKER_FAILURES, BREAKER_SECONDS)
    for _ in range(times):
        assert breaker.refused_for(at) == 0.0
        breaker.failed(at)
    return breaker


def test_a_hiccup_leaves_the_circuit_closed() -> None:
    breaker = failed(BREAKER_FAILURES)
    assert (breaker.state, breaker.refused_for(0.0)) == ("closed", 0.0)


def test_more_failures_in_a_row_open_it_for_a_while() -> None:
    breaker = failed(BREAKER_FAILURES + 1)
    assert breaker.state == "open"
    assert breaker.refused_for(10.0) == BREAKER_SECONDS - 10.0


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = failed(BREAKER_FAILURES)
    breaker.succeeded()
    breaker.failed(0.0)
    assert breaker.state == "closed"


def test_after_the_pause_one_call_may_try_and_the_others_wait() -> None:
    breaker = failed(BREAKER_FAILURES + 1)
    assert breaker.refused_for(BREAKER_SECONDS) == 0.0
    assert breaker.refused_for(BREAKER_SECONDS) == BREAKER_SECONDS
    assert breaker.refused_for(BREAKER_SECONDS + 1) == BREAKER_SECONDS - 1


@pytest.mark.parametrize(("well", "refused"), [(True, 0.0), (False, BREAKER_SECONDS - 9.0)])
def test_the_call_that_tries_closes_the_circuit_or_leaves_it_open_for_the_time_since_it_began(
    well: bool,  # noqa: FBT001 - a table
    refused: float,
) -> None:
    breaker = failed(BREAKER_FAILURES + 1)
    breaker.refused_for(40.0)
    if well:
        breaker.succeeded()
    else:
        breaker.failed(49.0)
    assert breaker.refused_for(49.0) == refused


def test_a_trial_that_never_ends_does_not_keep_the_circuit_open_for_ever() -> None:
    breaker = failed(BREAKER_FAILURES + 1)
    breaker.refused_for(40.0)
    assert breaker.refused_for(40.0 + BREAKER_SECONDS) == 0.0


def test_a_respite_lasts_as_long_as_the_longest_that_was_asked_for() -> None:
    respite = Respite()
    assert respite.left(0.0) == 0.0
    respite.asked(0.0, 20.0)
    respite.asked(5.0, 5.0)
    assert respite.left(12.0) == 8.0
    assert respite.left(20.0 - ROUNDING / 2) == 0.0, "what rounding leaves of a wait is none"


def test_a_refused_call_is_not_counted_as_a_failure_of_the_external_system() -> None:
    """It is a RetryLater, which says when to come back."""
    error = CircuitOpen("spark does not answer", after=12.0)
    assert isinstance(error, RetryLater)
    assert error.after == 12.0
