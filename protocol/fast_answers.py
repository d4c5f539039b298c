"""A whole answer in one piece: headers, message and trailers as three ready frames, behind h2's back.

h2 builds, checks and packs each frame by itself, which is a third of what a read costs. Here the header blocks are
constants, written in a way that leaves HPACK's tables alone (RFC 7541 6.1 and 6.2.2), so h2 can go on at any time. What
is not the ordinary case (no room in a window, a table that is to be resized) is left to h2.

`tests/protocol/test_fast_answers.py` fails when what this relies on moves; the limit `fast_answers` switches it off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from h2.connection import ConnectionState
from h2.stream import StreamClosedBy, StreamState

from flytower.protocol.headers import CONTENT_TYPE

if TYPE_CHECKING:
    from h2.connection import H2Connection

_INDEXED_STATUS_200: Final = b"\x88"  # entry 8 of the static table
_CONTENT_TYPE_NAME: Final = b"\x0f\x10"  # a literal that is not indexed, whose name is entry 31 of the static table
_NEW_NAME: Final = b"\x00"  # likewise, with its name following

_HEADERS, _DATA = 1, 0  # frame types, RFC 9113 6.2 and 6.1
_END_HEADERS, _END_STREAM = 4, 1


def _text(value: str) -> bytes:
    """Return a string literal without Huffman coding; below 127 bytes its length is one byte (RFC 7541 5.2)."""
    return bytes([len(value)]) + value.encode("ascii")


def _frame_head(size: int, kind: int, flags: int) -> bytes:
    return size.to_bytes(3) + bytes([kind, flags])


_HEAD_BLOCK: Final = _INDEXED_STATUS_200 + _CONTENT_TYPE_NAME + _text(CONTENT_TYPE)
_HEAD: Final = _frame_head(len(_HEAD_BLOCK), _HEADERS, _END_HEADERS)
_TAIL_BLOCK: Final = _NEW_NAME + _text("grpc-status") + _text("0")
_TAIL: Final = _frame_head(len(_TAIL_BLOCK), _HEADERS, _END_HEADERS | _END_STREAM)
_DATA_KIND: Final = bytes([_DATA, 0])


def answer_at_once(h2: H2Connection, stream_id: int, data: bytes) -> bool:
    """Send the whole response of a call that succeeded; False, and nothing is sent, when h2 has to do it.

    Args:
        h2: The connection's state machine.
        stream_id: The stream, whose request is complete.
        data: The framed message.
    """
    stream = h2.streams.get(stream_id)
    if stream is None or not _has_room(h2, stream, len(data)):
        return False
    machine = stream.state_machine
    if machine.state is not StreamState.HALF_CLOSED_REMOTE or machine.headers_sent:
        return False
    number = stream_id.to_bytes(4)
    h2._data_to_send += b"".join(  # noqa: SLF001 - see the module's docstring
        (_HEAD, number, _HEAD_BLOCK, len(data).to_bytes(3), _DATA_KIND, number, data, _TAIL, number, _TAIL_BLOCK)
    )
    h2.outbound_flow_control_window -= len(data)
    stream.outbound_flow_control_window -= len(data)
    machine.headers_sent = machine.trailers_sent = True
    machine.state = StreamState.CLOSED
    machine.stream_closed_by = StreamClosedBy.SEND_END_STREAM
    # h2 forgets closed streams when it counts the open ones, which it does for each request that it reads by itself.
    del h2.streams[stream_id]
    h2._closed_streams[stream_id] = StreamClosedBy.SEND_END_STREAM  # noqa: SLF001 - likewise
    return True


def _has_room(h2: H2Connection, stream: object, size: int) -> bool:
    """Whether a message fits into one frame and both windows, and h2 owes its peer no word about its tables."""
    window: int = min(h2.outbound_flow_control_window, stream.outbound_flow_control_window)  # type: ignore[attr-defined]
    return (
        size <= window
        and size <= h2.max_outbound_frame_size
        and not h2.encoder.table_size_changes
        and h2.state_machine.state is not ConnectionState.CLOSED
    )
