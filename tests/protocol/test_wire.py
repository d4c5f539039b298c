"""Every kind of field, also those that Flyte's messages do not use today."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import Any

import betterproto2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.protocol.decode import decode_untrusted
from flytower.protocol.wire import DecodeError, read_varint_untrusted


class Colour(betterproto2.Enum):
    RED = 0
    BLUE = 1


REPEATED: tuple[tuple[str, Any, str], ...] = (
    ("bools", list[bool], betterproto2.TYPE_BOOL),
    ("int32s", list[int], betterproto2.TYPE_INT32),
    ("int64s", list[int], betterproto2.TYPE_INT64),
    ("uint32s", list[int], betterproto2.TYPE_UINT32),
    ("uint64s", list[int], betterproto2.TYPE_UINT64),
    ("sint32s", list[int], betterproto2.TYPE_SINT32),
    ("sint64s", list[int], betterproto2.TYPE_SINT64),
    ("fixed32s", list[int], betterproto2.TYPE_FIXED32),
    ("fixed64s", list[int], betterproto2.TYPE_FIXED64),
    ("sfixed32s", list[int], betterproto2.TYPE_SFIXED32),
    ("sfixed64s", list[int], betterproto2.TYPE_SFIXED64),
    ("floats", list[float], betterproto2.TYPE_FLOAT),
    ("doubles", list[float], betterproto2.TYPE_DOUBLE),
    ("colours", list[Colour], betterproto2.TYPE_ENUM),
    ("texts", list[str], betterproto2.TYPE_STRING),
)
"""A field of each kind, numbered from 1."""

COLOURS_BY_NUMBER = betterproto2.field(
    16, betterproto2.TYPE_MAP, map_meta=betterproto2.map_meta(betterproto2.TYPE_INT32, betterproto2.TYPE_ENUM)
)


def message_type(name: str, *fields: tuple[str, Any, Any]) -> Any:
    return make_dataclass(name, fields, bases=(betterproto2.Message,), eq=False, repr=False)


Every = message_type(
    "Every",
    *((name, hint, betterproto2.field(n, kind, repeated=True)) for n, (name, hint, kind) in enumerate(REPEATED, 1)),
    ("by_number", dict[int, Colour], COLOURS_BY_NUMBER),
)
OneFixed = message_type("OneFixed", ("number", int, betterproto2.field(8, betterproto2.TYPE_FIXED32)))


def signed(bits: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), max_size=4)


def unsigned(bits: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 2**bits - 1), max_size=4)


every = st.builds(
    Every,
    bools=st.lists(st.booleans()),
    int32s=signed(32),
    int64s=signed(64),
    uint32s=unsigned(32),
    uint64s=unsigned(64),
    sint32s=signed(32),
    sint64s=signed(64),
    fixed32s=unsigned(32),
    fixed64s=unsigned(64),
    sfixed32s=signed(32),
    sfixed64s=signed(64),
    floats=st.lists(st.floats(width=32, allow_nan=False), max_size=4),
    doubles=st.lists(st.floats(allow_nan=False), max_size=4),
    colours=st.lists(st.sampled_from(Colour)),
    texts=st.lists(st.text(max_size=5), max_size=4),
    by_number=st.dictionaries(st.integers(0, 9), st.sampled_from(Colour)),
)


@given(every)
def test_every_kind_of_number_comes_back_packed(message: Any) -> None:
    assert decode_untrusted(Every, bytes(message)) == message


def one_by_one(message: Any) -> bytes:
    """The other encoding of repeated numbers, which proto2 writers use: each with a tag of its own."""
    encoded = b""
    for name, meta in type(message)._betterproto.meta_by_field_name.items():
        if meta.repeated:
            for value in getattr(message, name):
                encoded += betterproto2._serialize_single(meta.number, meta.proto_type, value)
    return encoded


@given(every)
def test_every_kind_of_number_comes_back_one_by_one(message: Any) -> None:
    message.by_number = {}
    assert decode_untrusted(Every, one_by_one(message)) == message


@given(every)
def test_repeated_fields_in_two_parts_are_put_together(message: Any) -> None:
    twice = decode_untrusted(Every, bytes(message) * 2)
    assert twice.int64s == message.int64s * 2
    assert twice.by_number == message.by_number


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_a_varint_ends_where_its_encoding_ends(number: int, rest: bytes) -> None:
    encoded = betterproto2.encode_varint(number)
    assert read_varint_untrusted(encoded + rest, 0, len(encoded) + len(rest)) == (number, len(encoded))
    with pytest.raises(DecodeError):
        read_varint_untrusted(encoded + rest, 0, len(encoded) - 1)


def test_a_varint_keeps_its_low_64_bits() -> None:
    assert read_varint_untrusted(b"\xff" * 9 + b"\x7f", 0, 10) == (2**64 - 1, 10)
    with pytest.raises(DecodeError, match="longer than ten bytes"):
        read_varint_untrusted(b"\xff" * 10 + b"\x01", 0, 11)


def test_a_number_does_not_reach_beyond_the_field_that_it_is_in() -> None:
    with pytest.raises(DecodeError, match="end is missing"):
        decode_untrusted(Every, b"\x42\x03\x01\x02\x03" + b"\x00" * 8)
    with pytest.raises(DecodeError, match="end is missing"):
        decode_untrusted(OneFixed, b"\x45\x01\x02")


def test_an_int32_that_is_sent_with_64_bits_keeps_its_low_32() -> None:
    assert decode_untrusted(Every, b"\x10" + betterproto2.encode_varint(2**40 + 7)).int32s == [7]


def test_a_map_value_of_an_enum_that_is_missing_is_its_first() -> None:
    assert decode_untrusted(Every, b"\x82\x01\x02\x08\x05").by_number == {5: Colour.RED}
