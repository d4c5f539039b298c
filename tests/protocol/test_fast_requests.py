"""Requests that are taken past h2 are, to their calls and to h2 itself, those that h2 would have read."""

from __future__ import annotations

from typing import Any, cast

import pytest
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, WindowUpdated
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hpack import Encoder
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from flytower.protocol.fast_requests import BLOCKS, LARGEST_BLOCK, FastRequests
from flytower.protocol.headers import BadRequest, RequestHead, parse_head_untrusted
from flytower.protocol.http2 import H2_CONFIG
from flytower.protocol.inbound import Inbound
from flytower.protocol.limits import Limits

HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/t.T/Echo"),
    (":authority", "a"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


RESERVED = 1 << 31
"""The bit of a stream's number that has no meaning (RFC 9113 4.1)."""


class Receiver:
    """A connection's receiving half, in the place of the server's connection, its exchanges and its events."""

    def __init__(self, *, fast: bool, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.closed = False
        self.h2 = H2Connection(H2_CONFIG)
        self.connection = self.processor = self
        self.exchanges: dict[int, Exchange] = {}
        self.seen: list[Any] = []
        self.has_room = False
        self.by_h2 = 0  # requests that h2 has read
        self.inbound = Inbound(self.h2, cast("Any", self), fast=fast)
        self.h2.initiate_connection()

    def take(self, data: bytes) -> Any:
        """Return the error that ends it, if any."""
        try:
            self.inbound.feed(data)
        except ProtocolError as error:
            self.closed = True
            return type(error)
        return None

    def feed(self, data: bytes) -> list[Any]:
        return list(self.h2.receive_data(data))

    def process(self, event: Any) -> None:
        if isinstance(event, RequestReceived):
            self.by_h2 += 1
            self.request_received(event.stream_id or 0, event.headers, ended=event.stream_ended is not None)
        elif isinstance(event, DataReceived):
            self.acknowledge(event.flow_controlled_length or 0)
            if event.data:
                self.exchanges[event.stream_id or 0].feed(event.data)
        elif isinstance(event, StreamEnded):
            self.exchanges[event.stream_id or 0].end_of_request()
        elif isinstance(event, WindowUpdated):
            self.has_room = True
        else:
            self.seen.append(type(event))

    def request_received(self, stream_id: int, headers: Any, *, ended: bool) -> None:
        head: RequestHead | str
        try:
            head = headers if isinstance(headers, RequestHead) else parse_head_untrusted(headers)
        except BadRequest as error:
            head = str(error)
        self.exchanges[stream_id] = Exchange(stream_id, self.seen)
        self.seen.append((stream_id, head, ended))

    def acknowledge(self, size: int) -> None:
        self.seen.append(size)

    def state(self) -> Any:
        """All of h2's state that a later frame can depend on."""
        h2, decoder = self.h2, self.h2.decoder
        streams = {
            number: (
                stream.state_machine.state,
                stream.state_machine.client,
                stream.state_machine.headers_received,
                stream.inbound_flow_control_window,
                stream.outbound_flow_control_window,
                stream.max_outbound_frame_size,
                stream._expected_content_length,
                stream._actual_content_length,
            )
            for number, stream in h2.streams.items()
            if not stream.closed  # h2 forgets those when it comes to it
        }
        table = (list(decoder.header_table.dynamic_entries), decoder.header_table.maxsize)
        windows = h2.inbound_flow_control_window, h2.outbound_flow_control_window, self.has_room
        return h2.state_machine.state, h2.highest_inbound_stream_id, windows, streams, table


class Exchange:
    def __init__(self, stream_id: int, seen: list[Any]) -> None:
        self.stream_id = stream_id
        self.seen = seen

    def feed(self, data: bytes) -> None:
        self.seen.append((self.stream_id, data))

    def end_of_request(self) -> None:
        self.seen.append((self.stream_id, "end"))


class Client:
    """Makes the bytes of requests."""

    def __init__(self, changed: dict[SettingCodes | int, int] | None = None) -> None:
        unchecked = H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False)
        self.h2 = H2Connection(unchecked)
        self.h2.initiate_connection()
        if changed:
            self.h2.update_settings(changed)

    def greeting(self) -> bytes:
        return self.h2.data_to_send()

    def request(self, data: bytes = b"12345", extra: tuple[tuple[str, str], ...] = (), **options: Any) -> bytes:
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, [*HEADERS, *extra], **options)
        self.h2.send_data(stream_id, data, end_stream=True)
        return self.h2.data_to_send()


