"""One request and its response on one HTTP/2 stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import trio
from h2.errors import ErrorCodes

from flytower.protocol.encode import encoded
from flytower.protocol.headers import TRAILERS_OK, refusal, trailers
from flytower.protocol.messages import MessageReader, framed
from flytower.protocol.outbound import PeerGone
from flytower.protocol.status import RpcError, Status

if TYPE_CHECKING:
    from flytower.protocol.calls import Answer, Call
    from flytower.protocol.connection import ServerConnection
    from flytower.protocol.dispatcher import Dispatcher
    from flytower.protocol.timers import Timer


class Exchange(ABC):
    """What every call has: an inbound half that collects messages, an outbound half, and exactly one end.

    The connection calls `start`, `feed`, `end_of_request`, `sent` and `hang_up`; timers and the server call `stop`.
    All are synchronous and none of them raises.

    Args:
        dispatcher: Admits calls, and hears of their end.
        connection: Where the stream belongs to.
        stream_id: The stream's number.
        call: What the handler is told.
    """

    __slots__ = (
        "_begun",
        "_held",
        "_reader",
        "_timer",
        "call",
        "connection",
        "dispatcher",
        "finished",
        "request_ended",
        "stream_id",
    )

    def __init__(self, dispatcher: Dispatcher, connection: ServerConnection, stream_id: int, call: Call) -> None:
        self.dispatcher = dispatcher
        self.connection = connection
        self.stream_id = stream_id
        self.call = call
        self._reader = MessageReader(dispatcher.limits.max_message_bytes)
        self.request_ended = False
        self.finished = False
        self._timer: Timer | None = None
        self._begun = False  # the response's headers are sent
        self._held = 0  # request bytes that count as buffered

    # What the connection tells

    @abstractmethod
    def start(self) -> None:
        """Begin to wait for the request."""

    def feed(self, data: bytes) -> None:
        """Take bytes of the request."""
        try:
            self._hold(len(data))
            for message in self._reader.feed_untrusted(data):
                self.take(message)
        except RpcError as error:
            self.stop(error)

    @abstractmethod
    def take(self, message: bytes) -> None:
        """Take one whole request message; raise RpcError when it is one too many."""

    @abstractmethod
    def end_of_request(self) -> None:
        """Hear that the client has sent all."""

    @abstractmethod
    def sent(self) -> None:
        """Hear that what waited for room has been sent."""

    @abstractmethod
    def hang_up(self) -> None:
        """Hear that the client is gone: it has reset the stream or lost the connection."""

    @abstractmethod
    def stop(self, error: RpcError) -> None:
        """End the call from this side."""

    # What the two kinds share

    def _hold(self, size: int) -> None:
        self._held += size
        self.dispatcher.hold(size)

    def _release(self) -> None:
        self.dispatcher.release(self._held)
        self._held = 0

    def _set_timer(self, seconds: float) -> None:
        """Wait for the client no longer than this, and no longer than it waits for us."""
        self._cancel_timer()
        when = trio.current_time() + seconds
        deadline = self.call.deadline
        if deadline is not None and deadline <= when:
            self._watch_deadline()
        else:
            self._timer = self.dispatcher.timers.at(when, self._too_slow)

    def _watch_deadline(self) -> None:
        self._cancel_timer()
        deadline = self.call.deadline
        if deadline is not None and deadline - self.call.started <= self.dispatcher.limits.max_timer_seconds:
            self._timer = self.dispatcher.timers.at(deadline, self._too_late)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self.stop(RpcError(Status.DEADLINE_EXCEEDED, "The deadline of the call has passed."))

    def _too_slow(self) -> None:
        seconds = self.dispatcher.limits.body_seconds
        self.stop(RpcError(Status.DEADLINE_EXCEEDED, f"The request did not arrive within {seconds:g} s."))

    def _encoded(self, answer: Answer) -> bytes:
        message = answer if isinstance(answer, bytes) else encoded(answer)
        limit = self.dispatcher.limits.max_response_bytes
        if len(message) > limit:
            text = f"The response message has {len(message)} bytes; at most {limit} are sent."
            raise RpcError(Status.RESOURCE_EXHAUSTED, text)
        return framed(message)

    def _write(self, data: bytes, *, last: bool) -> bool:
        """Send a message; False when some of it has to wait. Raises PeerGone."""
        outbound = self.connection.outbound
        if last and not self._begun and outbound.answer(self.stream_id, data):
            self.connection.flush_soon()
            return True
        if not self._begun:
            outbound.begin(self.stream_id)
            self._begun = True
        done = outbound.write(self.stream_id, data, TRAILERS_OK if last else None)
        self.connection.flush_soon()
        return done

    def _conclude(self, error: RpcError | None) -> None:
        """Send the trailers, or what can still be said, and report the end."""
        outbound = self.connection.outbound
        try:
            if outbound.waits(self.stream_id):  # a message is half sent: there is no way back to trailers
                outbound.reset(self.stream_id, ErrorCodes.CANCEL)
            elif error is None:
                outbound.end(self.stream_id, TRAILERS_OK)
            else:
                outbound.end(self.stream_id, trailers(error) if self._begun else refusal(error))
            if not self.request_ended:
                outbound.reset(self.stream_id, ErrorCodes.NO_ERROR)  # "no need to send the rest", RFC 9113 8.1
        except PeerGone:
            self._finish(Status.CANCELLED)
            return
        self.connection.flush_soon()
        self._finish(Status.OK if error is None else error.status)

    def _finish(self, status: Status) -> None:
        if self.finished:
            return
        self.finished = True
        self._cancel_timer()
        self._release()
        self.connection.forget(self.stream_id)
        self.dispatcher.finish(self, status)
