"""Lanes: bounded pools of workers that run the calls of entities.

Polls go through one lane and deletes through another, so that a storm of the one never delays the other. A worker is
started when it is first needed and parked when it is not; a task for each call would cost twice as much.
"""

from __future__ import annotations

import contextvars
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

from flytower.runtime.entity import Raised, Returned, TimedOut
from flytower.runtime.foreground import Foreground
from flytower.runtime.host_errors import LaneFull
from flytower.runtime.workers import QUIET_SHARE, TURN_SHARE, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from flytower.runtime.entity import Call

QUEUE_LIMIT = 100_000
"""Calls that may wait in a lane: one for each entity that a host takes by default. A call that waits is 200 bytes."""

Outcome = Returned | Raised | TimedOut


class Caller(Protocol):
    """Whoever a call is made for."""

    def call_over(self, call: LaneCall, outcome: Outcome) -> object:
        """Hear how the call ended; synchronous. Never called for a call that was cancelled."""


class LaneCall:
    """One call of a lane: it waits in the queue, then runs, then is over."""

    __slots__ = ("call", "caller", "cancelled", "lane", "scope")

    def __init__(self, lane: Lane, caller: Caller, call: Call) -> None:
        self.lane = lane
        self.caller = caller
        self.call = call
        self.scope: trio.CancelScope | None = None  # while it runs: what cancels it
        self.cancelled = False  # nobody wants its outcome


class LaneStatistics(NamedTuple):
    """The lane as it is now, and what it has done since it was made.

    Args:
        limit: Workers that there may be.
        workers: Workers that there are.
        running: Calls that have a worker; those that were cancelled and are unwinding are among them.
        queued: Calls that wait for a worker.
        done: Calls that returned.
        failed: Calls that raised.
        timed_out: Calls that were cancelled by their timeout.
        cancelled: Calls that were cancelled by whoever made them, or with the lane.
    """

    limit: int
    workers: int
    running: int
    queued: int
    done: int
    failed: int
    timed_out: int
    cancelled: int


