"""A supervisor's record of one child, through all its incarnations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flytower.runtime.context import Summarized
from flytower.runtime.strategy import Row
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    import trio

    from flytower.runtime.exits import Exit
    from flytower.runtime.incarnation import Incarnation
    from flytower.runtime.spec import ChildSpec


@dataclass(slots=True, eq=False)
class Slot(Row):
    """A child of a supervisor through all its incarnations."""

    spec: ChildSpec = field(kw_only=True)
    path: str = field(kw_only=True)
    kind: str = "Child"  # the class of the last incarnation
    incarnation: Incarnation | None = None  # set exactly while one lives
    pause: trio.CancelScope | None = None  # set exactly while PAUSED
    attempt: int = 0  # restarts in a row without a long life between
    starts: int = 0
    readies: int = 0  # how many of the starts came as far as ready()
    forget: bool = False  # whether nothing remains of it once it is down and not wanted
    exit: Exit | None = None  # how the last incarnation ended

    def inspect(self, now: float, *, briefly: bool = False) -> Node:
        """Describe the child, alive or not; briefly: with the entities below it summed up."""
        restarts = max(0, self.starts - 1)
        if self.incarnation is None or self.incarnation.child is None:
            return Node(self.path, self.kind, self.phase.value, self.spec.address.pending, restarts)
        child = self.incarnation.child
        describe = child.summarize if briefly and isinstance(child, Summarized) else child.inspect
        node = describe(self.path, now)
        return replace(node, restarts=restarts, age=now - self.incarnation.started_at)
