"""What a connection still has to send, and when it may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.exceptions import ProtocolError

from flytower.protocol.fast_answers import answer_at_once
from flytower.protocol.headers import RESPONSE_HEADERS, Headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from h2.connection import H2Connection
    from h2.errors import ErrorCodes

FLUSH_BYTES = 64 * 1024
"""What is handed to h2 before the transport gets it, and so may say that its buffer is full."""


class PeerGone(Exception):  # noqa: N818 - an event, not an error of anybody
    """The stream that should carry the response is closed: its client has reset it, or the connection is gone."""


class _Backlog:
    def __init__(self, data: bytes, trailers: Headers | None) -> None:
        self.data = data
        self.sent = 0
        self.trailers = trailers


class Outbound:
    """The sending half of one connection.

    A response goes out at once when the windows of HTTP/2 and the transport's buffer have room for it. What has to wait
    is kept here, one backlog per stream, and moves on with `pump`.

    Args:
        h2: The connection's state machine.
        flush: Moves the bytes that h2 has produced to the transport.
        fast: Whether answers may be sent in one piece, see `fast_answers`.
    """

    def __init__(self, h2: H2Connection, flush: Callable[[], None], *, fast: bool = True) -> None:
        self._fast = fast
        self.writable = True  # whether the transport's buffer has room
        self._h2 = h2
        self._flush = flush
        self._unflushed = 0
        self._backlogs: dict[int, _Backlog] = {}  # streams that wait for room, in the order of their arrival

    def is_open(self, stream_id: int) -> bool:
        """Whether the client still listens on a stream."""
        stream = self._h2.streams.get(stream_id)
        return stream is not None and not stream.closed

    def begin(self, stream_id: int) -> None:
        """Send the headers of a response.

        Raises:
            PeerGone: Nobody listens any more. So do all the following.
        """
        self._send_headers(stream_id, RESPONSE_HEADERS, last=False)

    def write(self, stream_id: int, data: bytes, trailers: Headers | None = None) -> bool:
        """Send data, and then the trailers if they are given. False when some of it has to wait."""
        backlog = _Backlog(data, trailers)
        if self._advance(stream_id, backlog):
            return True
        self._backlogs[stream_id] = backlog
        return False

    def answer(self, stream_id: int, data: bytes) -> bool:
        """Send headers, data and trailers in one piece; False when that cannot be, and nothing was sent."""
        if not (self._fast and self.writable and answer_at_once(self._h2, stream_id, data)):
            return False
        self._count(len(data))
        return True

    def end(self, stream_id: int, headers: Headers) -> None:
        """Send the last headers of a response: trailers, or the only ones there are."""
        self._send_headers(stream_id, headers, last=True)

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        """Close a stream in both directions; harmless when it is closed."""
        self._backlogs.pop(stream_id, None)
        if not self.is_open(stream_id):
            return
        try:
            self._h2.reset_stream(stream_id, code)
        except ProtocolError as error:
            raise PeerGone from error

    def waits(self, stream_id: int) -> bool:
        """Whether something of this stream waits for room."""
        return stream_id in self._backlogs

    def forget(self, stream_id: int) -> None:
        """Drop what waits for a stream that is closed."""
        self._backlogs.pop(stream_id, None)

    def pump(self) -> list[int]:
        """Send on what now has room, and return the streams that wait no longer."""
        done = [stream_id for stream_id, backlog in list(self._backlogs.items()) if self._pumped(stream_id, backlog)]
        for stream_id in done:
            self._backlogs.pop(stream_id, None)
        return done

    def _pumped(self, stream_id: int, backlog: _Backlog) -> bool:
        try:
            return self._advance(stream_id, backlog)
        except PeerGone:
            return False  # its owner hears of it by the stream's end

    def _advance(self, stream_id: int, backlog: _Backlog) -> bool:
        while backlog.sent < len(backlog.data):
            room = self._room(stream_id)
            if room <= 0:
                return False
            self._send_data(stream_id, backlog.data[backlog.sent : backlog.sent + room])
            backlog.sent += room
        if backlog.trailers is not None:
            self._send_headers(stream_id, backlog.trailers, last=True)
        return True

    def _room(self, stream_id: int) -> int:
        if not self.is_open(stream_id):
            raise PeerGone
        if not self.writable:
            return 0
        return min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)

    def _send_headers(self, stream_id: int, headers: Headers, *, last: bool) -> None:
        if not self.is_open(stream_id):  # h2 would take them for the request of a new stream
            raise PeerGone
        try:
            self._h2.send_headers(stream_id, headers, end_stream=last)
        except ProtocolError as error:
            raise PeerGone from error

    def _send_data(self, stream_id: int, data: bytes) -> None:
        try:
            self._h2.send_data(stream_id, data)
        except ProtocolError as error:
            raise PeerGone from error
        self._count(len(data))

    def _count(self, size: int) -> None:
        self._unflushed += size
        if self._unflushed >= FLUSH_BYTES:
            self._unflushed = 0
            self._flush()
