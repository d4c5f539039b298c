"""Protobuf's wire format: varints, lengths, fixed-size numbers, and stepping over what is not known.

Every function takes bytes from a peer and a region of them, and raises DecodeError and nothing else.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, TypeAlias

import betterproto2

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_VARINT_BYTES = 10
"""Seven bits each make 64 bits."""

LONG_VARINT = 0x80
"""The bit that says: more bytes of this number follow."""

MAX_NESTING = 100
"""Messages within messages. The default of the C++, Go, Java and Python implementations of protobuf."""

MAX_TAG = 2**32 - 1
"""29 bits of field number and 3 of wire type."""

VARINT, FIXED_64, LENGTH_DELIMITED, START_GROUP, END_GROUP, FIXED_32 = range(6)

_UINT_64 = 2**64 - 1
_UINT_32 = 2**32 - 1

Read: TypeAlias = "Callable[[bytes, int, int], tuple[object, int]]"
"""Takes the bytes, where to begin and where the region ends; gives the value and where it ended."""


class DecodeError(ValueError):
    """The bytes are no message of the expected type. The sender's fault; sending them again is of no use."""


def read_varint_untrusted(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Return the number that begins at `position`, and the position after it."""
    if position < end and data[position] < LONG_VARINT:
        return data[position], position + 1
    value = 0
    for index, byte in enumerate(data[position : min(end, position + MAX_VARINT_BYTES)]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < LONG_VARINT:
            return value & _UINT_64, position + index + 1
    raise DecodeError(
        "a number is longer than ten bytes" if end - position >= MAX_VARINT_BYTES else "the end is missing"
    )


def read_tag_untrusted(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Return the tag of the next field, number and wire type in one, and the position after it."""
    tag, position = read_varint_untrusted(data, position, end)
    return checked_tag(tag), position


def checked_tag(tag: int) -> int:
    """Return a tag whose field number may be."""
    if not 8 <= tag <= MAX_TAG:  # noqa: PLR2004 - field number 1 with wire type 0
        raise DecodeError(f"{tag >> 3} is no field number")
    return tag


def read_span_untrusted(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Return where the length-delimited content that begins with its length at `position` starts and stops."""
    if position < end and data[position] < LONG_VARINT:  # in the place of a call
        length, start = data[position], position + 1
    else:
        length, start = read_varint_untrusted(data, position, end)
    if length > end - start:
        raise DecodeError("a field is longer than the message that it is in")
    return start, start + length


def skip_untrusted(data: bytes, position: int, end: int, tag: int, nesting: int = 0) -> int:
    """Return the position after a field that is not known, whose tag has been read."""
    wire_type = tag & 7
    if wire_type == VARINT:
        return read_varint_untrusted(data, position, end)[1]
    if wire_type == LENGTH_DELIMITED:
        return read_span_untrusted(data, position, end)[1]
    if wire_type in _FIXED_SIZES:
        return _fixed_end(position, end, _FIXED_SIZES[wire_type])
    if wire_type == START_GROUP:
        return _skip_group(data, position, end, tag, nesting)
    raise DecodeError(f"wire type {wire_type} does not belong there")


def _skip_group(data: bytes, position: int, end: int, start_tag: int, nesting: int) -> int:
    if nesting >= MAX_NESTING:
        raise DecodeError(f"groups are nested more than {MAX_NESTING} deep")
    while True:
        tag, position = read_tag_untrusted(data, position, end)
        if tag & 7 == END_GROUP:
            break
        position = skip_untrusted(data, position, end, tag, nesting + 1)
    if tag >> 3 != start_tag >> 3:
        raise DecodeError("a group is closed that was not opened")
    return position


def _fixed_end(position: int, end: int, size: int) -> int:
    if position + size > end:
        raise DecodeError("the end is missing")
    return position + size


def _varint_reader(convert: Callable[[int], object]) -> Read:
    def read_untrusted(data: bytes, position: int, end: int) -> tuple[object, int]:
        number, position = read_varint_untrusted(data, position, end)
        return convert(number), position

    return read_untrusted


def _fixed_reader(layout: str) -> Read:
    packed = struct.Struct(layout)

    def read_untrusted(data: bytes, position: int, end: int) -> tuple[object, int]:
        stop = _fixed_end(position, end, packed.size)
        return packed.unpack_from(data, position)[0], stop

    return read_untrusted


def _read_bytes_untrusted(data: bytes, position: int, end: int) -> tuple[object, int]:
    start, stop = read_span_untrusted(data, position, end)
    return data[start:stop], stop


def _read_string_untrusted(data: bytes, position: int, end: int) -> tuple[object, int]:
    start, stop = read_span_untrusted(data, position, end)
    try:
        return data[start:stop].decode(), stop
    except UnicodeDecodeError as error:
        raise DecodeError("a string is not UTF-8") from error


def to_int32(number: int) -> int:
    """Return the low 32 bits as a signed number; enums and int32 are sent with 64."""
    return ((number & _UINT_32) ^ 0x80000000) - 0x80000000


def _to_int64(number: int) -> int:
    return (number ^ 0x8000000000000000) - 0x8000000000000000


def _undo_zigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


_FIXED_SIZES = {FIXED_64: 8, FIXED_32: 4}

SCALARS: dict[str, tuple[int, Read]] = {
    betterproto2.TYPE_BOOL: (VARINT, _varint_reader(bool)),
    betterproto2.TYPE_INT32: (VARINT, _varint_reader(to_int32)),
    betterproto2.TYPE_INT64: (VARINT, _varint_reader(_to_int64)),
    betterproto2.TYPE_UINT32: (VARINT, _varint_reader(_UINT_32.__and__)),
    betterproto2.TYPE_UINT64: (VARINT, read_varint_untrusted),
    betterproto2.TYPE_SINT32: (VARINT, _varint_reader(lambda number: _undo_zigzag(number & _UINT_32))),
    betterproto2.TYPE_SINT64: (VARINT, _varint_reader(_undo_zigzag)),
    betterproto2.TYPE_FIXED32: (FIXED_32, _fixed_reader("<I")),
    betterproto2.TYPE_FIXED64: (FIXED_64, _fixed_reader("<Q")),
    betterproto2.TYPE_SFIXED32: (FIXED_32, _fixed_reader("<i")),
    betterproto2.TYPE_SFIXED64: (FIXED_64, _fixed_reader("<q")),
    betterproto2.TYPE_FLOAT: (FIXED_32, _fixed_reader("<f")),
    betterproto2.TYPE_DOUBLE: (FIXED_64, _fixed_reader("<d")),
    betterproto2.TYPE_BYTES: (LENGTH_DELIMITED, _read_bytes_untrusted),
    betterproto2.TYPE_STRING: (LENGTH_DELIMITED, _read_string_untrusted),
}
"""For each kind of field that is no message and no enum: its wire type, and how to read one value."""
