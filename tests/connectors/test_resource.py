"""What a connector reports, as the message that Flyte gets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.connectors import TERMINAL_PHASES, InvalidResource, Resource, TaskExecution, TaskLog, is_terminal
from flytower.connectors.resource import MESSAGE_LIMIT
from flytower.protocol.codec import struct_to_dict
from flytower.protocol.encode import encoded
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskExecutionPhase
from flytower.protocol.literals import from_literal_map


def test_the_phases_have_the_names_and_numbers_of_flyte() -> None:
    names = "UNDEFINED QUEUED RUNNING SUCCEEDED ABORTED FAILED INITIALIZING WAITING_FOR_RESOURCES RETRYABLE_FAILED"
    assert [getattr(TaskExecution, name) for name in names.split()] == list(range(9))
    assert TaskExecution.Phase is TaskExecutionPhase
    assert {phase.name for phase in TERMINAL_PHASES} == {"SUCCEEDED", "ABORTED", "FAILED", "RETRYABLE_FAILED"}
    assert is_terminal(TaskExecution.RETRYABLE_FAILED)
    assert not is_terminal(TaskExecution.RUNNING)


def test_everything_is_in_the_message() -> None:
    link = TaskLog(name="Console", uri="https://x")
    resource = Resource(
        phase=TaskExecution.FAILED,
        message="why",
        log_links=[link],
        outputs={"n": 42},
        custom_info={"cluster": {"size": 3}},
    )
    message = resource.to_message()
    assert (message.phase, message.message, message.log_links) == (TaskExecution.FAILED, "why", [link])
    assert message.outputs is not None
    assert from_literal_map(message.outputs) == {"n": 42}
    assert message.custom_info is not None
    assert struct_to_dict(message.custom_info) == {"cluster": {"size": 3}}


@given(
    st.builds(
        Resource,
        phase=st.sampled_from(sorted(set(TaskExecutionPhase) - {TaskExecution.UNDEFINED})),
        message=st.none() | st.text() | st.just("x" * (MESSAGE_LIMIT + 1)),
        log_links=st.none() | st.lists(st.builds(TaskLog, uri=st.text(), name=st.text()), max_size=3),
        outputs=st.none() | st.dictionaries(st.text(min_size=1), st.integers(0, 9), max_size=2),
        custom_info=st.none() | st.dictionaries(st.text(min_size=1), st.booleans(), max_size=2),
    )
)
def test_the_short_way_to_the_bytes_ends_where_the_message_does(resource: Resource) -> None:
    message = resource.to_message()
    assert resource.encode() == (message.phase, encoded(message))


@pytest.mark.parametrize("phase", [TaskExecution.UNDEFINED, 99, "RUNNING"])
def test_the_short_way_is_closed_to_what_may_not_be_shown(phase: Any) -> None:
    with pytest.raises(InvalidResource, match="may not be shown"):
        Resource(phase).encode()


def test_outputs_are_unset_unless_there_are_any() -> None:
    """Unset, Flyte reads outputs.pb; set and empty, it takes the task for one without outputs."""
    assert Resource(TaskExecution.SUCCEEDED).to_message().outputs is None
    message = admin.Resource.parse(bytes(Resource(TaskExecution.SUCCEEDED, outputs={}).to_message()))
    assert message.outputs == LiteralMap()


def test_the_deprecated_state_is_left_alone() -> None:
    """A Flyte that finds a phase does not look at it, and its zero value would mean a failure."""
    message = Resource(TaskExecution.RUNNING).to_message()
    assert message.state == 0
    assert bytes(message) == b"\x28\x02"


def test_flytekits_none_for_nothing_is_taken() -> None:
    message = Resource(TaskExecution.RUNNING, message=None, log_links=None, outputs=None, custom_info=None).to_message()
    assert message == admin.Resource(phase=TaskExecution.RUNNING)


def test_a_number_for_a_phase_is_taken() -> None:
    assert Resource(phase=2).to_message().phase is TaskExecution.RUNNING  # type: ignore[arg-type]  # flyteidl's phases are


@pytest.mark.parametrize("phase", [TaskExecution.UNDEFINED, 0, 9, -1, None, "RUNNING"])
def test_a_phase_that_flyte_would_misread_is_refused(phase: Any) -> None:
    with pytest.raises(InvalidResource, match="phase"):
        Resource(phase=phase).to_message()


@pytest.mark.parametrize(
    "values",
    [{"outputs": {"x": object()}}, {"custom_info": {"x": object()}}, {"custom_info": {"x": float("nan")}}],
)
def test_values_without_a_literal_form_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidResource, match="cannot be converted"):
        Resource(TaskExecution.SUCCEEDED, **values).to_message()


def test_a_value_within_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidResource):
        Resource(TaskExecution.SUCCEEDED, outputs={"x": loop}).to_message()


def test_a_message_that_is_a_whole_log_is_cut() -> None:
    text = Resource(TaskExecution.FAILED, message="x" * 100_000).to_message().message
    assert text.startswith("x" * MESSAGE_LIMIT)
    assert text.endswith(f"({100_000 - MESSAGE_LIMIT} more characters)")
    assert len(text) < MESSAGE_LIMIT + 50
