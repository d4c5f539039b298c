"""Copies of flytekit's models, made faster than the models themselves are made of messages.

The tasks of one deployment share a few templates, and each connector may do to its own what it likes. So each gets a
copy, in which every model, list and dictionary is new. Where these lie is found out once for each template.
"""

from __future__ import annotations

import copy
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from flyteidl.core import tasks_pb2
from flytekit.models.common import FlyteIdlEntity

if TYPE_CHECKING:
    from collections.abc import Callable

Maker: TypeAlias = "Callable[[], Any]"
"""Makes another copy."""

CONSTANT = (str, int, float, bytes, bool, type(None), timedelta, datetime)
"""What cannot be changed, and need not be copied."""

REPEATED = type(tasks_pb2.TaskMetadata().cache_ignore_input_vars)
"""protobuf's own list of strings, which flytekit's models keep here and there."""


class NotCopied(Exception):  # noqa: N818 - it says what happens
    """A model holds something of which nothing is known, or the same thing in two places."""


def copier(model: FlyteIdlEntity) -> Maker | None:
    """Return what makes copies of a model that stays as it is; None when each has to be made anew, of its message."""
    try:
        return _maker(model, {})
    except NotCopied:
        return None


def _maker(value: Any, seen: dict[int, object]) -> Maker | None:
    """Return what copies a value; None for a constant. `seen` has what was met before, by id."""
    if isinstance(value, CONSTANT):
        return None
    if id(value) in seen:
        raise NotCopied
    seen[id(value)] = value
    kind = type(value)
    if kind is REPEATED:
        return partial(copy.deepcopy, value)
    if kind is list:
        return _of_list(value, [_maker(item, seen) for item in value])
    if kind is dict:
        return _of_dict(value, _parts(value, seen))
    if isinstance(value, FlyteIdlEntity) and not hasattr(kind, "__slots__"):
        return _of_model(kind, vars(value), _parts(vars(value), seen))
    raise NotCopied


def _parts(values: dict[Any, Any], seen: dict[int, object]) -> list[tuple[Any, Maker]]:
    """Return what has to be copied of some values, by their names."""
    makers = ((name, _maker(value, seen)) for name, value in values.items())
    return [(name, make) for name, make in makers if make is not None]


def _of_list(values: list[Any], makers: list[Maker | None]) -> Maker:
    if not any(makers):
        return values.copy
    pairs = list(zip(values, makers, strict=True))
    return lambda: [value if make is None else make() for value, make in pairs]


def _of_dict(values: dict[Any, Any], parts: list[tuple[Any, Maker]]) -> Maker:
    if not parts:
        return values.copy

    def make() -> dict[Any, Any]:
        made = values.copy()
        for name, make_part in parts:
            made[name] = make_part()
        return made

    return make


def _of_model(kind: type, attributes: dict[str, Any], parts: list[tuple[str, Maker]]) -> Maker:
    new = partial(object.__new__, kind)

    def make() -> Any:
        made: Any = new()
        own = made.__dict__
        own.update(attributes)
        for name, make_part in parts:
            own[name] = make_part()
        return made

    return make
