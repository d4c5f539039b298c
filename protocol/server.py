"""The gRPC server: it listens, grants connections, and ends them in good order."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import structlog
import trio
import trio_asyncio

from flytower.protocol.connection import ServerConnection
from flytower.protocol.dispatcher import Dispatcher
from flytower.protocol.limits import Limits
from flytower.protocol.status import RpcError, Status

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Sequence

    from flytower.protocol.calls import Call, Method
    from flytower.protocol.health import Health

log = structlog.get_logger(__name__)

BACKLOG = 128
"""Connections that the kernel accepts ahead of us: a restart is met by every client at once."""


class ServerStatistics(NamedTuple):
    """What a server does at the moment, and what it has done since it began."""

    connections: int
    """Connections that are open."""
    calls: int
    """Calls in flight, those whose handler is still cleaning up included."""
    buffered_bytes: int
    """Request bytes that are held."""
    timers: int
    """Deadlines that are watched."""
    connections_total: int
    """Connections that were accepted."""
    connections_refused: int
    """Connections that were closed at once, because there were too many."""
    calls_total: int
    """Calls that have begun, refused ones included."""
    calls_refused: int
    """Calls that were answered without a handler: unknown method, bad headers, too many."""
    resets: int
    """Calls that clients have given up."""


class Server:
    """A server that is listening. `open_server` makes it.

    Args:
        dispatcher: Admits the calls.
        loop: The asyncio loop that the connections live on.
    """

    def __init__(self, dispatcher: Dispatcher, loop: asyncio.AbstractEventLoop) -> None:
        self.dispatcher = dispatcher
        self.limits = dispatcher.limits
        self.loop = loop
        self._listener: asyncio.Server | None = None
        self._address = ("", 0)
        self._connections: set[ServerConnection] = set()  # from admission until the transport says that it is lost
        self._all_lost = trio.Event()  # set while there is no connection; replaced when one is made
        self._all_lost.set()
        self._accepting = False

    def __repr__(self) -> str:
        state = "listening" if self._accepting else "closed"
        counts = f"{len(self._connections)} connections, {len(self.dispatcher.exchanges)} calls"
        return f"<Server {self._address[0]}:{self._address[1]}, {state}, {counts}>"

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port that it listens on."""
        return self._address

    def statistics(self) -> ServerStatistics:
        """Return what happens and has happened."""
        counters = self.dispatcher.counters
        return ServerStatistics(
            connections=len(self._connections),
            calls=len(self.dispatcher.exchanges),
            buffered_bytes=self.dispatcher.buffered_bytes,
            timers=len(self.dispatcher.timers),
            connections_total=counters.connections,
            connections_refused=counters.refused_connections,
            calls_total=counters.calls,
            calls_refused=counters.refused,
            resets=counters.resets,
        )

    async def drain(self, grace: float) -> None:
        """Stop in good order: no new calls, those in flight may end, then every connection is closed.

        Clients are told by GOAWAY; a call that crosses it on the way is refused in a way that makes gRPC clients try
        it elsewhere by themselves.

        Args:
            grace: Seconds for the calls in flight. What is left then is cancelled and answered UNAVAILABLE. After
                that, the goodbyes take two `linger_seconds` at most.
        """
        self._stop_listening()
        for connection in list(self._connections):
            connection.drain()
        with trio.move_on_after(grace):
            await self.dispatcher.idle.wait()
            await self._all_lost.wait()
        self.dispatcher.stop_calls(RpcError(Status.UNAVAILABLE, "The server is shutting down: call another one."))
        with trio.move_on_after(self.limits.linger_seconds):
            await self.dispatcher.idle.wait()
        for connection in list(self._connections):
            connection.close("shutdown")
        with trio.move_on_after(self.limits.linger_seconds):
            await self._all_lost.wait()

    # What connections ask

    def admit(self, connection: ServerConnection) -> bool:
        """Say whether another connection may be."""
        if not self._accepting or len(self._connections) >= self.limits.max_connections:
            self.dispatcher.counters.refused_connections += 1
            return False
        if not self._connections:
            self._all_lost = trio.Event()
        self._connections.add(connection)
        self.dispatcher.counters.connections += 1
        return True

    def lost(self, connection: ServerConnection) -> None:
        """Hear of the end of a connection."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_lost.set()

    # Beginning and end

    async def listen(self, host: str, port: int) -> None:
        """Begin to accept connections."""
        self._accepting = True
        create = trio_asyncio.aio_as_trio(self.loop.create_server)
        self._listener = await create(lambda: ServerConnection(self), host, port, backlog=BACKLOG)
        self._address = self._listener.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        """Cut every line, now."""
        self._stop_listening()
        for connection in list(self._connections):
            connection.abort()
        # Transports close in the next turns of the loop. Shielded, because it only waits for what is under way.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self.limits.linger_seconds):
            await self._all_lost.wait()

    def _stop_listening(self) -> None:
        self._accepting = False
        if self._listener is not None:
            self._listener.close()  # never wait_closed(): from 3.12 on it waits for the clients to go


@asynccontextmanager
async def open_server(
    methods: Sequence[Method],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    limits: Limits | None = None,
    health: Health | None = None,
    finished: Callable[[Call, Status, float], None] | None = None,
) -> AsyncIterator[Server]:
    """Serve gRPC for the time of the `async with` block; it must stand inside of `open_event_loop()`.

    Args:
        methods: What is served.
        host: The address to listen on; by default only this machine can connect.
        port: The port; 0 picks a free one, see `Server.address`.
        limits: What clients are granted; by default `Limits()`.
        health: Also serve grpc.health.v1.
        finished: Called once for each call, with its final status and the seconds that it took. Calls that were
            cancelled, too late or refused are included, so the path of a call need not be one that is served.

    Raises:
        RuntimeError: There is no asyncio loop around it.
        ValueError: Two methods have the same path.
        OSError: The address cannot be listened on.
    """
    loop = trio_asyncio.current_loop.get()
    if loop is None:
        message = "open_server() needs an asyncio loop: put it inside `async with open_event_loop():`"
        raise RuntimeError(message)
    served = [*methods, *(health.methods() if health is not None else ())]
    async with trio.open_nursery() as nursery:
        dispatcher = Dispatcher(served, limits or Limits(), nursery, finished)
        nursery.start_soon(dispatcher.timers.run)
        server = Server(dispatcher, loop)
        try:
            await server.listen(host, port)
            yield server
        finally:
            await server.close()
            nursery.cancel_scope.cancel(reason="the server is closed")
