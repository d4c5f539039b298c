"""A small HTTP server on loopback, for connectors to call."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h11
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass
class Received:
    """One request as the server got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Reply = tuple[int, dict[str, str], bytes]


@dataclass
class HttpServer:
    """A small honest HTTP server: it keeps what it gets, and answers what it is told."""

    port: int
    reply: Callable[[Received], Awaitable[Reply]]
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            connection = h11.Connection(h11.SERVER)
            # The client may leave in the middle.
            with contextlib.suppress(trio.BrokenResourceError, h11.RemoteProtocolError):
                await self._answer(stream, connection)

    async def _answer(self, stream: trio.SocketStream, connection: h11.Connection) -> None:
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                break
        if request is None:
            return
        headers = {name.decode(): value.decode() for name, value in request.headers}
        self.received.append(Received(request.method.decode(), request.target.decode(), headers, body))
        status, headers, content = await self.reply(self.received[-1])
        headers = {"Connection": "close", "Content-Length": str(len(content)), **headers}
        response = h11.Response(status_code=status, headers=list(headers.items()))
        for out in (response, h11.Data(data=content), h11.EndOfMessage()):
            await stream.send_all(connection.send(out) or b"")


async def say_hello(_request: Received) -> Reply:
    return 200, {"Content-Type": "text/plain"}, b"hello"


def answering(status: int, content: bytes, **headers: str) -> Callable[[Received], Awaitable[Reply]]:
    async def reply(_request: Received) -> Reply:
        return status, {name.replace("_", "-"): value for name, value in headers.items()}, content

    return reply
