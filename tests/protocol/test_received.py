"""The bytes that a message came as are kept beside it, and only those."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flytower.protocol.decode import decode_untrusted
from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest
from flytower.protocol.generated.flyteidl.core import TaskTemplate
from flytower.protocol.received import received


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def test_a_request_and_what_is_right_in_it_are_given_back_as_they_came_unknown_fields_included() -> None:
    template = bytes(TaskTemplate(type="spark")) + field(15, b"newer")
    sent = field(2, template) + field(3, b"s3://b/0") + field(14, b"newer")
    request = decode_untrusted(CreateTaskRequest, sent)
    assert request.template is not None
    assert (received(request), received(request.template)) == (sent, template)


@given(st.text(max_size=20), st.integers(0, 100))
def test_a_message_that_came_in_parts_is_given_back_as_one_that_reads_the_same(name: str, version: int) -> None:
    parts = (bytes(TaskTemplate(type=name)), bytes(TaskTemplate(task_type_version=version)))
    request = decode_untrusted(CreateTaskRequest, b"".join(field(2, part) for part in parts))
    assert request.template is not None
    assert TaskTemplate.parse(received(request.template)) == TaskTemplate(type=name, task_type_version=version)


def test_a_message_that_was_made_here_is_encoded() -> None:
    template = TaskTemplate(type="spark")
    assert received(template) == bytes(template)


def test_what_is_kept_is_no_part_of_the_message() -> None:
    made = CreateTaskRequest(template=TaskTemplate(type="spark"))
    read = decode_untrusted(CreateTaskRequest, bytes(made))
    assert read == made
    assert bytes(read) == bytes(made)
    assert "_received" not in repr(read)
