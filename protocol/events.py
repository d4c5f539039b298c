"""What the frames of a client mean to its connection and its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpclib.protocol import AbstractHandler, EventsProcessor
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)

if TYPE_CHECKING:
    from flytower.protocol.connection import ServerConnection

DRAIN_PING = b"draining"
"""The payload of the PING that follows a GOAWAY."""

_CALL_EVENTS = frozenset(
    {RequestReceived, DataReceived, StreamEnded, StreamReset, TrailersReceived, WindowUpdated, ConnectionTerminated}
)
"""What a call consists of. All other frames are control frames, and counted."""


class NoHandler(AbstractHandler):
    """grpclib's seat for a handler that runs a task per call. Ours are synchronous, see `ConnectionEvents`."""

    def accept(self, stream: Any, headers: Any, release_stream: Any) -> None:
        """Do nothing."""

    def cancel(self, stream: Any) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class ConnectionEvents(EventsProcessor):
    """Hands the events of h2 to the connection and its exchanges. What it does not know is counted, and ignored."""

    def __init__(self, owner: ServerConnection) -> None:
        super().__init__(owner.handler, owner.connection)
        self.owner = owner
        self.processors[TrailersReceived] = self.process_trailers_received

    def process(self, event: Event) -> None:
        """Process one event; a frame that says nothing about a call costs the client a token."""
        if event.__class__ not in _CALL_EVENTS and not self.owner.closed:
            self.owner.count_control_frame()
        if self.owner.closed:  # before this event, or by it: grpclib has then taken its table apart
            return
        action: Any = self.processors.get(event.__class__)
        if action is not None:
            action(event)

    def process_request_received(self, event: RequestReceived) -> None:
        """A call begins."""
        headers = event.headers
        self.owner.request_received(_number(event.stream_id), headers, ended=event.stream_ended is not None)

    def process_data_received(self, event: DataReceived) -> None:
        """A piece of a request."""
        self.owner.acknowledge(event.flow_controlled_length or 0)
        if not event.data and event.stream_ended is None:
            self.owner.count_control_frame()
        exchange = self.owner.exchanges.get(_number(event.stream_id))
        if exchange is not None and event.data:
            exchange.feed(event.data)

    def process_stream_ended(self, event: StreamEnded) -> None:
        """A request is complete."""
        exchange = self.owner.exchanges.get(_number(event.stream_id))
        if exchange is not None:
            exchange.end_of_request()

    def process_stream_reset(self, event: StreamReset) -> None:
        """A client gives up a call."""
        self.owner.stream_reset(_number(event.stream_id))

    def process_trailers_received(self, event: TrailersReceived) -> None:
        """Trailers of a request mean nothing in gRPC."""

    def process_window_updated(self, event: WindowUpdated) -> None:  # noqa: ARG002 - grpclib calls it so
        """A client has room for more."""
        self.owner.has_room = True

    def process_remote_settings_changed(self, event: RemoteSettingsChanged) -> None:  # noqa: ARG002 - likewise
        """A client has introduced itself, or changed its windows."""
        self.owner.greeted()

    def process_ping_ack_received(self, event: PingAckReceived) -> None:
        """A client has seen the GOAWAY that went before the PING."""
        if event.ping_data == DRAIN_PING:
            self.owner.drain_acknowledged()

    def process_connection_terminated(self, event: ConnectionTerminated) -> None:
        """A client takes its leave. h2 sends nothing more after this."""
        self.owner.close(f"the client has sent GOAWAY, code {event.error_code}")


def _number(stream_id: int | None) -> int:
    return stream_id or 0
