"""Any value goes to a literal, over the wire, and back; flyteidl's own classes read and write the same."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import enum
from typing import Any

import pytest
from flyteidl.core import literals_pb2
from google.protobuf import json_format, struct_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flytower.protocol.codec import MAX_DURATION_SECONDS
from flytower.protocol.decode import decode_untrusted
from flytower.protocol.generated.flyteidl.core import Binary, Literal, LiteralMap, Scalar
from flytower.protocol.generated.google.protobuf import Struct
from flytower.protocol.literal_msgpack import pack
from flytower.protocol.literals import (
    Directory,
    File,
    LiteralError,
    StructuredDataset,
    from_literal,
    from_literal_map,
    to_literal,
    to_literal_map,
)
from flytower.protocol.value_path import ValuePath

QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


@dataclasses.dataclass
class Leaf:
    number: int
    share: float
    text: str
    flag: bool
    colour: Colour
    maybe: int | None = None


@dataclasses.dataclass
class Branch:
    leaves: list[Leaf]
    by_name: dict[str, Leaf]
    by_number: dict[int, list[float]]
    when: dt.datetime
    every: dt.timedelta
    payload: bytes
    source: File
    pair: tuple[int, str]


text = st.text(max_size=8)
int64 = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False)
instants = st.datetimes(timezones=st.just(dt.UTC))
longest = dt.timedelta(seconds=MAX_DURATION_SECONDS)
durations = st.timedeltas(min_value=-longest, max_value=longest)
short_durations = st.timedeltas(min_value=dt.timedelta(days=-3650), max_value=dt.timedelta(days=3650))
references = st.one_of([st.builds(kind, text, text) for kind in (File, Directory, StructuredDataset)])
scalars = st.one_of(
    st.none(), st.booleans(), int64, floats, text, st.binary(max_size=8), instants, durations, references
)
int_keyed = st.dictionaries(int64, st.lists(st.none() | st.booleans() | int64 | floats | text, max_size=3), min_size=1)
values = st.recursive(
    scalars | int_keyed,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
leaves = st.builds(
    Leaf,
    number=int64,
    share=floats,
    text=text,
    flag=st.booleans(),
    colour=st.sampled_from(Colour),
    maybe=st.none() | int64,
)
branches = st.builds(
    Branch,
    leaves=st.lists(leaves, max_size=2),
    by_name=st.dictionaries(text, leaves, max_size=2),
    by_number=st.dictionaries(int64, st.lists(floats, max_size=2), max_size=2),
    when=instants,
    every=short_durations,
    payload=st.binary(max_size=8),
    source=st.builds(File, text),
    pair=st.tuples(int64, text),
)


def typed(value: object) -> object:
    """The value with its types, since 1 == 1.0 == True."""
    if isinstance(value, dict):
        return {(type(key), key): typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value), value


def over_the_wire(literal: Literal) -> Literal:
    """Written by us, read and written by flyteidl's classes, read by us."""
    theirs = literals_pb2.Literal.FromString(bytes(literal))
    return decode_untrusted(Literal, theirs.SerializeToString())


@settings(QUICK, max_examples=300)
@given(values)
def test_a_value_comes_back_equal_and_of_the_same_types(value: object) -> None:
    assert typed(from_literal(over_the_wire(to_literal(value)))) == typed(value)


@settings(QUICK, max_examples=100)
@given(st.dictionaries(text, values, max_size=4))
def test_named_values_come_back(named: dict[str, object]) -> None:
    theirs = literals_pb2.LiteralMap.FromString(bytes(to_literal_map(named)))
    literals = decode_untrusted(LiteralMap, theirs.SerializeToString())
    assert typed(from_literal_map(literals)) == typed(named)


@settings(QUICK, max_examples=150)
@given(branches)
def test_a_dataclass_comes_back_from_msgpack(branch: Branch) -> None:
    found = from_literal(over_the_wire(to_literal(branch)), Branch)
    assert found == branch
    assert isinstance(found, Branch)
    assert [type(leaf.number) for leaf in found.leaves] == [int] * len(found.leaves)


@settings(QUICK, max_examples=150)
@given(leaves.filter(lambda leaf: abs(leaf.number) <= 2**53 and abs(leaf.maybe or 0) <= 2**53))
def test_a_dataclass_comes_back_from_a_generic_struct(leaf: Leaf) -> None:
    """Within what JSON can say: no infinity, and no int that no double is."""
    if leaf.share in (float("inf"), float("-inf")):
        return
    as_json = dataclasses.asdict(leaf) | {"colour": leaf.colour.value}
    generic = json_format.ParseDict(as_json, struct_pb2.Struct())
    literal = Literal(scalar=Scalar(generic=decode_untrusted(Struct, generic.SerializeToString())))
    found = from_literal(literal, Leaf)
    assert found == leaf
    assert isinstance(found, Leaf)
    assert (type(found.number), type(found.share)) == (int, float)


TYPES: tuple[Any, ...] = (
    *(int, float, str, bool, bytes, dt.datetime, dt.timedelta, None, list, dict, list[int], dict[str, float], Colour),
    *(Leaf, Branch, File, Directory, StructuredDataset, int | None, tuple[int, ...], dict[int, Any]),
)


@settings(QUICK, max_examples=300)
@given(values, st.sampled_from(TYPES))
def test_reading_as_any_type_gives_that_type_or_a_literal_error(value: object, expected: Any) -> None:
    try:
        found = from_literal(to_literal(value), expected)
    except LiteralError:
        return
    if isinstance(expected, type) and not hasattr(expected, "__origin__"):
        assert type(found) is expected


def read_or_refuse(data: bytes, expected: Any) -> None:
    """The one exception that may come is LiteralError."""
    literal = Literal(scalar=Scalar(binary=Binary(value=data, tag="msgpack")))
    with contextlib.suppress(LiteralError):
        from_literal(literal, expected)


@settings(QUICK, max_examples=300)
@given(st.binary(max_size=80), st.sampled_from(TYPES))
def test_any_packed_bytes_are_a_value_or_a_literal_error(data: bytes, expected: Any) -> None:
    read_or_refuse(data, None)
    read_or_refuse(data, expected)


@settings(QUICK, max_examples=200)
@given(branches, st.data())
def test_damaged_packed_bytes_are_a_value_or_a_literal_error(branch: Branch, data: st.DataObject) -> None:
    encoded = bytearray(pack(branch, ValuePath("branch")))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(bytes(encoded), None)
    read_or_refuse(bytes(encoded), Branch)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), -0.0])
def test_a_float_that_json_cannot_say_comes_back(value: float) -> None:
    assert repr(from_literal(over_the_wire(to_literal(value)))) == repr(value)


def test_not_a_number_comes_back_as_not_a_number() -> None:
    found = from_literal(over_the_wire(to_literal(float("nan"))))
    assert isinstance(found, float)
    assert found != found  # noqa: PLR0124 - which is how one knows
