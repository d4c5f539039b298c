"""A thread that notices when code blocks the event loop, and names it.

Nothing on the loop can: it is what does not run. So the loop sets a time stamp in short intervals, and a thread
compares it with the clock; when it is late, the thread looks at what the loop's thread is executing.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, NamedTuple

import structlog
import trio

from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from flytower.runtime.context import Context

log = structlog.get_logger(__name__)

LATE_SECONDS = 0.2
"""How late the loop may be before somebody is named: a fifth of a second is felt by every caller (Airflow's figure)."""

BEATS = 4
"""Time stamps in that time: the verdict comes at most a quarter later than it could."""

STACK_FRAMES = 6
"""Innermost frames that are logged: the culprit's own, and where it was called."""


class Blockage(NamedTuple):
    """The loop did not run for a while.

    Args:
        culprit: Who blocked it, as far as `name` could tell; None when it could not.
        seconds: How late the loop was when it was noticed.
        where: The innermost frames, innermost first: "function (file:line)".
    """

    culprit: str | None
    seconds: float
    where: tuple[str, ...]


class Watchdog:
    """Watches the loop that it runs on; a child of a supervisor.

    Args:
        name: Says whose code a frame is, if it is anybody's worth naming. Called from the thread.
        noticed: Told of each blockage, once, from the thread. The default logs nothing more than the watchdog does.
        late: Seconds.
        beaten: Told at each time stamp by how many seconds the loop was late for it. Called on the loop.
    """

    def __init__(
        self,
        name: Callable[[FrameType], str | None] = lambda _: None,
        noticed: Callable[[Blockage], object] = lambda _: None,
        late: float = LATE_SECONDS,
        beaten: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._name = name
        self._noticed = noticed
        self._late = late
        self._beaten = beaten
        self._beat = 0.0  # when the loop last ran, on the real clock; written by the loop only
        self._blockages = 0  # written by the thread only
        self._over = threading.Event()
        self._started = trio.current_time()

    async def run(self, context: Context) -> None:
        """Watch until the stop."""
        self._beat = time.monotonic()
        self._over.clear()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._run_thread, threading.get_ident())
            context.ready()
            try:
                await self._beat_until(context.stop_requested)
            finally:
                self._over.set()  # the thread sees it within a beat

    async def _run_thread(self, loop: int, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        limiter = trio.CapacityLimiter(1)  # its own: it is held for as long as the loop runs

        def watch() -> None:
            trio.from_thread.run_sync(task_status.started)
            self._watch(loop)

        await trio.to_thread.run_sync(watch, limiter=limiter, thread_name="watchdog")

    async def _beat_until(self, stop_requested: trio.Event) -> None:
        while not stop_requested.is_set():
            with trio.move_on_after(self._late / BEATS) as pause:
                await stop_requested.wait()
            self._beat = time.monotonic()
            if pause.cancelled_caught:
                self._beaten(trio.current_time() - pause.deadline)

    def inspect(self, path: str, now: float) -> Node:
        """Describe itself."""
        return Node(path, "Watchdog", f"{self._blockages} blockages", age=now - self._started)

    def _watch(self, loop: int) -> None:
        """Compare the time stamp with the clock; runs in the thread."""
        told = 0.0  # the time stamp of the blockage that was told last
        while not self._over.wait(self._late / BEATS):
            beat = self._beat
            seconds = time.monotonic() - beat
            if seconds > self._late and beat != told:
                told = beat
                self._blockages += 1
                self._tell(sys._current_frames().get(loop), seconds)  # noqa: SLF001 - the one way to see another thread

    def _tell(self, frame: FrameType | None, seconds: float) -> None:
        blockage = Blockage(self._culprit(frame), seconds, _innermost(frame))
        log.warning(
            "the event loop is blocked; a plain function would run in a thread",
            culprit=blockage.culprit,
            seconds=round(seconds, 3),
            where=blockage.where,
        )
        try:
            self._noticed(blockage)
        except Exception:  # the watch goes on
            log.exception("callback raised", callback=repr(self._noticed))

    def _culprit(self, frame: FrameType | None) -> str | None:
        while frame is not None:
            name = self._name(frame)
            if name is not None:
                return name
            frame = frame.f_back
        return None


def _innermost(frame: FrameType | None) -> tuple[str, ...]:
    summary = traceback.extract_stack(frame)[-STACK_FRAMES:] if frame is not None else []
    return tuple(f"{each.name} ({each.filename}:{each.lineno})" for each in reversed(summary))
