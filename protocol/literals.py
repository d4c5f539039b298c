"""Python values <-> Flyte's literals.

Written:

| value | literal |
|---|---|
| None | Void |
| bool, int, float, str, datetime, timedelta | the Primitive of that name; a datetime is an instant in UTC |
| enum | the Primitive of its value |
| bytes | a Binary without a tag |
| list, dict with only strings as keys | LiteralCollection, LiteralMap |
| any other dict, dataclass | a Binary with the tag msgpack, encoded as flytekit does it |
| File, Directory, StructuredDataset | Blob, StructuredDataset |

Read, all of these, and a generic Struct (how flytekit wrote dataclasses before msgpack, and how Flyte's console does),
a union, a schema. A number of a Struct without a fraction is an int unless a float is expected; a bool is never an int.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import TYPE_CHECKING, Any, TypeAlias

from flytower.protocol.codec import (
    check_text,
    datetime_to_timestamp,
    duration_to_timedelta,
    struct_to_dict,
    timedelta_to_duration,
    timestamp_to_datetime,
)
from flytower.protocol.generated.flyteidl.core import (
    Binary,
    Literal,
    LiteralCollection,
    LiteralMap,
    Primitive,
    Scalar,
    Void,
)
from flytower.protocol.literal_errors import LiteralError, check_depth_read, check_depth_written, codec_errors_at
from flytower.protocol.literal_fit import fit
from flytower.protocol.literal_msgpack import MSGPACK_TAG, pack, unpack_untrusted
from flytower.protocol.literal_references import (
    Directory,
    File,
    StructuredDataset,
    blob_to_reference,
    dataset_to_reference,
    reference_to_scalar,
)
from flytower.protocol.value_path import ValuePath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Directory",
    "File",
    "LiteralError",
    "StructuredDataset",
    "from_literal",
    "from_literal_map",
    "to_literal",
    "to_literal_map",
]

MIN_INT, MAX_INT = -(2**63), 2**63 - 1
"""The whole numbers that a Primitive has."""


def to_literal(value: object) -> Literal:
    """Return the literal of a value.

    Raises:
        LiteralError: The value, or one inside it, has no literal form. The caller's mistake.
    """
    return _literal(value, ValuePath("value"))


def to_literal_map(values: Mapping[str, object]) -> LiteralMap:
    """Return the literals of named values, such as a task's outputs.

    Raises:
        LiteralError: One of the values, or one inside it, has no literal form. The caller's mistake.
    """
    return LiteralMap(literals={name: _literal(value, ValuePath(name)) for name, value in values.items()})


def from_literal(literal: Literal, expected: type | None = None) -> object:
    """Return the value of a literal.

    Args:
        literal: A literal from a peer; what is packed inside it is taken for hostile.
        expected: The type that the value shall have, or an annotation such as `list[int]`; None for what it says.

    Raises:
        LiteralError: The literal is damaged, or no such value.
    """
    return _value(literal, expected, ValuePath("literal"))


def from_literal_map(literals: LiteralMap, expected: Mapping[str, type] | None = None) -> dict[str, object]:
    """Return named values, such as a task's inputs.

    Args:
        literals: Literals from a peer.
        expected: The types that the values shall have, as for `from_literal`. A name without one is read as it is, and
            a type whose name is not there is passed over.

    Raises:
        LiteralError: One of the literals is damaged, or no such value.
    """
    types_by_name = expected or {}
    named = literals.literals.items()
    return {name: _value(literal, types_by_name.get(name), ValuePath(name)) for name, literal in named}


def _literal(value: object, path: ValuePath) -> Literal:
    check_depth_written(path)
    if isinstance(value, list):
        literals = [_literal(item, path.item(index)) for index, item in enumerate(value)]
        return Literal(collection=LiteralCollection(literals=literals))
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return Literal(map=_literal_map(value, path))
    return Literal(scalar=_scalar(value, path))


def _literal_map(values: Mapping[str, object], path: ValuePath) -> LiteralMap:
    literals: dict[str, Literal] = {}
    for key, value in values.items():
        literals[_text(key, path)] = _literal(value, path.key(key))
    return LiteralMap(literals=literals)


def _scalar(value: object, path: ValuePath) -> Scalar:
    match value:
        case None:
            return Scalar(none_type=Void())
        case bytes():
            return Scalar(binary=Binary(value=value))
        case File() | Directory() | StructuredDataset():
            _text(value.uri, path.field("uri"))
            return reference_to_scalar(value)
        case dict():
            return Scalar(binary=Binary(value=pack(value, path), tag=MSGPACK_TAG))
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, (type, enum.Enum)):
            return Scalar(binary=Binary(value=pack(value, path), tag=MSGPACK_TAG))
        case _:
            return Scalar(primitive=_primitive(value, path))


def _primitive(value: object, path: ValuePath) -> Primitive:  # noqa: PLR0911 - one line per kind of value
    match value:
        case enum.Enum():
            return _primitive(value.value, path)
        case bool():
            return Primitive(boolean=value)
        case int():
            return Primitive(integer=_checked_int(value, path))
        case float():
            return Primitive(float_value=float(value))
        case str():
            return Primitive(string_value=_text(value, path))
        case dt.datetime():
            with codec_errors_at(path):
                return Primitive(datetime=datetime_to_timestamp(value))
        case dt.timedelta():
            with codec_errors_at(path):
                return Primitive(duration=timedelta_to_duration(value))
        case _:
            raise LiteralError(path.text, f"a {type(value).__name__} has no literal form")


def _checked_int(value: int, path: ValuePath) -> int:
    if not MIN_INT <= value <= MAX_INT:
        raise LiteralError(path.text, "the whole number does not fit into 64 bits: give it as a string")
    return int(value)


def _text(value: str, path: ValuePath) -> str:
    with codec_errors_at(path):
        return check_text(value, path)


def _value(literal: Literal, expected: Any, path: ValuePath) -> object:
    value = _natural(literal, path)
    return value if expected is None else fit(value, expected, path)


def _natural(literal: Literal, path: ValuePath) -> object:
    """Return what a literal says by itself."""
    check_depth_read(path)
    if literal.collection is not None:
        return [_natural(item, path.item(index)) for index, item in enumerate(literal.collection.literals)]
    if literal.map is not None:
        return {key: _natural(item, path.key(key)) for key, item in literal.map.literals.items()}
    if literal.offloaded_metadata is not None:
        raise LiteralError(path.text, "it is stored elsewhere (offloaded), and has to be fetched from there")
    if literal.scalar is None:
        raise LiteralError(path.text, "the literal is empty")
    return _natural_scalar(literal.scalar, path)


def _natural_scalar(scalar: Scalar, path: ValuePath) -> object:
    for name, read in _SCALARS.items():
        member = getattr(scalar, name)
        if member is not None:
            return read(member, path)
    raise LiteralError(path.text, "the scalar is empty")


def _natural_primitive(primitive: Primitive, path: ValuePath) -> object:
    if primitive.datetime is not None:
        with codec_errors_at(path):
            return timestamp_to_datetime(primitive.datetime)
    if primitive.duration is not None:
        with codec_errors_at(path):
            return duration_to_timedelta(primitive.duration)
    plain = (primitive.integer, primitive.float_value, primitive.string_value, primitive.boolean)
    given = [value for value in plain if value is not None]
    if not given:
        raise LiteralError(path.text, "the primitive is empty")
    return given[0]


def _natural_binary(binary: Binary, path: ValuePath) -> object:
    if binary.tag == MSGPACK_TAG:
        return unpack_untrusted(binary.value, path)
    if binary.tag:
        raise LiteralError(path.text, f"a binary tagged {binary.tag[:20]!r} cannot be read here, only msgpack")
    return binary.value


def _natural_struct(struct: Any, path: ValuePath) -> object:
    with codec_errors_at(path):
        return struct_to_dict(struct, path.text)


def _natural_union(union: Any, path: ValuePath) -> object:
    if union.value is None:
        raise LiteralError(path.text, "the union is empty")
    # A union is no container to who reads the path, but it is one more level.
    return _natural(union.value, ValuePath(path.text, path.depth + 1))


def _refuse_error(_error: object, path: ValuePath) -> object:
    raise LiteralError(path.text, "it holds no value but the error of the node that should have made one")


_Read: TypeAlias = "Callable[[Any, ValuePath], object]"

_SCALARS: dict[str, _Read] = {
    "primitive": _natural_primitive,
    "none_type": lambda _void, _path: None,
    "binary": _natural_binary,
    "generic": _natural_struct,
    "blob": lambda blob, _path: blob_to_reference(blob),
    "structured_dataset": lambda dataset, _path: dataset_to_reference(dataset),
    "schema": lambda schema, _path: StructuredDataset(schema.uri),
    "union": _natural_union,
    "error": _refuse_error,
}
"""The members of Scalar's oneof, and how each is read."""
