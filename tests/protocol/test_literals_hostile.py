"""Packed bytes from a stranger cost no more than they weigh, and raise nothing but LiteralError."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from flytower.protocol.codec import MAX_DEPTH_READ
from flytower.protocol.generated.flyteidl.core import Binary, Literal, LiteralCollection, Scalar, Union
from flytower.protocol.literal_errors import MAX_MSGPACK_BYTES, MAX_MSGPACK_CONTAINERS
from flytower.protocol.literal_msgpack import unpack_untrusted
from flytower.protocol.literals import LiteralError, from_literal, to_literal
from flytower.protocol.value_path import ValuePath

PATH = ValuePath("inputs")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "ValueError"),
        (b"\x81", "ValueError"),
        (b"\x01\x02", "ExtraData"),
        (b"\xc1", "FormatError"),
        (b"\xa2\xc3\x28", "UnicodeDecodeError"),
        (b"\xdd\xff\xff\xff\xff", "ValueError"),
        (b"\xdf\xff\xff\xff\xff", "ValueError"),
        (b"\xc6\xff\xff\xff\xff", "ValueError"),
        (b"\x81\x90\x01", "TypeError"),
        (b"\x81\x80\x01", "TypeError"),
        (b"\xd4\x05\x00", "ValueError"),
        (b"\xc7\x0c\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00", "ValueError"),
        (b"\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff", "OverflowError"),
        (b"\x91" * 5000 + b"\x01", "StackError"),
    ],
)
def test_what_is_no_msgpack_is_a_literal_error(data: bytes, kind: str) -> None:
    """Cut off, left over, not allowed, no text, lengths that lie, keys that are lists, extensions, no such instant."""
    with pytest.raises(LiteralError, match=r"^inputs: it is no msgpack that can be read here") as caught:
        unpack_untrusted(data, PATH)
    assert kind in str(caught.value)


def test_a_packed_value_beyond_the_limit_is_not_read() -> None:
    with pytest.raises(LiteralError, match="are allowed"):
        unpack_untrusted(b"\xc6" + b"\x00" * MAX_MSGPACK_BYTES, PATH)


@pytest.mark.parametrize("container", [b"\x90", b"\x80"])
def test_a_small_value_cannot_become_millions_of_lists_or_dicts(container: bytes) -> None:
    header = b"\xdd" + (MAX_MSGPACK_CONTAINERS - 1).to_bytes(4)
    unpacked = unpack_untrusted(header + container * (MAX_MSGPACK_CONTAINERS - 1), PATH)
    assert isinstance(unpacked, list)
    header = b"\xdd" + MAX_MSGPACK_CONTAINERS.to_bytes(4)
    with pytest.raises(LiteralError, match="no msgpack that can be read here"):
        unpack_untrusted(header + container * MAX_MSGPACK_CONTAINERS, PATH)


@pytest.mark.parametrize("wrap", [b"\x91", b"\x81\x01"])
def test_packed_values_are_read_to_a_depth_that_no_reader_stumbles_over(wrap: bytes) -> None:
    assert unpack_untrusted(wrap * MAX_DEPTH_READ + b"\x01", PATH)
    with pytest.raises(LiteralError, match="nested more than 100 deep"):
        unpack_untrusted(wrap * (MAX_DEPTH_READ + 1) + b"\x01", PATH)


def test_deep_values_are_fitted_to_a_type_without_exhausting_the_stack() -> None:
    literal = Literal(scalar=Scalar(binary=Binary(value=b"\x91" * MAX_DEPTH_READ + b"\x01", tag="msgpack")))
    deep: Any = list
    for _ in range(MAX_DEPTH_READ - 1):
        deep = list[deep]
    assert from_literal(literal, deep)


def test_literals_that_were_not_counted_on_the_wire_are_read_to_a_limit() -> None:
    literal = to_literal(1)
    for _ in range(MAX_DEPTH_READ + 1):
        literal = Literal(collection=LiteralCollection(literals=[literal]))
    with pytest.raises(LiteralError, match="nested more than 100 deep"):
        from_literal(literal)
    literal = to_literal(1)
    for _ in range(MAX_DEPTH_READ + 1):
        literal = Literal(scalar=Scalar(union=Union(value=literal)))
    with pytest.raises(LiteralError, match="nested more than 100 deep"):
        from_literal(literal)


def test_msgpack_text_and_bytes_stay_apart() -> None:
    assert unpack_untrusted(msgpack.packb(["a", b"a"]), PATH) == ["a", b"a"]
