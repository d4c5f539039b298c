"""The asyncio loop that grpclib and asyncio connectors run on, inside trio."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
import trio_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Self

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_event_loop() -> AsyncIterator[trio_asyncio.TrioEventLoop]:
    """Run an asyncio loop for the time of the `async with` block, in the caller's trio task tree.

    An error that nobody awaits (a failed task that was dropped, a callback of a connection) is logged and goes
    no further. trio_asyncio would otherwise raise it here, and so end everything that runs beside it.
    """
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(_log_error)
        loop.set_task_factory(contained_task)
        yield loop


REFUSALS = 100
"""How often a coroutine that awaits trio may catch the error that tells it so, and do it again."""


class TaskExited(Exception):  # noqa: N818 - it says what happened
    """Code in an asyncio task has tried to end more than itself (SystemExit, KeyboardInterrupt)."""

    @classmethod
    def told(cls, error: BaseException) -> Self:
        """Return one that names what was raised."""
        return cls(f"an asyncio task raised {error!r}, which is not for a task to raise")


def contained_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Make a task that ends alone, whatever its coroutine raises: a factory for `set_task_factory`.

    asyncio raises a SystemExit that leaves a task out of the loop itself, and so ends all that runs on it. Connectors
    spawn tasks of their own, where nothing else of ours stands between.
    """
    return asyncio.Task(_Contained(coroutine), loop=loop, **options)


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine that raises nothing which would end more than its task.

    Not a coroutine function around the other: a task that is cancelled before its first step would throw into that one,
    and leave the inner one never awaited.

    Args:
        inner: What the task was made for; attributes that are asked of this one are its.
    """

    __slots__ = ("_inner",)

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def send(self, value: Any) -> Any:
        try:
            awaited = self._inner.send(value)
            return awaited if _is_asyncios(awaited) else self._refuse(awaited)
        except (SystemExit, KeyboardInterrupt) as error:
            raise TaskExited.told(error) from error

    def throw(self, *error: Any) -> Any:
        try:
            awaited = self._inner.throw(*error)
            return awaited if _is_asyncios(awaited) else self._refuse(awaited)
        except (SystemExit, KeyboardInterrupt) as raised:
            raise TaskExited.told(raised) from raised

    def _refuse(self, awaited: object) -> Any:
        """Say so at once when trio is awaited: asyncio says it a turn of the loop later.

        What the coroutine has opened meanwhile (a scope of trio's, in the trio task that runs this step) has to be
        closed before anything else runs there.
        """
        for _ in range(REFUSALS):
            awaited = self._inner.throw(RuntimeError(f"Task got bad yield: {awaited!r}"))
            if _is_asyncios(awaited):
                return awaited
        self._inner.close()
        raise RuntimeError(f"Task got bad yield: {awaited!r}, again and again")

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _is_asyncios(awaited: object) -> bool:
    """Whether a task may await this: a future, which asyncio knows by that attribute, or a bare turn of the loop."""
    return awaited is None or hasattr(awaited, "_asyncio_future_blocking")


def _log_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error(
        "An asyncio task or callback failed with nobody waiting for it",
        reason=context.get("message"),
        exc_info=context.get("exception"),
    )