class Lane:
    """A pool of workers with one queue, first in, first out.

    What a call raises ends that call and not the worker, and what it sets in context variables ends with it. Calls that
    never wait cannot hold up everybody else (`workers.TURN_SHARE`); one that computes for longer takes its time.

    Args:
        name: What `Call.lane` says.
        limit: Calls that run at a time. It has to be at least the rate of calls times how long one takes.
        queue_limit: Calls that wait; more are refused with `LaneFull`.
        foreground: Says whether somebody waits for an answer, and turns of the loop should be short; is told of calls
            that could have been done, and were left over.
    """

    def __init__(
        self, name: str, limit: int, *, queue_limit: int = QUEUE_LIMIT, foreground: Foreground | None = None
    ) -> None:
        if limit < 1 or queue_limit < 0:
            raise ValueError(f"lane {name!r} needs a limit of at least 1 and a queue_limit of at least 0")
        self.name = name
        self._limit = limit
        self._queue_limit = queue_limit
        self.foreground = foreground or Foreground()
        self._nursery: trio.Nursery | None = None  # while open
        # The next seven are for the lane's workers too, and for nobody else.
        self.clock: Callable[[], float] = trio.current_time  # the clock's own method, once it is open: faster
        self.context = contextvars.Context()  # what each call starts from; not that of who happens to submit it
        self.workers = 0
        self.idle: list[Worker] = []  # parked
        self.coming = 0  # workers that look into the queue in the next turn
        self.waits = True  # whether the last call that went on waited for something; who knows of the first
        self.queue: OrderedDict[LaneCall, None] = OrderedDict()  # the calls that have not begun
        self._running = 0  # the calls that have begun
        self._empty: trio.Event | None = None  # while somebody waits in `drained`
        self._done = self._failed = self._timed_out = self._cancelled = 0

    @property
    def busy(self) -> bool:
        """Whether a call runs or waits."""
        return bool(self._running or self.queue)

    def open(self, nursery: trio.Nursery) -> None:
        """Let workers run in the nursery. Calls that wait already are begun.

        Raises:
            RuntimeError: It is open already; two hosts cannot share a lane.
        """
        if self._nursery is not None:
            raise RuntimeError(f"lane {self.name!r} is open already; give each host lanes of its own")
        self._nursery = nursery
        self.context = contextvars.copy_context()
        self.clock = trio.lowlevel.current_clock().current_time
        self.call_up()

    def close(self) -> None:
        """Drop the calls that wait. To be called when the nursery has ended, so that none runs any more."""
        self._cancelled += len(self.queue)
        self.queue.clear()
        self._nursery = None

    def submit(self, call: LaneCall) -> None:
        """Start a call, or queue it until a worker is free.

        Raises:
            LaneFull: Too many calls wait.
        """
        free = self._limit - self._running if self._nursery is not None else 0
        if len(self.queue) >= self._queue_limit + free:
            now = self.statistics()
            raise LaneFull(f"lane {self.name!r} runs {now.running} calls, and {now.queued} more wait")
        self.queue[call] = None
        if (self.waits or not self.coming) and (self.idle or self.workers < self._limit):
            self.call_up()  # otherwise one is coming, and one is enough; or there is none to call

    def cancel(self, call: LaneCall) -> None:
        """Cancel a call that waits or runs; its caller does not hear of it again. One that is over is left alone.

        One that runs keeps its worker until it has unwound.
        """
        call.cancelled = True
        if call.scope is not None:
            call.scope.cancel(reason=f"call {call.call.tag!r} in lane {self.name!r} was cancelled by its caller")
        elif call in self.queue:
            del self.queue[call]
            self._cancelled += 1
            self._say_if_empty()

    async def drained(self) -> None:
        """Wait until no call runs or waits."""
        await trio.lowlevel.checkpoint()
        while self.busy:
            if self._empty is None:
                self._empty = trio.Event()
            await self._empty.wait()

    def statistics(self) -> LaneStatistics:
        """Count."""
        met = min(self.coming, len(self.queue))
        return LaneStatistics(
            self._limit,
            self.workers,
            self._running + met,
            len(self.queue) - met,
            self._done,
            self._failed,
            self._timed_out,
            self._cancelled,
        )

    # ---- for its workers --------------------------------------------------------------------------------------

    def take(self) -> LaneCall | None:
        """Take the call that has waited longest, to begin it."""
        if not self.queue:
            return None
        self._running += 1
        call = self.queue.popitem(last=False)[0]
        if not self.queue:
            self.queue.clear()  # gives back what a long queue has taken
        return call

    def least_share(self, now: float) -> float:
        """Return the seconds of a turn that a worker may take in any case."""
        return QUIET_SHARE if self.foreground.is_quiet(now) else TURN_SHARE

    def share_spent(self, now: float) -> None:
        """Note that a worker has done its share of a turn: what still waits could have been done as well."""
        if self.queue:
            self.foreground.fell_behind(now)

    @property
    def wanted(self) -> int:
        """How many workers should come for the queue: one for each call if these wait themselves, otherwise one."""
        return len(self.queue) if self.waits or not self.queue else 1

    def call_up(self) -> None:
        """Have so many workers come, as far as there are any."""
        wanted = self.wanted
        while self.coming < wanted:
            if self.idle:
                self.idle.pop().come()
            elif self._nursery is not None and self.workers < self._limit:
                self.workers += 1
                self.context.run(self._nursery.start_soon, Worker(self).work)
            else:
                return
            self.coming += 1

    def over(self, call: LaneCall, outcome: Outcome | None) -> None:
        """Count a call that has ended, and tell its caller, unless it was cancelled."""
        self._running -= 1
        call.scope = None
        if call.cancelled or outcome is None:
            self._cancelled += 1
        else:
            if type(outcome) is Returned:
                self._done += 1
            elif type(outcome) is Raised:
                self._failed += 1
            else:
                self._timed_out += 1
            call.caller.call_over(call, outcome)
        if self._empty is not None:
            self._say_if_empty()

    def _say_if_empty(self) -> None:
        if self._empty is not None and not self.busy:
            self._empty.set()
            self._empty = None
