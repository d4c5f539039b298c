"""Checking parsed JSON against the annotations of a dataclass, and building what they say."""

from __future__ import annotations

import dataclasses
import functools
import sys
import types
import typing
from enum import Enum
from typing import Any, Literal, Union

NAMES_IN_MESSAGE = 10
"""How many names a message lists: hostile bytes can hold thousands, and nobody reads more."""

NAME_CHARS = 60
"""How much of a name a message shows: names from hostile bytes can be as long as the whole."""


class Mismatch(Exception):  # noqa: N818 - it says "try the next arm of the union", and never leaves this module
    """A value is not what the annotation says."""


def build_fields_untrusted(cls: type[Any], given: dict[str, Any], path: str, faults: list[str]) -> dict[str, Any]:
    """Return the arguments for a dataclass out of a JSON object, and append each fault found to `faults`.

    Args:
        cls: A dataclass.
        given: The parsed JSON object.
        path: What stands before a field's name in a fault, "" or "outer.".
        faults: Where the faults go; the result is of use only when there are none.
    """
    fields, required = _fields_of(cls)  # type: ignore[arg-type]  # mypy takes a class's metaclass for unhashable
    if unknown := given.keys() - fields:
        faults.append("unknown fields: " + _listed(path, list(unknown)))
    if missing := required - given.keys():
        faults.append("missing fields: " + _listed(path, list(missing)))
    hints = hints_of(cls)  # type: ignore[arg-type]  # mypy takes a class's metaclass for unhashable
    values: dict[str, Any] = {}
    for name in fields & given.keys():
        try:
            values[name] = _build(hints[name], given[name], f"{path}{name}.")
        except Mismatch as mismatch:
            faults.append(f"field {path}{name}: {mismatch}")
    return values


def is_plain_untrusted(cls: type[Any], given: dict[str, Any]) -> bool:
    """Whether a JSON object has just the fields of a dataclass, and each is as it is there: a poll's way, and short."""
    plain = _plain_fields_of(cls)  # type: ignore[arg-type]  # mypy takes a class's metaclass for unhashable
    if plain is None or len(given) != len(plain):
        return False
    for name, hint in plain:  # noqa: SIM110 - a generator costs more than all the rest
        if type(given.get(name)) is not hint:
            return False
    return True


CACHED_CLASSES = 256
"""Classes whose resolved annotations are kept: every poll decodes one, and a server knows a few dozen of them."""


@functools.lru_cache(maxsize=CACHED_CLASSES)
def _fields_of(cls: type[Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of a dataclass's arguments, and of those that have no default."""
    fields = [field for field in dataclasses.fields(cls) if field.init]
    return frozenset(each.name for each in fields), frozenset(each.name for each in fields if _is_required(each))


@functools.lru_cache(maxsize=CACHED_CLASSES)
def _plain_fields_of(cls: type[Any]) -> tuple[tuple[str, Any], ...] | None:
    """Return each field of a dataclass whose fields JSON has as they are; None for any other class."""
    hints = hints_of(cls)  # type: ignore[arg-type]  # mypy takes a class's metaclass for unhashable
    names = _fields_of(cls)[0]  # type: ignore[arg-type]
    plain = all(isinstance(hints[name], type) and hints[name] in _PLAIN for name in names)
    return tuple((name, hints[name]) for name in names) if plain else None


@functools.lru_cache(maxsize=CACHED_CLASSES)
def hints_of(cls: type[Any]) -> dict[str, Any]:
    """Return the resolved annotations of a dataclass's fields; `Any` for one that cannot be resolved from outside.

    An annotation may name what is imported for type checkers only, or what is local to a function.
    """
    return {field.name: _resolved(cls, field.name, field.type) for field in dataclasses.fields(cls)}


def _resolved(cls: type[Any], name: str, annotation: Any) -> Any:
    holder = types.SimpleNamespace(__annotations__={name: annotation})
    owner = next((base for base in cls.__mro__ if name in vars(base).get("__annotations__", {})), cls)
    try:
        return typing.get_type_hints(holder, vars(sys.modules[owner.__module__]), {owner.__name__: owner})[name]
    except Exception:  # noqa: BLE001 - an annotation is an expression; evaluating it can raise anything
        return Any


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _listed(path: str, names: list[str]) -> str:
    shown = ", ".join(path + name[:NAME_CHARS] for name in sorted(names)[:NAMES_IN_MESSAGE])
    return shown if len(names) <= NAMES_IN_MESSAGE else f"{shown} and {len(names) - NAMES_IN_MESSAGE} more"


def _build(hint: Any, value: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return _build_union(typing.get_args(hint), value, path)
    if origin is Literal:
        return _same(value, typing.get_args(hint))
    if (origin or hint) in (list, tuple, dict):
        return _build_container(origin or hint, typing.get_args(hint), value, path)
    if hint is None or hint is type(None):
        return _require(value is None, value, None, "null")
    if isinstance(hint, type):
        return _build_class(hint, value, path)
    return value  # Any, and what only a type checker can check


def _build_class(hint: type[Any], value: Any, path: str) -> Any:
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return _require(number, value, float(value) if number else None, "a number")
    if hint in _PLAIN:
        return _require(type(value) is hint, value, value, _PLAIN[hint])
    if issubclass(hint, Enum):
        return _build_enum(hint, value)
    if dataclasses.is_dataclass(hint):
        return _build_nested(hint, value, path)
    return value


_PLAIN: dict[type[Any], str] = {str: "a string", int: "an integer", bool: "true or false"}


def _build_union(arms: tuple[Any, ...], value: Any, path: str) -> Any:
    reasons = []
    for arm in sorted(arms, key=lambda arm: arm is float):  # an integer is taken for an int where it may be one
        try:
            return _build(arm, value, path)
        except Mismatch as mismatch:
            reasons.append(str(mismatch))
    raise Mismatch(", or ".join(reasons))


def _build_container(kind: type[Any], arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    if kind is dict:
        _require(isinstance(value, dict), value, value, "an object")
        item = arguments[1] if arguments else Any
        return {key: _build(item, inner, f"{path}{key[:NAME_CHARS]}.") for key, inner in value.items()}
    _require(isinstance(value, list), value, value, "a list")
    if kind is list or not arguments or arguments[-1] is Ellipsis:
        item = arguments[0] if arguments else Any
        return kind(_build(item, inner, path) for inner in value)
    _require(len(value) == len(arguments), value, value, f"a list of {len(arguments)}")
    return tuple(_build(item, inner, path) for item, inner in zip(arguments, value, strict=True))


def _build_enum(hint: type[Enum], value: Any) -> Any:
    for member in hint:
        if type(member.value) is type(value) and member.value == value:
            return member
    raise Mismatch(f"must be a value of {hint.__name__}")


def _build_nested(hint: type[Any], value: Any, path: str) -> Any:
    _require(isinstance(value, dict), value, value, "an object")
    faults: list[str] = []
    values = build_fields_untrusted(hint, value, path, faults)
    if faults:
        raise Mismatch("; ".join(faults))
    try:
        return hint(**values)
    except Exception as error:
        raise Mismatch(f"is no {hint.__name__}: {error}") from error


def _same(value: Any, allowed: tuple[Any, ...]) -> Any:
    for choice in allowed:
        if type(choice) is type(value) and choice == value:
            return value
    raise Mismatch("must be one of " + ", ".join(repr(choice) for choice in allowed))


def _require(fits: bool, value: Any, built: Any, wanted: str) -> Any:  # noqa: FBT001 - reads as a sentence
    if not fits:
        raise Mismatch(f"must be {wanted}, not a JSON {type(value).__name__}")
    return built
