"""One calendar of timers for all entities: a coalescing tick, and a cap on how many come due in one turn of the loop.

A trio task that sleeps costs 3 KiB and several operations on trio's heap. A timer here is an entry in a dict: one dict
for each tick in which anything is due, and a heap of these ticks. (A heap of the timers themselves was measured at
four times the time for each one: with 50,000 it is sixteen levels of comparisons in cold memory.)

What is due inside the same tick comes due together, so that ten thousand timers wake the loop a hundred times a second
at most; and what is due at once (everything, after a restart) is spread over turns of the loop, so that others run in
between.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog
import trio

from flytower.runtime.foreground import Foreground
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from flytower.runtime.context import Context

log = structlog.get_logger(__name__)

TICK = 0.010
"""Seconds. Timers are at most this late: nothing to a poll of a remote job, and it bounds how often the loop wakes."""

LATEST = 1.0
"""Seconds that timers may wait while calls pile up, which some would only add to: not all of them are for such calls. A
provisional answer, for one, is due two seconds before flytepropeller gives a create up."""

PRUNE_ABOVE = 1_000
"""Ticks left over from cancelled timers that may stay in the heap before a rebuild can be worth it; trio keeps as many
of its own."""

SLACK = 1e-6
"""Part of a tick that an instant may lie above it and still count as in it: 0.07 / 0.01 is a little more than 7."""

NO_TIMER = -1


class Pace(NamedTuple):
    """How many timers come due in one turn of the loop. Each turn has its price, and whoever asks waits for its end.

    Args:
        least: So many, when so many are due.
        turns: Of a backlog so much that about so many turns do; in small batches 20,000 would drain a fifth later than
            without a cap (measured).
        most: However long the backlog.
    """

    least: int
    turns: int
    most: int

    def batch(self, due: int) -> int:
        """Return how many come due when so many are."""
        return max(self.least, min(self.most, due // self.turns))


BUSY = Pace(least=2, turns=100, most=100)
"""While somebody asks. While 10,000 tasks are polled a second, and with the workers' `TURN_SHARE` in step, a read takes
0.8 ms at p99 with four at the least, 0.5 with two, 0.4 with one (measured); a hundred are a millisecond."""

QUIET = Pace(least=16, turns=5, most=400)
"""While nobody does: a poll then takes a sixth less of the CPU than with two (measured), and a turn half a millisecond,
four at the most. 20,000 come due in some seventy turns."""


class Timed(Protocol):
    """Whoever has a timer: at most one. It is hashed by identity."""

    timer: int  # the tick that it comes due in, or NO_TIMER; written by Timers alone

    def fire(self, now: float) -> object:
        """Hear that the timer has come due; synchronous. `now` is trio's clock, read once for the batch."""


