"""What is not ordinary is left to h2, which knows what to make of it."""

from __future__ import annotations

from typing import Any

import pytest
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hyperframe.frame import DataFrame, HeadersFrame

from flytower.protocol.limits import Limits
from tests.protocol.fast_receiver import BLOCK, fast_of, opened, unindexed


@pytest.mark.parametrize(
    ("stream_id", "flags", "block"),
    [
        (5, 5, BLOCK),  # ends with its headers
        (5, 0, BLOCK),  # its headers go on in another frame
        (5, 12, b"\0" + BLOCK),  # padded
        (5, 0x24, b"\0\0\0\0\0" + BLOCK),  # with a priority
        (4, 4, BLOCK),  # the server's numbers are even
        (1, 4, BLOCK),  # trailers, or a stream that was there before
        (5, 4, unindexed("x", "y" * 100) * 200),  # longer than a frame may be
    ],
)
def test_headers_that_are_not_ordinary_are_left_to_h2(stream_id: int, flags: int, block: bytes) -> None:
    _, receiver = opened()
    before = receiver.state()
    assert fast_of(receiver).begin_untrusted(stream_id, flags, block) is None
    assert receiver.state() == before


def test_a_stream_too_many_is_left_to_h2() -> None:
    _, receiver = opened(limits=Limits(max_concurrent_streams=3))
    fast = fast_of(receiver)
    assert fast.begin_untrusted(3, 4, BLOCK) is not None
    assert fast.begin_untrusted(5, 4, BLOCK) is not None
    assert fast.begin_untrusted(7, 4, BLOCK) is None


def test_headers_of_a_response_end_the_connection_as_with_h2() -> None:
    ends = []
    for fast in (True, False):
        _, receiver = opened(fast=fast)
        frame = HeadersFrame(5, unindexed(":status", "100") + BLOCK, flags=["END_HEADERS"])
        ends.append((receiver.take(frame.serialize()), receiver.h2.data_to_send()))
    assert ends[0] == ends[1]
    assert ends[0][0] is ProtocolError


@pytest.mark.parametrize(
    ("stream_id", "flags", "size"),
    [
        (3, 0, 10),  # not the last
        (3, 9, 10),  # padded
        (1, 1, 10),  # has ended before
        (9, 1, 10),  # was never begun
        (3, 1, 2**14 + 1),  # longer than a frame may be
        (3, 1, 1001),  # beyond the window of the stream
    ],
)
def test_data_that_is_not_ordinary_is_left_to_h2(stream_id: int, flags: int, size: int) -> None:
    _, receiver = opened()
    fast = fast_of(receiver)
    assert fast.begin_untrusted(3, 4, BLOCK) is not None
    receiver.h2.streams[3]._inbound_window_manager.current_window_size = 1000
    before = receiver.state()
    assert not fast.end_untrusted(stream_id, flags, size)
    assert receiver.state() == before
    assert fast.end_untrusted(3, 1, 1000)


def test_data_of_a_length_that_was_announced_goes_past_h2_and_of_another_does_not() -> None:
    _, receiver = opened()
    fast = fast_of(receiver)
    assert fast.begin_untrusted(3, 4, BLOCK + unindexed("content-length", "10")) is not None
    for size in (9, 11):
        assert not fast.end_untrusted(3, 1, size)
    assert fast.end_untrusted(3, 1, 10)


def test_data_beyond_the_window_of_the_connection_is_left_to_h2() -> None:
    _, receiver = opened()
    fast = fast_of(receiver)
    assert fast.begin_untrusted(3, 4, BLOCK) is not None
    receiver.h2._inbound_flow_control_window_manager.current_window_size = 1000
    assert not fast.end_untrusted(3, 1, 1001)
    assert fast.end_untrusted(3, 1, 1000)


@pytest.mark.parametrize("stream_id", [0, 3])
def test_windows_are_opened_past_h2_as_far_as_they_go(stream_id: int) -> None:
    _, receiver = opened()
    fast = fast_of(receiver)
    assert fast.begin_untrusted(3, 4, BLOCK) is not None
    owner: Any = receiver.h2.streams[3] if stream_id else receiver.h2
    room = 2**31 - 1 - owner.outbound_flow_control_window
    for content in (b"", bytes(4), bytes(5), (room + 1).to_bytes(4), (2**31).to_bytes(4)):
        before = receiver.state()
        assert not fast.widen_untrusted(stream_id, content)
        assert receiver.state() == before
    assert fast.widen_untrusted(stream_id, room.to_bytes(4))
    assert owner.outbound_flow_control_window == 2**31 - 1


def test_windows_of_streams_that_are_not_open_are_left_to_h2() -> None:
    client, receiver = opened()
    assert not fast_of(receiver).widen_untrusted(9, b"\0\0\0\1")
    receiver.h2.reset_stream(1)
    assert not fast_of(receiver).widen_untrusted(1, b"\0\0\0\1")
    before = receiver.h2.outbound_flow_control_window
    client.h2.increment_flow_control_window(5)
    assert not receiver.has_room
    receiver.take(client.h2.data_to_send())
    assert receiver.has_room
    assert receiver.h2.outbound_flow_control_window == before + 5


def test_data_beyond_a_window_is_left_to_h2_which_ends_the_connection() -> None:
    client, receiver = opened()
    receiver.take(client.request(b"")[:-9])
    window = receiver.h2.inbound_flow_control_window
    stream_id = receiver.h2.highest_inbound_stream_id
    for _ in range(window // 16384):
        assert receiver.take(DataFrame(stream_id, bytes(16384)).serialize()) is None
    assert receiver.take(DataFrame(stream_id, bytes(16384), flags=["END_STREAM"]).serialize()) is not None


@pytest.mark.parametrize("length", ["5", "6", "x"])
def test_a_length_that_was_announced_is_held_against_the_data_by_h2(length: str) -> None:
    results = []
    for fast in (True, False):
        client, receiver = opened(fast=fast)
        results.append((receiver.take(client.request(b"12345", (("content-length", length),))), receiver.seen[:2]))
    assert results[0] == results[1]


def test_nothing_goes_past_h2_after_its_goodbye() -> None:
    client, receiver = opened()
    receiver.h2.close_connection(ErrorCodes.NO_ERROR)
    assert receiver.h2.state_machine.state is ConnectionState.CLOSED
    assert receiver.take(client.request()) is not None


def test_frames_behind_the_end_of_a_connection_are_not_looked_at() -> None:
    client, receiver = opened()
    receiver.take(client.request())
    before = list(receiver.seen)
    receiver.closed = True
    receiver.process = lambda event: None  # type: ignore[method-assign]  # as the events of a closed connection are
    receiver.inbound.feed(client.request())
    assert receiver.seen == before
