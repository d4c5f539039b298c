"""What is set in grpclib and h2 behind their backs: the only module that knows their insides.

`tests/protocol/test_http2_internals.py` fails when what it relies on moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpclib.config import Configuration
from h2.config import H2Configuration
from h2.settings import SettingCodes
from h2.utilities import SizeLimitDict
from hyperframe.frame import GoAwayFrame

if TYPE_CHECKING:
    from grpclib.protocol import Connection
    from h2.connection import H2Connection

    from flytower.protocol.limits import Limits

MAX_CLOSED_STREAMS = 1024
"""Streams whose end h2 remembers, to tell a late frame from a wrong one. Its own 65,536 are 15 MiB per connection."""

SPARE_WINDOW = 64 * 1024
"""What a stream's window has beyond the largest message: prefixes, and the frame that makes a message too large."""

LAST_STREAM_ID = 2**31 - 1
"""In a GOAWAY: "no more from now on, and what is under way shall go on" (RFC 9113 6.8)."""


def configuration(limits: Limits) -> Configuration:
    """Return what grpclib is told about a connection."""
    window = limits.max_message_bytes + SPARE_WINDOW
    settings = Configuration(
        _keepalive_time=None,  # its timers would stay in trio-asyncio's heap for two hours; see TCP_KEEPALIVE
        http2_connection_window_size=window,
        http2_stream_window_size=window,
    )
    return settings.__for_server__()


H2_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,  # bytes: decoding is ours, so that it fails for one stream and not for the connection
    validate_inbound_headers=False,  # `parse_head_untrusted` checks what matters
    validate_outbound_headers=False,
    normalize_inbound_headers=False,
    normalize_outbound_headers=False,
)


def tuned(connection: Connection, limits: Limits) -> H2Connection:
    """Set what grpclib leaves as h2 has it, and return the state machine."""
    h2: H2Connection = connection._connection  # noqa: SLF001
    h2.update_settings(
        {
            SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_header_bytes,
        }
    )
    h2.decoder.max_header_list_size = limits.max_header_bytes
    h2._closed_streams = SizeLimitDict(size_limit=MAX_CLOSED_STREAMS)  # noqa: SLF001
    return h2


def has_unfinished_input(h2: H2Connection) -> bool:
    """Whether a frame, or a block of headers, has begun and is not complete."""
    buffer = h2.incoming_buffer
    return bool(buffer._data or buffer._headers_buffer)  # noqa: SLF001


def goaway(last_stream_id: int) -> bytes:
    """Return the frame that says which calls will still be answered.

    h2 itself can say GOAWAY only as its last word: its state machine is closed afterwards, and every answer to the
    calls under way would raise. So the frame is written beside it.
    """
    return GoAwayFrame(0, last_stream_id=last_stream_id).serialize()
