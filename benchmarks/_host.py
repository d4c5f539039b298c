"""A host of entities that runs without a supervisor, for benchmarks."""

from __future__ import annotations

import itertools
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from flytower.runtime.host import EntityHost


class BenchContext:
    """What a host is given to run with."""

    def __init__(self) -> None:
        self.path, self.name = "/bench", "bench"
        self.rng = random.Random(0)
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


@asynccontextmanager
async def running(host: EntityHost[Any]) -> AsyncIterator[None]:
    """Run a host for the time of the block."""
    context = BenchContext()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.run, context)
        await context.is_ready.wait()
        yield
        nursery.cancel_scope.cancel()
