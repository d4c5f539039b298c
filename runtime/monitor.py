"""Tell me when that one ends, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from flytower.runtime.exits import Exit

log = structlog.get_logger(__name__)


class Down(NamedTuple):
    """The news: the actor at `path` has ended, and is not being restarted."""

    path: str
    exit: Exit


class Listener(Protocol):
    """What a monitor can tell besides a function: a Ref, which takes the news in its control lane."""

    def tell_control(self, message: Down) -> None:
        """Take the news."""


class Monitor:
    """One listener's interest in the end of one actor: told once, or never when it was cancelled before."""

    __slots__ = ("_monitors", "tell")

    def __init__(self, monitors: Monitors, tell: Callable[[Down], object]) -> None:
        self._monitors = monitors
        self.tell = tell

    def cancel(self) -> None:
        """Lose interest; harmless when the news is out already."""
        self._monitors.discard(self)


class Monitors:
    """The monitors of one actor, told in the order in which they came."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[Monitor, None] = {}  # an ordered set; empty once they were told

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, listener: Callable[[Down], object] | Listener) -> Monitor:
        """Add a function, or a ref whose messages include Down."""
        monitor = Monitor(self, listener if callable(listener) else listener.tell_control)
        self._waiting[monitor] = None
        return monitor

    def discard(self, monitor: Monitor) -> None:
        """Take one away, if it is there."""
        self._waiting.pop(monitor, None)

    def tell(self, news: Down) -> None:
        """Tell each, and forget them all. One that raises is logged, and hurts no other."""
        while self._waiting:
            monitor = next(iter(self._waiting))
            del self._waiting[monitor]
            try:
                monitor.tell(news)
            except Exception:
                log.exception("a monitor raised", of=news.path)
