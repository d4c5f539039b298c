"""The bytes that a message came as are kept beside it, and only those."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.protocol.decode import decode_untrusted, own
from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest
from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskTemplate
from flytower.protocol.received import is_shared, received, share
from flytower.protocol.wire import DecodeError


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


# ---- parts that are known by their bytes


SPARK = bytes(TaskTemplate(type="spark"))


def known_template() -> TaskTemplate:
    return share(decode_untrusted(TaskTemplate, SPARK))


def test_a_part_that_is_known_is_taken_as_it_is() -> None:
    known = known_template()
    data = field(2, SPARK) + field(3, b"s3://b/0")
    request = decode_untrusted(CreateTaskRequest, data, known={SPARK: known}.get)
    assert request.template is known
    assert request == decode_untrusted(CreateTaskRequest, data)
    assert (received(request), received(known)) == (data, SPARK)


def test_what_is_known_by_the_same_bytes_and_is_something_else_is_not_taken() -> None:
    request = decode_untrusted(CreateTaskRequest, field(2, SPARK), known={SPARK: LiteralMap()}.get)
    assert request.template == TaskTemplate(type="spark")


def test_a_part_that_comes_in_two_does_not_change_the_one_that_is_known() -> None:
    known, more = known_template(), bytes(TaskTemplate(task_type_version=7))
    request = decode_untrusted(CreateTaskRequest, field(2, SPARK) + field(2, more), known={SPARK: known}.get)
    assert request.template == TaskTemplate(type="spark", task_type_version=7)
    assert received(request.template) == SPARK + more
    assert known == TaskTemplate(type="spark")


def test_a_part_that_is_known_counts_as_a_message() -> None:
    with pytest.raises(DecodeError, match="too many messages"):
        decode_untrusted(CreateTaskRequest, field(2, SPARK), max_messages=0, known={SPARK: known_template()}.get)


def test_whoever_wants_a_message_of_its_own_gets_another_only_when_it_is_shared() -> None:
    known, made = known_template(), TaskTemplate(type="spark")
    assert own(made) is made
    assert own(known) == known
    assert own(known) is not known
    assert not is_shared(own(known))
