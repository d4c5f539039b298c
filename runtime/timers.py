"""One heap of timers for all entities: a coalescing tick, and a cap on how many come due in one turn of the loop.

A trio task that sleeps costs 3 KiB and several heap operations of trio's own. An entry here is a tuple. What is due
inside the same tick comes due together, so that ten thousand timers wake the loop a hundred times a second at most;
and what is due at once (everything, after a restart) is spread over turns of the loop, so that nobody else waits.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog
import trio

from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from flytower.runtime.context import Context

log = structlog.get_logger(__name__)

TICK = 0.010
"""Seconds. Timers are at most this late: nothing to a poll of a remote job, and it bounds how often the loop wakes."""

BATCH = 50
"""Timers that come due in one turn of the loop. Of 20,000 at once: with 1,000 in a turn others wait 54 ms, with 200
16 ms, with 50 2 ms; and 50 drains the fastest, because the workers run in between (measured)."""

PRUNE_ABOVE = 1000
"""Cancelled entries that may stay in the heap before a rebuild can be worth it; trio keeps as many of its own."""

NO_TIMER = 0


class Timed(Protocol):
    """Whoever has a timer: at most one, named by the sequence number of its entry."""

    timer: int  # NO_TIMER, or the number of the one entry in the heap that counts; written by Timers alone

    def fire(self, now: float) -> object:
        """Hear that the timer has come due; synchronous. `now` is trio's clock, read once for the batch."""


class TimersStatistics(NamedTuple):
    """The heap as it is now.

    Args:
        pending: Timers set.
        stale: Entries of cancelled timers that have not been swept out yet.
        fired: Timers that came due since the start.
        turns: Turns of the loop in which any came due.
    """

    pending: int
    stale: int
    fired: int
    turns: int


class Alarm:
    """The handle of one callback: `cancel` takes it back, and does nothing once it has come due."""

    __slots__ = ("_callback", "_timers", "timer")

    def __init__(self, timers: Timers, callback: Callable[[], object]) -> None:
        self._timers = timers
        self._callback = callback
        self.timer = NO_TIMER

    def fire(self, now: float) -> None:  # noqa: ARG002 - the callback of an alarm takes no clock
        """Call back."""
        self._callback()

    def cancel(self) -> None:
        """Take it back."""
        self._timers.cancel(self)


class Timers:
    """All timers of a system: a child of its supervisor, or of one host.

    Timers can be set before it runs and while it does not; they come due when it does.

    Args:
        tick: Seconds; an instant is rounded up to a multiple of it.
        batch: How many may come due in one turn of the loop.
    """

    def __init__(self, tick: float = TICK, batch: int = BATCH) -> None:
        if not tick > 0 or batch < 1:
            raise ValueError(f"timers need a tick above 0 s and a batch of at least 1, not {tick!r} and {batch!r}")
        self._tick = tick
        self._batch = batch
        # An entry counts while its owner's `timer` is its number. All others are stale, and _stale says how many.
        self._heap: list[tuple[float, int, Timed]] = []
        self._last_number = NO_TIMER
        self._stale = 0
        self._fired = 0
        self._turns = 0
        self._started = math.nan
        self._sleep: trio.CancelScope | None = None  # while asleep: what ends it
        self._wakes = math.inf  # while asleep: when

    def schedule(self, owner: Timed, due: float) -> None:
        """Set the owner's timer to an instant of trio's clock, in place of the one that it may have.

        Raises:
            ValueError: `due` is not a number; the caller's mistake.
        """
        if due != due:  # noqa: PLR0124 - the cheapest test for NaN, which would break the order of the heap for all
            raise ValueError("a timer cannot be set to NaN; give it an instant of trio's clock")
        if owner.timer:
            self._stale += 1
        self._last_number = owner.timer = self._last_number + 1
        heappush(self._heap, (due, owner.timer, owner))
        if due < self._wakes and self._sleep is not None:
            self._sleep_until(due, self._sleep)
        if self._stale > PRUNE_ABOVE:
            self._prune_if_worth()

    def cancel(self, owner: Timed) -> None:
        """Take the owner's timer away, if it has one."""
        if owner.timer:
            owner.timer = NO_TIMER
            self._stale += 1
            if self._stale > PRUNE_ABOVE:
                self._prune_if_worth()

    def at(self, due: float, callback: Callable[[], object]) -> Alarm:
        """Have `callback()` called at an instant of trio's clock. What it raises is logged, and nobody else's concern.

        Raises:
            ValueError: `due` is not a number; the caller's mistake.
        """
        alarm = Alarm(self, callback)
        self.schedule(alarm, due)
        return alarm

    def sweep(self) -> None:
        """Drop the entries of cancelled timers now, and with them what they keep in memory."""
        self._heap = [entry for entry in self._heap if entry[2].timer == entry[1]]
        heapify(self._heap)
        self._stale = 0

    def statistics(self) -> TimersStatistics:
        """Count."""
        return TimersStatistics(len(self._heap) - self._stale, self._stale, self._fired, self._turns)

    def inspect(self, path: str, now: float) -> Node:
        """Describe itself; the mailbox is the timers that are set."""
        running = not math.isnan(self._started)
        state = ("sleeping" if self._sleep else "firing") if running else "stopped"
        age = now - self._started if running else 0.0
        return Node(path, "Timers", state, mailbox=len(self._heap) - self._stale, age=age)

    async def run(self, context: Context) -> None:
        """Fire what comes due, until told to stop."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.fire_for_ever)
            context.ready()
            await context.stop_requested.wait()
            nursery.cancel_scope.cancel(reason=f"{context.path} was told to stop")

    async def fire_for_ever(self) -> None:
        """Fire what comes due, until cancelled: `run` for whoever has a nursery of its own.

        Raises:
            RuntimeError: It runs already; the caller's mistake.
        """
        if not math.isnan(self._started):
            raise RuntimeError("these timers run already; a host that shares them must not run them as well")
        self._started = trio.current_time()
        try:
            while True:
                if self._fire_due(trio.current_time()):
                    await trio.lowlevel.checkpoint()
                else:
                    await self._sleep_until_due()
        finally:
            self._started = math.nan

    def _fire_due(self, now: float) -> bool:
        """Go through one batch of due entries, stale ones included; return whether there may be more."""
        heap, self._turns = self._heap, self._turns + 1
        for _ in range(self._batch):
            if not heap or heap[0][0] > now:
                return False
            _, number, owner = heappop(heap)
            if owner.timer == number:
                self._fire(owner, now)
            else:
                self._stale -= 1
        return True

    def _fire(self, owner: Timed, now: float) -> None:
        owner.timer = NO_TIMER
        self._fired += 1
        try:
            owner.fire(now)
        except Exception:  # one owner's failure is not the others'
            log.exception("timer raised", owner=type(owner).__name__)

    async def _sleep_until_due(self) -> None:
        with trio.CancelScope() as scope:
            self._sleep_until(self._heap[0][0] if self._heap else math.inf, scope)
            self._sleep = scope
            try:
                await trio.sleep_forever()
            finally:
                self._sleep = None

    def _sleep_until(self, due: float, scope: trio.CancelScope) -> None:
        """Sleep until the tick that `due` falls into is over."""
        rounded = due if math.isinf(due) else max(due, math.ceil(due / self._tick) * self._tick)
        self._wakes = scope.deadline = rounded

    def _prune_if_worth(self) -> None:
        """Rebuild the heap when more than half of it is stale: a cancelled timer then costs O(1) in the long run."""
        if self._stale * 2 > len(self._heap):
            self.sweep()
