"""What a decoder of bytes from strangers owes: the specification's reading of odd messages, and limits."""

from __future__ import annotations

import betterproto2
import pytest
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError as GoogleDecodeError

from flytower.protocol.decode import MAX_MESSAGES, decode_untrusted
from flytower.protocol.generated.flyteidl.admin import (
    Agent,
    CreateTaskResponse,
    GetTaskRequest,
    GetTaskResponse,
    Resource,
)
from flytower.protocol.generated.flyteidl.core import (
    Literal,
    LiteralCollection,
    LiteralMap,
    Primitive,
    TaskExecutionPhase,
)
from flytower.protocol.generated.google.protobuf import ListValue, Struct, Value
from flytower.protocol.wire import MAX_NESTING, DecodeError

REQUEST = GetTaskRequest(task_type="spark", resource_meta=b"\x00\xff", output_prefix="s3://b/p")
PREFIX_TAG = 4 << 3 | 2


def delimited(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize("size", range(1, len(bytes(REQUEST))))
def test_a_message_that_is_cut_off_is_an_error_unless_it_ends_between_two_fields(size: int) -> None:
    encoded = bytes(REQUEST)[:size]
    between_fields = size in (7, 11)
    if between_fields:
        assert decode_untrusted(GetTaskRequest, encoded).task_type == "spark"
    else:
        with pytest.raises(DecodeError):
            decode_untrusted(GetTaskRequest, encoded)


def test_a_message_without_bytes_is_the_empty_message() -> None:
    assert decode_untrusted(GetTaskRequest, b"") == GetTaskRequest()


def test_a_field_with_another_wire_type_than_declared_is_passed_over() -> None:
    """Or a number would stand where the handler expects a string."""
    number_as_prefix = bytes([4 << 3 | 0, 5])
    assert decode_untrusted(GetTaskRequest, number_as_prefix + bytes(REQUEST)) == REQUEST
    assert decode_untrusted(GetTaskRequest, bytes(REQUEST) + number_as_prefix) == REQUEST


@pytest.mark.parametrize(
    "unknown",
    [
        b"\xf8\x01\x2a",  # a number
        b"\xf9\x0112345678",  # eight bytes
        b"\xfa\x01\x03abc",  # a text
        b"\xfd\x011234",  # four bytes
        b"\xfb\x01\x08\x01\xfc\x01",  # a group with a number in it
        b"\xfb\x01\x0b\x0c\xfc\x01",  # a group in a group
    ],
)
def test_a_field_that_is_not_known_is_passed_over_and_not_kept(unknown: bytes) -> None:
    """A newer Flyte may send fields that this one does not know."""
    decoded = decode_untrusted(GetTaskRequest, unknown + bytes(REQUEST) + unknown)
    assert decoded == REQUEST
    assert bytes(decoded) == bytes(REQUEST)


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (b"\x22\x7fabc", "longer than the message"),
        (b"\x22\x02\xc3\x28", "not UTF-8"),
        (b"\x22" + b"\xff" * 10, "longer than ten bytes"),
        (b"\x22\xff", "end is missing"),
        (b"\x00\x00", "0 is no field number"),
        (b"\xff\xff\xff\xff\x7f\x00", "is no field number"),
        (b"\x26\x00", "wire type 6"),
        (b"\x24", "wire type 4"),
        (b"\xfb\x01\x84\x02", "closed that was not opened"),
        (b"\xfb\x01\x08\x01", "end is missing"),
        (b"\xf9\x01123", "end is missing"),
        (b"\xfb\x01" * 200, "groups are nested"),
    ],
)
def test_damaged_bytes_are_a_decode_error_that_says_what_is_wrong(damaged: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode_untrusted(GetTaskRequest, damaged)


def test_of_a_oneof_the_last_member_stays() -> None:
    """With two members set, whoever asks which one it is would get an exception."""
    integer, text = b"\x08\x05", b"\x1a\x01a"
    assert decode_untrusted(Primitive, integer + text) == Primitive(string_value="a")
    assert decode_untrusted(Primitive, text + integer) == Primitive(integer=5)


def test_of_a_oneof_of_messages_the_last_member_stays() -> None:
    scalar, collection = delimited(1, b""), delimited(2, b"")
    decoded = decode_untrusted(Literal, scalar + collection)
    assert (decoded.scalar, decoded.collection) == (None, LiteralCollection())
    assert decode_untrusted(Literal, collection + scalar).collection is None


def test_a_message_in_two_parts_is_merged() -> None:
    first, second = bytes(GetTaskRequest(task_type="a")), bytes(GetTaskRequest(output_prefix="b"))
    assert decode_untrusted(GetTaskRequest, first + second) == GetTaskRequest(task_type="a", output_prefix="b")
    parts = [delimited(1, bytes(Resource(message="m"))), delimited(1, bytes(Resource(phase=TaskExecutionPhase.FAILED)))]
    assert decode_untrusted(GetTaskResponse, b"".join(parts)).resource == Resource(
        message="m", phase=TaskExecutionPhase.FAILED
    )


def test_numbers_may_come_packed_or_one_by_one() -> None:
    agent = decode_untrusted(Agent, delimited(2, b"a") + delimited(2, b"b") + b"\x18\x01")
    assert agent == Agent(supported_task_types=["a", "b"], is_sync=True)


def test_a_map_entry_without_key_or_value_has_the_default_of_its_type() -> None:
    entry = delimited(1, b"")
    assert decode_untrusted(LiteralMap, entry) == LiteralMap(literals={"": Literal()})
    assert decode_untrusted(Struct, delimited(1, b"\x0a\x01k")) == Struct(fields={"k": Value()})


def test_of_two_map_entries_with_one_key_the_last_stays() -> None:
    entries = delimited(1, b"\x0a\x01k\x12\x02\x20\x01") + delimited(1, b"\x0a\x01k\x12\x02\x20\x00")
    assert decode_untrusted(Struct, entries) == Struct(fields={"k": Value(bool_value=False)})


@pytest.mark.parametrize("number", [99, -1, 2**31 - 1, -(2**31)])
def test_an_enum_value_that_is_not_known_is_kept_as_its_number(number: int) -> None:
    encoded = bytes(Resource(phase=TaskExecutionPhase(number)))
    decoded = decode_untrusted(Resource, encoded)
    assert decoded.phase == number
    assert bytes(decoded) == encoded


def nested_messages(depth: int) -> bytes:
    """A Value with exactly so many messages inside each other: lists and values in turns."""
    list_of_values, value_of_list = 1, 6
    encoded = b""
    for level in range(depth, 0, -1):
        number = value_of_list if level % 2 else list_of_values
        encoded = bytes([number << 3 | 2]) + betterproto2.encode_varint(len(encoded)) + encoded
    return encoded


def test_messages_may_be_nested_as_deep_as_protobuf_allows_and_no_deeper() -> None:
    deepest, too_deep = nested_messages(MAX_NESTING), nested_messages(MAX_NESTING + 1)
    assert bytes(decode_untrusted(Value, deepest)) == struct_pb2.Value.FromString(deepest).SerializeToString()
    with pytest.raises(DecodeError, match="nested more than 100 deep"):
        decode_untrusted(Value, too_deep)
    with pytest.raises(GoogleDecodeError):
        struct_pb2.Value.FromString(too_deep)


def test_a_small_message_cannot_become_a_million_objects() -> None:
    encoded = delimited(1, b"") * 1001
    assert len(decode_untrusted(ListValue, encoded, max_messages=1001).values) == 1001
    with pytest.raises(DecodeError, match="too many messages"):
        decode_untrusted(ListValue, encoded, max_messages=1000)
    assert MAX_MESSAGES < 4 * 2**20 / 2


def test_the_error_does_not_show_what_was_sent() -> None:
    with pytest.raises(DecodeError) as caught:
        decode_untrusted(CreateTaskResponse, b"\x0a\x7fpassword")
    assert "password" not in str(caught.value)
