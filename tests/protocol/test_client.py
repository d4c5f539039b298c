"""The client, against a real server and against none."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from hyperframe.frame import GoAwayFrame, HeadersFrame, PingFrame, SettingsFrame
from hypothesis import given
from hypothesis import strategies as st

from flytower.protocol.calls import Call, Stream, Streaming, Unary
from flytower.protocol.client import Client, Goaways, open_client
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.grpc.health.v1 import HealthCheckResponseServingStatus as Serving
from flytower.protocol.health import Health
from flytower.protocol.loop import open_event_loop
from flytower.protocol.routes import AGENT_METADATA_SERVICE, ASYNC_AGENT_SERVICE, SYNC_AGENT_SERVICE
from flytower.protocol.server import Server, open_server
from flytower.protocol.status import RpcError, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from betterproto2 import Message

    from flytower.protocol.calls import Method

REFUSE, FOLLOW = "refuse", "follow"  # log tokens that the server below knows


class Never:
    """An answer that never comes, with a record of who gave up on it."""

    def __init__(self) -> None:
        self.withdrawn = False
        self.gone = trio.Event()

    def add_done_callback(self, callback: Callable[[object], object]) -> None:
        """Keep no callback: it would never be called."""

    def result(self) -> Message:
        raise AssertionError("nobody asks for what is not there")

    def withdraw(self) -> None:
        self.withdrawn = True
        self.gone.set()


@dataclass
class Connectors:
    """A server of all eight methods that answers with what it was asked."""

    never: Never = field(default_factory=Never)
    deadlines: list[float | None] = field(default_factory=list)
    followers: list[str] = field(default_factory=list)
    left: trio.Event = field(default_factory=trio.Event)
    go: trio.Event = field(default_factory=trio.Event)

    def methods(self) -> list[Method]:
        asynchronous, metadata = f"/{ASYNC_AGENT_SERVICE}", f"/{AGENT_METADATA_SERVICE}"
        return [
            Unary(f"{asynchronous}/CreateTask", admin.CreateTaskRequest, self.create),
            Unary(f"{asynchronous}/GetTask", admin.GetTaskRequest, self.get),
            Unary(f"{asynchronous}/DeleteTask", admin.DeleteTaskRequest, lambda _r, _c: admin.DeleteTaskResponse()),
            Unary(f"{asynchronous}/GetTaskMetrics", admin.GetTaskMetricsRequest, lambda _r, _c: self.never),
            Streaming(f"{asynchronous}/GetTaskLogs", admin.GetTaskLogsRequest, self.logs),
            Streaming(f"/{SYNC_AGENT_SERVICE}/ExecuteTaskSync", admin.ExecuteTaskSyncRequest, self.execute),
            Unary(f"{metadata}/GetAgent", admin.GetAgentRequest, self.agent),
            Unary(f"{metadata}/ListAgents", admin.ListAgentsRequest, self.agents),
        ]

    def create(self, request: admin.CreateTaskRequest, call: Call) -> admin.CreateTaskResponse:
        self.deadlines.append(call.remaining())
        return admin.CreateTaskResponse(resource_meta=request.output_prefix.encode())

    def get(self, request: admin.GetTaskRequest, _call: Call) -> admin.GetTaskResponse:
        if request.resource_meta == b"unknown":
            raise RpcError(Status.NOT_FOUND, "There is no such task.")
        return admin.GetTaskResponse(resource=admin.Resource(message=request.resource_meta.decode()))

    async def logs(self, _call: Call, stream: Stream) -> None:
        request = await stream.receive()
        assert request is not None
        try:
            for line in range(request.lines):
                await stream.send(admin.GetTaskLogsResponse(body=admin.GetTaskLogsResponseBody(results=[str(line)])))
            if request.token == REFUSE:
                raise RpcError(Status.INVALID_ARGUMENT, "This token is not mine.")
            if request.token == FOLLOW:
                await self.go.wait()
        finally:
            self.left.set()

    async def execute(self, _call: Call, stream: Stream) -> None:
        while (request := await stream.receive()) is not None:
            header = admin.ExecuteTaskSyncResponseHeader(
                resource=admin.Resource(message=str(request.header is not None))
            )
            await stream.send(admin.ExecuteTaskSyncResponse(header=header))

    def agent(self, request: admin.GetAgentRequest, _call: Call) -> admin.GetAgentResponse:
        return admin.GetAgentResponse(agent=admin.Agent(name=request.name))

    def agents(self, _request: admin.ListAgentsRequest, _call: Call) -> admin.ListAgentsResponse:
        return admin.ListAgentsResponse(agents=[admin.Agent(name="one"), admin.Agent(name="two")])


def frame_types(received: bytearray) -> list[int]:
    """The types of the complete frames that a client has sent."""
    types: list[int] = []
    start = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    while len(received) >= (end := start + 9 + int.from_bytes(received[start : start + 3], "big")):
        types += received[start + 3 : start + 4]
        start = end
    return types


@asynccontextmanager
async def talking(connectors: Connectors | None = None) -> AsyncIterator[tuple[Client, Server]]:
    methods = (connectors or Connectors()).methods()
    health = Health([ASYNC_AGENT_SERVICE])
    async with open_event_loop(), open_server(methods, health=health) as server, open_client(*server.address) as client:
        yield client, server


class TestCalls:
    """Each call brings the answer of its method."""

    async def test_the_unary_calls(self) -> None:
        async with talking() as (client, _server):
            created = await client.create_task(admin.CreateTaskRequest(output_prefix="there"))
            assert created.resource_meta == b"there"
            got = await client.get_task(admin.GetTaskRequest(resource_meta=b"job"))
            assert got.resource is not None
            assert got.resource.message == "job"
            assert await client.delete_task(admin.DeleteTaskRequest()) == admin.DeleteTaskResponse()
            agent = (await client.get_agent("x")).agent
            assert agent is not None
            assert agent.name == "x"
            assert [agent.name for agent in (await client.list_agents()).agents] == ["one", "two"]

    async def test_health_of_the_server_and_of_a_service(self) -> None:
        async with talking() as (client, _server):
            assert await client.health() is Serving.SERVING
            assert await client.health(ASYNC_AGENT_SERVICE) is Serving.SERVING
            with pytest.raises(RpcError) as caught:
                await client.health("nothing")
        assert caught.value.status is Status.NOT_FOUND

    async def test_log_pages_arrive_in_order(self) -> None:
        async with talking() as (client, _server), client.get_task_logs(admin.GetTaskLogsRequest(lines=5)) as pages:
            lines = [page.body.results[0] async for page in pages if page.body is not None]
        assert lines == ["0", "1", "2", "3", "4"]

    async def test_execute_sends_everything_and_returns_every_answer(self) -> None:
        requests = [
            admin.ExecuteTaskSyncRequest(header=admin.CreateRequestHeader()),
            admin.ExecuteTaskSyncRequest(inputs=admin.ExecuteTaskSyncRequest().inputs),
        ]
        async with talking() as (client, _server):
            answers = await client.execute_task_sync(requests)
        assert [
            a.header.resource.message for a in answers if a.header is not None and a.header.resource is not None
        ] == ["True", "False"]

    async def test_many_calls_share_one_connection(self) -> None:
        async with talking() as (client, server), trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(client.list_agents)
        assert server.statistics().connections_total == 1

    async def test_the_server_is_told_the_timeout(self) -> None:
        connectors = Connectors()
        async with talking(connectors) as (client, _server):
            await client.create_task(admin.CreateTaskRequest(), timeout=7.0)
            await client.create_task(admin.CreateTaskRequest(), timeout=None)
        first, second = connectors.deadlines
        assert first is not None
        assert 0 < first <= 7.0
        assert second is None


class TestFailures:
    """Every failure is an RpcError with the status that says whose fault it is."""

    async def test_a_refusal_keeps_its_status_and_sentence(self) -> None:
        async with talking() as (client, _server):
            with pytest.raises(RpcError, match="There is no such task") as caught:
                await client.get_task(admin.GetTaskRequest(resource_meta=b"unknown"))
        assert caught.value.status is Status.NOT_FOUND

    async def test_a_refusal_in_the_middle_of_a_stream_comes_out_of_its_block(self) -> None:
        lines: list[str] = []
        request = admin.GetTaskLogsRequest(lines=2, token=REFUSE)
        async with talking() as (client, _server):
            with pytest.raises(RpcError) as caught:  # noqa: PT012 - the block is what raises
                async with client.get_task_logs(request) as pages:
                    async for page in pages:
                        assert page.body is not None
                        lines += page.body.results
        assert lines == ["0", "1"]
        assert caught.value.status is Status.INVALID_ARGUMENT

    async def test_a_server_that_is_not_there_is_unavailable(self) -> None:
        async with open_client("127.0.0.1", 1) as client:
            with pytest.raises(RpcError, match=r"127\.0\.0\.1:1 cannot be reached") as caught:
                await client.list_agents()
        assert caught.value.status is Status.UNAVAILABLE

    async def test_a_server_that_hangs_up_is_unavailable(self) -> None:
        async def hang_up(stream: trio.SocketStream) -> None:
            await stream.receive_some()
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, hang_up, 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
            async with open_client("127.0.0.1", port) as client:
                with pytest.raises(RpcError) as caught:
                    await client.list_agents()
            nursery.cancel_scope.cancel()
        assert caught.value.status is Status.UNAVAILABLE

    async def test_an_answer_that_never_comes_is_too_late(self) -> None:
        connectors = Connectors()
        async with talking(connectors) as (client, _server):
            with pytest.raises(RpcError) as caught:
                await client.get_task_metrics(admin.GetTaskMetricsRequest(), timeout=0.05)
            await connectors.never.gone.wait()
        assert caught.value.status is Status.DEADLINE_EXCEEDED

    async def test_a_lost_connection_is_made_again_by_the_next_call(self) -> None:
        async with open_event_loop():
            async with open_server(Connectors().methods()) as server:
                address = server.address
                client_manager = open_client(*address)
                client = await client_manager.__aenter__()
                await client.list_agents()
            with pytest.raises(RpcError):
                await client.list_agents()
            async with open_server(Connectors().methods(), port=address[1]):
                assert len((await client.list_agents()).agents) == 2
            await client_manager.__aexit__(None, None, None)


class TestGoaway:
    """A server that stops in good order."""

    async def test_a_call_under_way_finishes_and_the_next_one_goes_to_the_new_server(self) -> None:
        connectors = Connectors()
        request = admin.GetTaskLogsRequest(lines=1, token=FOLLOW)
        async with (
            talking(connectors) as (client, server),
            trio.open_nursery() as nursery,
            client.get_task_logs(request) as pages,
        ):
            await anext(pages)
            nursery.start_soon(server.drain, 50)
            with pytest.raises(RpcError, match="UNAVAILABLE"):  # noqa: PT012 - one of them raises
                while True:  # it takes calls until the client has seen the GOAWAY
                    await client.list_agents()
            async with open_server(Connectors().methods(), port=server.address[1]) as successor:
                assert len((await client.list_agents()).agents) == 2
                assert successor.statistics().calls_total == 1
                connectors.go.set()
                assert [page.body async for page in pages] == []

    @given(st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=40))), st.lists(st.integers(1, 30)))
    def test_frames_pass_unchanged_however_they_arrive(self, frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
        frames = [(kind, body if kind != 7 else bytes(4) + b"\0\0\0\x02" + body) for kind, body in frames]
        data = b"".join(len(body).to_bytes(3, "big") + bytes([kind, 0, 0, 0, 0, 1]) + body for kind, body in frames)
        goaways, passed, position = Goaways(), b"", 0
        for cut in [*cuts, len(data)]:
            passed += goaways.feed_untrusted(data[position : position + cut])
            position += cut
        assert passed == data
        assert goaways.last_stream is None

    def test_a_graceful_goaway_is_taken_out(self) -> None:
        goaways = Goaways()
        ping = PingFrame(0, b"12345678").serialize()
        assert goaways.feed_untrusted(ping + GoAwayFrame(0, last_stream_id=7).serialize() + ping) == ping + ping
        assert goaways.last_stream == 7

    async def test_a_call_that_crossed_the_goaway_is_unavailable(self) -> None:
        async def leave(stream: trio.SocketStream) -> None:
            received = bytearray()
            while HeadersFrame.type not in frame_types(received):
                received += await stream.receive_some()
            await stream.send_all(SettingsFrame(0).serialize() + GoAwayFrame(0, last_stream_id=0).serialize())
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, leave, 0, host="127.0.0.1"))
            async with open_client("127.0.0.1", listeners[0].socket.getsockname()[1]) as client:
                with pytest.raises(RpcError, match="shutting down") as caught:
                    await client.list_agents()
            nursery.cancel_scope.cancel()
        assert caught.value.status is Status.UNAVAILABLE


class TestCancellation:
    """Who stops waiting, stops the call."""

    async def test_a_cancelled_call_is_cancelled_at_the_server(self) -> None:
        connectors = Connectors()
        async with talking(connectors) as (client, server), trio.open_nursery() as nursery:
            nursery.start_soon(client.get_task_metrics, admin.GetTaskMetricsRequest())
            while server.statistics().calls == 0:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await connectors.never.gone.wait()
        assert connectors.never.withdrawn

    async def test_leaving_the_block_ends_a_followed_log(self) -> None:
        connectors = Connectors()
        request = admin.GetTaskLogsRequest(lines=1, token=FOLLOW)
        async with talking(connectors) as (client, _server):
            async with client.get_task_logs(request) as pages:
                async for _page in pages:
                    break
            await connectors.left.wait()
            assert len((await client.list_agents()).agents) == 2

    @pytest.mark.parametrize("error", [KeyError("mine"), OSError("mine"), TimeoutError("mine")])
    async def test_an_error_of_the_caller_passes_through_unchanged(self, error: Exception) -> None:
        async with talking() as (client, _server):
            with pytest.raises(type(error), match="mine"):
                async with client.get_task_logs(admin.GetTaskLogsRequest(lines=1)):
                    raise error


async def test_a_client_needs_no_loop_of_its_caller_and_names_its_endpoint() -> None:
    async with open_client("127.0.0.1", 1) as client:
        assert repr(client) == "<Client of 127.0.0.1:1>"
