"""The receiving half of a connection, and a client that makes the bytes of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, WindowUpdated
from h2.exceptions import ProtocolError

from flytower.protocol.headers import BadRequest, RequestHead, parse_head_untrusted
from flytower.protocol.http2 import H2_CONFIG
from flytower.protocol.inbound import Inbound
from flytower.protocol.limits import Limits

if TYPE_CHECKING:
    from h2.settings import SettingCodes

    from flytower.protocol.fast_requests import FastRequests

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


def unindexed(name: str, value: str) -> bytes:
    """A header that is not indexed, without Huffman coding."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


BLOCK = b"".join(bytes([0x80 | index]) for index in (3, 6))
"""":method: POST", ":scheme: http"."""


def fast_of(receiver: Receiver) -> FastRequests:
    assert receiver.inbound._fast is not None
    return receiver.inbound._fast
