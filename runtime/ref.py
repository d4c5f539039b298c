"""How one talks to a service: typed, before it starts, while it restarts, and after its end."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from flytower.runtime.address import Address
from flytower.runtime.errors import ActorDead, AskCycle, AskTimeout, MailboxFull
from flytower.runtime.mailbox import DEFAULT_BOUND, Envelope, Mailbox
from flytower.runtime.promise import Promise

if TYPE_CHECKING:
    from flytower.runtime.exits import Exit

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")

# The actors that wait for what this task is doing, first asker first, the one whose handler runs here last.
chain: ContextVar[tuple[Address, ...]] = ContextVar("flytower_ask_chain", default=())


class Request(Generic[R]):
    """Base of messages that are answered with an R: `class Lookup(Request[int])`. Others are plain classes."""

    __slots__ = ()


class Ref(Address, Generic[M_contra]):
    """The address of a service that takes messages of type M.

    Nothing here raises because the service has ended, except an ask, which then cannot be answered: what is told to the
    dead is counted and logged as a dead letter.

    Args:
        name: What the service is called among its siblings.
        bound: How many messages can wait.
        drain: Whether a stop for good lets the service handle what was accepted before, inside its grace. Without
            it the stop overtakes all that waits: asks fail at once, the rest are dead letters.
    """

    def __init__(self, name: str, bound: int = DEFAULT_BOUND, *, drain: bool = False) -> None:
        super().__init__(name)
        self.mailbox = Mailbox(bound)
        self.drain = drain

    @property
    def pending(self) -> int:
        """How many messages wait for the service."""
        return len(self.mailbox)

    @property
    def ending(self) -> bool:
        """Whether it is being stopped for good, or has ended."""
        return self._ending is not None

    def tell(self, message: M_contra) -> None:
        """Send, without waiting for anything.

        Raises:
            MailboxFull: There is no room now.
        """
        if self._ending is not None:
            self._dead_letters.add(self.path, message, str(self._ending))
        elif not self.mailbox.put(Envelope(message)):
            raise MailboxFull(self.path, self.mailbox.bound)

    def tell_control(self, message: M_contra) -> None:
        """Send ahead of all that waits, with room or without: for supervision, monitors and operators only."""
        if self._ending is not None:
            self._dead_letters.add(self.path, message, str(self._ending))
        else:
            self.mailbox.put_control(Envelope(message))

    async def send(self, message: M_contra) -> None:
        """Send, waiting for room. When it is cancelled, the message was not sent."""
        if self._ending is not None:
            await trio.lowlevel.checkpoint()
            self._dead_letters.add(self.path, message, str(self._ending))
        else:
            await self.mailbox.send(Envelope(message))

    async def ask(self, request: Request[R], timeout: float | None = None) -> R:  # noqa: ASYNC109 - see AskTimeout
        """Send, and wait for the answer.

        Cancelling the wait withdraws the request: a handler that has not started is skipped.

        Args:
            request: It must be one of the messages that the service takes.
            timeout: Seconds; without one it waits until there is an answer, or none can come any more.

        Raises:
            ActorDead: It has ended, or its handler crashed over this request.
            AskCycle: The service waits, by way of others, for the very task that asks.
            AskTimeout: No answer in time.
            MailboxFull: There is no room now. An ask does not wait for room: full means that answers are late already.
            Exception: What the handler refused with (`Refusal`).
        """
        askers = chain.get()
        if self in askers:
            raise AskCycle([*(asker.path for asker in askers), self.path])
        promise = self._post(request, askers)
        if timeout is None:
            return await promise.wait()
        with trio.move_on_after(timeout):
            return await promise.wait()
        raise AskTimeout(self.path, type(request).__name__, timeout)

    def ask_nowait(self, request: Request[R]) -> Promise[R]:
        """Send, and return where the answer will be, without waiting: for callers on another event loop.

        Every error comes by way of the promise. A cycle is not noticed, since nobody is known to wait.
        """
        return self._post(request, ())

    def _post(self, request: Request[R], askers: tuple[Address, ...]) -> Promise[R]:
        promise: Promise[R] = Promise()
        if self._ending is not None:
            promise.reject(ActorDead(self.path, self._ending))
        elif not self.mailbox.put(Envelope(request, promise, askers)):
            promise.reject(MailboxFull(self.path, self.mailbox.bound))
        return promise

    # ---- for the supervisor that has it -----------------------------------------------------------------------

    def seal(self, exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        """Begin to end for good: accept nothing more, and unless it drains give up what waits."""
        super().seal(exit)
        if not self.drain:
            self._give_up(exit)

    def close(self, exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        """End for good: fail the asks that wait, count the rest as dead letters, tell the monitors."""
        self._ending = exit  # before anyone hears of it: what they send in return is for the dead
        self._give_up(exit)
        super().close(exit)

    def _give_up(self, exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        for envelope in self.mailbox.empty():
            if envelope.promise is None:
                self._dead_letters.add(self.path, envelope.message, str(exit))
            else:
                envelope.promise.reject(ActorDead(self.path, exit))
