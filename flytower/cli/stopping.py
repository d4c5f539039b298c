"""How a server is told to stop, and ended when it does not.

A thread hears the signals, since a connector may block the event loop. Python writes their numbers to a socket, from C:
the main thread may compute, or wait in some library, and need not come back for that.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = structlog.get_logger(__name__)

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
"""What Kubernetes sends, and Ctrl-C."""

HURRY_SECONDS: Final = 2.0
"""How long clean-up may take after a second signal; a connector's thread, for one, cannot be stopped at all."""

LATE: Final = 1
"""The exit code of a server that has not stopped within its grace."""

SIGNAL_BASE: Final = 128
"""A process that a signal ended says so with 128 and the signal's number, by the shells' convention."""

RESOLUTION: Final = 0.001
"""Seconds; the shortest wait for a signal."""


class Countdown:
    """When the process is to be ended, and with which code. The first signal begins it, the second one shortens it.

    Args:
        grace: Seconds from the first signal to the end.
    """

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.end: float | None = None  # on the real clock; None before the first signal
        self.seconds = 0.0  # how long the signal that counts has left
        self.code = LATE
        self.insisted = False

    def hear(self, number: int, now: float) -> None:
        """Count a signal."""
        name = signal.Signals(number).name
        if self.end is None:
            log.info("A signal: stopping in order", signal=name, grace=self.grace)
            self.end, self.seconds = now + self.grace, self.grace
        elif not self.insisted:
            log.warning("A second signal: stopping at once", signal=name)
            self.insisted, self.code = True, SIGNAL_BASE + number
            self.end, self.seconds = min(self.end, now + HURRY_SECONDS), HURRY_SECONDS

    def left(self, now: float) -> float:
        """Seconds to the end; all of the grace before it has begun."""
        return self.grace if self.end is None else max(0.0, self.end - now)


class Stopping:
    """The first signal asks, the second one insists. Who has not stopped in time is ended, whatever it is doing.

    Args:
        grace: Seconds from the first signal to the end.
    """

    def __init__(self, grace: float) -> None:
        self.asked = trio.Event()
        self.code = 0  # set by the second signal
        self._countdown = Countdown(grace)  # changed by the thread, before `asked` is set

    @property
    def left(self) -> float:
        """Seconds until the process is ended, once it was asked to stop."""
        return self._countdown.left(time.monotonic())

    @contextmanager
    def listening(self, server: trio.CancelScope) -> Iterator[None]:
        """Hear signals; in the main thread. A second one cancels `server`.

        A countdown that has begun goes on after the block, to the end of the process.
        """
        heard, written = socket.socketpair()
        written.setblocking(False)
        token = trio.lowlevel.current_trio_token()

        def tell(number: int) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._hear, number, server)

        thread = threading.Thread(target=_listen, args=(heard, self._countdown, tell), name="signals", daemon=True)
        thread.start()
        with written, _numbers_written_to(written):
            yield

    async def cancel_when_asked(self, scope: trio.CancelScope) -> None:
        """Cancel a scope at the first signal."""
        await self.asked.wait()
        scope.cancel(reason="the server was asked to stop")

    def _hear(self, number: int, server: trio.CancelScope) -> None:
        if not self.asked.is_set():
            self.asked.set()
        elif not self.code:
            self.code = SIGNAL_BASE + number
            server.cancel(reason="a second signal")


@contextmanager
def _numbers_written_to(numbers: socket.socket) -> Iterator[None]:
    """Have Python write each signal's number there, instead of what it does otherwise."""
    handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(numbers.fileno(), warn_on_full_buffer=False)  # trio's, which wakes up all the same
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _listen(numbers: socket.socket, countdown: Countdown, tell: Callable[[int], None]) -> None:
    """Hear signals until the server has stopped listening; the process ends when the countdown does."""
    with numbers:
        while number := _next(numbers, countdown):
            if number in SIGNALS:
                countdown.hear(number, time.monotonic())
                tell(number)
    if countdown.end is not None:
        time.sleep(countdown.left(time.monotonic()))
        _end_process(countdown)


def _next(numbers: socket.socket, countdown: Countdown) -> int:
    """Wait for the number of the next signal; 0 when there will be none."""
    # A timeout of 0 would be for not to wait at all, not even for what is there.
    numbers.settimeout(None if countdown.end is None else max(RESOLUTION, countdown.left(time.monotonic())))
    try:
        return next(iter(numbers.recv(1)), 0)
    except TimeoutError:
        _end_process(countdown)
        raise  # never: there is no process


def _end_process(countdown: Countdown) -> None:
    # Nothing is lost by it: every intent is in the ledger before it is acted upon, and jobs run on their own.
    log.critical("The server has not stopped in time, and is ended", seconds=countdown.seconds)
    os._exit(countdown.code)
