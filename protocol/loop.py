"""The asyncio loop that grpclib and asyncio connectors run on, inside trio."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
import trio_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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


class TaskExited(Exception):  # noqa: N818 - it says what happened
    """Code in an asyncio task has tried to end more than itself (SystemExit, KeyboardInterrupt)."""


def contained_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Make a task that ends alone, whatever its coroutine raises: a factory for `set_task_factory`.

    asyncio raises a SystemExit that leaves a task out of the loop itself, and so ends all that runs on it. Connectors
    spawn tasks of their own, where nothing else of ours stands between.
    """
    return asyncio.Task(_contained(coroutine), loop=loop, **options)


async def _contained(coroutine: Any) -> Any:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise TaskExited(f"an asyncio task raised {error!r}, which is not for a task to raise") from error


def _log_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error(
        "An asyncio task or callback failed with nobody waiting for it",
        reason=context.get("message"),
        exc_info=context.get("exception"),
    )
