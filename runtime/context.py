"""What a child of a supervisor is, and what it is given to run with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import trio

    from flytower.runtime.tree import Node


class Context(Protocol):
    """What a child sees of the system that runs it. The supervisor makes one for each incarnation."""

    path: str  # "/node/gateway": unique while the child lives
    name: str  # the last component of path
    rng: random.Random  # the system's source of randomness; seeded in tests
    new_id: Callable[[], str]  # the system's source of identifiers
    grace: float  # seconds from `stop_requested` until it is cancelled
    stop_requested: trio.Event  # set when a graceful stop begins; the grace is running from then on

    def ready(self) -> None:
        """Say that start-up is over: the supervisor starts the next child only after this."""

    def shielded(self, seconds: float) -> AbstractContextManager[trio.CancelScope]:
        """Return a scope for clean-up that cancellation does not reach for `seconds`.

        Better than a shield of one's own: the supervisor cuts it short when its whole budget is used up.
        """


@runtime_checkable
class Child(Protocol):
    """Anything a supervisor can run: a service, an entity host, another supervisor.

    `run` calls `context.ready()` once it is up, and returns when its work is over or soon after
    `context.stop_requested`. When its grace ends it is cancelled. An exception is a crash.
    """

    async def run(self, context: Context) -> None:
        """Live one incarnation."""

    def inspect(self, path: str, now: float) -> Node:
        """Describe itself, and what is below it, as data. `now` is trio's clock."""


@runtime_checkable
class Summarized(Protocol):
    """A child with so many actors below it that it can sum them up."""

    def summarize(self, path: str, now: float) -> Node:
        """Do as `inspect`, with one node for all entities of a host: it takes as long however many these are."""
