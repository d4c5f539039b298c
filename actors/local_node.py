"""One node for all tasks that a process runs locally, in a thread of its own.

It starts with the first task, and ends with the process: what is unfinished then is deleted first. Callers are plain
code, in any thread, inside or outside of an event loop; they wait, and when they are interrupted their job is deleted.
"""

from __future__ import annotations

import atexit
import contextvars
import signal
import sys
import threading
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from flytower.actors.node import Node, NodeConfig, open_node
from flytower.connectors.registry import ConnectorRegistry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from flytower.connectors.bound import Bound
    from flytower.connectors.registry import Registry

T = TypeVar("T")

DELETE_SECONDS = 30.0
"""Seconds that an interrupted run waits for its job to be deleted; most systems need one."""

END_SECONDS = 5.0
"""Seconds that the end of the process waits beyond that for the node itself."""


class Terminated(SystemExit):
    """SIGTERM came while a task ran locally."""


class LocalRun(Generic[T]):
    """A task that runs on the local node.

    Args:
        label: What to call it when it has to be given up.
        given_up: Called when it is.
    """

    def __init__(self, label: str, given_up: Callable[[], None] = lambda: None) -> None:
        self.label = label
        self._given_up = given_up
        self.job = b""  # its resource_meta, once there is one; written on the node's thread
        self._outcome: Future[T] = Future()
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None

    async def live(self, work: Callable[[LocalRun[T]], Awaitable[T]]) -> None:
        """Do the work; its outcome is the run's."""
        self._token = trio.lowlevel.current_trio_token()
        try:
            with self._scope:
                result = await work(self)
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._outcome.set_exception(error)
            return
        if self._scope.cancelled_caught:
            self._outcome.cancel()
            self._outcome.set_running_or_notify_cancel()
        else:
            self._outcome.set_result(result)

    def wait(self) -> T:
        """Wait for the result; when that is interrupted, have the job deleted, and wait for that too.

        Raises:
            KeyboardInterrupt: Ctrl-C. After a second one the job is given up, and named on stderr.
            SystemExit: The same where Ctrl-C means this, as in any process that has imported flytekit.
        """
        try:
            return self._outcome.result()
        except (KeyboardInterrupt, SystemExit):
            self._interrupted()
            raise

    def cancel(self) -> None:
        """Have the job deleted, from any thread."""
        if self._token is not None:
            try:
                self._token.run_sync_soon(self._scope.cancel)
            except trio.RunFinishedError:
                return

    def _interrupted(self) -> None:
        self.cancel()
        try:
            self._outcome.result(DELETE_SECONDS + END_SECONDS)
        except (KeyboardInterrupt, SystemExit):
            say_left_behind(self.label, self.job)
            self._given_up()
            raise
        except (CancelledError, Exception):  # noqa: BLE001 - what interrupted it is what is raised
            return


def say_left_behind(task: str, job: bytes) -> None:
    """Tell whoever sits there, loudly, that a job was not deleted."""
    name = job.decode(errors="backslashreplace") or "it has no name yet"
    print(f"{task}: given up; its job may still run, delete it by hand: {name}", file=sys.stderr, flush=True)  # noqa: T201 - a person ran this


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
        """End it: what is unfinished is deleted first. Called when the process ends."""
        if self._abandoned or not self._thread.is_alive():
            return
        try:
            _, _, end = self._ready.result(END_SECONDS)
            end()
        except (trio.RunFinishedError, TimeoutError):
            return
        self._thread.join(DELETE_SECONDS + END_SECONDS)

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
            atexit.register(_current.close)
        return _current


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Have SIGTERM raise `Terminated`, where it would end the process at once; only the main thread can do that.

    To be in force before a run begins: what is begun when it is raised is deleted by whoever waits, or at the end.
    """
    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def raise_it(number: int, _frame: Any) -> None:
        raise Terminated(128 + number)

    signal.signal(signal.SIGTERM, raise_it)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
