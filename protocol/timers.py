"""One clock for all the deadlines of a server."""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING

import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

SWEEP_AT = 64
"""Cancelled timers below this number are not worth a sweep."""


class Timer:
    """An action that is due at some instant. Ordered by that instant, then by age."""

    __slots__ = ("_owner", "_rank", "action", "when")

    def __init__(self, when: float, rank: int, action: Callable[[], None], owner: Timers) -> None:
        self.when = when
        self._rank = rank
        self.action: Callable[[], None] | None = action
        self._owner = owner

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self._rank) < (other.when, other._rank)

    def cancel(self) -> None:
        """Forget the action, and with it all that it refers to. Harmless when it has run or was cancelled."""
        if self.action is not None:
            self.action = None
            self._owner._cancelled()  # noqa: SLF001 - a timer is half of its owner


class Timers:
    """A heap of timers and the one task that sleeps until the first is due.

    asyncio's timers are not used: trio-asyncio keeps a cancelled one until the instant when it would have been due,
    so that every finished call leaves its deadline behind. Here a cancelled timer lets go of its action at
    once, and the empty shells are swept when they outnumber the living.
    """

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._shells = 0  # cancelled timers that are still in the heap
        self._ranks = itertools.count()
        self._sleep = trio.CancelScope(deadline=math.inf)  # its deadline is never later than the first timer

    def __len__(self) -> int:
        """Return the number of timers that will run."""
        return len(self._heap) - self._shells

    @property
    def shells(self) -> int:
        """The number of cancelled timers that were not swept yet."""
        return self._shells

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Have `action()` called at an instant of trio's clock."""
        timer = Timer(when, next(self._ranks), action, self)
        heapq.heappush(self._heap, timer)
        if when < self._sleep.deadline:  # noqa: PLR1730 - asked first: to set it costs more than the rest
            self._sleep.deadline = when
        return timer

    async def run(self) -> None:
        """Call actions when they are due, for ever."""
        while True:
            with trio.CancelScope(deadline=self._first_due()) as self._sleep:
                await trio.sleep_forever()
            self._run_due(trio.current_time())

    def _first_due(self) -> float:
        self._drop_shells_in_front()
        return self._heap[0].when if self._heap else math.inf

    def _run_due(self, now: float) -> None:
        while self._heap and self._heap[0].when <= now:
            timer = heapq.heappop(self._heap)
            if timer.action is None:
                self._shells -= 1
            else:
                action, timer.action = timer.action, None
                _call(action)

    def _drop_shells_in_front(self) -> None:
        while self._heap and self._heap[0].action is None:
            heapq.heappop(self._heap)
            self._shells -= 1

    def _cancelled(self) -> None:
        self._shells += 1
        if self._shells > SWEEP_AT and self._shells * 2 > len(self._heap):
            self._heap = [timer for timer in self._heap if timer.action is not None]
            heapq.heapify(self._heap)
            self._shells = 0


def _call(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception:
        log.exception("A timer's action failed")
