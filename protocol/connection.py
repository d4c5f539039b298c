"""One client's connection: grpclib's protocol on h2, made fit for peers that mean no good.

As grpclib comes, an unknown frame or a header byte outside of ASCII raises out of the event
loop, a length prefix may announce 4 GiB, resets and PINGs are not counted, and GOAWAY cuts the calls in flight.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, cast

import structlog
import trio
from grpclib.protocol import H2Protocol
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from flytower.protocol.events import DRAIN_PING, ConnectionEvents, NoHandler
from flytower.protocol.flood import TokenBucket
from flytower.protocol.headers import refusal
from flytower.protocol.http2 import H2_CONFIG, LAST_STREAM_ID, configuration, goaway, has_unfinished_input, tuned
from flytower.protocol.inbound import Inbound
from flytower.protocol.outbound import Outbound, PeerGone
from flytower.protocol.status import RpcError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from flytower.protocol.exchange import Exchange
    from flytower.protocol.headers import RawHeaders, RequestHead
    from flytower.protocol.server import Server
    from flytower.protocol.timers import Timer
    from flytower.protocol.unary import UnaryExchange

log = structlog.get_logger(__name__)

TCP_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A peer whose machine has vanished is noticed by the kernel after two minutes, without a PING of ours."""


class ServerConnection(H2Protocol):
    """A connection from its first byte to its last.

    Args:
        server: Admits connections, and hears of their end.
    """

    inbound: Inbound
    outbound: Outbound
    transport: asyncio.Transport
    processor: ConnectionEvents

    def __init__(self, server: Server) -> None:
        self.limits = server.limits
        super().__init__(NoHandler(), configuration(self.limits), H2_CONFIG)
        self.server = server
        self.peer = "?"
        self.exchanges: dict[int, Exchange] = {}  # streams whose call has not ended
        self.awaiting: list[UnaryExchange] = []  # calls that began with what was received last
        self.closed = False  # nothing is read, written or begun any more
        self.draining = False  # no call begins any more
        self.has_room = False  # a window was opened since the last pump
        self._drain_acknowledged = False
        self._receiving = False  # the end of `data_received` will flush
        self._flush_is_due = False
        self._unacknowledged = 0
        self._last_used = trio.current_time()
        self._timers: dict[str, Timer] = {}
        self._resets = TokenBucket(self.limits.reset_burst, self.limits.reset_rate, self._last_used)
        self._controls = TokenBucket(self.limits.control_burst, self.limits.control_rate, self._last_used)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "draining" if self.draining else "open"
        return f"<ServerConnection {self.peer}, {state}, calls: {len(self.exchanges)}>"

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves, if there is room for another client."""
        self.transport = cast("asyncio.Transport", transport)
        if not self.server.admit(self):
            self.closed = True
            self.transport.abort()
            return
        self.peer = _peer_name(transport)
        _keep_alive(transport)
        self.transport.set_write_buffer_limits(high=self.limits.write_buffer_bytes)
        super().connection_made(transport)
        self._h2 = tuned(self.connection, self.limits)
        self.inbound = Inbound(self._h2, self, fast=self.limits.fast_requests)
        self.outbound = Outbound(self._h2, self.flush, fast=self.limits.fast_answers)
        self.processor = ConnectionEvents(self)
        self.flush()
        self._arm("handshake", self.limits.handshake_seconds, self.abort)
        self._arm("idle", self.limits.idle_seconds, self._check_idle)

    def data_received(self, data: bytes) -> None:
        """Take what the client has sent. Whatever it is, the worst that follows is the end of this connection."""
        if self.closed:
            return
        self._receiving = True
        try:
            progress = self.inbound.feed(data)
        except ProtocolError as error:
            log.debug("A client broke the rules of HTTP/2", peer=self.peer, error=str(error))
            self.close("protocol error")  # h2 has its GOAWAY ready
        except Exception:
            log.exception("A connection failed", peer=self.peer)
            self.terminate(ErrorCodes.INTERNAL_ERROR)
        else:
            self._after(progress=progress)
        finally:
            self._receiving = False

    def pause_writing(self) -> None:
        """Stop reading too: what a client asks for and does not take would pile up here."""
        super().pause_writing()
        self.outbound.writable = False
        self.transport.pause_reading()
        self._arm("write", self.limits.write_seconds, self.abort)

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._disarm("write")
        self.outbound.writable = True
        self.transport.resume_reading()
        self._pump()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell everyone who waits for this client."""
        self.closed = True
        for name in list(self._timers):
            self._disarm(name)
        self._hang_up()
        if hasattr(self, "connection"):
            super().connection_lost(exc)
        self.server.lost(self)

    # What the events tell

    def request_received(self, stream_id: int, headers: RequestHead | RawHeaders, *, ended: bool) -> None:
        """Let a call begin, or say why not."""
        self._last_used = trio.current_time()
        self._controls.credit(self.limits.control_per_call)
        if self.draining:
            self.outbound.reset(stream_id, ErrorCodes.REFUSED_STREAM)  # gRPC clients then call another server
            return
        try:
            exchange = self.server.dispatcher.accept(self, stream_id, headers)
        except RpcError as error:
            self._refuse(stream_id, error, ended=ended)
        else:
            self.exchanges[stream_id] = exchange
            exchange.start()

    def _refuse(self, stream_id: int, error: RpcError, *, ended: bool) -> None:
        with contextlib.suppress(PeerGone):
            self.outbound.end(stream_id, refusal(error))
            if not ended:
                self.outbound.reset(stream_id, ErrorCodes.NO_ERROR)

    def stream_reset(self, stream_id: int) -> None:
        """Withdraw a call whose client has given up."""
        self.server.dispatcher.counters.resets += 1
        exchange = self.exchanges.get(stream_id)
        if exchange is not None:
            self.outbound.forget(stream_id)
            exchange.hang_up()
        if not self._resets.take(trio.current_time()):
            log.warning("A client resets too many streams", peer=self.peer)
            self.terminate(ErrorCodes.ENHANCE_YOUR_CALM)

    def count_control_frame(self) -> None:
        """Take a token for a frame that has nothing to do with a call."""
        if not self._controls.take(trio.current_time()):
            log.warning("A client sends too many control frames", peer=self.peer)
            self.terminate(ErrorCodes.ENHANCE_YOUR_CALM)

    def greeted(self) -> None:
        """Hear that the client speaks HTTP/2, or has changed its settings."""
        self._disarm("handshake")
        self.has_room = True

    def acknowledge(self, size: int) -> None:
        """Open the connection's window again by what has arrived. What a call may hold, its stream's window says."""
        self._unacknowledged += size
        if self._unacknowledged >= self.config.http2_connection_window_size // 4:
            self._h2.increment_flow_control_window(self._unacknowledged)
            self._unacknowledged = 0

    # What exchanges ask

    def consumed(self, stream_id: int, size: int) -> None:
        """Open a stream's window again by what its handler has taken."""
        if not self.closed and self.outbound.is_open(stream_id):
            with contextlib.suppress(ProtocolError):
                self._h2.increment_flow_control_window(size, stream_id)
            self.flush_soon()

    def forget(self, stream_id: int) -> None:
        """Hear of the end of a call."""
        self.exchanges.pop(stream_id, None)
        self._last_used = trio.current_time()
        self._close_if_drained()

    def flush_soon(self) -> None:
        """Send what h2 has ready, together with what else becomes ready in this turn of the loop."""
        if not (self._receiving or self._flush_is_due or self.closed):
            self._flush_is_due = True
            self.server.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what h2 has ready."""
        self._flush_is_due = False
        if not self.closed:
            self.connection.flush()

    # The end

    def drain(self) -> None:
        """Ask the client to make its next calls elsewhere, and close when those under way have ended.

        The PING tells when the client has seen the GOAWAY: until then its calls may cross it on the way, and are
        refused in a way that makes it try again.
        """
        if self.closed or self.draining:
            return
        self.draining = True
        self._write_goaway(LAST_STREAM_ID)
        self._h2.ping(DRAIN_PING)
        self.flush()
        self._arm("drain", self.limits.linger_seconds, self.drain_acknowledged)

    def drain_acknowledged(self) -> None:
        """Hear that the client knows, or has had the time to."""
        if self.draining and not self._drain_acknowledged:
            self._drain_acknowledged = True
            self._disarm("drain")
            self._write_goaway(self._h2.highest_inbound_stream_id)
            self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self._drain_acknowledged and not self.exchanges:
            self.close("drained", self.limits.write_seconds)

    def terminate(self, code: ErrorCodes) -> None:
        """Say why, and close."""
        if not self.closed:
            with contextlib.suppress(ProtocolError):
                self._h2.close_connection(code)
            self.close(code.name)

    def close(self, reason: str, linger: float | None = None) -> None:
        """Send what is ready, close, and cut the line if the client does not read it.

        Args:
            reason: For the log.
            linger: Seconds that the client has for reading; by default `linger_seconds`.
        """
        if self.closed:
            return
        log.debug("A connection is closed", peer=self.peer, reason=reason)
        self.flush()
        self.closed = True
        self._arm("linger", self.limits.linger_seconds if linger is None else linger, self.abort)
        self.processor.close(reason)
        self._hang_up()

    def abort(self) -> None:
        """Cut the line."""
        self.transport.abort()

    # Inside

    def _after(self, *, progress: bool) -> None:
        if self.closed:
            return
        for exchange in self.awaiting:
            exchange.await_request()
        self.awaiting.clear()
        if self.has_room:
            self._pump()
        self.flush()
        if not has_unfinished_input(self._h2):
            self._disarm("frame")
        elif progress or "frame" not in self._timers:
            self._arm("frame", self.limits.frame_seconds, self.abort)

    def _pump(self) -> None:
        self.has_room = False
        for stream_id in self.outbound.pump():
            exchange = self.exchanges.get(stream_id)
            if exchange is not None:
                exchange.sent()
        self.flush_soon()

    def _write_goaway(self, last_stream_id: int) -> None:
        if not self.closed:
            self.flush()
            self.transport.write(goaway(last_stream_id))

    def _hang_up(self) -> None:
        for exchange in list(self.exchanges.values()):
            exchange.hang_up()

    def _check_idle(self) -> None:
        due = self._last_used + self.limits.idle_seconds
        now = trio.current_time()
        if self.exchanges or now < due:
            self._arm("idle", max(due - now, self.limits.idle_seconds / 2), self._check_idle)
        else:
            self.drain()

    def _arm(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        self._disarm(name)
        self._timers[name] = self.server.dispatcher.timers.at(trio.current_time() + seconds, action)

    def _disarm(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def _peer_name(transport: asyncio.BaseTransport) -> str:
    address = transport.get_extra_info("peername")
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "?"


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the client may be gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in TCP_KEEPALIVE.items():
            if hasattr(socket, name):  # not on every system
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
