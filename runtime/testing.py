"""Tools for testing actors: virtual time, steps from synchronous code, cancellation anywhere, and leaks."""

from __future__ import annotations

import itertools
import random
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, TypeVarTuple, cast

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from types import TracebackType

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


def run_virtual(function: Callable[[*Ts], Awaitable[R]], *args: *Ts) -> R:
    """Run a trio program on a virtual clock, which jumps to the next deadline whenever all tasks wait."""
    return trio.run(function, *args, clock=MockClock(autojump_threshold=0))


class LoneContext:
    """What a child is given to run with when no supervisor runs it.

    Args:
        seed: Of its randomness.
    """

    def __init__(self, seed: int = 0) -> None:
        self.path = "/alone/child"
        self.name = "child"
        self.rng = random.Random(seed)  # noqa: S311 - seeded
        self.new_id: Callable[[], str] = map(str, itertools.count()).__next__
        self.grace = 5.0
        self.stop_requested = trio.Event()
        self.is_ready = trio.Event()

    def ready(self) -> None:
        """Note that the child is up."""
        self.is_ready.set()

    def shielded(self, seconds: float) -> trio.CancelScope:
        """Return a scope that no cancellation reaches for `seconds`."""
        return trio.CancelScope(shield=True, deadline=trio.current_time() + seconds)


# ---- step by step ---------------------------------------------------------------------------------------------


class Driver:
    """A live trio run on a virtual clock that synchronous code drives step by step.

    Between two calls the run stands still, its clock too. Made for hypothesis' state machines, whose rules are plain
    functions: open a system in one rule, poke it in the next, and always `close` in `teardown`.

    What `do` runs is called in the run's main task, so what it leaves behind must live in a nursery: `driver.nursery`
    is one that `close` cancels.
    """

    nursery: trio.Nursery

    def __init__(self) -> None:
        try:
            from greenlet import getcurrent, greenlet  # noqa: PLC0415 - a development dependency, of this class only
        except ImportError as error:
            raise ImportError("Driver needs greenlet: pip install greenlet") from error
        self._parent: Any = getcurrent()
        self._run: Any = greenlet(self._main)
        self._failure: BaseException | None = None
        self._switch(None)

    def do(self, function: Callable[[*Ts], Awaitable[R]], *args: *Ts) -> R:
        """Run `function(*args)` to its end, everything else along with it, and return or raise what it does."""
        if self._run.dead:
            raise RuntimeError("the run of this driver is over") from self._failure
        value, error = self._switch(partial(function, *args))
        if error is not None:
            raise error
        return cast("R", value)

    def advance(self, seconds: float) -> None:
        """Let virtual time pass: all that falls due in it happens, in order."""
        self.do(trio.sleep, seconds)

    def settle(self) -> None:
        """Let everything run until nothing can go on without time passing."""
        self.do(wait_all_tasks_blocked)

    def close(self) -> None:
        """Cancel what is left, and end the run; harmless when it is over.

        Raises:
            BaseException: What ended the run before its time.
        """
        if not self._run.dead:
            self._switch(None)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _switch(self, operation: Callable[[], Awaitable[Any]] | None) -> Any:
        result = self._run.switch(operation)
        if self._run.dead and self._failure is not None and operation is not None:
            failure, self._failure = self._failure, None
            raise failure
        return result

    def _main(self, _: None) -> None:
        try:
            run_virtual(self._serve)
        except BaseException as error:  # noqa: BLE001 - carried over to whoever drives
            self._failure = error

    async def _serve(self) -> None:
        async with trio.open_nursery() as self.nursery:
            operation = self._parent.switch(None)
            while operation is not None:
                outcome = await _outcome(operation)
                operation = self._parent.switch(outcome)
            self.nursery.cancel_scope.cancel(reason="the driver is closed")


async def _outcome(operation: Callable[[], Awaitable[object]]) -> tuple[object, BaseException | None]:
    try:
        return await operation(), None
    except trio.Cancelled:  # the whole run is being cancelled: something that lives beside the operation failed
        raise
    except BaseException as error:  # noqa: BLE001 - carried over to whoever drives
        return None, error


# ---- cancellation anywhere ------------------------------------------------------------------------------------


class CancelAtStep(trio.abc.Instrument):
    """Cancel the block at its k-th wait: `with CancelAtStep(3) as cut: await something()`.

    Run the same thing for k = 1, 2, 3... until `cut.hit` stays false, and it was cancelled everywhere it can be:

        for k in itertools.count(1):
            with CancelAtStep(k) as cut:
                await something()
            ...  # what must hold, wherever it was cancelled
            if not cut.hit:
                break

    Args:
        k: Which wait, from 1.
        every_task: Count the steps of all tasks of the run, not only those of the task that enters the block.
    """

    def __init__(self, k: int, *, every_task: bool = False) -> None:
        self.hit = False
        self._left = k
        self._every_task = every_task
        self._task: trio.lowlevel.Task | None = None
        self._scope = trio.CancelScope()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count a step; part of trio's Instrument interface."""
        if task is not self._task and not self._every_task:
            return
        self._left -= 1
        if self._left == 0:
            self.hit = True
            self._scope.cancel(reason="CancelAtStep")

    def __enter__(self) -> Self:
        self._task = trio.lowlevel.current_task()
        trio.lowlevel.add_instrument(self)
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        trio.lowlevel.remove_instrument(self)
        return self._scope.__exit__(kind, error, trace)


# ---- leaks ----------------------------------------------------------------------------------------------------


def running_tasks() -> set[trio.lowlevel.Task]:
    """Return every task of this trio run."""
    root = trio.lowlevel.current_root_task()
    return set(_family(root)) if root is not None else set()


def _family(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _family(child)


@asynccontextmanager
async def no_leaks() -> AsyncIterator[None]:
    """Prove that nothing which began inside the block still runs after it.

    Raises:
        AssertionError: Something does; the message names it.
    """
    before = running_tasks()
    yield
    await wait_all_tasks_blocked()
    left = running_tasks() - before
    if left:
        raise AssertionError("still running: " + ", ".join(sorted(task.name for task in left)))
