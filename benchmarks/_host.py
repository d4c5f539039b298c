"""A host of entities that runs without a supervisor, for benchmarks."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from flytower.runtime.testing import LoneContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flytower.runtime.host import EntityHost


@asynccontextmanager
async def running(host: EntityHost[Any]) -> AsyncIterator[None]:
    """Run a host for the time of the block."""
    context = LoneContext()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.run, context)
        await context.is_ready.wait()
        yield
        nursery.cancel_scope.cancel()
