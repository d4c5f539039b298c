"""One task that runs locally, and what interrupts it: Ctrl-C, SIGTERM, the end of the program.

The task lives on the node's thread. Callers are plain code in any thread; they wait, and when they are interrupted the
task's job is deleted. A second interruption gives up, and names the job.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio
from outcome import Error, Value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

DELETE_SECONDS = 30.0
"""Seconds that an interrupted run waits for its job to be deleted; most systems need one."""

END_SECONDS = 5.0
"""Seconds that the end of the process waits beyond that for the node itself."""

_running: dict[LocalRun[Any], None] = {}  # in order; no lock, since a signal's handler could never get it


class Interrupted(SystemExit):
    """The program ends while a task runs locally; raised in the threads that wait for one."""


class Terminated(Interrupted):
    """SIGTERM came while a task ran locally."""


class LocalRun(Generic[T]):
    """A task that runs on the local node.

    Args:
        label: What to call it when it has to be given up.
        given_up: Called when it is.
    """

    def __init__(self, label: str, given_up: Callable[[], None] = lambda: None) -> None:
        self._label = label
        self._given_up = given_up
        self.job = b""  # its resource_meta, once there is one; written on the node's thread
        self.job_by_now: Callable[[], bytes] = lambda: self.job  # what is known of one that is being deleted; likewise
        # How it ended; the first one counts. No Future: what interrupts the main thread
        # could leave its lock behind, taken, and the node would wait for it.
        self._outcomes: list[Value[T] | Error] = []
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None
        self._unwanted = False  # set before the token is looked at, as the token is before this is
        self._told = False  # that it is left behind
        _running[self] = None

    async def live(self, work: Callable[[LocalRun[T]], Awaitable[T]]) -> None:
        """Do the work; its outcome is the run's."""
        self._token = trio.lowlevel.current_trio_token()
        if self._unwanted:
            self._scope.cancel()
        try:
            with self._scope:
                self._end(Value(await work(self)))
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._end(Error(error))
        finally:
            del _running[self]
            self._end(Error(Interrupted("it was interrupted")))  # unless it has ended

    def wait(self) -> T:
        """Wait for the result; when that is interrupted, have the job deleted, and wait for that too.

        Raises:
            KeyboardInterrupt: Ctrl-C. After a second one the job is given up, and named on stderr.
            SystemExit: The same where Ctrl-C means this, as in any process that has imported flytekit.
            Interrupted: The same in another thread than the main one.
        """
        try:
            self._ended.get()
        except (KeyboardInterrupt, SystemExit):
            self._interrupted()
            raise
        return self._outcomes[0].unwrap()

    def interrupt(self) -> None:
        """Have the job deleted; the second time, give it up. From any thread, or a signal's handler."""
        if self._unwanted:
            self.give_up()
        else:
            self.cancel()

    def cancel(self) -> None:
        """Have the job deleted, from any thread."""
        self._unwanted = True
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._scope.cancel)

    def give_up(self) -> None:
        """Wait no longer for the job to be deleted."""
        self._given_up()
        self.say_left_behind()
        self._end(Error(Interrupted("it was given up")))

    def say_left_behind(self) -> None:
        """Tell whoever sits there, loudly and once, that the job was not deleted."""
        if not self._told:
            self._told = True
            name = (self.job or self.job_by_now()).decode(errors="backslashreplace") or "it has no name yet"
            text = f"{self._label}: given up; its job may still run, delete it by hand: {name}"
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - a person ran this

    def _interrupted(self) -> None:
        self.cancel()
        try:
            with suppress(Empty):
                self._ended.get(timeout=DELETE_SECONDS + END_SECONDS)
        except (KeyboardInterrupt, SystemExit):
            give_up_all()
            raise

    def _end(self, how: Value[T] | Error) -> None:
        self._outcomes.append(how)
        self._ended.put(None)


def interrupt_all(*_: object) -> None:
    """Have the jobs of all runs deleted, whichever threads wait for them; the second time, give them up."""
    for run in list(_running):
        run.interrupt()


def give_up_all() -> None:
    """Wait for nothing any more."""
    for run in list(_running):
        run.give_up()


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Have SIGTERM interrupt all runs and end the program, where it would end the process at once.

    Only the main thread can do that; for another one this does nothing. To be in force before a run begins: what has
    just begun when a signal comes is deleted by whoever waits, or at the end.
    """
    with _handling(signal.SIGTERM, _terminate, lambda handler: handler is signal.SIG_DFL):
        yield


@contextmanager
def ctrl_c_interrupts() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt in asyncio.run, too, which would cancel a task that is blocked, and wait."""
    with _handling(signal.SIGINT, signal.default_int_handler, _is_asyncios):
        yield


@contextmanager
def _handling(number: signal.Signals, ours: Any, replaces: Callable[[object], bool]) -> Iterator[None]:
    """Handle a signal for a while, if who handles it now is to be replaced, and unless somebody else takes it over."""
    before = signal.getsignal(number)
    if threading.current_thread() is not threading.main_thread() or not replaces(before):
        yield
        return
    signal.signal(number, ours)
    try:
        yield
    finally:
        if signal.getsignal(number) is ours:
            signal.signal(number, before)


def _terminate(number: int, _frame: Any) -> None:
    interrupt_all()
    raise Terminated(128 + number)


def _is_asyncios(handler: object) -> bool:
    """Whether asyncio.run handles Ctrl-C."""
    return isinstance(handler, partial) and isinstance(getattr(handler.func, "__self__", None), asyncio.Runner)
