"""What a GetTask is answered with, and what a read leaves behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.actors.answers import Published, own_resource, response, with_note
from flytower.protocol.generated.flyteidl.admin import GetTaskResponse, Resource
from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskLog
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.UNDEFINED}))
def test_the_servers_own_answer_has_a_phase_a_sentence_and_no_outputs(phase: Phase) -> None:
    """Outputs that are set but empty would be taken for the real ones."""
    parsed = Resource.parse(own_resource(phase, "The job is being created."))
    assert (parsed.phase, parsed.message, parsed.outputs) == (phase, "The job is being created.", None)


@given(
    st.builds(
        Resource,
        phase=st.sampled_from(Phase),
        message=st.text(),
        outputs=st.none() | st.just(LiteralMap()),
        log_links=st.lists(st.builds(TaskLog, uri=st.text()), max_size=3),
    )
)
def test_the_response_is_what_the_encoder_would_write(resource: Resource) -> None:
    assert response(bytes(resource)) == bytes(GetTaskResponse(resource=resource))
    assert GetTaskResponse.parse(response(bytes(resource))).resource == resource


def test_a_note_is_added_to_the_message_and_nothing_else_changes() -> None:
    resource = Resource(phase=Phase.RUNNING, message="stage 3", log_links=[TaskLog(uri="http://log")])
    noted = Resource.parse(with_note(bytes(resource), "last answer 42 s ago: HTTP 503"))
    assert noted.message == "stage 3 (last answer 42 s ago: HTTP 503)"
    noted.message = "stage 3"
    assert noted == resource


def test_a_note_to_an_empty_message_is_the_message() -> None:
    assert Resource.parse(with_note(own_resource(Phase.RUNNING, ""), "asked later")).message == "asked later"


def test_reads_leave_their_moment_and_their_rhythm() -> None:
    entry = Published(100.0)
    assert (entry.read, entry.read_at, entry.read_gap) == (False, 100.0, 0.0)
    entry.touch(110.0)
    assert (entry.read, entry.read_at, entry.read_gap) == (True, 110.0, 0.0)
    entry.touch(140.0)
    assert (entry.read_at, entry.read_gap) == (140.0, 30.0)


def test_only_the_first_read_of_a_sleeping_task_wakes_it() -> None:
    entry = Published(0.0)
    assert not entry.touch(1.0)
    entry.asleep = True
    assert entry.touch(2.0)
    assert not entry.touch(3.0)
