"""What a host keeps for one entity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flytower.runtime.entity import Woke
from flytower.runtime.timers import NO_TIMER

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from flytower.runtime.entity_engine import EntityEngine
    from flytower.runtime.exits import Exit
    from flytower.runtime.intensity import RestartWindow
    from flytower.runtime.lanes import LaneCall, Outcome
    from flytower.runtime.promise import Promise

S = TypeVar("S")

WOKE = Woke()

NO_CALLS: dict[Hashable, LaneCall] = {}
"""What the entities without a call share; whoever makes a call gives its entity a dict of its own."""


class EntityRecord(Generic[S]):
    """One entity: its state, and what the host owes it or owes others for it. Only its engine changes it.

    There are tens of thousands: an idle one has no container of its own.
    """

    __slots__ = (
        "calls",
        "engine",
        "exit",
        "key",
        "monitors",
        "promises",
        "queued",
        "restarts",
        "started",
        "state",
        "timer",
        "window",
    )

    def __init__(self, engine: EntityEngine[S], key: Hashable, state: S, now: float) -> None:
        self.engine = engine
        self.key = key
        self.state = state
        self.started = now  # this incarnation
        self.exit: Exit | None = None  # None while it lives
        self.timer = NO_TIMER
        self.queued = 0  # its messages in the engine's backlog
        self.restarts = 0
        self.window: RestartWindow | None = None  # once it has crashed
        self.calls = NO_CALLS  # by tag; each waits or runs
        self.promises: dict[Promise[Any], None] | None = None  # what this incarnation has not answered yet, in order
        self.monitors: list[Callable[[Hashable, Exit], object]] | None = None

    def fire(self, now: float) -> None:
        """Hear from Timers that the timer has come due."""
        if not self.engine.winding_down:
            self.engine.deliver(self, WOKE, None, now)

    def call_over(self, call: LaneCall, outcome: Outcome) -> None:
        """Hear from a lane how a call ended."""
        self.forget_call(call)
        self.engine.deliver(self, outcome)

    def forget_call(self, call: LaneCall) -> None:
        """Free the call's tag."""
        del self.calls[call.call.tag]
        if not self.calls:
            self.calls = NO_CALLS

    def owe(self, promise: Promise[Any]) -> None:
        """Remember a promise until it is settled."""
        if promise.done or promise.withdrawn:
            return
        if self.promises is None:
            self.promises = {}
        self.promises[promise] = None
        promise.add_done_callback(self._settled)

    def _settled(self, promise: Promise[Any]) -> None:
        """Forget a promise; an empty dictionary keeps its table, a tenth of what an idle task weighs."""
        owed = self.promises
        if owed is not None:
            owed.pop(promise, None)
            if not owed:
                self.promises = None
