"""A supervisor's record of one child, through all its incarnations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flytower.runtime.context import Summarized
from flytower.runtime.strategy import Row
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    import trio

    from flytower.runtime.exits import Exit
    from flytower.runtime.incarnation import Incarnation
    from flytower.runtime.spec import ChildSpec


class Slot(Row):
    """A child of a supervisor through all its incarnations.

    Args:
        spec: How to run it.
        path: Where it hangs.
        forget: Whether nothing remains of it once it is down and not wanted.
    """

    __slots__ = ("attempt", "exit", "forget", "incarnation", "kind", "path", "pause", "readies", "spec", "starts")

    def __init__(self, spec: ChildSpec, path: str, *, forget: bool) -> None:
        super().__init__()
        self.spec = spec
        self.path = path
        self.forget = forget
        self.kind = "Child"  # the class of the last incarnation
        self.incarnation: Incarnation | None = None  # set exactly while one lives
        self.pause: trio.CancelScope | None = None  # set exactly while PAUSED
        self.attempt = 0  # restarts in a row without a long life between
        self.starts = 0
        self.readies = 0  # how many of the starts came as far as ready()
        self.exit: Exit | None = None  # how the last incarnation ended

    def inspect(self, now: float, *, briefly: bool = False) -> Node:
        """Describe the child, alive or not; briefly: with the entities below it summed up."""
        restarts = max(0, self.starts - 1)
        if self.incarnation is None or self.incarnation.child is None:
            return Node(self.path, self.kind, self.phase.value, self.spec.address.pending, restarts)
        child = self.incarnation.child
        describe = child.summarize if briefly and isinstance(child, Summarized) else child.inspect
        node = describe(self.path, now)
        return replace(node, restarts=restarts, age=now - self.incarnation.started_at)
