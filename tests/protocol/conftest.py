"""A server with handlers for every case, a peer that writes its frames by hand, and the official client."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import pytest
import trio
from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, SettingsFrame
from structlog.testing import capture_logs

from flytower.protocol.calls import Call, Method, Stream, Streaming, Unary
from flytower.protocol.generated.grpc.health.v1 import HealthCheckRequest, HealthCheckResponse
from flytower.protocol.limits import Limits
from flytower.protocol.loop import open_event_loop
from flytower.protocol.server import Server, open_server
from flytower.protocol.status import Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

T = TypeVar("T")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Promise:
    """A Pending as the actor runtime has it, with its own record."""

    def __init__(self) -> None:
        self.withdrawn = False
        self._callbacks: list[Callable[[Any], object]] = []
        self._result: Callable[[], Any] | None = None

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        if self._result is not None:
            callback(self)
        else:
            self._callbacks.append(callback)

    def result(self) -> Any:
        assert self._result is not None
        return self._result()

    def withdraw(self) -> None:
        """Tell whoever waits, as the actor runtime's does: there will be no answer."""
        self.withdrawn = True
        if self._result is None:
            self.fail(RuntimeError("withdrawn"))

    def resolve(self, value: Any) -> None:
        self._settle(lambda: value)

    def fail(self, error: BaseException) -> None:
        def raising() -> Any:
            raise error

        self._settle(raising)

    def _settle(self, result: Callable[[], Any]) -> None:
        self._result = result
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


@dataclass
class Desk:
    """The handlers of the test server, and what they and the server saw."""

    promises: list[Promise] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    finished: list[tuple[Call, Status, float]] = field(default_factory=list)
    cleaned: list[str] = field(default_factory=list)
    changed: trio.Event = field(default_factory=trio.Event)
    handlers: dict[str, Callable[[Any, Call], Any]] = field(default_factory=dict)
    streams: dict[str, Callable[[Call, Stream], Awaitable[None]]] = field(default_factory=dict)

    def methods(self) -> list[Method]:
        unary = {"Echo": self.echo, "Wait": self.wait, **self.handlers}
        streaming = {"Count": self.count, "Follow": self.follow, "Chat": self.chat, **self.streams}
        return [
            *(Unary(f"/t.T/{name}", HealthCheckRequest, handler) for name, handler in unary.items()),
            *(Streaming(f"/t.T/{name}", HealthCheckRequest, handler) for name, handler in streaming.items()),
        ]

    def tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a handler or the server does."""
        while not condition():
            await self.changed.wait()

    def note(self, call: Call, status: Status, seconds: float) -> None:
        self.finished.append((call, status, seconds))
        self.tell()

    def statuses(self) -> list[Status]:
        return [status for _, status, _ in self.finished]

    def echo(self, request: HealthCheckRequest, call: Call) -> HealthCheckRequest:
        self.calls.append(call)
        return request

    def wait(self, request: HealthCheckRequest, call: Call) -> Promise:
        self.calls.append(call)
        self.promises.append(Promise())
        self.tell()
        return self.promises[-1]

    async def count(self, call: Call, stream: Stream) -> None:
        """Send as many messages as the request says."""
        request: Any = await stream.receive()
        for number in range(int(request.service)):
            await stream.send(HealthCheckRequest(service=str(number)))

    async def follow(self, call: Call, stream: Stream) -> None:
        """Never end by itself; clean up with an await."""
        request: Any = await stream.receive()
        await stream.send(HealthCheckResponse())
        self.calls.append(call)
        self.tell()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
                self.cleaned.append(request.service)
                self.tell()

    async def chat(self, call: Call, stream: Stream) -> None:
        """Answer every message with itself."""
        while (request := await stream.receive()) is not None:
            await stream.send(request)


@dataclass
class Response:
    """What came back on one stream."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    data: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> Status:
        return Status(int(self.headers[b"grpc-status"]))

    @property
    def message(self) -> bytes:
        return self.data[5:]


