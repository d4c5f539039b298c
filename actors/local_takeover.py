"""Running flytekit's own task classes locally, without a subclass of each: theirs are told to go through our actors.

flytekit's tasks get their `execute` from two mixins. For as long as somebody wants it, these two methods are ours.
Nothing of flytekit is imported, and nothing of it is changed, before that is asked for.
"""

from __future__ import annotations

import functools
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from flytower.actors.local_run import sigterm_interrupts
from flytower.connectors.flytekit import import_flytekit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

_lock = threading.Lock()
_wanted = 0  # how many want flytekit's tasks here; changed under the lock only
_originals: dict[Any, Any] = {}  # by mixin: flytekit's method, while it is replaced; likewise


class FlytekitLocally:
    """The time in which flytekit's tasks run on Flytower's actors: to the end of a `with`, to `close`, or for good."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        _want()
        self._stack.callback(_want_no_more)
        self._stack.enter_context(sigterm_interrupts())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave flytekit as it was, unless somebody else still wants its tasks here. Twice is as good as once."""
        self._stack.close()


def run_flytekit_locally() -> FlytekitLocally:
    """Run flytekit's connector tasks on Flytower's task actors from now on, whichever classes they are of.

    For development and tests. flytekit's own webhook and sensor tasks, and those of its plugins, need no subclass: what
    would have gone to a connector by flytekit's local execution goes there by Flytower's, under `pyflyte run`, too. To
    be called in the main thread, since SIGTERM then deletes the jobs of tasks that run in other threads, too.

    Returns:
        What ends it: `close()`, or the end of a `with`. Who keeps nothing of it has it until the process ends.

    Raises:
        FlytekitMissing: flytekit is not installed.
    """
    import_flytekit()
    return FlytekitLocally()


def _want() -> None:
    global _wanted  # noqa: PLW0603 - the two mixins are the process'
    with _lock:
        if not _wanted:
            _replace()
        _wanted += 1


def _want_no_more() -> None:
    global _wanted  # noqa: PLW0603 - likewise
    with _lock:
        _wanted -= 1
        if not _wanted:
            _restore()


def _replace() -> None:
    from flytekit.extend.backend.base_connector import (  # noqa: PLC0415 - only who asks for it imports flytekit
        AsyncConnectorExecutorMixin,
        SyncConnectorExecutorMixin,
    )

    from flytower.actors.local_flytekit import execute_async, execute_sync  # noqa: PLC0415 - likewise

    for mixin, ours in ((AsyncConnectorExecutorMixin, execute_async), (SyncConnectorExecutorMixin, execute_sync)):
        _originals[mixin] = mixin.execute
        mixin.execute = _method(mixin.execute, ours)


def _restore() -> None:
    for mixin, original in _originals.items():
        mixin.execute = original
    _originals.clear()


def _method(original: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def execute(self: Any, **inputs: Any) -> Any:
        return ours(self, inputs)

    return execute
