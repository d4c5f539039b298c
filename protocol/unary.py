"""A call with one request and one response, answered between two frames without a task of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import structlog
import trio

from flytower.protocol.exchange import Exchange
from flytower.protocol.messages import parse_message_untrusted
from flytower.protocol.outbound import PeerGone
from flytower.protocol.status import RpcError, Status, as_rpc_error

if TYPE_CHECKING:
    from betterproto2 import Message

    from flytower.protocol.calls import Answer, Call, Pending, Unary
    from flytower.protocol.connection import ServerConnection
    from flytower.protocol.dispatcher import Dispatcher

log = structlog.get_logger(__name__)


class UnaryExchange(Exchange):
    """Collects the request, asks the handler, and sends the answer when it is there.

    Its life: collecting -> (decoding, in a thread) -> (waiting for the handler's Pending) -> (sending) -> finished.

    Args:
        method: The method that is called.
    """

    __slots__ = ("_message", "_pending", "method")

    def __init__(
        self, dispatcher: Dispatcher, connection: ServerConnection, stream_id: int, call: Call, method: Unary
    ) -> None:
        super().__init__(dispatcher, connection, stream_id, call)
        self.method = method
        self._message: bytes | None = None
        self._pending: Pending[Answer] | None = None

    def start(self) -> None:
        """Wait for the whole request, a bounded time; nearly always it is here already."""
        self.connection.awaiting.append(self)

    def await_request(self) -> None:
        """Hear that the request has not come together with its headers."""
        if not (self.request_ended or self.finished):
            self._set_timer(self.dispatcher.limits.body_seconds)

    def take(self, message: bytes) -> None:
        """Keep the request until the client has said that it is the only one."""
        if self._message is not None:
            raise RpcError(Status.INVALID_ARGUMENT, "The method takes one request message, and got another one.")
        self._message = message

    def end_of_request(self) -> None:
        """Decode the request, and ask the handler."""
        self.request_ended = True
        message, self._message = self._message, None
        if message is None or self._reader.within_message:
            self.stop(RpcError(Status.INVALID_ARGUMENT, "The request message is missing or incomplete."))
        elif self.call.remaining() == 0:
            self._too_late()
        elif self.connection.outbound.is_open(self.stream_id):  # else it was reset by the frame behind this one
            self._cancel_timer()
            self._decode(message)
            if not self.finished:
                self._watch_deadline()

    def sent(self) -> None:
        """End the call: its answer is on the way."""
        self._finish(Status.OK)

    def hang_up(self) -> None:
        """Withdraw from the answer that this call waits for."""
        self._withdraw()
        self._finish(Status.CANCELLED)

    def stop(self, error: RpcError) -> None:
        """Withdraw, and answer with the error."""
        if not self.finished:
            self._withdraw()
            self._conclude(error)

    def _decode(self, message: bytes) -> None:
        if len(message) > self.dispatcher.limits.inline_decode_bytes:
            self.dispatcher.start(self._decode_in_thread, message)
            return
        self._release()
        try:
            request = parse_message_untrusted(self.method.request_type, message, self.method.known)
        except RpcError as error:
            self.stop(error)
        else:
            self._ask(request)

    async def _decode_in_thread(self, message: bytes) -> None:
        try:
            request = await trio.to_thread.run_sync(
                parse_message_untrusted, self.method.request_type, message,
                limiter=self.dispatcher.decoders, abandon_on_cancel=True,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - a refusal, or no thread to be had
            self._fail(error)
            return
        finally:
            self._release()
        if not self.finished:
            self._ask(request)

    def _ask(self, request: Message) -> None:
        try:
            answer = self.method.handler(request, self.call)
        except BaseException as error:  # noqa: BLE001 - SystemExit from a handler ends the call, not the server
            self._fail(error)
            return
        if hasattr(answer, "add_done_callback"):
            self._await(cast("Pending[Answer]", answer))
        else:
            self._answer(answer)

    def _await(self, pending: Pending[Answer]) -> None:
        self._pending = pending
        try:
            pending.add_done_callback(self._resolved)
        except Exception as error:  # noqa: BLE001 - the handler's object, so the handler's fault
            self._fail(error)

    def _resolved(self, pending: Pending[Answer]) -> None:
        if self._pending is None:  # withdrawn, and told so
            return
        self._pending = None
        try:
            answer = pending.result()
        except BaseException as error:  # noqa: BLE001 - the same as from the handler
            self._fail(error)
        else:
            self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        try:
            if self._write(self._encoded(answer), last=True):
                self._finish(Status.OK)
        except PeerGone:
            self._finish(Status.CANCELLED)
        except BaseException as error:  # noqa: BLE001 - an answer that cannot be encoded
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        refusal = as_rpc_error(error)
        if refusal.status is Status.INTERNAL and not isinstance(error, RpcError):
            log.error("A handler failed", method=self.call.method, peer=self.call.peer, exc_info=error)
        self.stop(refusal)

    def _withdraw(self) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.withdraw()
        except Exception:
            log.exception("An answer could not be withdrawn", method=self.call.method)
