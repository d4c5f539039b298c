"""flytekit's synchronous functions (its type engine, its file access), callable from coroutines on the common loop.

For each thread that calls one, flytekit keeps an event loop in a thread beside it, and makes that loop at the first
call. Where asyncio runs inside trio it cannot be made: so it is made before, from a thread of no loop's.
"""

from __future__ import annotations

import os
import threading

import trio
from flytekit.utils import asyn

_lock = threading.Lock()


async def prepare_engine_loop() -> None:
    """See that flytekit has its loop for the calling thread."""
    name = f"{threading.current_thread().name}PID:{os.getpid()}"  # as flytekit calls it
    if name not in asyn.loop_manager._runner_map:  # noqa: SLF001 - it is the only way to be there first
        await trio.to_thread.run_sync(_make, name)


def _make(name: str) -> None:
    runners = asyn.loop_manager._runner_map  # noqa: SLF001 - see above
    with _lock:
        if name not in runners:
            runner = asyn._TaskRunner()  # noqa: SLF001 - likewise
            runner.run(_nothing())
            runners[name] = runner


async def _nothing() -> None:
    pass
