"""What an author declares: a validated policy, and what external states mean."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.connectors import (
    Policy,
    PolicyError,
    Recovery,
    RetryLater,
    StateMap,
    TaskExecution,
    convert_to_flyte_phase,
)
from flytower.connectors.states import COMMON_STATES, OTHERS, UNKNOWN_LIMIT

NUMBERS = [
    field.name for field in dataclasses.fields(Policy) if field.type in ("float", "float | None", "int", "int | None")
]
OPTIONAL = {"requests_per_second", "failure_age", "failure_count"}
INTEGERS = {"concurrency", "thread_limit", "breaker_failures", "failure_count"}

# ---- policy ---------------------------------------------------------------------------------------------------


def test_the_defaults_are_the_safe_ones() -> None:
    policy = Policy()
    assert policy.recovery is Recovery.NEITHER
    assert not policy.delete_after_finish
    assert (policy.create_timeout, policy.get_timeout, policy.delete_timeout) == (60, 10, 30)
    assert policy.not_found_grace == 30


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Policy().get_timeout = 5  # type: ignore[misc]  # that is the point


def test_every_field_is_documented() -> None:
    text = inspect.getdoc(Policy) or ""
    for field in dataclasses.fields(Policy):
        assert f"\n    {field.name}: " in text


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "1", True, [1]])
def test_a_number_that_is_none_is_refused_with_field_value_and_rule(name: str, value: Any) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy(**{name: value})
    assert f"Policy({name}={value!r}): {name} must be" in str(caught.value)


@pytest.mark.parametrize("name", NUMBERS)
def test_none_is_for_the_fields_that_say_so(name: str) -> None:
    given: dict[str, Any] = {name: None}
    if name in OPTIONAL:
        assert getattr(Policy(**given), name) is None
    else:
        with pytest.raises(PolicyError, match=name):
            Policy(**given)


@pytest.mark.parametrize("name", sorted(INTEGERS))
def test_a_count_is_whole(name: str) -> None:
    given: dict[str, Any] = {name: 1.5}
    with pytest.raises(PolicyError, match="an integer"):
        Policy(**given)


@pytest.mark.parametrize(
    "values",
    [
        {"poll_minimum": 10, "poll_maximum": 5},
        {"idle_after": 10, "hibernate_after": 5},
        {"delete_minimum": 10, "delete_maximum": 5},
        {"poll_factor": 0.5},
        {"get_timeout": 0},
        {"concurrency": 0},
        {"recovery": "token"},
        {"delete_after_finish": 1},
    ],
)
def test_values_that_contradict_each_other_or_the_field_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        Policy(**values)


@given(st.sampled_from(NUMBERS), st.floats(0.5, 1000))
def test_ordinary_values_are_taken(name: str, value: float) -> None:
    number: float = math.ceil(value) if name in INTEGERS else max(value, 1.0)
    bounds: dict[str, Any] = {"poll_maximum": 1e6, "hibernate_after": 1e6, "delete_maximum": 1e6, "idle_after": 0.0}
    assert getattr(Policy(**{**bounds, name: number}), name) == number


@pytest.mark.parametrize("after", [-1, math.nan, math.inf])
def test_retry_later_needs_a_time(after: float) -> None:
    with pytest.raises(ValueError, match="finite number of seconds"):
        RetryLater(after=after)
    assert RetryLater("busy", after=5).after == 5.0


# ---- states ---------------------------------------------------------------------------------------------------


def test_states_are_found_whatever_their_case() -> None:
    states = StateMap({"Done": TaskExecution.SUCCEEDED, "BUSY": TaskExecution.RUNNING})
    assert states("done") is states("DONE") is TaskExecution.SUCCEEDED
    assert states("busy") is TaskExecution.RUNNING
    assert not states.unknown


def test_an_unknown_state_keeps_the_job_running_and_is_counted() -> None:
    """An error here would count towards the five that Flyte allows a job in its whole life."""
    states = StateMap({"done": TaskExecution.SUCCEEDED})
    assert [states(name) for name in ("NEW", "NEW", "Other")] == [TaskExecution.RUNNING] * 3
    assert states.unknown == {"NEW": 2, "Other": 1}
    assert repr(states) == "<StateMap of 1 states, 3 unknown seen>"


def test_a_system_with_endless_states_does_not_fill_the_memory() -> None:
    states = StateMap({})
    for number in range(UNKNOWN_LIMIT + 50):
        states(f"state-{number}")
    states("state-0")
    assert len(states.unknown) == UNKNOWN_LIMIT + 1
    assert states.unknown[OTHERS] == 50
    assert states.unknown["state-0"] == 2


def test_a_map_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        StateMap({"done": TaskExecution.SUCCEEDED, "DONE": TaskExecution.FAILED})
    with pytest.raises(ValueError, match="UNDEFINED"):
        StateMap({"x": TaskExecution.UNDEFINED})


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        *[
            (state, TaskExecution.FAILED)
            for state in ("failed", "timeout", "timedout", "canceled", "CANCELLED", "skipped")
        ],
        ("internal_error", TaskExecution.RETRYABLE_FAILED),
        *[(state, TaskExecution.SUCCEEDED) for state in ("done", "succeeded", "success", "COMPLETED")],
        *[(state, TaskExecution.RUNNING) for state in ("running", "terminating")],
        ("pending", TaskExecution.INITIALIZING),
        ("QUEUED", TaskExecution.QUEUED),
        ("BLOCKED", TaskExecution.WAITING_FOR_RESOURCES),
        ("FAILED_WITH_ERROR", TaskExecution.FAILED),
        ("NODE_FAIL", TaskExecution.RETRYABLE_FAILED),
    ],
)
def test_the_usual_words_mean_what_they_mean_to_flytekit_and_those_that_it_refuses_mean_something(
    state: str, phase: TaskExecution.Phase
) -> None:
    assert convert_to_flyte_phase(state) is phase


@given(st.text())
def test_no_state_is_ever_an_error(state: str) -> None:
    assert convert_to_flyte_phase(state) is not TaskExecution.UNDEFINED
    COMMON_STATES.unknown.clear()
