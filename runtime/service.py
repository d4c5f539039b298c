"""Services: resident actors with one task, a mailbox, and async handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple

import structlog
import trio

from flytower.runtime.errors import ActorDead, Refusal
from flytower.runtime.exits import NORMAL, Exit, crashed, leaves, stopped
from flytower.runtime.promise import Promise
from flytower.runtime.ref import Ref, Request, chain
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flytower.runtime.context import Context
    from flytower.runtime.mailbox import Envelope

log = structlog.get_logger(__name__)

M = TypeVar("M")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

# A handler that never waits would keep the loop from everyone else for as long as messages come. Short runs keep a
# tick below a millisecond or so; the checkpoint after each costs a few microseconds.
MESSAGES_PER_TURN = 32


class Service(Generic[M]):
    """Subclass it, and write `handle`; run it by way of a `ServiceSpec`.

    Each incarnation is a fresh object, so attributes set in `__init__` or `started` never survive a crash. One message
    is handled at a time. An exception out of a handler or of background work is a crash: the message in hand is lost
    (its ask fails with the reason), the ones behind it wait for the next incarnation.
    """

    context: Context
    _ref: Ref[M] | None = None  # set by its spec, before it runs
    _state = "starting"  # for the tree
    _current: Envelope | None = None  # the message in hand; stays when the handler raises, until its ask is failed
    _deferred = False  # whether the answer to the message in hand comes later
    _finishing = False  # whether its work is over
    _stop_seen: float | None = None  # when the stop was asked for, on trio's clock
    _background_error: BaseException | None = None  # what cancelled us, when background work crashed

    # ---- for subclasses to write ------------------------------------------------------------------------------

    async def started(self) -> None:
        """Get ready. The next sibling starts, and messages are handled, after this."""

    async def handle(self, message: M) -> object:
        """Handle one message. What it returns answers an ask; raise `Refusal` to answer with an error."""
        raise NotImplementedError(f"{type(self).__name__} has no handle(), and got a {type(message).__name__}")

    async def stopping(self, end: Exit, /) -> None:
        """Clean up, whatever the end: it runs on a stop, a cancellation and a crash alike, also when `started` failed.

        It is shielded from cancellation until the grace ends. On a stop, background work still runs; it is
        cancelled after this.
        """

    # ---- for subclasses to call -------------------------------------------------------------------------------

    @property
    def ref(self) -> Ref[M]:
        """This service's own address, to hand out."""
        if self._ref is None:
            raise RuntimeError(f"{type(self).__name__} has no address; run it by way of a ServiceSpec")
        return self._ref

    def spawn(self, function: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Run `function(*args)` beside the handlers, until the service ends. If it raises, the service crashes."""
        self._nursery.start_soon(self._background, function, args, name=function)

    def defer(self, request: Request[R]) -> Promise[R]:
        """Answer `request` later: return the promise to resolve. What its handler returns is then ignored.

        The ask fails by itself when the service ends first. `withdrawn` tells when nobody waits any more.
        """
        if self._current is None or self._current.message is not request:
            raise RuntimeError(f"defer() is for the request in hand, while its handler runs, not for {request!r}")
        promise = self._current.promise or Promise()
        self._deferred = True
        self._owed[promise] = None
        promise.add_done_callback(lambda done: self._owed.pop(done, None))
        return promise

    def finish(self) -> None:
        """End as NORMAL after the message in hand. Whether it is started again is for its spec to say."""
        self._finishing = True
        self.ref.mailbox.poke()

    # ---- for the supervisor -----------------------------------------------------------------------------------

    def bind(self, ref: Ref[M]) -> None:
        """Take the address that this incarnation answers at."""
        self._ref = ref

    async def run(self, context: Context) -> None:
        """Live one incarnation."""
        self.context = context
        self._owed: dict[Promise[Any], None] = {}  # deferred answers, an ordered set
        chain.set((self.ref,))  # asking oneself is a cycle, in the hooks too
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._watch_for_stop)
            try:
                await self._work()
            except BaseException as error:
                # Nothing is swallowed: it is raised again below, cancellation too.
                failure = await self._abort(error)
                if failure is not None:
                    raise BaseExceptionGroup(f"{context.path}: its clean-up failed too", [error, failure]) from None
                raise
            await self._end()
            self._nursery.cancel_scope.cancel(reason=f"{context.path} has ended, and its background work with it")

    def inspect(self, path: str, now: float) -> Node:  # noqa: ARG002 - part of the Child protocol
        """Describe itself."""
        return Node(path, type(self).__name__, self._state, mailbox=self.ref.pending)

    async def _work(self) -> None:
        await self.started()
        self.context.ready()
        self._state = "idle"
        turn = 0
        while not self._over():
            envelope = self.ref.mailbox.get_nowait()
            if envelope is None:
                await self.ref.mailbox.wait()
                turn = 0
                continue
            await self._take(envelope)
            turn += 1
            if turn == MESSAGES_PER_TURN:
                await trio.lowlevel.checkpoint()
                turn = 0

    def _over(self) -> bool:
        if self._finishing:
            return True
        # Stopped for good, the mailbox holds only what is still to be handled, see Ref.drain; stopped for a restart,
        # all that waits is for the next incarnation.
        return self.context.stop_requested.is_set() and not (self.ref.ending and self.ref.pending)

    async def _take(self, envelope: Envelope) -> None:
        if envelope.promise is not None and envelope.promise.withdrawn:
            return
        self._current, self._deferred = envelope, False
        self._state = f"handling {type(envelope.message).__name__}"
        chain.set((*envelope.chain, self.ref))
        try:
            answer = await self.handle(envelope.message)  # type: ignore[arg-type]  # the ref takes only M
        except Exception as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            self._refuse(envelope, refusal)
        else:
            if envelope.promise is not None and not self._deferred:
                envelope.promise.resolve(answer)
        self._current, self._state = None, "idle"

    def _refuse(self, envelope: Envelope, refusal: Refusal) -> None:
        if envelope.promise is not None:
            envelope.promise.reject(refusal.error)
        else:
            name = type(envelope.message).__name__
            log.warning(
                "a message that nobody waits for was refused", path=self.ref.path, message=name, why=str(refusal)
            )

    async def _end(self) -> None:
        """End a life that was stopped, or is over: who is owed an answer may still get it from `stopping`."""
        if self._stop_seen is None:
            exit_, seconds = NORMAL, self.context.grace
        else:
            exit_ = stopped("asked to stop")
            seconds = max(0.0, self._stop_seen + self.context.grace - trio.current_time())
        failure = await self._clean_up(exit_, seconds)
        self._fail_asks(exit_ if failure is None else crashed(failure))
        if failure is not None:
            raise failure

    async def _abort(self, error: BaseException) -> BaseException | None:
        """End a life that was cancelled, or crashed: who waits hears of it at once."""
        cause = error if any(leaves(error)) else self._background_error
        exit_ = stopped("cancelled") if cause is None else crashed(cause)
        self._fail_asks(exit_)
        return await self._clean_up(exit_, self.context.grace)

    async def _clean_up(self, exit_: Exit, seconds: float) -> BaseException | None:
        self._state = "stopping"
        with self.context.shielded(seconds) as shield:
            try:
                await self.stopping(exit_)
            except BaseException as error:
                if not any(leaves(error)):
                    raise
                return error  # the caller raises it, together with what came before
        if shield.cancelled_caught:
            log.warning("stopping() was cut short", path=self.context.path, after=seconds)
        return None

    def _fail_asks(self, exit_: Exit) -> None:
        in_hand = self._current.promise if self._current is not None else None
        for promise in [in_hand, *self._owed]:
            if promise is not None:
                promise.reject(ActorDead(self.ref.path, exit_))

    async def _watch_for_stop(self) -> None:
        await self.context.stop_requested.wait()
        self._stop_seen = trio.current_time()
        self.ref.mailbox.poke()

    @trio.lowlevel.enable_ki_protection  # see Incarnation.live
    async def _background(self, function: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        chain.set(())  # nobody waits for it, so whom it asks makes no cycle
        try:
            await function(*args)
        except BaseException as error:
            if any(leaves(error)):
                self._background_error = error
            raise


def _refusal(error: Exception) -> Refusal | None:
    """Return the refusal that a handler raised, also out of a nursery of its own; None when it raised anything else."""
    match list(leaves(error)):
        case [Refusal() as refusal]:
            return refusal
        case _:
            return None
