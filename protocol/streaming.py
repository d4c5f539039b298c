"""A call where a side streams: a trio task of its own, cancelled when nobody listens any more."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import structlog
import trio

from flytower.protocol.exchange import Exchange
from flytower.protocol.messages import PREFIX_BYTES, parse_message_untrusted
from flytower.protocol.outbound import PeerGone
from flytower.protocol.status import RpcError, Status, as_rpc_error

if TYPE_CHECKING:
    from flytower.protocol.calls import Answer, Call, Streaming
    from flytower.protocol.connection import ServerConnection
    from flytower.protocol.dispatcher import Dispatcher

log = structlog.get_logger(__name__)


class StreamingExchange(Exchange):
    """Runs the handler as a task, and is the `Stream` that the handler talks to.

    Whoever ends the call (client, deadline, server) says so by `_stopped` or `_gone` and cancels the scope; the task
    itself then sends what can be sent and reports the end, after the handler has cleaned up.

    Args:
        method: The method that is called.
    """

    __slots__ = ("_arrived", "_gone", "_inbox", "_scope", "_sending", "_sent", "_stopped", "method")

    def __init__(
        self, dispatcher: Dispatcher, connection: ServerConnection, stream_id: int, call: Call, method: Streaming
    ) -> None:
        super().__init__(dispatcher, connection, stream_id, call)
        self.method = method
        self._inbox: deque[bytes] = deque()  # bounded by the stream's flow control window
        self._arrived = trio.Event()  # replaced when something was taken
        self._sent = trio.Event()  # replaced when something has to wait for room
        self._sending = trio.Lock()
        self._scope = trio.CancelScope()
        self._stopped: RpcError | None = None
        self._gone = False

    # What the connection tells

    def start(self) -> None:
        """Start the handler; its client has a bounded time to send the first message."""
        self._set_timer(self.dispatcher.limits.body_seconds)
        self.dispatcher.start(self._run)

    def feed(self, data: bytes) -> None:
        """Take bytes of the request; a message that has begun must be complete in a bounded time."""
        idle = not self._reader.within_message
        super().feed(data)
        if self._reader.within_message and idle:
            self._set_timer(self.dispatcher.limits.body_seconds)

    def take(self, message: bytes) -> None:
        """Keep a message for the handler."""
        self._watch_deadline()
        self._inbox.append(message)
        self._arrived.set()

    def end_of_request(self) -> None:
        """Let the handler see the end."""
        self.request_ended = True
        self._watch_deadline()
        self._arrived.set()
        if self._reader.within_message:
            self.stop(RpcError(Status.INVALID_ARGUMENT, "The last request message is incomplete."))

    def sent(self) -> None:
        """Let the handler send on."""
        self._sent.set()

    def hang_up(self) -> None:
        """Cancel the handler; nobody will hear of its end."""
        self._gone = True
        self._scope.cancel(reason="the client has hung up")

    def stop(self, error: RpcError) -> None:
        """Cancel the handler, and then answer with the error."""
        if self._stopped is None:
            self._stopped = error
            self._scope.cancel(reason=error.message)

    # What the handler asks

    async def receive(self) -> Any | None:
        """Wait for the next request message; None when the client has sent its last."""
        while not self._inbox and not self.request_ended:
            self._arrived = trio.Event()
            await self._arrived.wait()
        await trio.lowlevel.checkpoint()
        if not self._inbox:
            return None
        message = self._inbox.popleft()
        size = len(message) + PREFIX_BYTES
        self._held -= size
        self.dispatcher.release(size)
        self.connection.consumed(self.stream_id, size)
        return parse_message_untrusted(self.method.request_type, message)

    async def send(self, message: Answer) -> None:
        """Send one response message, waiting while the client does not read (flow control)."""
        data = self._encoded(message)
        async with self._sending:
            try:
                done = self._write(data, last=False)
            except PeerGone:
                self.hang_up()
                await trio.lowlevel.checkpoint()
            else:
                if not done:
                    await self._wait_sent()

    async def _wait_sent(self) -> None:
        self._sent = trio.Event()
        await self._sent.wait()

    # The task

    async def _run(self) -> None:
        error: RpcError | None = RpcError(Status.UNAVAILABLE, "The server was stopped.")
        try:
            error = await self._handle()
        finally:
            if self._gone:
                self._finish(Status.CANCELLED)
            else:
                self._conclude(error)

    async def _handle(self) -> RpcError | None:
        """Run the handler, and return what the client is told; let a cancellation from outside of the call pass."""
        try:
            with self._scope:
                await self.method.handler(self.call, self)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit from a handler ends the call, not the server
            return self._failed(error)
        return self._stopped

    def _failed(self, error: BaseException) -> RpcError:
        foreign = error.split(trio.Cancelled)[0] if isinstance(error, BaseExceptionGroup) else None
        refusal = as_rpc_error(error)
        if refusal.status is Status.INTERNAL and not isinstance(error, RpcError):
            log.error("A handler failed", method=self.call.method, peer=self.call.peer, exc_info=error)
        if foreign is not None:
            raise foreign
        return self._stopped or refusal
