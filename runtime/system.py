"""A tree of actors with one life: what a program opens, and what is all over when the block ends."""

from __future__ import annotations

import random
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
import trio

from flytower.runtime.errors import SystemFailed
from flytower.runtime.exits import Exit, leaves
from flytower.runtime.incarnation import Commons, Incarnation
from flytower.runtime.strategy import Strategy
from flytower.runtime.supervisor import DEFAULT_BUDGET, Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from flytower.runtime.address import Address
    from flytower.runtime.backoff import Backoff
    from flytower.runtime.dead_letters import DeadLetters
    from flytower.runtime.intensity import Intensity
    from flytower.runtime.names import Names
    from flytower.runtime.ref import Ref
    from flytower.runtime.spec import ChildSpec
    from flytower.runtime.tree import Node

log = structlog.get_logger(__name__)


class Statistics(NamedTuple):
    """A system in figures.

    Args:
        actors: How many are in the tree, supervisors and paused ones too.
        pending: Messages waiting, all mailboxes together.
        restarts: Restarts of the actors that are in the tree now.
        dead_letters: Messages that no actor will handle, since the start.
        late: The paths of those that outlasted their grace, in order.
    """

    actors: int
    pending: int
    restarts: int
    dead_letters: int
    late: tuple[str, ...]


class System:
    """A running tree, as `open_system` yields it."""

    def __init__(self, root: Supervisor, incarnation: Incarnation) -> None:
        self.root = root
        self.name = incarnation.name
        self._incarnation = incarnation
        self._exit: Exit | None = None  # set when nothing of it runs any more
        self._asked = False  # whether the root was asked to stop
        self._nursery: trio.Nursery

    @property
    def names(self) -> Names:
        """Who is where."""
        return self._incarnation.commons.names

    @property
    def dead_letters(self) -> DeadLetters:
        """What was sent to the dead."""
        return self._incarnation.commons.dead_letters

    def ref(self, path_or_name: str) -> Ref[Any]:
        """Return the ref of a service, by path ("/node/registry") or by a name given to it.

        Raises:
            UnknownActor: There is none.
        """
        return self.names.ref(path_or_name)

    def address(self, path_or_name: str) -> Address:
        """Return the address of any actor, for monitors; see `ref`."""
        return self.names.find(path_or_name)

    def tree(self) -> Node:
        """Describe all that is in the tree now."""
        return self._aged(self.root.inspect)

    def summary(self) -> Node:
        """Do the same with one node for all entities of a host: it takes as long however many these are."""
        return self._aged(self.root.summarize)

    def _aged(self, describe: Callable[[str, float], Node]) -> Node:
        now = trio.current_time()
        return replace(describe(self._incarnation.path, now), age=now - self._incarnation.started_at)

    def statistics(self) -> Statistics:
        """Sum the tree up."""
        nodes = list(self.tree().walk())
        return Statistics(
            actors=sum(node.count for node in nodes),
            pending=sum(node.mailbox for node in nodes),
            restarts=sum(node.restarts for node in nodes),
            dead_letters=self.dead_letters.total,
            late=tuple(self._incarnation.commons.late),
        )

    async def stop(self, grace: float | None = None) -> None:
        """Stop everything, in reverse order, and wait until it is over. The block that opened the system goes on.

        Cancelling the wait does not keep it from stopping.

        Args:
            grace: Seconds for all of it, instead of the budget of `open_system`.
        """
        if grace is not None and not self._asked:
            self._incarnation.grace = grace
        self._ask_to_stop()
        await self._incarnation.over.wait()

    def _ask_to_stop(self) -> None:
        if not self._asked and self._exit is None:
            self._asked = True
            self._incarnation.ask_to_stop(f"the system {self.name} stops", self._nursery)

    async def _live(self, block: trio.CancelScope) -> None:
        self._exit = await self._incarnation.live()
        if self._exit.crashed:
            log.critical("the system failed", name=self.name, reason=self._exit.reason)
            block.cancel(reason=f"the system {self.name} failed")

    def _raise(self, error: BaseException | None) -> None:
        """Raise what the block raised, and that the system failed, whichever there is."""
        if self._exit is None or not self._exit.crashed:
            if error is not None:
                raise error
            return
        failure = SystemFailed(self.name, self._exit)
        failure.__cause__ = self._exit.cause
        if error is None or not any(leaves(error)):  # the system's failure is what cancelled the block, if anything did
            raise failure
        raise BaseExceptionGroup(f"the system {self.name} failed, and so did its block", [failure, error])


@asynccontextmanager
async def open_system(
    children: Sequence[ChildSpec] = (),
    *,
    name: str = "node",
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    intensity: Intensity | None = None,
    backoff: Backoff | None = None,
    budget: float = DEFAULT_BUDGET,
    rng: random.Random | None = None,
    new_id: Callable[[], str] | None = None,
) -> AsyncIterator[System]:
    """Run a tree of actors for as long as the block runs. It is entered when all children are up.

    However the block ends (also by Ctrl-C, a cancellation from outside, an error), the children are stopped in reverse
    order inside the budget, and when the `async with` is over nothing of them runs. Trio delivers Ctrl-C to the main
    task, never to an actor: a program whose main task opened the system stops in order. (So Ctrl-C cannot interrupt an
    actor that never waits; SIGTERM or SIGQUIT can.)

    Args:
        children: What the root supervisor runs.
        name: The root's name: its children are "/node/...".
        strategy: Of the root; see Supervisor.
        intensity: Of the root.
        backoff: Of the root.
        budget: Seconds for the whole stop; when they are over, what is left is cancelled all together.
        rng: The source of randomness; give a seeded one in tests.
        new_id: The source of identifiers; a random UUID without it.

    Raises:
        SystemFailed: The root gave up. The block is cancelled when the tree is down, and this comes out of it.
    """
    root = Supervisor(children, strategy=strategy, intensity=intensity, backoff=backoff)
    # Spreads restarts, keeps no secrets.
    commons = Commons(rng or random.Random(), new_id or _random_id)  # noqa: S311
    up, block = trio.Event(), trio.CancelScope()
    system = System(root, Incarnation(root.spec(name, grace=budget), f"/{name}", commons, up.set))
    error: BaseException | None = None
    async with trio.open_nursery() as system._nursery:  # noqa: SLF001 - one thing in two halves
        system._nursery.start_soon(system._live, block)  # noqa: SLF001
        try:
            with block:
                await up.wait()
                yield system
        except BaseException as caught:  # noqa: BLE001 - raised again below, cancellation too, when the tree is down
            error = caught
        system._ask_to_stop()  # noqa: SLF001
    system._raise(error)  # noqa: SLF001


def _random_id() -> str:
    return uuid.uuid4().hex
