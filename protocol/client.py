# ruff: noqa: ASYNC109 - a timeout here is told to the server too, which a cancel scope cannot do
"""A client of any connector server, from trio: Flytower's own, flytekit's, or one in another language.

One connection for all calls of a client; it is made by the first call, and made again after it was lost. A call is
made once: nothing is retried here, because CreateTask may not be.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

import trio_asyncio
from grpclib.client import Channel, Handler
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.protocol import H2Protocol

from flytower.protocol.generated.flyteidl.admin import (
    CreateTaskRequest,
    CreateTaskResponse,
    DeleteTaskRequest,
    DeleteTaskResponse,
    ExecuteTaskSyncRequest,
    ExecuteTaskSyncResponse,
    GetAgentRequest,
    GetAgentResponse,
    GetTaskLogsRequest,
    GetTaskLogsResponse,
    GetTaskMetricsRequest,
    GetTaskMetricsResponse,
    GetTaskRequest,
    GetTaskResponse,
    ListAgentsRequest,
    ListAgentsResponse,
)
from flytower.protocol.generated.grpc.health.v1 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
)
from flytower.protocol.loop import open_event_loop
from flytower.protocol.routes import (
    AGENT_METADATA_SERVICE,
    ASYNC_AGENT_SERVICE,
    HEALTH_SERVICE,
    SYNC_AGENT_SERVICE,
)
from flytower.protocol.status import RpcError, Status

if TYPE_CHECKING:
    from asyncio import BaseTransport
    from collections.abc import AsyncIterator, Iterable, Iterator

    from betterproto2 import Message
    from grpclib.client import Stream

DEFAULT_TIMEOUT: Final = 10.0
"""Seconds for one call: what Flyte's own clients give one."""

FRAME_HEAD: Final = 9
GOAWAY: Final = 0x7
NO_ERROR: Final = bytes(4)
MAX_STREAM: Final = 2**31 - 1
"""RFC 9113, 4.1 and 6.8: a frame's head, and what a GOAWAY holds: the last stream, and an error code."""

A = TypeVar("A", bound="Message")


class Goaways:
    """Takes a server's graceful GOAWAY frames out of what it sends.

    They mean: no more calls on this connection, those under way go on. h2 and grpclib end everything at the first.
    """

    def __init__(self) -> None:
        self.last_stream: int | None = None  # of the latest graceful GOAWAY
        self._rest = bytearray()  # the beginning of a frame

    def feed_untrusted(self, data: bytes) -> bytes:
        """Take what has arrived, and return the complete frames in it that are not graceful GOAWAYs."""
        self._rest += data
        passed, start = bytearray(), 0
        while (end := self._end_of_frame(start)) is not None:
            frame = self._rest[start:end]
            if frame[3] == GOAWAY and frame[13:17] == NO_ERROR:
                self.last_stream = int.from_bytes(frame[9:13], "big") & MAX_STREAM
            else:
                passed += frame
            start = end
        del self._rest[:start]
        return bytes(passed)

    def _end_of_frame(self, start: int) -> int | None:
        if len(self._rest) < start + FRAME_HEAD:
            return None
        end = start + FRAME_HEAD + int.from_bytes(self._rest[start : start + 3], "big")
        return end if len(self._rest) >= end else None


class _Protocol(H2Protocol):
    """A connection that a server can end gracefully."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__(Handler(), channel._config, channel._h2_config)  # noqa: SLF001 - as Channel itself does
        self._channel = channel
        self._goaways = Goaways()

    @property
    def leaving(self) -> bool:
        """Whether the server takes no more calls here."""
        return self._goaways.last_stream is not None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._channel.open_protocols.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._channel.open_protocols.discard(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(self._goaways.feed_untrusted(data))
        if self._goaways.last_stream is not None:
            self._end_streams_after(self._goaways.last_stream)

    def _end_streams_after(self, last: int) -> None:
        """End the calls that crossed the GOAWAY: nobody has looked at them, and nobody will."""
        for number, stream in list(self.processor.streams.items()):
            if number > last:
                stream.__terminated__("the server is shutting down")


class _Channel(Channel):
    """A channel that opens a new connection when the server has said that it leaves the old one."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.open_protocols: set[_Protocol] = set()  # they enter and leave by themselves

    def _protocol_factory(self) -> _Protocol:
        return _Protocol(self)

    @property
    def _connected(self) -> bool:
        return super()._connected and not cast("_Protocol", self._protocol).leaving

    def close(self) -> None:
        """Close all connections, those too that a server is leaving."""
        for protocol in list(self.open_protocols):
            protocol.processor.close()
        super().close()


