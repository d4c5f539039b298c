"""Requests taken from their frames behind h2's back: whole frames of the ordinary kind, HEADERS, DATA, WINDOW_UPDATE.

h2 makes a frame object of each frame, events of that, and counts all streams for each new one: half of what a read
costs. Here the ordinary frame is read where it lies, and h2's state machines are left as h2 itself would have left
them, so it can go on at any time. Whatever is not ordinary (padding, priorities, trailers, a window that is too small,
a stream too many) is left to h2. Header blocks are decoded by hpack, and remembered by their bytes for as long as its
table does not change: a client repeats itself.

`tests/protocol/test_fast_requests.py` fails when what this relies on moves; the limit `fast_requests` switches it off.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from h2.connection import ConnectionState, _decode_headers
from h2.exceptions import ProtocolError
from h2.stream import H2Stream, StreamState
from h2.utilities import is_informational_response
from h2.windows import LARGEST_FLOW_CONTROL_WINDOW
from hpack.table import HeaderTable

from flytower.protocol.headers import BadRequest, RequestHead, parse_head_untrusted

if TYPE_CHECKING:
    from h2.connection import H2Connection

    from flytower.protocol.headers import RawHeaders

FRAME_HEAD: Final = Struct(">HBBBL")
"""A frame's length (two bytes and one), its type, its flags and its stream (RFC 9113 4.1)."""

STREAM_ID: Final = (1 << 31) - 1
"""The bits of the last that are the stream's number: the first one is reserved, and ignored."""

INCREMENT: Final = Struct(">L")
"""What a WINDOW_UPDATE says (RFC 9113 6.9)."""

DATA, HEADERS, WINDOW_UPDATE = 0, 1, 8
END_STREAM, END_HEADERS = 1, 4

BLOCKS = 64
"""Header blocks of one connection that are remembered: its methods, each with some timeouts."""

LARGEST_BLOCK = 256
"""Bytes of the largest block that is remembered. What repeats itself is a few bytes of indexes."""


class _Block(NamedTuple):
    """What a block of headers says: its meaning if it has one, what was sent, and whether h2 has a rule for that."""

    head: RequestHead | None
    headers: RawHeaders
    ruled: bool


class _WatchedTable(HeaderTable):
    """HPACK's table of a connection, and what decoded blocks mean as long as it stays as it is."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, _Block] = {}
        self.changes = 0
        super().__init__()

    def add(self, name: bytes, value: bytes) -> None:
        self._changed()
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return self._maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self._changed()
        HeaderTable.maxsize.fset(self, newmax)  # type: ignore[attr-defined]  # it is a property

    def _changed(self) -> None:
        self.changes += 1
        self.blocks.clear()


class FastRequests:
    """Takes ordinary frames of requests from the bytes of one connection.

    Args:
        h2: The connection's state machine, before it has received anything.
        max_streams: Open streams beyond which a new one is left to h2, which knows what to say.
    """

    def __init__(self, h2: H2Connection, max_streams: int) -> None:
        self._h2 = h2
        self._max_streams = max_streams
        self._table = h2.decoder.header_table = _WatchedTable()

    @property
    def ready(self) -> bool:
        """Whether the next byte begins a frame, of a connection that has been opened and not closed."""
        h2 = self._h2
        buffer = h2.incoming_buffer
        return h2.state_machine.state is ConnectionState.SERVER_OPEN and not (buffer._data or buffer._headers_buffer)  # noqa: SLF001 - see the module's docstring

    def begin_untrusted(self, stream_id: int, flags: int, block: bytes) -> RequestHead | RawHeaders | None:
        """Begin a stream with its headers; None, and nothing is done, when h2 has to do it.

        Returns: What the headers mean, or what they are when they mean nothing.

        Raises:
            ProtocolError: They are no headers. The connection is beyond repair, and h2 has said so.
        """
        h2 = self._h2
        if (
            flags != END_HEADERS
            or stream_id <= h2.highest_inbound_stream_id
            or not stream_id & 1
            or len(block) > h2.max_inbound_frame_size
            or len(h2.streams) >= self._max_streams
        ):
            return None
        try:
            found = self._table.blocks.get(block) or self._decoded_untrusted(block)
            stream = self._begin(stream_id)
            if found.ruled:
                _apply_rules(stream, found.headers)
        except ProtocolError as error:
            h2._terminate_connection(error.error_code)  # noqa: SLF001 - as h2's own `receive_data` does
            raise
        return found.head or found.headers

    def end_untrusted(self, stream_id: int, flags: int, size: int) -> bool:
        """Let the last data of a request into its stream; False, and nothing is done, when h2 has to do it."""
        h2 = self._h2
        stream: Any = h2.streams.get(stream_id)
        if flags != END_STREAM or stream is None or size > h2.max_inbound_frame_size:
            return False
        machine, window = stream.state_machine, h2._inbound_flow_control_window_manager  # noqa: SLF001 - likewise
        own_window = stream._inbound_window_manager  # noqa: SLF001 - likewise
        if (
            machine.state is not StreamState.OPEN
            or stream._expected_content_length not in (None, stream._actual_content_length + size)  # noqa: SLF001 - likewise
            or size > window.current_window_size
            or size > own_window.current_window_size
        ):
            return False
        window.current_window_size -= size
        own_window.current_window_size -= size
        stream._actual_content_length += size  # noqa: SLF001 - likewise
        machine.state = StreamState.HALF_CLOSED_REMOTE
        return True

    def widen_untrusted(self, stream_id: int, content: bytes) -> bool:
        """Open a window for what is sent; False, and nothing is done, when h2 has to do it."""
        h2 = self._h2
        owner: Any = h2.streams.get(stream_id) if stream_id else h2
        if len(content) != INCREMENT.size or owner is None or (stream_id and owner.closed):
            return False
        (increment,) = INCREMENT.unpack(content)
        window = owner.outbound_flow_control_window + increment
        if not 0 < increment <= LARGEST_FLOW_CONTROL_WINDOW or window > LARGEST_FLOW_CONTROL_WINDOW:
            return False
        owner.outbound_flow_control_window = window
        return True

    def _begin(self, stream_id: int) -> H2Stream:
        h2 = self._h2
        stream = H2Stream(
            stream_id,
            config=h2.config,
            inbound_window_size=h2.local_settings.initial_window_size,
            outbound_window_size=h2.remote_settings.initial_window_size,
        )
        stream.max_outbound_frame_size = h2.max_outbound_frame_size
        machine = stream.state_machine
        machine.client = False
        machine.headers_received = True
        machine.state = StreamState.OPEN
        h2.streams[stream_id] = stream
        h2.highest_inbound_stream_id = stream_id
        return stream

    def _decoded_untrusted(self, block: bytes) -> _Block:
        table, before = self._table, self._table.changes
        headers: Any = _decode_headers(self._h2.decoder, block)
        ruled = any(name in _RULED for name, _ in headers)
        try:
            found = _Block(parse_head_untrusted(headers), headers, ruled)
        except BadRequest:
            return _Block(None, headers, ruled)
        if table.changes == before and len(block) <= LARGEST_BLOCK and len(table.blocks) < BLOCKS:
            table.blocks[block] = found
        return found


_RULED = frozenset({b"content-length", b":status"})


def _apply_rules(stream: H2Stream, headers: RawHeaders) -> None:
    if is_informational_response(headers):
        raise ProtocolError("a request has come with the status of a response")
    stream._initialize_content_length(headers)  # noqa: SLF001 - see the module's docstring
