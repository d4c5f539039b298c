"""The asyncio loop that grpclib and asyncio connectors run on, inside trio."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
import trio_asyncio

if TYPE_CHECKING:
    import asyncio
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
        yield loop


def _log_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error(
        "An asyncio task or callback failed with nobody waiting for it",
        reason=context.get("message"),
        exc_info=context.get("exception"),
    )
