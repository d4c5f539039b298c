"""The sending half of a connection, with h2 on both ends and no socket."""

from __future__ import annotations

from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, StreamEnded, StreamReset
from hypothesis import given
from hypothesis import strategies as st

from flytower.protocol.headers import TRAILERS_OK
from flytower.protocol.outbound import Outbound, PeerGone

REQUEST = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "x")]


class Pair:
    """A client and a server that exchange bytes when told to."""

    def __init__(self) -> None:
        self.client = H2Connection(H2Configuration(client_side=True))
        self.server = H2Connection(H2Configuration(client_side=False))
        self.flushed = 0
        self.outbound = Outbound(self.server, self.flush)
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.events: list[Any] = []
        self.exchange()

    def flush(self) -> None:
        self.flushed += 1
        self.exchange()

    def exchange(self) -> None:
        self.server.receive_data(self.client.data_to_send())
        self.events += self.client.receive_data(self.server.data_to_send())

    def request(self, stream_id: Any) -> None:
        self.client.send_headers(stream_id, REQUEST, end_stream=True)
        self.exchange()

    def received(self, stream_id: Any) -> Any:
        return b"".join(e.data for e in self.events if isinstance(e, DataReceived) and e.stream_id == stream_id)

    def ended(self, stream_id: Any) -> Any:
        return any(isinstance(e, StreamEnded) and e.stream_id == stream_id for e in self.events)

    def open_window(self, size: Any, stream_id: Any = None) -> None:
        self.client.increment_flow_control_window(size, stream_id)
        self.exchange()


@pytest.fixture
def pair() -> Any:
    pair = Pair()
    pair.request(1)
    return pair


def test_a_response_that_fits_goes_out_at_once(pair: Any) -> None:
    pair.outbound.begin(1)
    assert pair.outbound.write(1, b"answer", TRAILERS_OK)
    pair.exchange()
    assert pair.received(1) == b"answer"
    assert pair.ended(1)


def test_what_does_not_fit_moves_on_as_the_window_opens(pair: Any) -> None:
    pair.outbound.begin(1)
    assert not pair.outbound.write(1, b"x" * 100_000, TRAILERS_OK)
    assert pair.outbound.waits(1)
    pair.exchange()
    assert len(pair.received(1)) == 65_535
    assert pair.outbound.pump() == []
    pair.open_window(20_000)
    assert pair.outbound.pump() == []
    pair.open_window(20_000, 1)
    assert pair.outbound.pump() == []
    pair.exchange()
    assert len(pair.received(1)) == 85_535
    pair.open_window(50_000)
    pair.open_window(50_000, 1)
    assert pair.outbound.pump() == [1]
    pair.exchange()
    assert len(pair.received(1)) == 100_000
    assert pair.ended(1)
    assert not pair.outbound.waits(1)


def test_nothing_goes_out_while_the_transport_is_full(pair: Any) -> None:
    pair.outbound.writable = False
    pair.outbound.begin(1)
    assert not pair.outbound.write(1, b"answer", TRAILERS_OK)
    pair.outbound.writable = True
    assert pair.outbound.pump() == [1]


def test_the_transport_is_asked_between_large_pieces(pair: Any) -> None:
    pair.open_window(10_000_000)
    pair.open_window(10_000_000, 1)
    pair.outbound.begin(1)
    pair.outbound.write(1, b"x" * 300_000, TRAILERS_OK)
    assert pair.flushed >= 4


def test_a_client_that_has_reset_is_gone(pair: Any) -> None:
    pair.client.reset_stream(1)
    pair.exchange()
    assert not pair.outbound.is_open(1)
    with pytest.raises(PeerGone):
        pair.outbound.begin(1)
    with pytest.raises(PeerGone):
        pair.outbound.write(1, b"x")
    with pytest.raises(PeerGone):
        pair.outbound.end(1, TRAILERS_OK)
    pair.outbound.reset(1, ErrorCodes.CANCEL)


def test_a_client_that_resets_while_something_waits_does_not_disturb_the_others(pair: Any) -> None:
    pair.request(3)
    for stream_id in (1, 3):
        pair.outbound.begin(stream_id)
        pair.outbound.write(stream_id, b"x" * 100_000)
    pair.client.reset_stream(1)
    pair.exchange()
    pair.outbound.forget(1)
    pair.open_window(200_000)
    pair.open_window(200_000, 3)
    assert pair.outbound.pump() == [3]


def test_pumping_for_a_stream_that_was_reset_is_no_news(pair: Any) -> None:
    pair.outbound.begin(1)
    pair.outbound.write(1, b"x" * 100_000)
    pair.client.reset_stream(1)
    pair.exchange()
    assert pair.outbound.pump() == []


def test_reset_drops_what_waits(pair: Any) -> None:
    pair.outbound.begin(1)
    pair.outbound.write(1, b"x" * 100_000)
    pair.outbound.reset(1, ErrorCodes.CANCEL)
    pair.exchange()
    assert not pair.outbound.waits(1)
    assert any(isinstance(event, StreamReset) and event.error_code == 8 for event in pair.events)


def test_a_connection_that_is_over_is_gone(pair: Any) -> None:
    pair.outbound.begin(1)
    pair.server.close_connection()
    with pytest.raises(PeerGone):
        pair.outbound.write(1, b"x")
    with pytest.raises(PeerGone):
        pair.outbound.end(1, TRAILERS_OK)
    with pytest.raises(PeerGone):
        pair.outbound.reset(1, ErrorCodes.CANCEL)


@given(st.lists(st.integers(1, 150_000), min_size=1, max_size=4), st.lists(st.integers(1, 60_000), max_size=30))
def test_every_byte_arrives_once_and_in_order_whatever_the_windows_do(sizes: Any, steps: Any) -> None:
    pair = Pair()
    bodies = {2 * n + 1: bytes([n]) * size for n, size in enumerate(sizes)}
    done = set()
    for stream_id, body in bodies.items():
        pair.request(stream_id)
        pair.outbound.begin(stream_id)
        if pair.outbound.write(stream_id, body, TRAILERS_OK):
            done.add(stream_id)
    for step in [*steps, 1_000_000]:
        pair.exchange()
        pair.open_window(step)
        for stream_id in bodies:
            if not pair.ended(stream_id):
                pair.open_window(step, stream_id)
        done.update(pair.outbound.pump())
        pair.exchange()
    assert done == set(bodies)
    assert {stream_id: pair.received(stream_id) for stream_id in bodies} == bodies
    assert all(pair.ended(stream_id) for stream_id in bodies)
