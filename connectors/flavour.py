"""Calling an author's method, whichever way it is written, and keeping what it does to itself.

A plain function runs in a thread. A coroutine function runs on trio, or on asyncio where its connector says so.
What comes out is a value, trio's own cancellation, or an Exception: nothing else gets past `Method`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from enum import Enum
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import trio
import trio_asyncio

from flytower.connectors.errors import ConnectorError, ConnectorExited, WrongFlavour
from flytower.protocol.eager import run_at_once

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Flavour(Enum):
    """Where a method runs."""

    TRIO = "trio"
    ASYNCIO = "asyncio"
    THREAD = "thread"  # plain functions, always; nothing to declare


_OTHER_LOOP: dict[Flavour, tuple[Flavour, tuple[str, ...]]] = {
    Flavour.TRIO: (
        Flavour.ASYNCIO,
        ("received unrecognized yield message", "no running event loop", "Timeout should be used inside a task"),
    ),
    Flavour.ASYNCIO: (Flavour.TRIO, ("Task got bad yield",)),
}
"""By what they say when a coroutine awaits the other loop: (what it should have declared, the texts)."""


def flavour_of(function: Callable[..., Any], declared: Flavour) -> Flavour:
    """Return where a method runs: a coroutine function on the declared loop, anything else in a thread.

    A function that only returns an awaitable (decorated, partial) counts as plain; the awaitable is awaited after.
    """
    called = getattr(type(function), "__call__", None)  # noqa: B004 - an object may have an async __call__
    is_coroutine = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
    return declared if is_coroutine else Flavour.THREAD


class Method(NamedTuple):
    """One method of one connector, ready to be called from trio.

    Args:
        label: What to call it in messages: "create of Shell Connector".
        function: The bound method.
        flavour: Where it runs.
        declared: Where an awaitable runs that it returns; the connector's flavour.
        limiter: The threads that the connector may hold. A call that hangs keeps its token.
    """

    label: str
    function: Callable[..., Any]
    flavour: Flavour
    declared: Flavour
    limiter: trio.CapacityLimiter

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call it.

        Raises:
            Exception: Whatever it raised, out of any exception group.
            ConnectorExited: It raised something that is no Exception (SystemExit, ...).
            WrongFlavour: It awaited another event loop than its connector declares.
        """
        try:
            if self.flavour is not Flavour.TRIO:
                return await self._run(args, kwargs)
            result = self.function(*args, **kwargs)  # here and not in a coroutine of its own: each poll takes this way
            # an asynchronous generator is given as it is: nothing of it runs yet
            return await result if type(result) is CoroutineType or not isinstance(result, AsyncGenerator) else result
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - this is the border that contains user code
            await self._contain(error)

    def with_function(self, function: Callable[..., Any], flavour: Flavour) -> Method:
        """Return the same method with something else to call, such as a step of the generator that it returned."""
        return self._replace(function=function, flavour=flavour)

    async def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if inspect.isasyncgenfunction(self.function):
            return self.function(*args, **kwargs)
        if self.flavour is Flavour.ASYNCIO:
            return await self._run_on_asyncio(lambda: self.function(*args, **kwargs))
        result = await self._run_in_thread(args, kwargs)
        return await self._await(result) if inspect.isawaitable(result) else result

    async def _run_in_thread(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        def boxed() -> list[Any]:
            return [self.function(*args, **kwargs)]  # in a box, because trio refuses a bare coroutine

        box = await trio.to_thread.run_sync(boxed, abandon_on_cancel=True, limiter=self.limiter, thread_name=self.label)
        return box[0]

    async def _await(self, awaitable: Awaitable[Any]) -> Any:
        if self.declared is Flavour.ASYNCIO:
            return await self._run_on_asyncio(lambda: awaitable)
        return await awaitable

    async def _run_on_asyncio(self, start: Callable[[], Awaitable[Any]]) -> Any:
        loop = trio_asyncio.current_loop.get()
        if loop is None:
            raise WrongFlavour(
                f"{self.label} is for asyncio, and no asyncio loop runs here: enter trio_asyncio.open_loop()"
            )

        async def contained() -> Any:
            # Inside the asyncio task: a SystemExit that leaves the task takes the loop, and trio with it.
            try:
                return await start()
            except (Exception, asyncio.CancelledError):
                raise
            except BaseException as error:
                raise self._exited(error) from error

        return await run_at_once(loop, contained)

    async def _contain(self, error: BaseException) -> NoReturn:
        """Raise what an error of user code amounts to."""
        # A cancellation of ours that user code turned into something else is still a cancellation.
        await trio.lowlevel.checkpoint_if_cancelled()
        failures = _leaves(error)
        if len(failures) > 1:
            described = "; ".join(f"{type(failure).__name__}: {failure}" for failure in failures)
            raise ConnectorError(f"{self.label} failed in {len(failures)} places: {described}") from error
        failure = failures[0] if failures else error
        if not isinstance(failure, Exception):
            raise self._exited(failure) from failure
        self._check_flavour(failure)
        raise failure

    def _exited(self, error: BaseException) -> ConnectorExited:
        return ConnectorExited(f"{self.label} raised {error!r}, which is not for a connector to raise")

    def _check_flavour(self, error: Exception) -> None:
        ran = self.declared if self.flavour is Flavour.THREAD else self.flavour
        other, texts = _OTHER_LOOP[ran]
        if isinstance(error, TypeError | RuntimeError) and any(text in str(error) for text in texts):
            raise WrongFlavour(
                f"{self.label} awaits {other.value}, but runs on {ran.value}: "
                f"say `flavour = Flavour.{other.name}` in the class of the connector"
            ) from error


def _leaves(error: BaseException) -> list[BaseException]:
    """Return the exceptions inside nested groups, without cancellations: a cancelled sibling is no failure."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [] if isinstance(error, trio.Cancelled) else [error]
