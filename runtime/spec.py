"""What a supervisor needs to know to run a child."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from flytower.runtime.address import Address
from flytower.runtime.mailbox import DEFAULT_BOUND
from flytower.runtime.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from flytower.runtime.context import Child
    from flytower.runtime.exits import Exit
    from flytower.runtime.service import Service

M = TypeVar("M")

# OTP's default for a worker.
DEFAULT_GRACE = 5.0
# Long enough for a slow disk or a cold connection; a child that hangs longer would silently keep the rest of the node
# from starting. `math.inf` waits for ever.
DEFAULT_START_WITHIN = 30.0


class Restart(Enum):
    """When a child that ended by itself is started again."""

    PERMANENT = "permanent"  # always
    TRANSIENT = "transient"  # when it crashed
    TEMPORARY = "temporary"  # never, and its supervisor forgets it

    def after(self, exit: Exit) -> bool:  # noqa: A002 - OTP's word for it
        """Say whether a child that ended so by itself is started again."""
        return self is Restart.PERMANENT or (self is Restart.TRANSIENT and exit.crashed)


class ChildSpec:
    """How to run one child. A spec is for one place: it owns the address that outlives the incarnations.

    Args:
        name: What it is called among its siblings; no slash.
        factory: Makes the child, anew for each incarnation. It runs when the child starts, and may raise.
        restart: When it is started again.
        grace: Seconds that a graceful stop may take; then the child is cancelled. Its clean-up after that is bounded
            by as much again.
        start_within: Seconds until it must be ready; `math.inf` for ever.
    """

    def __init__(
        self,
        name: str,
        factory: Callable[[], Child],
        restart: Restart = Restart.PERMANENT,
        grace: float = DEFAULT_GRACE,
        start_within: float = DEFAULT_START_WITHIN,
    ) -> None:
        if not name or "/" in name:
            raise ValueError(f"a child's name is one component of a path, not {name!r}")
        if not (grace >= 0 and start_within > 0):
            raise ValueError(f"{name}: grace must not be negative, and start_within must be more than 0 s")
        self.name = name
        self.factory = factory
        self.restart = restart
        self.grace = grace
        self.start_within = start_within
        self.address = Address(name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}, {self.restart.value}, grace {self.grace:g} s>"

    def incarnate(self) -> Child:
        """Make the child for one more incarnation."""
        return self.factory()


class ServiceSpec(ChildSpec, Generic[M]):
    """How to run a service; `ref` is how to talk to it, before it starts and across restarts.

    Args:
        mailbox: How many messages can wait; control messages come on top.
        drain: Whether a stop lets it handle first, inside its grace, what was accepted before.
    """

    factory: Callable[[], Service[M]]

    def __init__(
        self,
        name: str,
        factory: Callable[[], Service[M]],
        restart: Restart = Restart.PERMANENT,
        grace: float = DEFAULT_GRACE,
        start_within: float = DEFAULT_START_WITHIN,
        mailbox: int = DEFAULT_BOUND,
        *,
        drain: bool = False,
    ) -> None:
        super().__init__(name, factory, restart, grace, start_within)
        self.address = self.ref = Ref[M](name, mailbox, drain=drain)

    def incarnate(self) -> Child:
        """Make the service, and give it its address."""
        service = self.factory()
        service.bind(self.ref)
        return service
