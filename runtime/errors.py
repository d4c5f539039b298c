"""What can go wrong between actors. Each says whose fault it is, and which neighbour it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flytower.runtime.exits import Exit


class ActorError(Exception):
    """Base of all errors of the kernel."""


class ActorDead(ActorError):  # noqa: N818 - the state of the actor is the error
    """The actor that was asked ended, or is ending, before it answered.

    Nobody need be at fault. The request may or may not have had its effect. You get `AskTimeout` instead when the
    actor lives and is only slow.

    Args:
        path: Which actor.
        exit: How and why it ended.
    """

    def __init__(self, path: str, exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        super().__init__(f"{path} cannot answer, it has ended or lost this request ({exit})")
        self.path = path
        self.exit = exit


class AskTimeout(ActorError):  # noqa: N818 - the established word
    """The actor did not answer in the time that the asker gave; the request is withdrawn.

    A handler that had started goes on. You get `ActorDead` instead when no answer can come any more.
    """

    def __init__(self, path: str, request: str, seconds: float) -> None:
        super().__init__(f"{path} did not answer {request} within {seconds:g} s")
        self.path = path
        self.seconds = seconds


class AskCycle(ActorError):  # noqa: N818 - the established word
    """An ask came back to an actor that is itself waiting for this answer: it would wait for ever.

    The fault of whoever wrote the actors: let one of them `tell`, or `defer` its answer.
    """

    def __init__(self, chain: Sequence[str]) -> None:
        super().__init__("an ask came back to an actor that waits for it: " + " -> ".join(chain))
        self.chain = tuple(chain)


class MailboxFull(ActorError):  # noqa: N818 - the established word
    """The mailbox has no room: the actor is slower than its senders. Try later, or use `send`, which waits."""

    def __init__(self, path: str, bound: int) -> None:
        super().__init__(
            f"the mailbox of {path} is full ({bound} messages); try later, or send(), which waits for room"
        )
        self.path = path
        self.bound = bound


class Refusal(ActorError):  # noqa: N818 - not an error of the actor that raises it
    """Raised by a handler of a service: `error` is the answer, and the service goes on.

    Any other exception out of a handler is a crash.

    Args:
        error: What the asker's `ask` raises.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(f"refused: {type(error).__name__}: {error}")
        self.error = error


class UnknownActor(ActorError):  # noqa: N818 - the established word
    """Nothing of that path or name is in the tree now."""


class NameTaken(ActorError):  # noqa: N818 - the established word
    """Another actor has that path or name, or this spec is in use elsewhere. The fault of whoever builds the tree."""


class StartTimeout(ActorError):  # noqa: N818 - the established word
    """A child did not call `ready()` in the time that its spec allows; it was cancelled, and that counts as a crash."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__(f"{path} was not ready within {seconds:g} s of its start")
        self.path = path


class StrayCancellation(ActorError):  # noqa: N818 - the established word
    """A child raised a cancellation that was not meant for it: it kept one, or raised it in another scope."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} raised a cancellation that is not its own; let trio.Cancelled pass, never store it")
        self.path = path


class RestartIntensityExceeded(ActorError):  # noqa: N818 - OTP's term
    """A supervisor gave up: its children crashed more often than its intensity allows.

    `__cause__` is what the last one raised.
    """

    def __init__(self, path: str, child: str, restarts: int, within: float, last: Exit) -> None:
        super().__init__(
            f"{path} gave up: more than {restarts} restarts in {within:g} s, the last for {child} ({last})"
        )
        self.path = path
        self.child = child


class SystemFailed(ActorError):  # noqa: N818 - the state of the system is the error
    """The root supervisor gave up, so the whole system was stopped, and the block that opened it was cancelled.

    Args:
        name: Which system.
        exit: How its root ended.
    """

    def __init__(self, name: str, exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        super().__init__(f"the system {name} failed ({exit})")
        self.exit = exit

    @property
    def errors(self) -> tuple[BaseException, ...]:
        """The leaves of what the root raised."""
        return self.exit.errors
