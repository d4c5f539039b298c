"""What a connection has received: ordinary frames go straight to their calls, the others by way of h2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.protocol.fast_requests import DATA, FRAME_HEAD, HEADERS, STREAM_ID, WINDOW_UPDATE, FastRequests

if TYPE_CHECKING:
    from h2.connection import H2Connection

    from flytower.protocol.connection import ServerConnection


class Inbound:
    """The receiving half of one connection.

    Args:
        h2: The connection's state machine, before it has received anything.
        connection: Whose calls begin and go on.
        fast: Whether requests may be taken past h2, see `fast_requests`.
    """

    def __init__(self, h2: H2Connection, connection: ServerConnection, *, fast: bool) -> None:
        self._h2 = h2
        self._connection = connection
        self._fast = FastRequests(h2, connection.limits.max_concurrent_streams) if fast else None

    def feed(self, data: bytes) -> bool:
        """Take what the client has sent; return whether anything has come of it.

        Raises:
            ProtocolError: It is not what HTTP/2 allows; h2 has its GOAWAY ready.
        """
        done = 0
        if self._fast is not None:
            while self._fast.ready and not self._connection.closed:
                size = self._take_frame(self._fast, data, done)
                if not size:
                    break
                done += size
            if done == len(data):
                return True
        return self._leave_to_h2(data[done:] if done else data) or done > 0

    def _take_frame(self, fast: FastRequests, data: bytes, start: int) -> int:
        """Take the frame at a position; return its size, or 0 when there is no whole one."""
        content = start + FRAME_HEAD.size
        if content > len(data):
            return 0
        high, low, kind, flags, number = FRAME_HEAD.unpack_from(data, start)
        stream_id = number & STREAM_ID
        stop: int = content + (high << 8 | low)
        if stop > len(data):
            return 0
        if not (
            (kind == HEADERS and self._begin(fast, stream_id, flags, data[content:stop]))
            or (kind == DATA and self._end(fast, stream_id, flags, data[content:stop]))
            or (kind == WINDOW_UPDATE and self._widen(fast, stream_id, data[content:stop]))
        ):
            self._leave_to_h2(data[start:stop])
        return stop - start

    def _begin(self, fast: FastRequests, stream_id: int, flags: int, block: bytes) -> bool:
        head = fast.begin_untrusted(stream_id, flags, block)
        if head is None:
            return False
        self._connection.request_received(stream_id, head, ended=False)
        return True

    def _end(self, fast: FastRequests, stream_id: int, flags: int, data: bytes) -> bool:
        if not fast.end_untrusted(stream_id, flags, len(data)):
            return False
        connection = self._connection
        connection.acknowledge(len(data))
        exchange = connection.exchanges.get(stream_id)
        if exchange is not None:
            if data:
                exchange.feed(data)
            exchange.end_of_request()
        return True

    def _widen(self, fast: FastRequests, stream_id: int, content: bytes) -> bool:
        if not fast.widen_untrusted(stream_id, content):
            return False
        self._connection.has_room = True
        return True

    def _leave_to_h2(self, data: bytes) -> bool:
        events = self._connection.connection.feed(data)
        for event in events:
            self._connection.processor.process(event)
        return bool(events)
