"""Messages that become dataclasses when they are first used.

A dataclass is made by writing its methods as text and compiling that. For the hundred messages of Flyte this took 19 ms
of a server's start, which needs a handful of them. So a class is left as it is written until somebody makes an instance
of it, or asks for its fields.
"""

from __future__ import annotations

import threading
from dataclasses import make_dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from betterproto2 import Message

M = TypeVar("M", bound="Message")

FIELDS: Final = "__dataclass_fields__"
"""Where the standard library keeps the fields, and everybody looks for them."""

_MADE: Final = (FIELDS, "__dataclass_params__", "__match_args__", "__replace__", "__init__")
"""What a dataclass has more than its source says, from some Python on; other threads may be waiting in the last."""

_lock: Final = threading.RLock()  # whichever class it is: two threads may use one for the first time


@dataclass_transform(eq_default=False)
def message(cls: type[M]) -> type[M]:
    """Have a class of annotated fields become a dataclass at its first use."""

    def __init__(self: M, *args: Any, **values: Any) -> None:  # noqa: N807 - stands where the dataclass's own will be
        _define(cls)
        cls.__init__(self, *args, **values)

    cls.__init__ = __init__  # type: ignore[assignment]
    setattr(cls, FIELDS, _Fields(cls))
    return cls


class _Fields:
    """Stands where a message's fields will be, and makes them when they are asked for."""

    def __init__(self, cls: type[Message]) -> None:
        self._cls = cls

    def __get__(self, instance: object, owner: type) -> Any:
        _define(self._cls)
        return getattr(self._cls, FIELDS)


def _define(cls: type[Message]) -> None:
    with _lock:
        if not isinstance(vars(cls)[FIELDS], _Fields):
            return
        # Made beside it: a class that is half a dataclass would be seen by the other threads.
        columns = [(name, kind, vars(cls)[name]) for name, kind in cls.__annotations__.items()]
        made = make_dataclass(cls.__name__, columns, bases=cls.__bases__, eq=False, repr=False)
        for name, _, _ in columns:
            delattr(cls, name)  # as a dataclass does where a default is made anew for each instance
        for name in _MADE:
            if name in vars(made):
                setattr(cls, name, vars(made)[name])
