"""Python values <-> protobuf's Struct, Timestamp and Duration.

A Struct knows one kind of number, the double. Written, a number that no double holds exactly is refused rather than
changed. Read, a number without a fraction and not beyond 2**53 is an int, any other is a float: 3.0 comes back as 3.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

from flytower.protocol.generated.google.protobuf import Duration, ListValue, NullValue, Struct, Timestamp, Value
from flytower.protocol.value_path import ValuePath

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_DEPTH_WRITTEN = 30
"""Lists and dicts within each other. A dict in a dict is three messages deeper, and protobuf's decoders stop at 100."""

MAX_DEPTH_READ = 100
"""Nothing deeper arrives by wire, where messages are counted."""

MAX_EXACT_INT = 2**53
"""Up to here every whole number is a double of its own."""

MAX_DURATION_SECONDS = 315_576_000_000
"""Ten thousand years: the range that protobuf's duration.proto sets."""

NANOSECONDS_PER_SECOND = 1_000_000_000

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_SECOND = dt.timedelta(seconds=1)


class CodecError(ValueError):
    """A value cannot be converted.

    Args:
        path: Where in the value the trouble is.
        problem: What the trouble is; it never contains the value.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def dict_to_struct(values: Mapping[str, object], path: str = "struct") -> Struct:
    """Return a Struct with these values: None, bool, int, float, str, lists and dicts of them.

    Args:
        values: What to convert; its keys are strings.
        path: What the value is called in an error.

    Raises:
        CodecError: A value of another type, a number that a double cannot hold exactly, text that is no Unicode, or
            nesting beyond MAX_DEPTH_WRITTEN. The caller's mistake.
    """
    return _struct(values, ValuePath(path))


def _struct(values: Mapping[object, object] | Mapping[str, object], path: ValuePath) -> Struct:
    fields: dict[str, Value] = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise CodecError(path.text, f"a key is of type {type(key).__name__}, and a Struct has only strings as keys")
        fields[check_text(key, path)] = _value(value, path.key(key))
    return Struct(fields=fields)


def _value(value: object, path: ValuePath) -> Value:
    if path.depth > MAX_DEPTH_WRITTEN:
        raise CodecError(path.text, f"lists and dicts are nested more than {MAX_DEPTH_WRITTEN} deep")
    match value:
        case None:
            return Value(null_value=NullValue.NULL_VALUE)
        case bool():
            return Value(bool_value=value)
        case int() | float():
            return Value(number_value=_double(value, path))
        case str():
            return Value(string_value=check_text(value, path))
        case list() | tuple():
            return Value(list_value=_list_value(value, path))
        case dict():
            return Value(struct_value=_struct(value, path))
        case _:
            raise CodecError(path.text, f"a Struct cannot hold a {type(value).__name__}")


def _list_value(values: Sequence[object], path: ValuePath) -> ListValue:
    return ListValue(values=[_value(value, path.item(index)) for index, value in enumerate(values)])


def _double(value: float, path: ValuePath) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CodecError(path.text, "a Struct holds finite numbers only: no JSON has others")
    if number != value:
        raise CodecError(path.text, "a Struct holds doubles, and no double is this whole number: give it as a string")
    return number


def check_text(text: str, path: ValuePath) -> str:
    """Return a text as it is, when it can be written.

    Raises:
        CodecError: It has half of a surrogate pair in it.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise CodecError(path.text, "the text has a lone surrogate in it, which UTF-8 cannot write") from error
    return str.__str__(text)  # a plain str, of whatever subclass it was


def struct_to_dict(struct: Struct, path: str = "struct") -> dict[str, object]:
    """Return what a Struct holds; numbers as this module's description says.

    Raises:
        CodecError: It is nested beyond MAX_DEPTH_READ.
    """
    return _dict(struct, ValuePath(path))


def _dict(struct: Struct, path: ValuePath) -> dict[str, object]:
    return {key: _plain(value, path.key(key)) for key, value in struct.fields.items()}


def _plain(value: Value, path: ValuePath) -> object:
    if path.depth > MAX_DEPTH_READ:
        raise CodecError(path.text, f"lists and dicts are nested more than {MAX_DEPTH_READ} deep")
    if value.struct_value is not None:
        return _dict(value.struct_value, path)
    if value.list_value is not None:
        return [_plain(item, path.item(index)) for index, item in enumerate(value.list_value.values)]
    if value.number_value is not None:
        return _number(value.number_value)
    return value.string_value if value.string_value is not None else value.bool_value


def _number(number: float) -> int | float:
    negative_zero = number == 0 and math.copysign(1, number) < 0
    whole = number.is_integer() and abs(number) <= MAX_EXACT_INT and not negative_zero
    return int(number) if whole else number


def to_utc(moment: dt.datetime) -> dt.datetime:
    """Return the same instant in UTC.

    Raises:
        CodecError: The datetime has no time zone, so it is no instant, or it is not between the years 1 and 9999 there.
            The caller's mistake.
    """
    if moment.utcoffset() is None:
        raise CodecError("datetime", "the datetime has no time zone: give it one, such as datetime.UTC")
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError as error:
        raise CodecError("datetime", "in UTC it is not between the years 1 and 9999") from error


def datetime_to_timestamp(moment: dt.datetime) -> Timestamp:
    """Return the instant, exact to the microsecond.

    Raises:
        CodecError: As `to_utc`.
    """
    seconds, fraction = divmod(to_utc(moment) - _EPOCH, _SECOND)
    return Timestamp(seconds=seconds, nanos=fraction // _MICROSECOND * 1000)


def timestamp_to_datetime(timestamp: Timestamp) -> dt.datetime:
    """Return the instant in UTC. Nanoseconds below a microsecond are dropped.

    Raises:
        CodecError: It is not between the years 1 and 9999, or its nanoseconds are no part of a second.
    """
    if not 0 <= timestamp.nanos < NANOSECONDS_PER_SECOND:
        raise CodecError("timestamp", "nanos is not between 0 and 999,999,999")
    try:
        return _EPOCH + dt.timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)
    except OverflowError as error:
        raise CodecError("timestamp", "it is not between the years 1 and 9999") from error


def timedelta_to_duration(delta: dt.timedelta) -> Duration:
    """Return the duration, exact to the microsecond; seconds and nanos have the same sign, as protobuf wants it.

    Raises:
        CodecError: It is longer than ten thousand years.
    """
    seconds, fraction = divmod(abs(delta), _SECOND)
    nanos = fraction // _MICROSECOND * 1000
    if seconds > MAX_DURATION_SECONDS or (seconds == MAX_DURATION_SECONDS and nanos):
        raise CodecError("timedelta", "it is longer than ten thousand years")
    sign = -1 if delta < dt.timedelta() else 1
    return Duration(seconds=sign * seconds, nanos=sign * nanos)


def duration_to_timedelta(duration: Duration) -> dt.timedelta:
    """Return the duration. Nanoseconds below a microsecond are dropped.

    Raises:
        CodecError: It is longer than ten thousand years, or its nanoseconds are no part of a second.
    """
    if abs(duration.nanos) >= NANOSECONDS_PER_SECOND:
        raise CodecError("duration", "nanos is not between -999,999,999 and 999,999,999")
    if abs(duration.seconds) > MAX_DURATION_SECONDS:
        raise CodecError("duration", "it is longer than ten thousand years")
    micros = abs(duration.nanos) // 1000
    return dt.timedelta(seconds=duration.seconds, microseconds=micros if duration.nanos >= 0 else -micros)
