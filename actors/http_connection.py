"""One connection of the small HTTP server: its requests, one after another, by h11."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import h11
import structlog
import trio

from flytower.actors.http import MAX_CONNECTIONS, Reply, text_reply

if TYPE_CHECKING:
    from flytower.actors.http import HttpServer

log = structlog.get_logger(__name__)

MAX_HEAD_BYTES: Final = 16 * 1024
"""The request line and headers. Browsers send 1 kB, with a proxy's cookies perhaps 8."""

HEAD_SECONDS: Final = 5.0
"""From the first byte of a request to the end of its head: a client that drips holds its place no longer."""

IDLE_SECONDS: Final = 75.0
"""Between requests. Longer than Prometheus' default interval (60 s), so that it keeps its connection."""

WRITE_SECONDS: Final = 10.0
"""For one answer to leave. Prometheus' own scrape timeout."""

LINGER_SECONDS: Final = 1.0
"""What a refused client still sends is read for so long; to close at once would reset its connection first."""

RECEIVE_BYTES: Final = 4096
"""Read at once: a whole request of every known client."""

NO_SCRIPT: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""A page may carry its style, and nothing else runs or loads, should an escape ever be missing."""


class Connection:
    """One connection and its requests, one after another."""

    def __init__(self, server: HttpServer, stream: trio.abc.HalfCloseableStream) -> None:
        self._server = server
        self._stream = stream
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    async def run(self) -> None:
        """Answer until the client goes, is too slow, or the server stops."""
        if self._server.connections > MAX_CONNECTIONS:
            await self._send(text_reply(503, "Too many connections; try again later."), keep=False)
            await self._linger()
            return
        while not self._server.stopping:
            try:
                request = await self._next_request_untrusted()
            except h11.RemoteProtocolError as error:
                await self._refuse(error)
                await self._linger()
                return
            if request is None:
                return
            await self._send(await self._reply(request), keep=True, head_only=request.method == b"HEAD")
            if not self._finish_cycle():
                await self._linger()
                return

    async def _next_request_untrusted(self) -> h11.Request | None:
        """Wait for a request; None when the client is gone, too slow, or the server stops.

        Raises:
            h11.RemoteProtocolError: The bytes are no acceptable HTTP/1.1.
        """
        waiting = trio.CancelScope(deadline=trio.current_time() + IDLE_SECONDS)
        self._server.waiting.add(waiting)
        try:
            with waiting:
                return await self._read_head(waiting)
        finally:
            self._server.waiting.discard(waiting)
        return None

    async def _read_head(self, waiting: trio.CancelScope) -> h11.Request | None:
        begun = False
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            if not begun and self._h11.trailing_data[0]:
                begun = True
                waiting.deadline = trio.current_time() + HEAD_SECONDS
            self._h11.receive_data(bytes(await self._stream.receive_some(RECEIVE_BYTES)))

    async def _reply(self, request: h11.Request) -> Reply:
        if request.method not in (b"GET", b"HEAD"):
            reply = text_reply(405, "Only GET and HEAD are served here.")
            return Reply(reply.status, reply.body, headers={"Allow": "GET, HEAD"})
        path = request.target.split(b"?", 1)[0].decode("ascii")  # h11 has refused everything else
        try:
            return await self._server.answer(path)
        except Exception:
            log.exception("A page could not be made", path=path)
            return text_reply(500, "This page could not be made; the server's log says why.")

    async def _send(self, reply: Reply, *, keep: bool, head_only: bool = False) -> None:
        close = not keep or self._server.stopping
        response = h11.Response(
            status_code=reply.status,
            headers=_headers(reply, close=close),
            reason=HTTPStatus(reply.status).phrase.encode(),
        )
        out = self._h11.send(response) or b""
        if not head_only:
            out += self._h11.send(h11.Data(data=reply.body)) or b""
        out += self._h11.send(h11.EndOfMessage()) or b""
        with trio.move_on_after(WRITE_SECONDS) as scope:
            await self._stream.send_all(out)
        self._server.requests += 1
        if scope.cancelled_caught:
            raise trio.BrokenResourceError

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(text_reply(error.error_status_hint, "This is no request that is served here."), keep=False)

    async def _linger(self) -> None:
        with trio.move_on_after(LINGER_SECONDS):
            await self._stream.send_eof()
            while await self._stream.receive_some(RECEIVE_BYTES):
                pass

    def _finish_cycle(self) -> bool:
        """Make ready for the next request; False when there can be none. A body is not read: its connection ends."""
        try:
            while self._h11.their_state is h11.SEND_BODY:
                if not isinstance(self._h11.next_event(), h11.Data | h11.EndOfMessage):
                    return False
        except h11.RemoteProtocolError:
            return False
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True


def _headers(reply: Reply, *, close: bool) -> list[tuple[str, str]]:
    return [
        ("Content-Type", reply.media_type),
        ("Content-Length", str(len(reply.body))),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", NO_SCRIPT),
        ("X-Content-Type-Options", "nosniff"),
        *reply.headers.items(),
        *([("Connection", "close")] if close else []),
    ]
