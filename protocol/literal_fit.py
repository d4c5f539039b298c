"""From what a literal says by itself to the type that is expected of it.

A literal does not always know its type: inside a Struct every number is a double, inside msgpack a datetime is text, a
dataclass is a map and a file is {"path": ...}. What is expected decides, as it does for flytekit:

- int takes a whole float, float takes an int; bool takes and gives neither;
- datetime takes ISO text (without a time zone it is UTC), timedelta takes seconds, bytes take base64 text;
- a dict's int keys take their decimal text, since JSON knows no other keys;
- a dataclass takes a dict; names that it does not have are passed over, fields without default must be there;
- of a union the member of the value's very type comes first, then the first one that fits.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime as dt
import enum
import functools
import types
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from flytower.protocol.codec import to_utc
from flytower.protocol.literal_errors import LiteralError, check_depth_read, codec_errors_at
from flytower.protocol.literal_references import Directory, File, StructuredDataset

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import DataclassInstance

    from flytower.protocol.value_path import ValuePath

MAX_KEY_DIGITS = 20
"""Of a dict's int key: no more are needed for 64 bits."""

E = TypeVar("E", bound=enum.Enum)


def fit(value: object, expected: Any, path: ValuePath) -> object:
    """Return the value as one of the expected type.

    Args:
        value: What a literal says by itself.
        expected: A type or an annotation such as `list[int] | None`; object and Any expect nothing.
        path: Where the value is, for the error.

    Raises:
        LiteralError: It is no such value, or the type is one that no literal has.
    """
    check_depth_read(path)
    if expected is Any or expected is object:
        return value
    origin = get_origin(expected)
    if origin is Annotated:
        return fit(value, get_args(expected)[0], path)
    if origin is Union or origin is types.UnionType:
        return _fit_union(value, expected, path)
    kind = types.NoneType if expected is None else origin or expected
    if not isinstance(kind, type):
        raise LiteralError(path.text, f"{expected!r} is no type that a literal can have")
    if kind in _CONTAINERS:
        return _CONTAINERS[kind](value, get_args(expected), path)
    return _fit_class(value, kind, path)


def _fit_class(value: object, kind: type, path: ValuePath) -> object:
    if kind in _SCALARS:
        return _SCALARS[kind](value, path)
    if issubclass(kind, enum.Enum):
        return _fit_enum(value, kind, path)
    if dataclasses.is_dataclass(kind):
        return _fit_dataclass(value, kind, path)
    raise LiteralError(path.text, f"{kind.__name__} is no type that a literal can have")


def _mismatch(value: object, expected: str, path: ValuePath) -> LiteralError:
    return LiteralError(path.text, f"it is of type {type(value).__name__}, and {expected} is expected")


def _fit_union(value: object, expected: object, path: ValuePath) -> object:
    members = get_args(expected)
    if type(value) in members:
        return value
    for member in members:
        try:
            return fit(value, member, path)
        except LiteralError:
            continue
    raise _mismatch(value, " or ".join(getattr(member, "__name__", str(member)) for member in members), path)


def _fit_same(kind: type) -> Callable[[object, ValuePath], object]:
    def fit_same(value: object, path: ValuePath) -> object:
        if type(value) is not kind:
            raise _mismatch(value, kind.__name__, path)
        return value

    return fit_same


def _fit_int(value: object, path: ValuePath) -> int:
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise _mismatch(value, "int", path)
    return value


def _fit_float(value: object, path: ValuePath) -> float:
    if type(value) is int:
        return float(value)
    if type(value) is not float:
        raise _mismatch(value, "float", path)
    return value


def _fit_datetime(value: object, path: ValuePath) -> dt.datetime:
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError as error:
            raise LiteralError(path.text, "the text is no date and time in ISO 8601") from error
    if not isinstance(value, dt.datetime):
        raise _mismatch(value, "datetime", path)
    if value.utcoffset() is None:
        return value.replace(tzinfo=dt.UTC)
    with codec_errors_at(path):
        return to_utc(value)


def _fit_timedelta(value: object, path: ValuePath) -> dt.timedelta:
    if type(value) is int or type(value) is float:
        try:
            return dt.timedelta(seconds=value)
        except (OverflowError, ValueError) as error:
            raise LiteralError(path.text, "the seconds are no timedelta") from error
    if not isinstance(value, dt.timedelta):
        raise _mismatch(value, "timedelta", path)
    return value


def _fit_bytes(value: object, path: ValuePath) -> bytes:
    if isinstance(value, str):
        try:
            return base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise LiteralError(path.text, "the text is no base64") from error
    if not isinstance(value, bytes):
        raise _mismatch(value, "bytes", path)
    return value


