"""Struct, Timestamp and Duration: nothing is changed on the way, and what cannot be kept is refused."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest
from google.protobuf import duration_pb2, json_format, struct_pb2, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from flytower.protocol.codec import (
    MAX_DEPTH_READ,
    MAX_DEPTH_WRITTEN,
    MAX_DURATION_SECONDS,
    CodecError,
    datetime_to_timestamp,
    dict_to_struct,
    duration_to_timedelta,
    struct_to_dict,
    timedelta_to_duration,
    timestamp_to_datetime,
)
from flytower.protocol.generated.google.protobuf import Duration, ListValue, Struct, Timestamp, Value

exact_ints = st.integers(-(2**53), 2**53)
fractions = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
plain = st.recursive(
    st.none() | st.booleans() | exact_ints | fractions | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
structs = st.dictionaries(st.text(max_size=5), plain, max_size=4)
aware = st.datetimes(timezones=st.timezones() | st.just(dt.UTC))
OFFSET = dt.timezone(dt.timedelta(hours=5, minutes=30))


def typed(value: object) -> object:
    """The value with its types, since 1 == 1.0 == True."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value), value


@given(structs)
def test_a_dict_comes_back_from_a_struct_with_the_same_values_of_the_same_types(values: dict[str, Any]) -> None:
    encoded = bytes(dict_to_struct(values))
    assert typed(struct_to_dict(Struct.parse(encoded))) == typed(values)


@given(structs)
def test_a_struct_is_the_one_that_protobuf_would_make(values: dict[str, Any]) -> None:
    theirs = struct_pb2.Struct.FromString(bytes(dict_to_struct(values)))
    assert theirs == json_format.ParseDict(values, struct_pb2.Struct())
    assert typed(struct_to_dict(Struct.parse(theirs.SerializeToString()))) == typed(values)


@pytest.mark.parametrize(
    ("number", "read"),
    [
        (3.0, 3),
        (0.0, 0),
        (-7.0, -7),
        (2.0**53, 2**53),
        (2.0**53 + 2, 2.0**53 + 2),
        (0.5, 0.5),
        (-0.0, -0.0),
        (math.inf, math.inf),
        (1e300, 1e300),
    ],
)
def test_a_number_without_a_fraction_is_an_int_up_to_where_doubles_are_exact(number: float, read: float) -> None:
    found = struct_to_dict(Struct(fields={"n": Value(number_value=number)}))["n"]
    assert (type(found), repr(found)) == (type(read), repr(read))


def test_a_value_of_no_kind_is_none() -> None:
    assert struct_to_dict(Struct(fields={"n": Value()})) == {"n": None}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (2**53 + 1, "no double is this whole number"),
        (10**400, "finite numbers only"),
        (math.nan, "finite numbers only"),
        (-math.inf, "finite numbers only"),
        (b"bytes", "cannot hold a bytes"),
        ({1: 2}, "a key is of type int"),
        ("\ud800", "lone surrogate"),
        ({"\ud800": 1}, "lone surrogate"),
        (object(), "cannot hold a object"),
    ],
)
def test_what_a_struct_cannot_keep_is_refused_with_its_place(value: object, problem: str) -> None:
    with pytest.raises(CodecError, match=problem) as caught:
        dict_to_struct({"rows": [0, {"cell": value}]}, "custom")
    assert caught.value.path == "custom['rows'][1]['cell']"
    assert caught.value.problem in str(caught.value)


def test_a_tuple_is_a_list() -> None:
    assert struct_to_dict(dict_to_struct({"a": (1, 2)})) == {"a": [1, 2]}


def test_a_str_of_a_subclass_is_written_by_its_characters() -> None:
    class Shown(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "something else"

    assert dict_to_struct({"a": Shown("x")}).fields["a"].string_value == "x"


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"k": value}
    return value


def test_what_is_written_is_never_too_deep_for_protobuf() -> None:
    deepest = dict_to_struct(nested(MAX_DEPTH_WRITTEN))
    assert json_format.MessageToDict(struct_pb2.Struct.FromString(bytes(deepest))) == nested(MAX_DEPTH_WRITTEN)
    with pytest.raises(CodecError, match="nested more than 30 deep"):
        dict_to_struct(nested(MAX_DEPTH_WRITTEN + 1))


def test_a_dict_that_contains_itself_is_refused() -> None:
    values: dict[str, object] = {}
    values["self"] = values
    with pytest.raises(CodecError, match="nested"):
        dict_to_struct(values)


