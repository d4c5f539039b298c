from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.runtime.backoff import Backoff


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    minimum = draw(st.floats(0, 1e3))
    return Backoff(minimum, draw(st.floats(minimum, 1e6)), draw(st.floats(1, 100)), draw(st.floats(0, 1e6)))


@given(backoffs(), st.integers(1, 10**9), st.randoms(use_true_random=False))
def test_every_pause_lies_between_the_minimum_and_a_ceiling_that_never_passes_the_maximum(
    backoff: Backoff, attempt: int, rng: random.Random
) -> None:
    delay = backoff.delay(attempt, rng)
    # uniform() may round the end of a range up by one unit in the last place
    assert backoff.minimum <= delay <= backoff.ceiling(attempt) * (1 + 1e-12)
    assert backoff.ceiling(attempt) <= backoff.maximum


@given(backoffs(), st.integers(1, 200))
def test_the_ceiling_never_falls_from_one_restart_to_the_next(backoff: Backoff, attempt: int) -> None:
    assert backoff.ceiling(attempt) <= backoff.ceiling(attempt + 1)


def test_the_ceiling_grows_by_the_factor_until_the_maximum() -> None:
    backoff = Backoff(minimum=0.5, maximum=5, factor=2)
    assert [backoff.ceiling(n) for n in (1, 2, 3, 4, 5)] == [1, 2, 4, 5, 5]


def test_children_that_crashed_together_do_not_come_back_together() -> None:
    backoff, rng = Backoff(), random.Random(7)  # noqa: S311 - seeded
    assert len({backoff.delay(3, rng) for _ in range(100)}) == 100


def test_the_same_seed_draws_the_same_pauses() -> None:
    def draws() -> list[float]:
        rng = random.Random(7)  # noqa: S311 - seeded
        return [Backoff().delay(n, rng) for n in range(1, 10)]

    assert draws() == draws()


def test_a_long_life_makes_the_next_pause_a_first_one_again() -> None:
    backoff = Backoff(reset_after=30)
    assert backoff.attempt(0, lived=0) == 1
    assert backoff.attempt(4, lived=29.9) == 5
    assert backoff.attempt(4, lived=30) == 1


@pytest.mark.parametrize(
    "wrong", [{"minimum": -1}, {"minimum": 9}, {"factor": 0.5}, {"factor": 101}, {"reset_after": -1}]
)
def test_settings_that_make_no_sense_are_refused_at_once(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="it takes 0 <= minimum <= maximum"):
        Backoff(**wrong)
