from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.runtime.intensity import Intensity, RestartWindow


@given(st.integers(0, 6), st.integers(1, 20), st.lists(st.integers(0, 8), max_size=40))
def test_no_window_ever_holds_more_restarts_than_allowed_and_none_is_refused_without_need(
    restarts: int, within: int, gaps: list[int]
) -> None:
    window = RestartWindow(Intensity(restarts, within))
    now = 0
    allowed: list[int] = []
    for gap in gaps:
        now += gap
        recent = [time for time in allowed if time > now - within]
        assert window.allow(now) is (len(recent) < restarts)
        if len(recent) < restarts:
            allowed.append(now)


def test_zero_restarts_means_that_the_first_crash_is_too_many() -> None:
    assert not RestartWindow(Intensity(restarts=0)).allow(0)


def test_a_restart_is_forgotten_exactly_when_the_window_has_passed_over_it() -> None:
    window = RestartWindow(Intensity(restarts=1, within=30))
    assert window.allow(0)
    assert not window.allow(29.9)
    assert window.allow(30)


@pytest.mark.parametrize("wrong", [{"restarts": -1}, {"within": 0}, {"within": float("nan")}])
def test_settings_that_make_no_sense_are_refused_at_once(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="within must be more than 0 s"):
        Intensity(**wrong)  # type: ignore[arg-type]  # hypothesis-like keywords
