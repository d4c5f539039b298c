"""A small HTTP/1.1 server on trio and h11, for pages that a person, a probe or Prometheus reads.

It answers GET and HEAD from a function, and bounds everything that a client could make grow: the size of a request's
head, how long it may take to arrive, how long an answer may take to leave, and how many connections are open. A body
is refused. No TLS, no compression, no files.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from flytower.actors.later import Later

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from flytower.actors.http_connection import Connection

MAX_CONNECTIONS: Final = 64
"""Prometheus, a probe and a few browsers need ten; each costs a task and a buffer."""


class Reply(NamedTuple):
    """The answer to a request.

    Args:
        status: The HTTP status code.
        body: What is sent.
        media_type: What the body is.
        headers: More headers.
    """

    status: int
    body: bytes
    media_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = MappingProxyType({})


Answer = Callable[[str], Awaitable[Reply]]
"""Maps a path to the reply."""


def text_reply(status: int, text: str) -> Reply:
    """Return an answer of one line of text."""
    return Reply(status, f"{text}\n".encode())


class HttpServer:
    """A server that listens; made by `open_http_server`.

    Args:
        answer: Maps a path (without the query) to the reply; called for GET and HEAD alike.
        address: Where it listens.
    """

    def __init__(self, answer: Answer, address: tuple[str, int]) -> None:
        self.answer = answer
        self.address = address
        self.connections = 0  # open ones; changed only in `serve`
        self.requests = 0  # answered ones
        self.waiting: set[trio.CancelScope] = set()  # the connections between two requests
        self.stopping = False
        self._connection_type = Later(_find_connection_type)

    def __repr__(self) -> str:
        host, port = self.address
        return f"<HttpServer {host}:{port}, {self.connections} connections, {self.requests} requests>"

    def stop(self) -> None:
        """Close the connections that wait for a request; the others after the answer that is under way."""
        self.stopping = True
        for scope in self.waiting:
            scope.cancel()

    async def serve(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Answer the requests of one connection, and close it."""
        self.connections += 1
        try:
            async with stream:
                connection_type = await self._connection_type.get()
                await connection_type(self, stream).run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client went away: nobody is left to tell
        finally:
            self.connections -= 1


def _find_connection_type() -> type[Connection]:
    from flytower.actors.http_connection import Connection  # noqa: PLC0415 - h11, which takes 6 ms

    return Connection


@asynccontextmanager
async def open_http_server(answer: Answer, host: str, port: int) -> AsyncIterator[HttpServer]:
    """Serve for the time of the `async with` block.

    At its end no connection is taken any more, and an answer that is under way still leaves, within its seconds.

    Args:
        answer: Maps a path to the reply.
        host: The address to listen on.
        port: The port; 0 picks one.

    Raises:
        OSError: The address cannot be listened on.
    """
    listeners = await trio.open_tcp_listeners(port, host=host)
    for other in listeners[1:] if port == 0 else ():  # each would have a port of its own, and only one is told
        await other.aclose()
    served = listeners[:1] if port == 0 else listeners
    sockname = listeners[0].socket.getsockname()
    server = HttpServer(answer, (str(sockname[0]), int(sockname[1])))
    async with trio.open_nursery() as connections:
        serve = partial(trio.serve_listeners, server.serve, served, handler_nursery=connections)
        async with trio.open_nursery() as accepting:
            accepting.start_soon(serve)
            yield server
            accepting.cancel_scope.cancel()
        server.stop()
