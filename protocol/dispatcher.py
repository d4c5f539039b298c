"""Which calls are let in, what is counted, and who hears of their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from flytower.protocol.calls import Call, Method, Unary
from flytower.protocol.headers import BadRequest, RequestHead, parse_head_untrusted
from flytower.protocol.status import RpcError, Status
from flytower.protocol.streaming import StreamingExchange
from flytower.protocol.timers import Timers
from flytower.protocol.unary import UnaryExchange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from flytower.protocol.connection import ServerConnection
    from flytower.protocol.exchange import Exchange
    from flytower.protocol.headers import RawHeaders
    from flytower.protocol.limits import Limits

log = structlog.get_logger(__name__)

DECODER_THREADS = 1
"""Large requests are decoded one after the other: more threads would only take the interpreter from the loop."""


class Counters:
    """What has happened since the server began."""

    def __init__(self) -> None:
        self.connections = 0
        self.calls = 0
        self.refused = 0
        self.refused_connections = 0
        self.resets = 0


class Dispatcher:
    """Turns request headers into exchanges, within the limits.

    Args:
        methods: What is served.
        limits: What clients are granted.
        nursery: Where the tasks of streaming calls live.
        finished: Called with each call, its final status and the seconds that it took.

    Raises:
        ValueError: Two methods have the same path.
    """

    def __init__(
        self,
        methods: Iterable[Method],
        limits: Limits,
        nursery: trio.Nursery,
        finished: Callable[[Call, Status, float], None] | None,
    ) -> None:
        self.limits = limits
        self._nursery = nursery
        self.timers = Timers()
        self.decoders = trio.CapacityLimiter(DECODER_THREADS)
        self.counters = Counters()
        self.exchanges: set[Exchange] = set()  # every call that has begun and has not ended
        self.idle = trio.Event()  # set while there is no such call; replaced when one begins
        self.idle.set()
        self._buffered = 0
        self._finished = finished
        self._methods = _by_path(methods)

    # Admission

    def accept(self, connection: ServerConnection, stream_id: int, headers: RequestHead | RawHeaders) -> Exchange:
        """Let a call in. Its headers are as they came, or have been read.

        Raises:
            RpcError: It is refused, and why.
        """
        self.counters.calls += 1
        try:
            head = headers if isinstance(headers, RequestHead) else parse_head_untrusted(headers)
        except BadRequest:
            self.counters.refused += 1
            raise
        call = self._call(connection, head)
        try:
            exchange = self._exchange(connection, stream_id, head, call)
        except RpcError as error:
            self.counters.refused += 1
            self._report(call, error.status)
            raise
        self._begin(exchange)
        return exchange

    def _call(self, connection: ServerConnection, head: RequestHead) -> Call:
        now = trio.current_time()
        deadline = None if head.timeout is None else now + head.timeout
        return Call(head.path, deadline, head.metadata, connection.peer, started=now)

    def _exchange(self, connection: ServerConnection, stream_id: int, head: RequestHead, call: Call) -> Exchange:
        method = self._methods.get(head.path)
        if method is None:
            raise RpcError(Status.UNIMPLEMENTED, f"This server has no method {head.path!r}.")
        if len(self.exchanges) >= self.limits.max_calls:
            text = f"The server has its {self.limits.max_calls} calls in flight: try again later."
            raise RpcError(Status.RESOURCE_EXHAUSTED, text)
        if isinstance(method, Unary):
            return UnaryExchange(self, connection, stream_id, call, method)
        return StreamingExchange(self, connection, stream_id, call, method)

    def _begin(self, exchange: Exchange) -> None:
        if not self.exchanges:
            self.idle = trio.Event()
        self.exchanges.add(exchange)

    # What exchanges tell

    def start(self, function: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a part of a call as a task of its own; whatever it fails with ends no other call."""
        self._nursery.start_soon(_guarded, function, args)

    def hold(self, size: int) -> None:
        """Count request bytes that are kept.

        Raises:
            RpcError: RESOURCE_EXHAUSTED; the server keeps too many.
        """
        self._buffered += size
        if self._buffered > self.limits.max_buffered_bytes:
            raise RpcError(Status.RESOURCE_EXHAUSTED, "The server is receiving too much at once: try again later.")

    def release(self, size: int) -> None:
        """Count request bytes that are kept no longer."""
        self._buffered -= size

    def finish(self, exchange: Exchange, status: Status) -> None:
        """Hear of the end of a call."""
        self.exchanges.discard(exchange)
        if not self.exchanges:
            self.idle.set()
        self._report(exchange.call, status)

    def _report(self, call: Call, status: Status) -> None:
        if self._finished is None:
            return
        try:
            self._finished(call, status, trio.current_time() - call.started)
        except Exception:
            log.exception("The observer of finished calls failed", method=call.method)

    def stop_calls(self, error: RpcError) -> None:
        """End every call in flight with the same error."""
        for exchange in list(self.exchanges):
            exchange.stop(error)

    @property
    def buffered_bytes(self) -> int:
        """The request bytes that are kept at the moment."""
        return self._buffered


async def _guarded(function: Callable[..., Awaitable[None]], args: tuple[object, ...]) -> None:
    try:
        await function(*args)
    except Exception:
        log.exception("The task of a call failed")


def _by_path(methods: Iterable[Method]) -> dict[str, Method]:
    served: dict[str, Method] = {}
    for method in methods:
        if served.setdefault(method.path, method) is not method:
            message = f"Two methods have the path {method.path!r}: give each its own."
            raise ValueError(message)
    return served
