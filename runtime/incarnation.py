"""One life of one child: its context, its cancel scope, and how it ends."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
import trio

from flytower.runtime.dead_letters import DeadLetters
from flytower.runtime.errors import StartTimeout, StrayCancellation
from flytower.runtime.exits import NORMAL, Exit, crashed, leaves, stopped
from flytower.runtime.names import Names

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from flytower.runtime.context import Child
    from flytower.runtime.spec import ChildSpec

log = structlog.get_logger(__name__)


class Commons:
    """What all actors of one system share.

    Args:
        rng: The source of randomness.
        new_id: The source of identifiers.
    """

    def __init__(self, rng: random.Random, new_id: Callable[[], str]) -> None:
        self.rng = rng
        self.new_id = new_id
        self.names = Names()  # who is where
        self.dead_letters = DeadLetters()  # what was sent to the dead
        self.late: list[str] = []  # the paths of those that outlasted their grace, in the order in which it ended


class Incarnation:
    """The Context of one life, and the supervisor's grip on it. Nothing but its supervisor cancels it."""

    def __init__(self, spec: ChildSpec, path: str, commons: Commons, on_ready: Callable[[], None]) -> None:
        self.path = path
        self.name = spec.name
        self.rng = commons.rng
        self.new_id = commons.new_id
        self.grace = spec.grace
        self.stop_requested = trio.Event()
        self.commons = commons
        self.child: Child | None = None  # once the factory made it
        self.started_at = trio.current_time()
        self.over = trio.Event()  # set when nothing of it runs any more
        self._spec = spec
        self._on_ready = on_ready
        self._ready = False
        self._late = False
        self._stop_reason = ""
        # A nursery cancels its tasks in no order, so the shield keeps that away; whoever holds this stops it in order.
        self._scope = trio.CancelScope(shield=True, deadline=self.started_at + spec.start_within)
        self._shields: list[trio.CancelScope] = []  # those entered now: what `cut` has to end

    def ready(self) -> None:
        """Say that start-up is over; see Context."""
        if not self._ready and not self.over.is_set():
            self._ready = True
            if not self.stop_requested.is_set():
                self._scope.deadline = float("inf")
            self._on_ready()

    @contextmanager
    def shielded(self, seconds: float) -> Iterator[trio.CancelScope]:
        """Keep cancellation away for a while; see Context."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + seconds) as scope:
            self._shields.append(scope)
            try:
                yield scope
            finally:
                self._shields.remove(scope)

    # Without the protection, Ctrl-C is raised in whatever task happens to run, and would pass for a crash of that
    # actor. With it, trio delivers it to the main task: the block that opened the system, which then stops in order.
    @trio.lowlevel.enable_ki_protection
    async def live(self) -> Exit:
        """Live, and return how it ended. Whatever the child's code raises, SystemExit too, is its own crash."""
        try:
            with self._scope:
                if not self.stop_requested.is_set():
                    self.child = self._spec.incarnate()
                    await self.child.run(self)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a child is the end of that child only
            # The scope has taken out its own cancellation, and shields from all others: what is left is a crash.
            return crashed(error) if any(leaves(error)) else crashed(StrayCancellation(self.path))
        finally:
            self.over.set()
        return self._exit()

    def ask_to_stop(self, reason: str, nursery: trio.Nursery) -> None:
        """Ask it to stop, and have a task of `nursery` cancel it when its grace has passed."""
        self._stop_reason = reason
        self.stop_requested.set()
        self._scope.deadline = float("inf")  # from now on the grace counts, not the time to start
        nursery.start_soon(self._enforce_grace, name=f"grace of {self.path}")

    async def _enforce_grace(self) -> None:
        # Shielded, since the grace must be kept also when the supervisor itself is cancelled; the deadline bounds it.
        with trio.move_on_after(self.grace, shield=True) as patience:
            await self.over.wait()
        if patience.cancelled_caught:
            self._late = True
            self.commons.late.append(self.path)
            log.warning("an actor outlasted its grace and is cancelled", path=self.path, grace=self.grace)
            self._scope.cancel(reason=f"{self.path} outlasted its grace of {self.grace:g} s ({self._stop_reason})")

    def cut(self) -> None:
        """Cancel it, clean-up included: the supervisor's own time is over."""
        reason = f"the supervisor of {self.path} has no time left"
        for scope in (self._scope, *self._shields):
            scope.cancel(reason=reason)

    def _exit(self) -> Exit:
        if self.stop_requested.is_set():
            late = f"; outlasted its grace of {self.grace:g} s and was cancelled" if self._late else ""
            return stopped(self._stop_reason + late)
        if self._scope.cancelled_caught:
            return crashed(StartTimeout(self.path, self._spec.start_within))
        return NORMAL
