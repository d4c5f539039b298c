"""The token bucket."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flytower.protocol.flood import TokenBucket


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    bucket = TokenBucket(burst=3, rate=2, now=10)
    assert [bucket.take(10) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5), bucket.take(10.5)] == [True, False]
    assert [bucket.take(100) for _ in range(4)] == [True, True, True, False]


def test_credit_is_for_what_the_peer_does_well_and_never_more_than_a_burst() -> None:
    bucket = TokenBucket(burst=3, rate=1, now=0)
    assert all(bucket.take(0) for _ in range(3))
    bucket.credit(100)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 10), max_size=100))
def test_nobody_gets_more_than_burst_and_rate(pauses: Any) -> None:
    bucket, now, taken = TokenBucket(burst=5, rate=2, now=0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
        assert taken <= 5 + 2 * now + 1e-6
