"""What the server relies on inside grpclib and h2. When one of these fails, look at protocol/http2.py first."""

from __future__ import annotations

from typing import Any, cast

import h2.events
import pytest
from grpclib.protocol import Connection, EventsProcessor, H2Protocol
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame

from flytower.protocol.events import ConnectionEvents, NoHandler
from flytower.protocol.http2 import (
    H2_CONFIG,
    LAST_STREAM_ID,
    MAX_CLOSED_STREAMS,
    configuration,
    goaway,
    has_unfinished_input,
    tuned,
)
from flytower.protocol.limits import Limits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Transport:
    """What grpclib needs of an asyncio transport, with its own record."""

    def __init__(self) -> None:
        self.written = b""

    def get_extra_info(self, name: Any) -> None:
        return None

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> Any:
        return False


@pytest.fixture
def protocol() -> Any:
    protocol = H2Protocol(NoHandler(), configuration(Limits()), H2_CONFIG)
    protocol.connection_made(cast("Any", Transport()))
    return protocol


def test_grpclib_keeps_the_state_machine_where_we_look_for_it(protocol: Any) -> None:
    assert isinstance(protocol.connection, Connection)
    assert isinstance(protocol.connection._connection, H2Connection)
    assert isinstance(protocol.processor, EventsProcessor)


def test_no_keepalive_timer_is_left_in_the_loop(protocol: Any) -> None:
    assert protocol.connection._ping_handle is None


def test_what_is_tuned_is_what_h2_uses(protocol: Any) -> None:
    limits = Limits(max_concurrent_streams=7, max_header_bytes=1234)
    state = tuned(protocol.connection, limits)
    for _ in range(3):
        state.receive_data((PREFACE if state.incoming_buffer._preamble_len else b"") + b"\0\0\0\x04\0\0\0\0\0")
        state.receive_data(b"\0\0\0\x04\x01\0\0\0\0")
    assert state.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] == 7
    assert state.decoder.max_header_list_size == 1234
    for number in range(MAX_CLOSED_STREAMS + 10):
        state._closed_streams[number] = None
    assert len(state._closed_streams) == MAX_CLOSED_STREAMS


def test_h2_still_remembers_too_many_streams_by_itself() -> None:
    assert H2Connection.MAX_CLOSED_STREAMS > MAX_CLOSED_STREAMS


def test_unfinished_input_is_seen(protocol: Any) -> None:
    state = tuned(protocol.connection, Limits())
    state.receive_data(PREFACE + b"\0\0\0\x04\0\0\0\0\0")
    assert not has_unfinished_input(state)
    state.receive_data(b"\0\0\x08\x06")
    assert has_unfinished_input(state)
    state.receive_data(b"\0\0\0\0\0" + b"12345678")
    assert not has_unfinished_input(state)
    state.receive_data(HeadersFrame(1, b"\x82").serialize())  # no END_HEADERS
    assert has_unfinished_input(state)


def test_headers_arrive_as_bytes(protocol: Any) -> None:
    assert H2_CONFIG.header_encoding is None


def test_a_goaway_beside_the_state_machine_reads_as_one(protocol: Any) -> None:
    data = goaway(LAST_STREAM_ID)
    frame, length = Frame.parse_frame_header(memoryview(data[:9]))
    frame.parse_body(memoryview(data[9 : 9 + length]))
    assert isinstance(frame, GoAwayFrame)
    assert (frame.last_stream_id, frame.error_code) == (2**31 - 1, 0)
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    events = client.receive_data(b"\0\0\0\x04\0\0\0\0\0" + data)
    assert isinstance(events[-1], h2.events.ConnectionTerminated)


@pytest.mark.parametrize(
    "name",
    [name for name in vars(ConnectionEvents) if name.startswith("process")],
)
def test_each_event_that_we_handle_is_one_that_grpclib_calls(name: Any) -> None:
    assert hasattr(EventsProcessor, name)


@pytest.mark.parametrize(
    "name", ["connection_made", "data_received", "pause_writing", "resume_writing", "connection_lost"]
)
def test_each_callback_of_the_transport_is_one_that_grpclib_has(name: Any) -> None:
    assert name in vars(H2Protocol)
