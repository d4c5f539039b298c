"""One node for all tasks that a process runs locally, in a thread of its own.

It starts with the first task, and ends with the process: what is unfinished then is deleted first. Callers are plain
code, in any thread, inside or outside of an event loop.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - to be there first: its own wait for threads then comes after `close`
import contextvars
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from flytower.actors.local_run import DELETE_SECONDS, END_SECONDS, LocalRun, give_up_all
from flytower.actors.node import Node, NodeConfig, open_node
from flytower.connectors.registry import ConnectorRegistry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flytower.connectors.bound import Bound
    from flytower.connectors.registry import Registry

T = TypeVar("T")


class LocalNode:
    """A node in a thread.

    Args:
        registry: The connectors that it has.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._abandoned = False  # somebody gave a run up: the process is to end now
        self._ready: Future[tuple[Node, Callable[..., None], Callable[[], None]]] = Future()
        self._thread = threading.Thread(target=self._run, name="flytower local node", daemon=True)
        self._thread.start()

    def start(self, label: str, work: Callable[[Node, LocalRun[T]], Awaitable[T]]) -> LocalRun[T]:
        """Begin a task; from any thread but the node's."""
        node, begin, _ = self._ready.result()
        run: LocalRun[T] = LocalRun(label, self._abandon)

        async def with_node(this: LocalRun[T]) -> T:
            return await work(node, this)

        begin(run.live, with_node)
        return run

    def close(self) -> None:
        """End it: what is unfinished is deleted first. Called when the process ends; Ctrl-C gives up what is left."""
        if self._abandoned or not self._thread.is_alive():
            return
        try:
            _, _, end = self._ready.result(END_SECONDS)
            end()
            self._thread.join(DELETE_SECONDS + END_SECONDS)
        except (trio.RunFinishedError, TimeoutError):
            return
        except (KeyboardInterrupt, SystemExit):
            give_up_all()

    def _abandon(self) -> None:
        self._abandoned = True

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the node has to hear of it
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _serve(self) -> None:
        config = NodeConfig(self.registry, port=None, metrics_port=None, grace=DELETE_SECONDS)
        async with open_node(config) as node, trio.open_nursery() as nursery:
            # What begins from another thread has to find the node's asyncio loop, which is in this task's context.
            soon, here = trio.lowlevel.current_trio_token().run_sync_soon, contextvars.copy_context()
            self._ready.set_result(
                (
                    node,
                    lambda *task: soon(here.run, partial(nursery.start_soon, *task)),
                    lambda: soon(nursery.cancel_scope.cancel),
                )
            )
            await trio.sleep_forever()


_lock = threading.Lock()
_current: LocalNode | None = None  # the node that new tasks begin on; changed under the lock only


def local_node(connector: Bound) -> LocalNode:
    """Return the process' node, with this connector, which is in the process' registry, in it.

    A connector that was registered after the node began needs another node. Tasks that run on the earlier one go on.
    """
    global _current  # noqa: PLW0603 - one node for the process is the point
    with _lock:
        if _current is None or connector not in _current.registry.list_bound():
            _current = LocalNode(ConnectorRegistry.default.copy())
            _call_at_exit(_current.close)
        return _current


def _call_at_exit(function: Callable[[], None]) -> None:
    """Have a function called when the process ends, before Python waits for threads: they may wait for their tasks.

    Python has no public way to be asked that early; without this one, such a process would never end.
    """
    try:
        threading._register_atexit(function)  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    except (AttributeError, RuntimeError):  # it is gone, or the process is ending already
        atexit.register(function)
