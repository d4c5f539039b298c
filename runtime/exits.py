"""Why an actor ended, as a value."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator


class ExitKind(Enum):
    """The three ways to end."""

    NORMAL = "normal"  # its work was over
    STOPPED = "stopped"  # it was told to stop: by its supervisor, or by whoever owns the system
    CRASHED = "crashed"  # it raised


class Exit(NamedTuple):
    """The end of one incarnation: what restart policies decide on, and what monitors are told.

    Args:
        kind: The way it ended.
        reason: One short sentence for a human, "" when there is nothing to say.
        errors: The leaves of what it raised, cancellations taken out; empty unless crashed.
    """

    kind: ExitKind
    reason: str = ""
    errors: tuple[BaseException, ...] = ()

    @property
    def crashed(self) -> bool:
        """Whether it raised."""
        return self.kind is ExitKind.CRASHED

    @property
    def cause(self) -> BaseException | None:
        """What it raised as one exception, for `raise ... from`; None unless crashed."""
        if len(self.errors) > 1:
            return BaseExceptionGroup("several failed together", self.errors)
        return self.errors[0] if self.errors else None

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.reason}" if self.reason else self.kind.value


NORMAL = Exit(ExitKind.NORMAL)


def stopped(reason: str) -> Exit:
    """Return the exit of an actor that was told to stop."""
    return Exit(ExitKind.STOPPED, reason)


def crashed(error: BaseException) -> Exit:
    """Return the exit of an actor that raised `error`, exception groups taken apart.

    A cancelled sibling is not a failure: trio.Cancelled leaves are left out.
    """
    errors = tuple(leaves(error))
    return Exit(ExitKind.CRASHED, "; ".join(f"{type(e).__name__}: {e}" for e in errors), errors)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions inside nested groups, in order, without cancellations."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    elif not isinstance(error, trio.Cancelled):
        yield error
