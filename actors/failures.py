"""What a failed call of a connector means, as a value that the life cycle can decide on."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from flytower.actors.bulkhead import CircuitOpen, Spared
from flytower.actors.uncertainty import leaves_outcome_open
from flytower.connectors.errors import InvalidRequest, JobNotFound, OutcomeUnknown, PermanentFailure, RetryLater
from flytower.protocol.scrub import scrub
from flytower.runtime.entity import Raised, TimedOut
from flytower.runtime.host_errors import LaneFull

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_TEXT = 1000
"""Characters of a connector's message that are kept: it travels in gRPC trailers and in Flyte's status (8 kB)."""


class FailureKind(Enum):
    """What can be done about it."""

    TRANSIENT = "transient"  # try again with backoff: what everything is that does not say otherwise
    LATER = "later"  # the external system said when to come back
    SPARED = "spared"  # it said so to another call, and this one was not made
    REFUSED = "refused"  # the circuit is open, and it was not made
    GONE = "gone"  # the external system does not know the job
    INVALID = "invalid"  # what the task asks for cannot be done: its author's fault
    PERMANENT = "permanent"  # no further call can help
    OVERLOAD = "overload"  # this server has no worker for it, and it was not made
    UNCERTAIN = "uncertain"  # the connection broke: whatever was asked may have happened all the same
    TIMEOUT = "timeout"  # no answer in time: whatever was asked may have happened all the same


class Failure(NamedTuple):
    """One failed call.

    Args:
        kind: What can be done about it.
        text: What happened, for a human, without secrets and of bounded length.
        after: Seconds before which the external system does not want to be asked again.
    """

    kind: FailureKind
    text: str
    after: float = 0.0


NOT_MADE = (FailureKind.SPARED, FailureKind.REFUSED, FailureKind.OVERLOAD)
"""Calls that this server has not made: they count as no attempt."""

KINDS: tuple[tuple[type[Exception], FailureKind], ...] = (
    (Spared, FailureKind.SPARED),
    (CircuitOpen, FailureKind.REFUSED),
    (RetryLater, FailureKind.LATER),
    (JobNotFound, FailureKind.GONE),
    (LaneFull, FailureKind.OVERLOAD),
    (InvalidRequest, FailureKind.INVALID),
    (PermanentFailure, FailureKind.PERMANENT),
    (OutcomeUnknown, FailureKind.UNCERTAIN),
)
"""What an exception says of itself; the first that fits, so subclasses stand before their bases."""


def classify(outcome: Raised | TimedOut, secrets: Iterable[str] = ()) -> Failure:
    """Say what a call's bad end means; what is said does not hold these secrets."""
    if isinstance(outcome, TimedOut):
        return Failure(FailureKind.TIMEOUT, f"no answer within {outcome.seconds:g} s")
    error = outcome.error
    kind = next((kind for cls, kind in KINDS if isinstance(error, cls)), None)
    if kind is None:
        kind = FailureKind.UNCERTAIN if leaves_outcome_open(error) else FailureKind.TRANSIENT
    after = error.after if isinstance(error, RetryLater) else 0.0
    return Failure(kind, describe(error, secrets), after)


def describe(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """Say what an exception says, with its type, without these secrets, cut to `MAX_TEXT` characters."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - a connector's own class, whose __str__ can do anything
        said = ""
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    text = scrub(text, secrets)  # before it is cut: half a secret would not be found
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