class Peer:
    """A client that writes its frames by hand, so that it can write the wrong ones."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.responses: dict[int, Response] = {}
        self.frames: list[Frame] = []
        self.eof = False
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._bytes = bytearray()

    async def write(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def send(self, *frames: Frame) -> None:
        await self.write(b"".join(frame.serialize() for frame in frames))

    async def greet(self, settings: dict[int, int] | None = None) -> None:
        await self.write(PREFACE + SettingsFrame(0, settings=settings or {}).serialize())

    def head(
        self, stream_id: int, path: str, *extra: tuple[Any, Any], end: bool = False, **changed: str
    ) -> HeadersFrame:
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            "te": "trailers",
            "content-type": "application/grpc",
        }
        fields.update({name.replace("__", ":").replace("_", "-"): value for name, value in changed.items()})
        frame = HeadersFrame(stream_id, self._encoder.encode([*fields.items(), *extra]))
        frame.flags |= {"END_HEADERS", "END_STREAM"} if end else {"END_HEADERS"}
        return frame

    @staticmethod
    def body(stream_id: int, data: bytes, *, end: bool = True) -> DataFrame:
        frame = DataFrame(stream_id, data)
        if end:
            frame.flags.add("END_STREAM")
        return frame

    @staticmethod
    def message(text: str = "") -> bytes:
        encoded = bytes(HealthCheckRequest(service=text))
        return b"\0" + len(encoded).to_bytes(4, "big") + encoded

    async def call(self, stream_id: int, path: str, text: str = "", *extra: tuple[Any, Any], end: bool = True) -> None:
        await self.send(self.head(stream_id, path, *extra), self.body(stream_id, self.message(text), end=end))

    async def read(self) -> bool:
        """Read what the server sends next; False at its end."""
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            self.eof = True
            return False
        self._bytes += data
        self._parse()
        return True

    def _parse(self) -> None:
        while len(self._bytes) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(bytes(self._bytes[:9])))
            if len(self._bytes) < 9 + length:
                return
            frame.parse_body(memoryview(bytes(self._bytes[9 : 9 + length])))
            del self._bytes[: 9 + length]
            self._take(frame)

    def _take(self, frame: Any) -> None:
        self.frames.append(frame)
        response = self.responses.setdefault(frame.stream_id, Response())
        if isinstance(frame, HeadersFrame):
            response.headers.update(self._decoder.decode(frame.data, raw=True))
        elif isinstance(frame, DataFrame):
            response.data += frame.data
        elif type(frame).__name__ == "RstStreamFrame":
            response.reset = frame.error_code if response.reset is None else response.reset
        response.ended |= "END_STREAM" in frame.flags or response.reset is not None

    async def response(self, stream_id: int) -> Response:
        """Wait for the end of a stream."""
        while not self.responses.setdefault(stream_id, Response()).ended:
            assert await self.read(), f"the server closed; frames: {self.frames}"
        return self.responses[stream_id]

    async def data(self, stream_id: int, size: int) -> bytes:
        """Wait for some bytes of a response."""
        while len(self.responses.setdefault(stream_id, Response()).data) < size:
            assert await self.read(), f"the server closed; frames: {self.frames}"
        return self.responses[stream_id].data

    async def closed(self) -> None:
        """Wait for the server to close the connection."""
        while await self.read():
            pass

    def kinds(self) -> list[str]:
        return [type(frame).__name__ for frame in self.frames]

    async def settle(self) -> None:
        """Wait until the server has processed everything that was sent before."""
        ping = PingFrame(0, b"settled?")
        await self.send(ping)
        while not any(
            isinstance(f, PingFrame) and "ACK" in f.flags and f.opaque_data == b"settled?" for f in self.frames
        ):
            assert await self.read(), f"the server closed; frames: {self.frames}"
        self.frames = [f for f in self.frames if not isinstance(f, PingFrame)]


@asynccontextmanager
async def _serving(desk: Desk, *, limits: Limits | None = None, **options: Any) -> AsyncIterator[Server]:
    async with (
        open_event_loop(),
        open_server(desk.methods(), limits=limits or Limits(), finished=desk.note, **options) as server,
    ):
        yield server


@asynccontextmanager
async def _connected(server: Server, *, greet: bool = True) -> AsyncIterator[Peer]:
    stream = await trio.open_tcp_stream(*server.address)
    async with stream:
        peer = Peer(stream)
        if greet:
            await peer.greet()
        yield peer


@contextmanager
def _channel(server: Server) -> Iterator[grpc.Channel]:
    """A connection of its own: grpcio would share one between equal channels."""
    host, port = server.address
    with grpc.insecure_channel(f"{host}:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


async def _with_grpcio(server: Server, use: Callable[[grpc.Channel], T]) -> T:
    """Run a synchronous function with the official client in a thread."""

    def run() -> T:
        with _channel(server) as channel:
            return use(channel)

    return await trio.to_thread.run_sync(run)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What is logged goes to a list: printing a traceback reads the source files, which blocks the loop."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def serving() -> Callable[..., Any]:
    return _serving


@pytest.fixture
def connected() -> Callable[..., Any]:
    return _connected


@pytest.fixture
def with_grpcio() -> Callable[..., Any]:
    return _with_grpcio
