"""An asyncio event loop in a thread of its own, for connectors whose coroutines block.

Airflow's operators and Snowflake's driver do: on the common loop they would stop everybody. Here they stop themselves.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import trio

from flytower.connectors.flytekit.airflow_thread import let_airflow_run_here
from flytower.protocol.loop import contained_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CLOSE_SECONDS = 5.0
"""How long the end waits for what runs on the loop; code that blocks cannot be stopped, and its thread is a daemon."""


class OwnLoop:
    """One event loop, its thread, and the way there from trio. The thread starts with the first call.

    Args:
        name: Whose it is, for the thread's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def on_loop(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return a trio function that runs an asyncio one there. Cancelling it cancels that."""

        async def run(*args: Any, **kwargs: Any) -> Any:
            return await self._run(lambda: function(*args, **kwargs))

        return run

    async def _run(self, start: Callable[[], Awaitable[Any]]) -> Any:
        loop, done, token = self._started(), trio.Event(), trio.lowlevel.current_trio_token()
        outcome: list[Callable[[], Any]] = []

        async def contained() -> None:
            try:
                value = await start()
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for, whatever it is
                outcome.append(_raising(error))
            else:
                outcome.append(lambda: value)

        def begin() -> asyncio.Task[None]:
            task = loop.create_task(contained())
            task.add_done_callback(lambda _: _tell(token, done))
            return task

        tasks: list[asyncio.Task[None]] = []
        loop.call_soon_threadsafe(lambda: tasks.append(begin()))
        try:
            await done.wait()
        except trio.Cancelled:
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
            raise
        return outcome[0]() if outcome else None

    def close(self) -> None:
        """Stop the loop, and its thread unless something blocks it. Called from a thread that may wait."""
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.SelectorEventLoop()  # by its name: the policy's idea of a loop is not asked
                self._loop.set_task_factory(contained_task)
                self._thread = threading.Thread(
                    target=self._serve, args=(self._loop,), name=f"loop of {self._name}", daemon=True
                )
                self._thread.start()
            return self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        let_airflow_run_here()
        try:
            loop.run_forever()
        finally:
            loop.close()


def _raising(error: BaseException) -> Callable[[], Any]:
    def raise_it() -> Any:
        raise error

    return raise_it


def _tell(token: trio.lowlevel.TrioToken, done: trio.Event) -> None:
    try:
        token.run_sync_soon(done.set)
    except trio.RunFinishedError:
        return  # the server has ended, and nobody waits any more
