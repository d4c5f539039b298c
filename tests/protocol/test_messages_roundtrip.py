"""Whatever flyteidl's own classes can say, ours say in the same bytes, and the other way round."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError as GoogleDecodeError
from google.protobuf.message import Message as GoogleMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flytower.protocol import routes
from flytower.protocol.decode import decode_untrusted
from flytower.protocol.encode import encoded
from flytower.protocol.generated.message_pool import default_message_pool
from flytower.protocol.received import received
from flytower.protocol.wire import DecodeError

if TYPE_CHECKING:
    from betterproto2 import Message

for module in ("flyteidl.service.agent_pb2", "grpc_health.v1.health_pb2"):
    importlib.import_module(module)

POOL = descriptor_pool.Default()
METHODS = [
    method
    for service in (
        routes.ASYNC_AGENT_SERVICE,
        routes.SYNC_AGENT_SERVICE,
        routes.AGENT_METADATA_SERVICE,
        routes.HEALTH_SERVICE,
    )
    for method in routes.service_methods(service)
]
MESSAGES = sorted(
    {kind for method in METHODS for kind in (method.request_type, method.response_type)}, key=lambda kind: kind.__name__
)
EVERY_MESSAGE = pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
MAX_DEPTH = 6

int32, int64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
uint32, uint64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: int32,
    FieldDescriptor.TYPE_INT64: int64,
    FieldDescriptor.TYPE_UINT32: uint32,
    FieldDescriptor.TYPE_UINT64: uint64,
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32, allow_nan=False),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.TYPE_STRING: st.text(max_size=5),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=5),
}


def google_class(kind: type[Message]) -> type[GoogleMessage]:
    name = default_message_pool.type_to_url[kind].rpartition("/")[2]
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


def scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.one_of(st.sampled_from([value.number for value in field.enum_type.values]), int32)
    return SCALARS[field.type]


@st.composite
def google_messages(draw: st.DrawFn, descriptor: Any, entries: int, depth: int = 0) -> GoogleMessage:
    """Any message of a type: some of its fields, at random values, at most `entries` in each map."""
    message = message_factory.GetMessageClass(descriptor)()
    possible = [field for field in descriptor.fields if depth < MAX_DEPTH or field.message_type is None]
    if possible:
        chosen = st.lists(
            st.sampled_from(possible), min_size=depth < 3, max_size=4, unique_by=lambda field: field.number
        )
        for field in draw(chosen):
            fill(draw, message, field, entries, depth)
    return message


def fill(draw: st.DrawFn, message: Any, field: FieldDescriptor, entries: int, depth: int) -> None:
    if field.message_type is None and not field.is_repeated:
        setattr(message, field.name, draw(scalar(field)))
    elif field.message_type is None:
        getattr(message, field.name).extend(draw(st.lists(scalar(field), max_size=3)))
    elif field.message_type.GetOptions().map_entry:
        fill_map(draw, getattr(message, field.name), field, entries, depth)
    elif field.is_repeated:
        one = google_messages(field.message_type, entries, depth + 1)
        getattr(message, field.name).extend(draw(st.lists(one, max_size=2)))
    else:
        getattr(message, field.name).CopyFrom(draw(google_messages(field.message_type, entries, depth + 1)))


def fill_map(draw: st.DrawFn, target: Any, field: FieldDescriptor, entries: int, depth: int) -> None:
    entry: Any = field.message_type
    key, value = (entry.fields_by_name[name] for name in ("key", "value"))
    for name in draw(st.lists(scalar(key), max_size=entries, unique=True)):
        if value.message_type is None:
            target[name] = draw(scalar(value))
        else:
            target[name].CopyFrom(draw(google_messages(value.message_type, entries, depth + 1)))


@EVERY_MESSAGE
@settings(QUICK, max_examples=150)
@given(data=st.data())
def test_a_message_of_flyteidl_comes_back_in_the_same_bytes(kind: type[Message], data: st.DataObject) -> None:
    """With at most one entry per map, protobuf's encoding is canonical."""
    theirs = data.draw(google_messages(google_class(kind).DESCRIPTOR, entries=1))
    sent = theirs.SerializeToString(deterministic=True)
    ours = decode_untrusted(kind, sent)
    assert encoded(ours) == bytes(ours) == received(ours) == sent
    assert kind.parse(sent) == ours


@pytest.mark.parametrize("kind", default_message_pool.type_to_url, ids=lambda kind: kind.__name__)
@settings(QUICK, max_examples=15)
@given(data=st.data())
def test_every_part_of_a_message_comes_back_in_the_same_bytes(kind: type[Message], data: st.DataObject) -> None:
    sent = data.draw(google_messages(google_class(kind).DESCRIPTOR, entries=1)).SerializeToString(deterministic=True)
    assert encoded(decode_untrusted(kind, sent)) == sent


@EVERY_MESSAGE
@settings(QUICK, max_examples=40)
@given(data=st.data())
def test_a_message_with_maps_comes_back_equal(kind: type[Message], data: st.DataObject) -> None:
    theirs = data.draw(google_messages(google_class(kind).DESCRIPTOR, entries=3))
    ours = decode_untrusted(kind, theirs.SerializeToString())
    again = google_class(kind).FromString(encoded(ours))
    assert again == theirs
    assert decode_untrusted(kind, again.SerializeToString()) == ours


def ours_of(kind: type[Message], data: bytes) -> tuple[Message | None, str]:
    try:
        return decode_untrusted(kind, data), ""
    except DecodeError as error:
        return None, str(error)


def theirs_of(kind: type[Message], data: bytes) -> GoogleMessage | None:
    try:
        return google_class(kind).FromString(data)
    except GoogleDecodeError:
        return None


def check_judged_alike(kind: type[Message], data: bytes) -> None:
    """Both decoders refuse the bytes, or both read the same message."""
    theirs, (ours, reason) = theirs_of(kind, data), ours_of(kind, data)
    if reason == "0 is no field number":
        return  # protobuf's own upb takes field 0, which the specification forbids, in messages without fields
    assert (ours is None) == (theirs is None)
    if ours is not None and theirs is not None:
        size = theirs.ByteSize()
        theirs.DiscardUnknownFields()
        if theirs.ByteSize() < size:
            return  # upb keeps a map entry with an unknown field in it whole among the unknown; ours reads the entry
        again = google_class(kind).FromString(encoded(ours))
        assert again.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


@EVERY_MESSAGE
@settings(QUICK, max_examples=60)
@given(data=st.data())
def test_damaged_bytes_are_judged_and_read_as_protobuf_does(kind: type[Message], data: st.DataObject) -> None:
    """Cut off, changed or with something put in."""
    damaged = bytearray(data.draw(google_messages(google_class(kind).DESCRIPTOR, entries=1)).SerializeToString())
    start = data.draw(st.integers(0, len(damaged)))
    stop = data.draw(st.integers(start, min(len(damaged), start + 4)))
    damaged[start:stop] = data.draw(st.binary(max_size=4))
    check_judged_alike(kind, bytes(damaged))


@settings(QUICK, max_examples=300)
@given(data=st.binary(max_size=60), kind=st.sampled_from(MESSAGES))
def test_any_bytes_are_judged_and_read_as_protobuf_does(data: bytes, kind: type[Message]) -> None:
    check_judged_alike(kind, data)
