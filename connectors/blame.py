"""Which connector's code a frame of the interpreter belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.connectors import flavour

if TYPE_CHECKING:
    from types import FrameType


def method_of(frame: FrameType) -> str | None:
    """Return the label of the connector's method that this frame has called; None for all other frames.

    Every call of user code goes through `flavour.Method`, so one of its frames stands below that code.
    """
    if frame.f_code.co_filename != flavour.__file__:
        return None
    method = frame.f_locals.get("self")
    return method.label if isinstance(method, flavour.Method) else None
