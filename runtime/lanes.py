"""Lanes: bounded pools of workers that run the calls of entities.

Polls go through one lane and deletes through another, so that a storm of the one never delays the other. A worker is
started when it is first needed and parked when it is not; a task for each call would cost twice as much.
"""

from __future__ import annotations

import contextvars
import math
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

from flytower.runtime.entity import Raised, Returned, TimedOut
from flytower.runtime.host_errors import CallFailed, LaneFull

if TYPE_CHECKING:
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
        self.scope: trio.CancelScope | None = None  # while it runs
        self.cancelled = False  # nobody wants its outcome


class LaneStatistics(NamedTuple):
    """The lane as it is now, and what it has done since it was made.

    Args:
        limit: Workers that there may be.
        workers: Workers that there are.
        running: Calls that run; those that were cancelled and are unwinding are among them.
        queued: Calls that wait.
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

    What a call raises ends that call and not the worker. A worker starts at most one call in a turn of the loop, so
    that calls which never wait cannot hold up everybody else; and what a call sets in context variables ends with it.

    Args:
        name: What `Call.lane` says.
        limit: Calls that run at a time. It has to be at least the rate of calls times how long one takes.
        queue_limit: Calls that wait; more are refused with `LaneFull`.
    """

    def __init__(self, name: str, limit: int, *, queue_limit: int = QUEUE_LIMIT) -> None:
        if limit < 1 or queue_limit < 0:
            raise ValueError(f"lane {name!r} needs a limit of at least 1 and a queue_limit of at least 0")
        self.name = name
        self._limit = limit
        self._queue_limit = queue_limit
        self._queue: OrderedDict[LaneCall, None] = OrderedDict()  # the calls that wait, and no others
        self._idle: dict[trio.lowlevel.Task, None] = {}  # the workers that are parked, the last one to park last
        self._nursery: trio.Nursery | None = None  # while open
        self._context = contextvars.Context()  # what a worker starts from; not that of who happens to submit
        self._empty: trio.Event | None = None  # while somebody waits in `drained`
        self._workers = 0
        self._running = 0
        self._done = self._failed = self._timed_out = self._cancelled = 0

    @property
    def busy(self) -> bool:
        """Whether a call runs or waits."""
        return bool(self._running or self._queue)

    def open(self, nursery: trio.Nursery) -> None:
        """Let workers run in the nursery. Calls that wait already are begun.

        Raises:
            RuntimeError: It is open already; two hosts cannot share a lane.
        """
        if self._nursery is not None:
            raise RuntimeError(f"lane {self.name!r} is open already; give each host lanes of its own")
        self._nursery = nursery
        self._context = contextvars.copy_context()
        for _ in range(min(self._limit, len(self._queue))):
            self._start_worker(nursery)

    def close(self) -> None:
        """Drop the calls that wait. To be called when the nursery has ended, so that none runs any more."""
        self._cancelled += len(self._queue)
        self._queue.clear()
        self._nursery = None

    def submit(self, call: LaneCall) -> None:
        """Queue a call; a worker starts it as soon as one is free.

        Raises:
            LaneFull: Too many calls run and wait.
        """
        if self._running + len(self._queue) >= self._limit + self._queue_limit:
            raise LaneFull(f"lane {self.name!r} runs {self._running} calls and {len(self._queue)} more wait")
        self._queue[call] = None
        if self._idle:
            trio.lowlevel.reschedule(self._idle.popitem()[0])
        elif self._workers < self._limit and self._nursery is not None:
            self._start_worker(self._nursery)

    def cancel(self, call: LaneCall) -> None:
        """Cancel a call that waits or runs; its caller does not hear of it again. One that is over is left alone.

        One that runs keeps its worker until it has unwound.
        """
        call.cancelled = True
        if call.scope is not None:
            call.scope.cancel(reason=f"call {call.call.tag!r} in lane {self.name!r} was cancelled by its caller")
        elif call in self._queue:
            del self._queue[call]
            self._cancelled += 1
            self._say_if_empty()

    async def drained(self) -> None:
        """Wait until no call runs or waits."""
        await trio.lowlevel.checkpoint()
        while self.busy:
            self._empty = self._empty or trio.Event()
            await self._empty.wait()

    def statistics(self) -> LaneStatistics:
        """Count."""
        return LaneStatistics(
            self._limit,
            self._workers,
            self._running,
            len(self._queue),
            self._done,
            self._failed,
            self._timed_out,
            self._cancelled,
        )

    def _start_worker(self, nursery: trio.Nursery) -> None:
        self._workers += 1
        self._context.run(nursery.start_soon, self._work)

    async def _work(self) -> None:
        task = trio.lowlevel.current_task()

        def leave(_: object) -> trio.lowlevel.Abort:
            del self._idle[task]
            return trio.lowlevel.Abort.SUCCEEDED

        try:
            while True:
                await trio.lowlevel.checkpoint_if_cancelled()  # no call starts once the lane is cancelled
                if self._queue:
                    await self._serve(self._queue.popitem(last=False)[0])
                    task.context = self._context.copy()  # holds from the next step on
                if self._queue:
                    await trio.lowlevel.checkpoint()
                else:
                    self._idle[task] = None
                    await trio.lowlevel.wait_task_rescheduled(leave)
        finally:
            self._workers -= 1

    # An interrupt from the keyboard is for the main task: a worker would take it for the failure of a call.
    @trio.lowlevel.enable_ki_protection
    async def _serve(self, call: LaneCall) -> None:
        self._running += 1
        try:
            outcome = await _outcome(call)
        except BaseException:  # the lane's own end, by cancellation; nothing else gets here
            self._cancelled += 1
            raise
        finally:
            self._running -= 1
            call.scope = None
        self._count(call, outcome)
        if not call.cancelled:
            call.caller.call_over(call, outcome)
        self._say_if_empty()

    def _count(self, call: LaneCall, outcome: Outcome) -> None:
        if call.cancelled:
            self._cancelled += 1
        elif type(outcome) is Returned:
            self._done += 1
        elif type(outcome) is Raised:
            self._failed += 1
        else:
            self._timed_out += 1

    def _say_if_empty(self) -> None:
        if self._empty is not None and not self.busy:
            self._empty.set()
            self._empty = None


async def _outcome(lane_call: LaneCall) -> Outcome:
    """Run the call in a scope of its own. What it raises becomes an outcome, but for a cancellation from outside."""
    _, tag, run, timeout = lane_call.call
    try:
        with trio.CancelScope(deadline=trio.current_time() + timeout) as scope:
            lane_call.scope = scope
            value = await run()
    except Exception as error:  # noqa: BLE001 - anything that user code can raise
        return Raised(tag, error)
    except BaseException as error:
        if _cancelled_from_outside(error):
            raise
        return Raised(tag, CallFailed(error))
    if scope.cancelled_caught:
        return TimedOut(tag, timeout)
    return Returned(tag, value)


def _cancelled_from_outside(error: BaseException) -> bool:
    """Say whether the error is (or holds) the cancellation of a scope around the worker.

    User code may keep a trio.Cancelled and raise it again later: that one cancels nobody.
    """
    holds = isinstance(error, trio.Cancelled) or (
        isinstance(error, BaseExceptionGroup) and error.subgroup(trio.Cancelled) is not None
    )
    return holds and trio.current_effective_deadline() == -math.inf
