"""Values inside a msgpack Binary: dataclasses, and dicts with other keys than strings.

The encoding is the one that flytekit reads and writes (through mashumaro): a dataclass is a map of its fields, an enum
its value, a datetime its ISO text, a timedelta its seconds, a file {"path": ...}. MessagePack itself is specified at
https://github.com/msgpack/msgpack/blob/master/spec.md.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import TYPE_CHECKING

import msgpack

from flytower.protocol.codec import MAX_DEPTH_READ, check_text, to_utc
from flytower.protocol.literal_errors import (
    MAX_MSGPACK_BYTES,
    MAX_MSGPACK_CONTAINERS,
    LiteralError,
    check_depth_written,
    codec_errors_at,
)
from flytower.protocol.literal_references import Directory, File, StructuredDataset, reference_to_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flytower.protocol.value_path import ValuePath

MSGPACK_TAG = "msgpack"
"""What a Binary with this encoding is tagged with."""

MIN_INT, MAX_INT = -(2**63), 2**64 - 1
"""The whole numbers that msgpack has."""


def pack(value: object, path: ValuePath) -> bytes:
    """Return a value in msgpack.

    Raises:
        LiteralError: Something in it has no such encoding. The caller's mistake.
    """
    packed: bytes = msgpack.packb(_plain(value, path))
    if len(packed) > MAX_MSGPACK_BYTES:
        raise LiteralError(path.text, f"it takes {len(packed)} bytes, of which {MAX_MSGPACK_BYTES} are allowed")
    return packed


def _plain(value: object, path: ValuePath) -> object:  # noqa: PLR0911 - one line per kind of value
    check_depth_written(path)
    match value:
        case enum.Enum():
            return _plain(value.value, path)
        case None | bool() | float() | bytes():
            return value
        case int():
            return _checked_int(value, path)
        case str():
            with codec_errors_at(path):
                return check_text(value, path)
        case dt.datetime():
            with codec_errors_at(path):
                return to_utc(value).isoformat()
        case dt.timedelta():
            return _seconds(value, path)
        case list() | tuple():
            return [_plain(item, path.item(index)) for index, item in enumerate(value)]
        case dict():
            return _plain_dict(value, path)
        case File() | Directory() | StructuredDataset():
            return _plain(reference_to_plain(value), path)
        case _:
            return _plain_dataclass(value, path)


def _checked_int(value: int, path: ValuePath) -> int:
    if not MIN_INT <= value <= MAX_INT:
        raise LiteralError(path.text, "the whole number does not fit into 64 bits: give it as a string")
    return int(value)


def _seconds(value: dt.timedelta, path: ValuePath) -> float:
    seconds = value.total_seconds()
    if dt.timedelta(seconds=seconds) != value:
        raise LiteralError(path.text, "the timedelta is too long to keep its microseconds as a float")
    return seconds


def _plain_dict(value: Mapping[object, object], path: ValuePath) -> dict[object, object]:
    plain: dict[object, object] = {}
    for key, item in value.items():
        if not isinstance(key, (str, int, float, enum.Enum)):
            raise LiteralError(
                path.text, f"a key is of type {type(key).__name__}; str, int, float, bool and enum can be"
            )
        plain[_plain(key, path.key(key))] = _plain(item, path.key(key))
    if len(plain) != len(value):
        raise LiteralError(path.text, "two keys are the same once they are written")
    return plain


def _plain_dataclass(value: object, path: ValuePath) -> dict[str, object]:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise LiteralError(path.text, f"a {type(value).__name__} has no literal form")
    fields = dataclasses.fields(value)
    return {field.name: _plain(getattr(value, field.name), path.field(field.name)) for field in fields}


def unpack_untrusted(data: bytes, path: ValuePath) -> object:
    """Return what a peer packed: None, bool, int, float, str, bytes, datetime, lists and dicts.

    Raises:
        LiteralError: It is no msgpack, has extension types other than the timestamp, or is too large. The peer's fault.
    """
    if len(data) > MAX_MSGPACK_BYTES:
        raise LiteralError(path.text, f"it takes {len(data)} bytes, of which {MAX_MSGPACK_BYTES} are allowed")
    budget = _Budget()
    try:
        value: object = msgpack.unpackb(
            data,
            strict_map_key=False,
            timestamp=_AS_DATETIME,
            ext_hook=_refuse_extension,
            list_hook=budget.spend_list,
            object_hook=budget.spend_dict,
        )
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError) as error:
        raise LiteralError(path.text, f"it is no msgpack that can be read here ({type(error).__name__})") from error
    _check_depth(value, path)
    return value


def _check_depth(value: object, path: ValuePath) -> None:
    level = [value]
    for _ in range(MAX_DEPTH_READ + 1):
        level = [child for container in level for child in _children(container)]
        if not level:
            return
    raise LiteralError(path.text, f"it is nested more than {MAX_DEPTH_READ} deep")


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


_AS_DATETIME = 3  # what msgpack calls it: aware, in UTC


class _Budget:
    """Counts containers while they are made, so that a small message cannot become a large one."""

    def __init__(self) -> None:
        self._left = MAX_MSGPACK_CONTAINERS

    def spend_list(self, made: list[object]) -> list[object]:
        self._spend()
        return made

    def spend_dict(self, made: dict[object, object]) -> dict[object, object]:
        self._spend()
        return made

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many lists and dicts")


def _refuse_extension(code: int, _data: bytes) -> object:
    raise ValueError(f"extension type {code}")
