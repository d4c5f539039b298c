"""The one-shot answer that an ask waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PENDING = object()


class Promise(Generic[T]):
    """One answer, given at most once, awaited from trio or taken by callback from elsewhere.

    Whoever owes the answer calls `resolve` or `reject`; only the first call counts, so an actor that dies can
    reject everything it owes without asking what was answered already. Whoever waits calls `wait` (trio), or
    `add_done_callback` (a bridge to another event loop). A waiter that is no longer interested calls `withdraw`;
    the owner can see that in `withdrawn` and spare itself the work.
    """

    __slots__ = ("_callbacks", "_error", "_value", "withdrawn")

    def __init__(self) -> None:
        self._value: object = _PENDING
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Promise[T]], object]] | None = None
        self.withdrawn = False

    @property
    def done(self) -> bool:
        """Whether the answer (a value or an error) is there."""
        return self._value is not _PENDING or self._error is not None

    def resolve(self, value: T) -> bool:
        """Give the answer; returns False when there was one already, or nobody waits any more."""
        if self._value is not _PENDING or self._error is not None or self.withdrawn:  # `done`, on the hottest path
            return False
        self._value = value
        if self._callbacks is not None:
            self._settle()
        return True

    def reject(self, error: BaseException) -> bool:
        """Answer with an error, which `wait` and `result` raise; returns as `resolve` does."""
        if self.done or self.withdrawn:
            return False
        self._error = error
        self._settle()
        return True

    def withdraw(self) -> None:
        """Say that nobody waits any more: later answers are dropped."""
        if not self.done:
            self.withdrawn = True
            self._settle()

    def result(self) -> T:
        """Return the answer, or raise its error. To be called only when `done`."""
        if self._error is not None:
            raise self._error
        if self.withdrawn:
            raise RuntimeError("the promise was withdrawn: whoever waited for it gave up, so it has no answer")
        if self._value is _PENDING:
            raise RuntimeError("result() of a promise that is not done; await wait(), or check done first")
        return self._value  # type: ignore[return-value]  # the sentinel is excluded above

    def add_done_callback(self, callback: Callable[[Promise[T]], object]) -> None:
        """Have `callback(self)` called once it is done or withdrawn; at once when it is so already."""
        if self.done or self.withdrawn:
            callback(self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    async def wait(self) -> T:
        """Wait for the answer; cancelling the wait withdraws the promise."""
        if not self.done:
            arrived = trio.Event()
            self.add_done_callback(lambda _: arrived.set())
            try:
                await arrived.wait()
            except trio.Cancelled:
                self.withdraw()
                raise
        return self.result()

    def _settle(self) -> None:
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback(self)