def _fit_path(kind: type[File | Directory]) -> Callable[[object, ValuePath], object]:
    def fit_path(value: object, path: ValuePath) -> object:
        uri = value.get("path") if isinstance(value, dict) else value
        if isinstance(uri, str):
            return kind(uri)
        if not isinstance(value, kind):
            raise _mismatch(value, kind.__name__, path)
        return value

    return fit_path


def _fit_dataset(value: object, path: ValuePath) -> StructuredDataset:
    if isinstance(value, dict) and isinstance(value.get("uri"), str):
        stored_as = value.get("file_format")
        return StructuredDataset(value["uri"], stored_as if isinstance(stored_as, str) else "")
    if not isinstance(value, StructuredDataset):
        raise _mismatch(value, "StructuredDataset", path)
    return value


def _fit_enum(value: object, kind: type[E], path: ValuePath) -> E:
    for member in kind:
        if type(member.value) is type(value) and member.value == value:
            return member
    raise LiteralError(path.text, f"it is the value of no member of {kind.__name__}")


def _fit_list(value: object, arguments: tuple[Any, ...], path: ValuePath) -> list[object]:
    if not isinstance(value, list):
        raise _mismatch(value, "list", path)
    kind = arguments[0] if arguments else Any
    return [fit(item, kind, path.item(index)) for index, item in enumerate(value)]


def _fit_tuple(value: object, arguments: tuple[Any, ...], path: ValuePath) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _mismatch(value, "tuple", path)
    if not arguments or arguments[-1] is Ellipsis:
        return tuple(_fit_list(value, arguments[:1], path))
    if len(value) != len(arguments):
        raise LiteralError(path.text, f"it has {len(value)} items, and {len(arguments)} are expected")
    pairs = zip(value, arguments, strict=True)
    return tuple(fit(item, kind, path.item(index)) for index, (item, kind) in enumerate(pairs))


def _fit_dict(value: object, arguments: tuple[Any, ...], path: ValuePath) -> dict[object, object]:
    if not isinstance(value, dict):
        raise _mismatch(value, "dict", path)
    key_type, value_type = arguments or (Any, Any)
    return {_fit_key(key, key_type, path): fit(item, value_type, path.key(key)) for key, item in value.items()}


def _fit_key(key: object, kind: Any, path: ValuePath) -> object:
    if kind is int and isinstance(key, str):
        digits = key.removeprefix("-")
        if not (digits.isdecimal() and len(digits) <= MAX_KEY_DIGITS and str(int(key)) == key):
            raise LiteralError(path.key(key).text, "the key is no whole number")
        return int(key)
    return fit(key, kind, path.key(key))


def _fit_dataclass(value: object, kind: type[DataclassInstance], path: ValuePath) -> object:
    if not isinstance(value, dict):
        raise _mismatch(value, kind.__name__, path)
    try:
        hints = _type_hints(kind)
    except (NameError, TypeError) as error:
        raise LiteralError(path.text, f"the annotations of {kind.__name__} cannot be resolved: {error}") from error
    arguments = _constructor_arguments(value, kind, hints, path)
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise LiteralError(path.text, f"{kind.__name__} refuses these values ({type(error).__name__})") from error


def _constructor_arguments(
    value: dict[object, object], kind: type[DataclassInstance], hints: dict[str, Any], path: ValuePath
) -> dict[str, object]:
    given: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        if field.init and field.name in value:
            given[field.name] = fit(value[field.name], hints[field.name], path.field(field.name))
        elif field.init and _has_no_default(field):
            raise LiteralError(path.field(field.name).text, f"{kind.__name__} needs it, and it is not there")
    return given


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@functools.lru_cache(maxsize=1024)  # types are few; a program that makes them as it goes shall not leak them here
def _type_hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


_SCALARS: dict[type, Callable[[object, ValuePath], object]] = {
    types.NoneType: _fit_same(types.NoneType),
    bool: _fit_same(bool),
    int: _fit_int,
    float: _fit_float,
    str: _fit_same(str),
    bytes: _fit_bytes,
    dt.datetime: _fit_datetime,
    dt.timedelta: _fit_timedelta,
    File: _fit_path(File),
    Directory: _fit_path(Directory),
    StructuredDataset: _fit_dataset,
}

_CONTAINERS: dict[type, Callable[[object, tuple[Any, ...], ValuePath], object]] = {
    list: cast("Any", _fit_list),
    tuple: cast("Any", _fit_tuple),
    dict: cast("Any", _fit_dict),
}
