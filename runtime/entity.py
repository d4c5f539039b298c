"""Entities: actors that are a record until something happens to them.

An entity has a key, a state and a *behaviour*. The behaviour is a pure, synchronous transition: state and message
in, new state and a list of effects out. The host (runtime.host) performs the effects and feeds what comes of them
back as messages. Thousands of entities share one behaviour object; nothing of an idle entity runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from flytower.runtime.exits import Exit
    from flytower.runtime.promise import Promise

S = TypeVar("S")


# ---- effects that every host can perform ----------------------------------------------------------------------


class Call(NamedTuple):
    """Run `run()` in a worker of `lane`; its outcome comes back as `Returned`, `Raised` or `TimedOut` with `tag`.

    One call of a tag at a time for each entity: asking for a second one is a mistake of the behaviour, and raises.
    The call runs in a cancel scope of its own with a deadline `timeout` seconds after it *starts*, rounded up to the
    next tick (`workers.DEADLINE_TICK`). A value that comes back after the deadline is a `Returned` all the same. A lane
    that is full answers with `Raised(tag, LaneFull)`.
    """

    lane: str
    tag: Hashable
    run: Callable[[], Awaitable[object]]
    timeout: float


class CancelCall(NamedTuple):
    """Cancel the call with `tag`, queued or running, and forget its outcome; nothing if there is none.

    The tag is free again at once, while the call may still be unwinding in its worker.
    """

    tag: Hashable


class Wake(NamedTuple):
    """Set the entity's one timer: `Woke` arrives after `delay` seconds and up to `spread` more, drawn at random."""

    delay: float
    spread: float = 0.0


class Sleep(NamedTuple):
    """Take the timer away."""


class Reply(NamedTuple):
    """Answer a promise."""

    promise: Promise[Any]
    value: object


class Refuse(NamedTuple):
    """Answer a promise with an error."""

    promise: Promise[Any]
    error: Exception


class End(NamedTuple):
    """The entity is over once the other effects of this step have been performed.

    Its calls are cancelled, its timer and its record go, what it was asked and has not answered is rejected, and its
    monitors hear of it. The transition's state is the last.
    """


# ---- messages that every host sends ---------------------------------------------------------------------------


class Woke(NamedTuple):
    """The timer that `Wake` set has come due."""


class Returned(NamedTuple):
    """A call came back with a value."""

    tag: Hashable
    value: Any


class Raised(NamedTuple):
    """A call raised. `error` is an Exception; anything worse that user code raised is wrapped in `CallFailed`."""

    tag: Hashable
    error: Exception


class TimedOut(NamedTuple):
    """A call was cancelled because its `timeout` (seconds) had passed."""

    tag: Hashable
    seconds: float


class Stopping(NamedTuple):
    """The host is stopping: calls still run, and may be begun, until the grace ends; no timer comes due any more."""


# ---- the behaviour --------------------------------------------------------------------------------------------

Step = tuple[S, Sequence[object]]


class Behaviour(Generic[S]):
    """What all entities of a host do. Subclass it; instances hold no state of any one entity."""

    def transition(self, state: S, message: object, now: float) -> Step[S]:
        """Decide: the new state, and the effects to perform, in order.

        Pure: no clock (`now` is trio's, in seconds), no randomness, no I/O. It may raise only by mistake; then the
        entity is restarted from `restore`.
        """
        raise NotImplementedError

    def perform(self, key: Hashable, state: S, effect: object) -> None:  # noqa: ARG002 - for subclasses
        """Perform an effect that the host does not know (publish, record, ...); synchronous.

        `state` is the one after the transition. An exception here is handled like one of `transition`.
        """
        raise TypeError(f"{type(self).__name__} has no way to perform {effect!r} for {key!r}")

    def restore(self, key: Hashable) -> Step[S] | None:  # noqa: ARG002 - for subclasses
        """Return the last durable state of an entity whose transition raised, with effects to start it again.

        None means that there is nothing to restore: the entity ends as crashed.
        """
        return None

    def ended(self, key: Hashable, state: S, exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        """Hear that an entity is over, for whatever reason; synchronous, the last thing called for it."""

    def describe(self, state: S) -> str:
        """Name the state in one word, for the tree."""
        return type(state).__name__
