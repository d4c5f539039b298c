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
        self._nursery: trio.Nursery | None = None  # while open
        # The next five are for the lane's workers too, and for nobody else.
        self.clock: Callable[[], float] = trio.current_time  # the clock's own method, once it is open: faster
        self.context = contextvars.Context()  # what each call starts from; not that of who happens to submit it
        self.workers = 0
        self.idle: list[_Worker] = []  # parked; if there are any, no call waits
        self.queue: OrderedDict[LaneCall, None] = OrderedDict()  # the calls that wait for a worker
        self._running = 0  # the calls that have one
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
        while self.workers < self._limit and (call := self.take()):
            self._start_worker(nursery, call)

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
        if self.idle:
            self._running += 1
            self.idle.pop().hand(call)
        elif self._nursery is not None and self.workers < self._limit:
            self._running += 1
            self._start_worker(self._nursery, call)
        elif len(self.queue) < self._queue_limit:
            self.queue[call] = None
        else:
            raise LaneFull(f"lane {self.name!r} runs {self._running} calls, and {len(self.queue)} more wait")

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
        return LaneStatistics(
            self._limit,
            self.workers,
            self._running,
            len(self.queue),
            self._done,
            self._failed,
            self._timed_out,
            self._cancelled,
        )

    # ---- for its workers --------------------------------------------------------------------------------------

    def take(self) -> LaneCall | None:
        """Take the call that has waited longest, to run it."""
        if not self.queue:
            return None
        self._running += 1
        return self.queue.popitem(last=False)[0]

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
        self._say_if_empty()

    def _start_worker(self, nursery: trio.Nursery, call: LaneCall) -> None:
        self.workers += 1
        self.context.run(nursery.start_soon, _Worker(self, call).work)

    def _say_if_empty(self) -> None:
        if self._empty is not None and not self.busy:
            self._empty.set()
            self._empty = None


class _Worker:
    """One task of a lane. Its scope serves call after call, until one ends otherwise than by returning in time.

    To enter and leave a scope costs as much as all the rest of a call that is over at once.
    """

    __slots__ = ("_call", "_lane", "_task")

    def __init__(self, lane: Lane, call: LaneCall) -> None:
        self._lane = lane
        self._call: LaneCall | None = call  # taken, and not over yet
        self._task: trio.lowlevel.Task

    def hand(self, call: LaneCall) -> None:
        """Give it a call while it is parked."""
        self._call = call
        trio.lowlevel.reschedule(self._task)

    # An interrupt from the keyboard is for the main task: a worker would take it for the failure of a call.
    @trio.lowlevel.enable_ki_protection
    async def work(self) -> None:
        """Run calls until cancelled."""
        self._task = trio.lowlevel.current_task()
        try:
            while True:
                await self._work_in_one_scope()
        finally:
            self._lane.workers -= 1
            self._over(None)

    async def _work_in_one_scope(self) -> None:
        """Run calls. What the last one raises becomes its outcome, but for a cancellation from outside."""
        try:
            with trio.CancelScope() as scope:
                await self._serve(scope)
        except BaseException as error:
            if self._call is None or _cancelled_from_outside(error):
                raise
            failure = error if isinstance(error, Exception) else CallFailed(error)
            self._over(Raised(self._call.call.tag, failure))
        else:
            if self._call is not None and self._call.scope is not None:
                self._over(TimedOut(self._call.call.tag, self._call.call.timeout))

    async def _serve(self, scope: trio.CancelScope) -> None:
        task = self._task
        status = task._cancel_status  # noqa: SLF001 - trio has no public way to see a scope that was left open
        while True:
            if self._call is None:
                await self._rest()
            call = self._call
            if call is None or call.cancelled:  # after it was handed over, before it began
                self._over(None)
                continue
            await trio.lowlevel.checkpoint_if_cancelled()  # no call starts when the scope is spent, or the lane over
            call.scope = scope
            _, tag, run, timeout = call.call
            scope.deadline = self._lane.clock() + timeout
            value = await run()
            if task._cancel_status is not status:  # noqa: SLF001
                return  # the call left a scope open; leaving ours raises what the call has done wrong
            self._over(Returned(tag, value))

    async def _rest(self) -> None:
        """Let others run; take the next call if one waits, else wait to be handed one."""
        lane = self._lane
        self._task.context = lane.context.copy()  # what the next step runs in
        if lane.queue:
            await trio.lowlevel.checkpoint()
            self._call = lane.take()
        else:
            lane.idle.append(self)
            await trio.lowlevel.wait_task_rescheduled(self._leave)

    def _over(self, outcome: Outcome | None) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._lane.over(call, outcome)

    def _leave(self, _: object) -> trio.lowlevel.Abort:
        self._lane.idle.remove(self)
        return trio.lowlevel.Abort.SUCCEEDED


def _cancelled_from_outside(error: BaseException) -> bool:
    """Say whether the error is (or holds) the cancellation of a scope around the worker.

    User code may keep a trio.Cancelled and raise it again later: that one cancels nobody.
    """
    holds = isinstance(error, trio.Cancelled) or (
        isinstance(error, BaseExceptionGroup) and error.subgroup(trio.Cancelled) is not None
    )
    return holds and trio.current_effective_deadline() == -math.inf