def opened(*, fast: bool = True, limits: Limits | None = None) -> tuple[Client, Receiver]:
    """A connection that has had a request, which only h2 can read: it opens the connection."""
    client, receiver = Client(), Receiver(fast=fast, limits=limits)
    assert receiver.take(client.greeting() + client.request()) is None
    assert receiver.by_h2 == 1
    return client, receiver


def _literal(name: str, value: str) -> bytes:
    """A header that is not indexed, without Huffman coding."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


extras = st.lists(
    st.sampled_from(
        [
            ("grpc-timeout", "10S"),
            ("grpc-timeout", "9999m"),
            ("user-agent", "x/1"),
            ("x-long", "y" * 300),
            ("k-bin", "AAEC"),
            ("k-bin", "?"),
            ("content-length", "5"),
            (":status", "200"),
        ]
    ),
    unique_by=lambda header: header[0],
    max_size=4,
).map(tuple)

steps = st.one_of(
    st.builds(lambda data, extra: lambda c: c.request(data, extra), st.binary(min_size=5, max_size=40), extras),
    st.builds(
        lambda weight: lambda c: c.request(priority_weight=weight, priority_exclusive=False, priority_depends_on=0),
        st.integers(1, 256),
    ),
    st.just(lambda c: (c.h2.ping(b"12345678"), c.h2.data_to_send())[1]),
    st.builds(
        lambda size: lambda c: (c.h2.increment_flow_control_window(size), c.h2.data_to_send())[1], st.integers(1, 9)
    ),
    st.builds(lambda size: lambda c: _resized(c, size), st.sampled_from([0, 64, 4096])),
    st.just(lambda c: RstStreamFrame(c.h2.highest_outbound_stream_id).serialize()),
    st.binary(min_size=1, max_size=12).map(lambda junk: lambda _: junk),
    st.builds(
        lambda kind, flags, number, body: (
            lambda _: len(body).to_bytes(3) + bytes([kind, flags]) + number.to_bytes(4) + body
        ),
        st.sampled_from([0, 1, 2, 3, 6, 8, 9, 99]),
        st.sampled_from([0, 1, 4, 5, 8, 0x24]),
        st.integers(0, 12) | st.integers(RESERVED, RESERVED + 12),
        st.binary(max_size=12),
    ),
)


def _resized(client: Client, size: int) -> bytes:
    client.h2.encoder.header_table_size = size
    return client.request()


@given(st.lists(steps, max_size=8), st.lists(st.integers(1, 80), max_size=12), st.sampled_from([1000, 3]))
@settings(max_examples=300)
def test_calls_and_h2_see_the_same_whichever_way_each_frame_went(
    made: list[Any], cuts: list[int], streams: int
) -> None:
    limits = Limits(max_concurrent_streams=streams)
    client = Client()
    data = client.greeting() + client.request() + b"".join(step(client) for step in made)
    fast, plain = Receiver(fast=True, limits=limits), Receiver(fast=False, limits=limits)
    for receiver in (fast, plain):
        receiver.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: streams})
        receiver.take(data[:33])  # the preface and the head of SETTINGS
    position = 33
    for cut in [*cuts, len(data)]:
        ends = [receiver.take(data[position : position + cut]) for receiver in (fast, plain)]
        position += cut
        assert ends[0] == ends[1]
        if ends[0] is not None:
            assert fast.h2.data_to_send() == plain.h2.data_to_send()
            return  # h2 processes nothing of a piece that has a mistake in it
        assert fast.seen == plain.seen
        assert fast.state() == plain.state()
        assert fast.h2.data_to_send() == plain.h2.data_to_send()


def test_ordinary_requests_go_past_h2() -> None:
    client, receiver = opened()
    for _ in range(3):
        assert receiver.take(client.request()) is None
    assert receiver.by_h2 == 1
    assert [each for each in receiver.seen if each == (7, "end")]


def test_the_reserved_bit_of_a_streams_number_is_ignored() -> None:
    client, receiver = opened()
    request = client.request()
    for frame in (request[:-14], request[-14:]):
        assert receiver.take(frame[:5] + bytes([frame[5] | 0x80]) + frame[6:]) is None
    assert (3, "end") in receiver.seen


def test_h2_reads_them_all_when_told_so() -> None:
    client, receiver = opened(fast=False)
    assert receiver.take(client.request()) is None
    assert receiver.by_h2 == 2


def test_a_block_that_comes_again_is_not_decoded_again() -> None:
    client, receiver = opened()
    receiver.take(client.request())
    before = [each[1] for each in receiver.seen if isinstance(each, tuple) and len(each) == 3]
    receiver.take(client.request())
    after = [each[1] for each in receiver.seen if isinstance(each, tuple) and len(each) == 3]
    assert after[-1] is before[-1]


def test_a_block_means_something_else_when_the_table_has_changed() -> None:
    _, receiver = opened()
    encoder = Encoder()
    first = encoder.encode([*HEADERS, ("x-name", "one")])
    again = encoder.encode([*HEADERS, ("x-name", "one")])  # indexes only
    seen = []
    for number, block in enumerate((first, again, again, b"\x40\1x\1y", again)):
        receiver.take(HeadersFrame(101 + 2 * number, block, flags=["END_HEADERS"]).serialize())
        seen.append(receiver.seen[-1][1])
    assert seen[1] is seen[2]
    assert isinstance(seen[0], RequestHead)
    assert seen[0] == seen[1] != seen[4]


@pytest.mark.parametrize("change", ["entry", "size"])
def test_any_change_of_the_table_forgets_what_blocks_mean(change: str) -> None:
    client, receiver = opened()
    receiver.take(client.request())
    table: Any = receiver.h2.decoder.header_table
    assert table.blocks
    if change == "entry":
        table.add(b"x", b"y")
    else:
        table.maxsize = 100
    assert table.maxsize == (100 if change == "size" else 4096)
    assert not table.blocks


def test_what_is_remembered_is_bounded() -> None:
    _, receiver = opened()
    table: Any = receiver.h2.decoder.header_table
    literal = b"".join(_literal(name, value) for name, value in HEADERS)
    for number in range(2 * BLOCKS):
        block = literal + _literal("x", str(number))
        receiver.take(HeadersFrame(101 + 2 * number, block, flags=["END_HEADERS"]).serialize())
    assert len(table.blocks) == BLOCKS
    table.blocks.clear()
    receiver.take(HeadersFrame(901, literal + _literal("x", "y" * 100) * 3, flags=["END_HEADERS"]).serialize())
    assert len(literal) + 300 > LARGEST_BLOCK
    assert not table.blocks


BLOCK = b"".join(bytes([0x80 | index]) for index in (3, 6))
"""":method: POST", ":scheme: http"."""


@pytest.mark.parametrize(
    ("stream_id", "flags", "block"),
    [
        (5, 5, BLOCK),  # ends with its headers
        (5, 0, BLOCK),  # its headers go on in another frame
        (5, 12, b"\0" + BLOCK),  # padded
        (5, 0x24, b"\0\0\0\0\0" + BLOCK),  # with a priority
        (4, 4, BLOCK),  # the server's numbers are even
        (1, 4, BLOCK),  # trailers, or a stream that was there before
        (5, 4, _literal("x", "y" * 100) * 200),  # longer than a frame may be
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
        frame = HeadersFrame(5, _literal(":status", "100") + BLOCK, flags=["END_HEADERS"])
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
    assert fast.begin_untrusted(3, 4, BLOCK + _literal("content-length", "10")) is not None
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


def fast_of(receiver: Receiver) -> FastRequests:
    assert receiver.inbound._fast is not None
    return receiver.inbound._fast


def test_what_h2_keeps_of_a_stream_is_what_it_would_have_kept() -> None:
    for steps in (1, 2):  # the headers, and then the data
        states = []
        for fast in (True, False):
            client, receiver = opened(fast=fast)
            data = client.request()
            receiver.take(data if steps == 2 else data[:-14])
            states.append((receiver.state(), vars(receiver.h2.streams[3].state_machine)))
        assert states[0] == states[1]


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
