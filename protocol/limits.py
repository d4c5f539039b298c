"""How much a peer may have of this process. Every figure has its reason beside it, and is a setting."""

from __future__ import annotations

from dataclasses import dataclass, fields

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the server grants its clients.

    Raises:
        ValueError: A limit is not positive, or two of them contradict each other.
    """

    max_message_bytes: int = 4 * MIB
    """One request message. gRPC's own default in every language, so no stock client expects more."""

    max_response_bytes: int = 4 * MIB - 16 * KIB
    """One response message. grpc-go refuses more than 4 MiB, at a place where nobody sees why."""

    max_header_bytes: int = 64 * KIB
    """The headers of one request, unpacked. HPACK can pack megabytes into one frame; clients send below 2 kB."""

    max_concurrent_streams: int = 1000
    """Open calls per connection. h2's 100 would let 100 followed logs block the deletes of the same client."""

    max_connections: int = 1000
    """Open connections. A propeller has one or two; file descriptors end at 1024 by default."""

    max_calls: int = 10_000
    """Calls in flight in total. A call that waits is some kilobytes; beyond this, saying no at once is kinder."""

    max_buffered_bytes: int = 64 * MIB
    """Request bytes in total that are held before their messages are complete or read."""

    inline_decode_bytes: int = 64 * KIB
    """Larger requests are decoded in a thread. Pure Python decodes about 1 MB per second: 4 MiB would stop the loop."""

    max_timer_seconds: float = 24 * 3600.0
    """A `grpc-timeout` beyond this gets no timer here. Its client will hang up by itself, or is gone by then."""

    handshake_seconds: float = 5.0
    """From the connection to the client's preface and SETTINGS, which it sends without being asked."""

    frame_seconds: float = 5.0
    """From the first byte of a frame, or of a header block, to its last. A frame is at most 16 KiB."""

    body_seconds: float = 30.0
    """From the headers to the first message, and from a message's first byte to its last: 4 MiB at 140 kB/s."""

    write_seconds: float = 30.0
    """How long a client may leave everything unread. Flyte's own calls have given up after 10 s."""

    idle_seconds: float = 30 * 60.0
    """A connection without a call for so long is closed gracefully; every gRPC client reconnects by itself."""

    linger_seconds: float = 1.0
    """How long a closed connection may take to read what was sent to it, before it is cut."""

    write_buffer_bytes: int = 256 * KIB
    """Unsent bytes after which a connection is neither written to nor read from until its client has caught up."""

    reset_burst: int = 1000
    """Streams that a client may reset at once (CVE-2023-44487). nghttp2's figure."""

    reset_rate: float = 33.0
    """Resets per second after that. nghttp2's figure."""

    control_burst: int = 2000
    """PING, SETTINGS, PRIORITY, empty and unknown frames at once. Each costs CPU, and most are owed an answer."""

    control_rate: float = 100.0
    """Such frames per second after that. Keepalive needs one in 10 s."""

    control_per_call: int = 10
    """Such frames earned by each call: grpc-go measures its bandwidth with a PING for nearly every answer."""

    fast_answers: bool = True
    """Whether answers are written in one piece, past h2, for a third less CPU. Off: h2 writes each frame."""

    fast_requests: bool = True
    """Whether requests are taken from ordinary frames past h2, for a third less CPU. Off: h2 reads each frame."""

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self)):
            if not isinstance(getattr(self, name), bool) and not getattr(self, name) > 0:
                message = f"The limit {name} must be positive, not {getattr(self, name)!r}."
                raise ValueError(message)
        if self.max_message_bytes >= 2**31 - 64 * KIB:
            message = f"The limit max_message_bytes must be below 2 GiB, not {self.max_message_bytes}."
            raise ValueError(message)
