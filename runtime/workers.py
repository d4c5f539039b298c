"""The workers of a lane: tasks that run its calls, one after another.

Many calls are over without ever having waited for anything. A worker takes such ones in a row, for a share of a turn of
the loop: to wake a task for each costs more than all the rest of the way. As soon as one of them waits, a worker is
woken for each call that is left. Whoever comes back from waiting takes the next call at once, unless somebody asks or
the calls take long: all workers may come back in one turn, and each then ends a call or begins one, not both.
"""

from __future__ import annotations

import math
from time import perf_counter
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any

import trio

from flytower.runtime.entity import Raised, Returned, TimedOut
from flytower.runtime.host_errors import CallFailed

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from flytower.runtime.lanes import Lane, LaneCall, Outcome

TURN_SHARE = 0.00005
"""Seconds of one turn of the loop that calls which never wait may take in a row while somebody asks, who waits for it.
A poll takes some 0.00003; see `timers.BUSY`, which goes with it."""

QUIET_SHARE = 0.0005
"""And while nobody does; see `timers.QUIET`."""

LONGEST_SHARE = 0.001
"""What they may take when others have taken at least as long since the last turn: a server that is flooded with creates
still gets its polls done, and a queue of them does not grow."""

DEADLINE_TICK = 0.01
"""Seconds. Deadlines are rounded up to a multiple, as timers are: the next call most often has the same then, and
setting one takes 2 us, a twentieth of a poll."""


class Worker:
    """One task of a lane. Its scope serves call after call, until one ends otherwise than by returning in time.

    To enter and leave a scope costs as much as all the rest of a call that is over at once.
    """

    __slots__ = ("_call", "_coming", "_context", "_lane", "_share", "_task")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._call: LaneCall | None = None  # begun, and not over yet
        self._coming = True  # counted as such by the lane
        self._share = 0.0  # of the next turn, in seconds: as much as others have just taken
        self._task: trio.lowlevel.Task
        self._context: contextvars.Context  # the worker's own; no call runs in it

    def come(self) -> None:
        """Look into the queue; called while it is parked."""
        self._coming = True
        trio.lowlevel.reschedule(self._task)

    # An interrupt from the keyboard is for the main task: a worker would take it for the failure of a call.
    @trio.lowlevel.enable_ki_protection
    async def work(self) -> None:
        """Run calls until cancelled."""
        self._task = trio.lowlevel.current_task()
        self._context = self._task.context
        try:
            while True:
                await self._work_in_one_scope()
        finally:
            self._lane.workers -= 1
            self._arrive()
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
            if self._call is not None:
                self._over(TimedOut(self._call.call.tag, self._call.call.timeout))

    async def _serve(self, scope: trio.CancelScope) -> None:
        lane, task = self._lane, self._task
        status = task._cancel_status  # noqa: SLF001 - trio has no public way to see a scope that was left open
        deadline = math.inf  # the scope's
        while True:
            if not self._coming:
                await self._rest()
            if status.effectively_cancelled:
                await trio.lowlevel.checkpoint()  # no call begins when the scope is spent, or the lane over
            self._arrive()
            alone = not lane.coming  # others that come take one call each, as there are so many of them
            now, began, enough = lane.clock(), perf_counter(), 0.0
            while (call := lane.take()) is not None:
                self._call = call
                call.scope = scope
                _, tag, run, timeout = call.call
                due = _rounded_up(now + timeout)
                if due != deadline:
                    scope.deadline = deadline = due
                waiting, value = self._begin(run)
                if waiting is not None:
                    is_light = perf_counter() - began < TURN_SHARE
                    value = await _on(waiting, value)
                    now, began, enough = lane.clock(), perf_counter(), 0.0
                    alone = is_light and lane.foreground.is_quiet(now)  # others come back in this turn too, perhaps all
                if task._cancel_status is not status:  # noqa: SLF001
                    return  # the call left a scope open; leaving ours raises what the call has done wrong
                self._over(Returned(tag, value))
                if not alone or status.effectively_cancelled:
                    break
                enough = enough or began + max(self._share, lane.least_share(now))
                if perf_counter() >= enough:
                    lane.share_spent(now)
                    break

    def _begin(self, run: Callable[[], Awaitable[object]]) -> tuple[Coroutine[Any, Any, object] | None, Any]:
        """Run a call until it waits: return it, and what for. One that never does is over: return None and its value.

        It is in its task all the same, and what it waits for reaches trio as if it had been awaited.
        """
        context = self._lane.context.copy()
        try:
            call, trap = context.run(_begun, run)
        except StopIteration as over:
            self._lane.waits = False
            return None, over.value
        self._task.context = context  # what the next steps run in
        self._lane.waits = True
        self._lane.call_up()
        return call, trap

    async def _rest(self) -> None:
        """Let others run; come again if more of us are wanted, else park until that is so."""
        lane = self._lane
        self._task.context = self._context
        if lane.coming < lane.wanted:
            self._coming = True
            lane.coming += 1
            left = perf_counter()
            await trio.lowlevel.checkpoint()
            self._share = min(perf_counter() - left, LONGEST_SHARE)
        else:
            self._share = 0.0
            lane.idle.append(self)
            await trio.lowlevel.wait_task_rescheduled(self._leave)

    def _arrive(self) -> None:
        if self._coming:
            self._coming = False
            self._lane.coming -= 1

    def _over(self, outcome: Outcome | None) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._lane.over(call, outcome)

    def _leave(self, _: object) -> trio.lowlevel.Abort:
        self._lane.idle.remove(self)
        return trio.lowlevel.Abort.SUCCEEDED


def _rounded_up(deadline: float) -> float:
    return math.ceil(deadline / DEADLINE_TICK) * DEADLINE_TICK if deadline < math.inf else deadline


def _begun(run: Callable[[], Awaitable[object]]) -> tuple[Coroutine[Any, Any, object], object]:
    """Run a call until it waits, and return it with what it waits for; raises StopIteration when it is over."""
    awaitable = run()
    call = awaitable if type(awaitable) is CoroutineType else _awaiting(awaitable)
    return call, call.send(None)


async def _awaiting(awaitable: Awaitable[object]) -> object:
    return await awaitable


@coroutine
def _on(begun: Coroutine[Any, Any, object], trap: object) -> Generator[Any, Any, object]:
    """Run a coroutine that has begun, and waits, to its end: `await` would not take it up."""
    while True:
        go_on: Callable[[Any], object] = begun.send
        try:
            given = yield trap
        except BaseException as error:  # noqa: BLE001 - all that is thrown here is for the coroutine
            given, go_on = error, begun.throw
        try:
            trap = go_on(given)
        except StopIteration as over:
            return over.value


def _cancelled_from_outside(error: BaseException) -> bool:
    """Say whether the error is (or holds) the cancellation of a scope around the worker.

    User code may keep a trio.Cancelled and raise it again later: that one cancels nobody.
    """
    holds = isinstance(error, trio.Cancelled) or (
        isinstance(error, BaseExceptionGroup) and error.subgroup(trio.Cancelled) is not None
    )
    return holds and trio.current_effective_deadline() == -math.inf
