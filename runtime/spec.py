"""What a supervisor needs to know to run a child."""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass(frozen=True, eq=False)
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

    name: str
    factory: Callable[[], Child]
    restart: Restart = Restart.PERMANENT
    grace: float = DEFAULT_GRACE
    start_within: float = DEFAULT_START_WITHIN
    address: Address = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise ValueError(f"a child's name is one component of a path, not {self.name!r}")
        if not (self.grace >= 0 and self.start_within > 0):
            raise ValueError(f"{self.name}: grace must not be negative, and start_within must be more than 0 s")
        object.__setattr__(self, "address", self._make_address())

    def incarnate(self) -> Child:
        """Make the child for one more incarnation."""
        return self.factory()

    def _make_address(self) -> Address:
        return Address(self.name)


@dataclass(frozen=True, eq=False)
class ServiceSpec(ChildSpec, Generic[M]):
    """How to run a service; `ref` is how to talk to it, before it starts and across restarts.

    Args:
        mailbox: How many messages can wait; control messages come on top.
        drain: Whether a stop lets it handle first, inside its grace, what was accepted before.
    """

    factory: Callable[[], Service[M]]
    mailbox: int = DEFAULT_BOUND
    drain: bool = False
    ref: Ref[M] = field(init=False, repr=False)

    def incarnate(self) -> Child:
        """Make the service, and give it its address."""
        service = self.factory()
        service.bind(self.ref)
        return service

    def _make_address(self) -> Address:
        ref: Ref[M] = Ref(self.name, self.mailbox, drain=self.drain)
        object.__setattr__(self, "ref", ref)
        return ref