def test_reading_stops_before_the_stack_does() -> None:
    value = Value(bool_value=True)
    for _ in range(MAX_DEPTH_READ + 1):
        value = Value(list_value=ListValue(values=[value]))
    with pytest.raises(CodecError, match="nested more than 100 deep"):
        struct_to_dict(Struct(fields={"k": value}))


def test_a_long_key_is_shortened_in_an_error() -> None:
    with pytest.raises(CodecError) as caught:
        dict_to_struct({"k" * 10_000: object()})
    assert len(str(caught.value)) < 200


@given(aware)
def test_a_datetime_comes_back_as_the_same_instant_in_utc(moment: dt.datetime) -> None:
    try:
        expected = moment.astimezone(dt.UTC)
    except OverflowError:
        with pytest.raises(CodecError, match="years 1 and 9999"):
            datetime_to_timestamp(moment)
        return
    timestamp = datetime_to_timestamp(moment)
    assert timestamp_to_datetime(timestamp) == expected
    assert timestamp_to_datetime(timestamp).tzinfo is dt.UTC
    theirs = timestamp_pb2.Timestamp.FromString(bytes(timestamp))
    assert theirs.ToDatetime(tzinfo=dt.UTC) == expected


def test_a_datetime_without_a_time_zone_is_refused() -> None:
    with pytest.raises(CodecError, match="no time zone"):
        datetime_to_timestamp(dt.datetime(2026, 1, 1))  # noqa: DTZ001 - the very thing


def test_nanoseconds_below_a_microsecond_are_dropped() -> None:
    assert timestamp_to_datetime(Timestamp(seconds=-1, nanos=999_999_999)).microsecond == 999_999
    assert duration_to_timedelta(Duration(nanos=1_999)) == dt.timedelta(microseconds=1)
    assert duration_to_timedelta(Duration(nanos=-1_999)) == dt.timedelta(microseconds=-1)


@pytest.mark.parametrize(
    "timestamp",
    [Timestamp(seconds=2**63 - 1), Timestamp(seconds=253_402_300_800), Timestamp(seconds=-62_135_596_801)],
)
def test_an_instant_outside_of_the_calendar_is_refused(timestamp: Timestamp) -> None:
    with pytest.raises(CodecError, match="years 1 and 9999"):
        timestamp_to_datetime(timestamp)


@pytest.mark.parametrize("nanos", [-1, 1_000_000_000])
def test_nanoseconds_that_are_no_part_of_a_second_are_refused(nanos: int) -> None:
    with pytest.raises(CodecError, match="nanos"):
        timestamp_to_datetime(Timestamp(nanos=nanos))
    with pytest.raises(CodecError, match="nanos"):
        duration_to_timedelta(Duration(nanos=1_000_000_000 if nanos > 0 else -1_000_000_000))


LONGEST = dt.timedelta(seconds=MAX_DURATION_SECONDS)


@given(st.timedeltas(min_value=-LONGEST, max_value=LONGEST))
def test_a_timedelta_comes_back_the_same_and_is_what_protobuf_would_write(delta: dt.timedelta) -> None:
    duration = timedelta_to_duration(delta)
    assert duration_to_timedelta(duration) == delta
    theirs = duration_pb2.Duration()
    theirs.FromTimedelta(delta)
    assert bytes(duration) == theirs.SerializeToString()


def test_minus_a_microsecond_stays_minus_a_microsecond() -> None:
    assert timedelta_to_duration(dt.timedelta(microseconds=-1)) == Duration(seconds=0, nanos=-1000)


@pytest.mark.parametrize("delta", [dt.timedelta.max, dt.timedelta.min, LONGEST + dt.timedelta.resolution])
def test_a_timedelta_that_protobuf_does_not_have_is_refused(delta: dt.timedelta) -> None:
    with pytest.raises(CodecError, match="ten thousand years"):
        timedelta_to_duration(delta)


@pytest.mark.parametrize("seconds", [2**63 - 1, -(2**63), MAX_DURATION_SECONDS + 1])
def test_a_duration_beyond_its_range_is_refused(seconds: int) -> None:
    with pytest.raises(CodecError, match="ten thousand years"):
        duration_to_timedelta(Duration(seconds=seconds))


def test_an_offset_is_turned_into_utc() -> None:
    moment = dt.datetime(2026, 1, 1, 5, 30, tzinfo=OFFSET)
    assert timestamp_to_datetime(datetime_to_timestamp(moment)) == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