class Client:
    """The eight calls of a connector server, and its health; made by `open_client`.

    Every call takes a `timeout` in seconds, which the server is told as well; None waits for ever. Every call raises
    `RpcError`: with the server's own status, UNAVAILABLE when it cannot be reached or the connection is lost,
    DEADLINE_EXCEEDED when the time is over. Cancelling a call cancels it at the server.

    Args:
        channel: The connection.
        endpoint: What it is called in an error, "127.0.0.1:8000".
    """

    def __init__(self, channel: Channel, endpoint: str) -> None:
        self._channel = channel
        self.endpoint = endpoint

    def __repr__(self) -> str:
        return f"<Client of {self.endpoint}>"

    async def create_task(
        self, request: CreateTaskRequest, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> CreateTaskResponse:
        """Start an external job."""
        return await self._unary(f"/{ASYNC_AGENT_SERVICE}/CreateTask", request, CreateTaskResponse, timeout)

    async def get_task(self, request: GetTaskRequest, *, timeout: float | None = DEFAULT_TIMEOUT) -> GetTaskResponse:
        """Ask where a job stands."""
        return await self._unary(f"/{ASYNC_AGENT_SERVICE}/GetTask", request, GetTaskResponse, timeout)

    async def delete_task(
        self, request: DeleteTaskRequest, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> DeleteTaskResponse:
        """End a job."""
        return await self._unary(f"/{ASYNC_AGENT_SERVICE}/DeleteTask", request, DeleteTaskResponse, timeout)

    async def get_task_metrics(
        self, request: GetTaskMetricsRequest, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> GetTaskMetricsResponse:
        """Read a job's metrics."""
        return await self._unary(f"/{ASYNC_AGENT_SERVICE}/GetTaskMetrics", request, GetTaskMetricsResponse, timeout)

    @asynccontextmanager
    async def get_task_logs(
        self, request: GetTaskLogsRequest, *, timeout: float | None = None
    ) -> AsyncIterator[AsyncIterator[GetTaskLogsResponse]]:
        """Follow a job's log: `async with client.get_task_logs(...) as pages: async for page in pages: ...`.

        Leaving the block ends the call. Errors come out of the block.
        """
        path = f"/{ASYNC_AGENT_SERVICE}/GetTaskLogs"
        stream = self._request(path, Cardinality.UNARY_STREAM, GetTaskLogsRequest, GetTaskLogsResponse, timeout)
        pages = _Pages(stream)
        async with AsyncExitStack() as stack:
            stack.enter_context(self._translated(path, pages))
            await stack.enter_async_context(trio_asyncio.aio_as_trio(stream))
            await trio_asyncio.aio_as_trio(stream.send_message)(request, end=True)
            try:
                yield pages
            except BaseException as error:
                pages.caught = error
                raise
            if not pages.exhausted:  # otherwise grpclib would wait for the end of a log that may have none
                await trio_asyncio.aio_as_trio(stream.cancel)()

    async def execute_task_sync(
        self, requests: Iterable[ExecuteTaskSyncRequest], *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> list[ExecuteTaskSyncResponse]:
        """Execute a task in one call: send all requests (header and inputs), and return all that is answered."""
        path = f"/{SYNC_AGENT_SERVICE}/ExecuteTaskSync"

        async def run() -> list[ExecuteTaskSyncResponse]:
            cardinality = Cardinality.STREAM_STREAM
            async with self._request(
                path, cardinality, ExecuteTaskSyncRequest, ExecuteTaskSyncResponse, timeout
            ) as stream:
                await stream.send_request()
                for request in requests:
                    await stream.send_message(request)
                await stream.end()
                return [response async for response in stream]

        with self._translated(path):
            return cast("list[ExecuteTaskSyncResponse]", await trio_asyncio.aio_as_trio(run)())

    async def get_agent(self, name: str, *, timeout: float | None = DEFAULT_TIMEOUT) -> GetAgentResponse:
        """Describe one connector."""
        request = GetAgentRequest(name=name)
        return await self._unary(f"/{AGENT_METADATA_SERVICE}/GetAgent", request, GetAgentResponse, timeout)

    async def list_agents(self, *, timeout: float | None = DEFAULT_TIMEOUT) -> ListAgentsResponse:
        """Describe all connectors."""
        request = ListAgentsRequest()
        return await self._unary(f"/{AGENT_METADATA_SERVICE}/ListAgents", request, ListAgentsResponse, timeout)

    async def health(
        self, service: str = "", *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> HealthCheckResponseServingStatus:
        """Ask whether a service, or with "" the whole server, takes calls."""
        request = HealthCheckRequest(service=service)
        return (await self._unary(f"/{HEALTH_SERVICE}/Check", request, HealthCheckResponse, timeout)).status

    async def _unary(self, path: str, request: Message, answer: type[A], timeout: float | None) -> A:
        async def run() -> A:
            async with self._request(path, Cardinality.UNARY_UNARY, type(request), answer, timeout) as stream:
                await stream.send_message(request, end=True)
                response = await stream.recv_message()
                if response is None:
                    raise RpcError(Status.INTERNAL, f"{self.endpoint} ended {path} without an answer.")
                return cast("A", response)

        with self._translated(path):
            return cast("A", await trio_asyncio.aio_as_trio(run)())

    def _request(
        self, path: str, cardinality: Cardinality, request: type[Message], answer: type[A], timeout: float | None
    ) -> Stream[Any, Any]:
        return self._channel.request(path, cardinality, request, answer, timeout=timeout)

    @contextmanager
    def _translated(self, path: str, pages: _Pages | None = None) -> Iterator[None]:
        """Turn what grpclib and the network raise into RpcError, at this border and nowhere else."""
        try:
            yield
        except (GRPCError, StreamTerminatedError, ProtocolError, OSError) as error:
            if pages is not None and pages.is_callers(error):
                raise
            raise self._translate(path.rpartition("/")[2], error) from error

    def _translate(self, method: str, error: Exception) -> RpcError:
        if isinstance(error, GRPCError):
            return RpcError(error.status, error.message or f"{method} failed.")
        if isinstance(error, TimeoutError):  # an OSError too, hence first
            return RpcError(Status.DEADLINE_EXCEEDED, f"{self.endpoint} did not answer {method} in time.")
        if isinstance(error, OSError):
            return RpcError(Status.UNAVAILABLE, f"{self.endpoint} cannot be reached: {error}.")
        return RpcError(Status.UNAVAILABLE, f"The connection to {self.endpoint} was lost during {method}: {error}.")


class _Pages:
    """The answers of a streaming call, as a trio iterator."""

    def __init__(self, stream: Stream[Any, GetTaskLogsResponse]) -> None:
        self._receive = trio_asyncio.aio_as_trio(stream.recv_message)
        self._failure: Exception | None = None  # what a receive raised
        self.exhausted = False
        self.caught: BaseException | None = None  # what came out of the caller's block

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> GetTaskLogsResponse:
        try:
            page = await self._receive()
        except Exception as error:
            self._failure = error
            raise
        if page is None:
            self.exhausted = True
            raise StopAsyncIteration
        return cast("GetTaskLogsResponse", page)

    def is_callers(self, error: BaseException) -> bool:
        """Whether the caller's block raised this by itself."""
        return error is self.caught and error is not self._failure


@asynccontextmanager
async def open_client(host: str, port: int) -> AsyncIterator[Client]:
    """Open a client for the time of the `async with` block; its end cancels the calls that are still under way.

    It uses the asyncio loop that it stands in (`open_event_loop`), or opens one of its own.
    """
    async with AsyncExitStack() as stack:
        if trio_asyncio.current_loop.get() is None:
            await stack.enter_async_context(open_event_loop())
        channel = _Channel(host, port)
        stack.callback(channel.close)
        yield Client(channel, f"{host}:{port}")