class TimersStatistics(NamedTuple):
    """The calendar as it is now.

    Args:
        pending: Timers set.
        ticks: Different ticks in the heap.
        fired: Timers that came due since it was made.
        turns: Turns of the loop that it took part in; an idle one takes part in none.
    """

    pending: int
    ticks: int
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

    Timers can be set before it runs and while it does not; they come due when it does. Those of one tick come due in
    the order in which they were set.

    Args:
        tick: Seconds; an instant is rounded up to a multiple of it.
        foreground: Says whether somebody asks, and whether calls pile up. What has come due waits better here, in
            a few bytes, than as a call in a queue: no more than `least` then come due in a turn, until `LATEST`.
        busy: How many come due in a turn of the loop while somebody does.
        quiet: And while nobody does.
    """

    def __init__(
        self, tick: float = TICK, foreground: Foreground | None = None, *, busy: Pace = BUSY, quiet: Pace = QUIET
    ) -> None:
        if not tick > 0 or min(*busy, *quiet) < 1:
            raise ValueError(f"timers need a tick above 0 s and paces of at least 1, not {tick!r}, {busy} and {quiet}")
        self._tick = tick
        self._busy = busy
        self._quiet = quiet
        self.foreground = foreground or Foreground()
        # By tick, none empty. The tick is there once more, for its timers to share: a number of its own is 32 bytes
        self._buckets: dict[int, tuple[int, dict[Timed, None]]] = {}
        self._ticks: list[int] = []  # a heap with every key of _buckets, and with some that are not there any more
        self._due: list[Timed] = []  # the bucket that is being fired, last first
        self._due_tick = NO_TIMER  # its tick; who has another one now was cancelled or set anew meanwhile
        self._pending = 0
        self._fired = 0
        self._turns = 0
        self._started = math.nan
        self._sleep: trio.CancelScope | None = None  # while asleep: what ends it

    def schedule(self, owner: Timed, due: float) -> None:
        """Set the owner's timer to an instant of trio's clock, in place of the one that it may have.

        Raises:
            ValueError: `due` is not a finite number; the caller's mistake.
        """
        try:
            tick = max(0, math.ceil(due / self._tick - SLACK))
        except (OverflowError, ValueError):
            raise ValueError(f"a timer cannot be set to {due!r}; give it an instant of trio's clock") from None
        if owner.timer != NO_TIMER:
            self.cancel(owner)
        self._pending += 1
        known = self._buckets.get(tick)
        if known is not None:
            owner.timer, bucket = known
            bucket[owner] = None
            return
        owner.timer = tick
        self._buckets[tick] = tick, {owner: None}
        heappush(self._ticks, tick)
        if self._sleep is not None and self._ticks[0] == tick:
            self._sleep.deadline = tick * self._tick

    def cancel(self, owner: Timed) -> None:
        """Take the owner's timer away, if it has one."""
        tick = owner.timer
        if tick == NO_TIMER:
            return
        owner.timer = NO_TIMER
        self._pending -= 1
        known = self._buckets.get(tick)
        if known is None:
            return  # it was about to be fired
        _, bucket = known
        bucket.pop(owner, None)
        if not bucket:
            del self._buckets[tick]
            self._prune_if_worth()

    def at(self, due: float, callback: Callable[[], object]) -> Alarm:
        """Have `callback()` called at an instant of trio's clock. What it raises is logged, and nobody else's concern.

        Raises:
            ValueError: `due` is not a finite number; the caller's mistake.
        """
        alarm = Alarm(self, callback)
        self.schedule(alarm, due)
        return alarm

    def statistics(self) -> TimersStatistics:
        """Count."""
        return TimersStatistics(self._pending, len(self._ticks), self._fired, self._turns)

    def inspect(self, path: str, now: float) -> Node:
        """Describe itself; the mailbox is the timers that are set."""
        running = not math.isnan(self._started)
        state = ("sleeping" if self._sleep else "firing") if running else "stopped"
        return Node(path, "Timers", state, mailbox=self._pending, age=now - self._started if running else 0.0)

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
                if self._fire_batch(trio.current_time()):
                    await trio.lowlevel.checkpoint()
                else:
                    await self._sleep_until_due()
        finally:
            self._started = math.nan

    def _fire_batch(self, now: float) -> bool:
        """Go through one batch of due timers; return whether there may be more."""
        self._turns += 1
        for _ in range(self._batch(now)):
            if not self._due and not self._take_due(now):
                return False
            owner = self._due.pop()
            if owner.timer == self._due_tick:
                self._fire(owner, now)
        return True

    def _batch(self, now: float) -> int:
        """Return how many may come due in this turn."""
        pace = self._quiet if self.foreground.is_quiet(now) else self._busy
        waits = self.foreground.is_behind(now) and now - self._due_tick * self._tick < LATEST
        return pace.least if waits else pace.batch(len(self._due))

    def _take_due(self, now: float) -> bool:
        """Take the bucket of the first tick that is over, if there is one."""
        while self._ticks and self._ticks[0] * self._tick <= now:
            tick = heappop(self._ticks)
            known = self._buckets.pop(tick, None)
            if known is not None:
                self._due, self._due_tick = list(reversed(known[1])), tick
                return True
        return False

    def _fire(self, owner: Timed, now: float) -> None:
        owner.timer = NO_TIMER
        self._pending -= 1
        self._fired += 1
        try:
            owner.fire(now)
        except Exception:  # one owner's failure is not the others'
            log.exception("timer raised", owner=type(owner).__name__)

    async def _sleep_until_due(self) -> None:
        with trio.CancelScope(deadline=self._ticks[0] * self._tick if self._ticks else math.inf) as scope:
            self._sleep = scope
            try:
                await trio.sleep_forever()
            finally:
                self._sleep = None

    def _prune_if_worth(self) -> None:
        """Rebuild the heap when most of it is left over: a cancelled timer then costs O(1) in the long run."""
        if len(self._ticks) > 2 * len(self._buckets) + PRUNE_ABOVE:
            self._ticks = list(self._buckets)
            heapify(self._ticks)
