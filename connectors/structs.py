"""Python dictionaries <-> protobuf's Struct, which carries what has no type in Flyte: task config, custom info."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flytower.protocol.generated.google.protobuf import ListValue, NullValue, Struct, Value


def to_struct(values: Mapping[str, Any]) -> Struct:
    """Return a Struct with the values of a JSON-like dictionary.

    Raises:
        TypeError: A key is no string, or a value is none of None, bool, int, float, str, list, tuple and mapping.
        ValueError: A number is not finite, or an integer would lose digits: all numbers of a Struct are doubles.
    """
    for key in values:
        if not isinstance(key, str):
            raise TypeError(f"keys must be strings, not {key!r}")
    return Struct(fields={key: _to_value(value) for key, value in values.items()})


def from_struct(struct: Struct | None) -> dict[str, Any]:
    """Return the values of a Struct; whole numbers as int, because a Struct cannot say which ones were meant so."""
    return {} if struct is None else {key: _from_value(value) for key, value in struct.fields.items()}


def _to_value(value: object) -> Value:
    match value:
        case None:
            return Value(null_value=NullValue.NULL_VALUE)
        case bool():
            return Value(bool_value=value)
        case int() | float():
            return Value(number_value=_to_double(value))
        case str():
            return Value(string_value=value)
        case Mapping():
            return Value(struct_value=to_struct(value))
        case list() | tuple():
            return Value(list_value=ListValue(values=[_to_value(item) for item in value]))
    raise TypeError(f"a {type(value).__name__} has no place in a Struct")


def _to_double(number: float) -> float:
    try:
        double = float(number)
    except OverflowError:
        double = math.inf
    if not math.isfinite(double):
        raise ValueError("numbers of a Struct must be finite")
    if isinstance(number, int) and int(double) != number:
        raise ValueError(f"the integer {number} does not fit into a Struct, whose numbers are doubles: give a string")
    return double


def _from_value(value: Value) -> Any:
    if value.number_value is not None:
        number = value.number_value
        return int(number) if math.isfinite(number) and number == int(number) else number
    if value.struct_value is not None:
        return from_struct(value.struct_value)
    if value.list_value is not None:
        return [_from_value(item) for item in value.list_value.values]
    if value.string_value is not None:
        return value.string_value
    return value.bool_value
