"""The observer, over real sockets; its time limits on virtual time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
import structlog.testing
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from flytower.actors.http import MAX_CONNECTIONS, HttpServer, Reply, open_http_server, text_reply
from flytower.actors.http_connection import HEAD_SECONDS, IDLE_SECONDS, WRITE_SECONDS
from flytower.actors.observer import MAX_CHILDREN, ConnectorView, Observer, Views, tree_data
from flytower.actors.status_page import duration
from flytower.runtime.context import Child
from flytower.runtime.spec import ChildSpec
from flytower.runtime.system import open_system
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TREE = Node("/node", "Supervisor", "running", age=3700.0, children=(Node("/node/ledger", "Ledger", "idle", mailbox=7),))


async def metrics() -> bytes:
    await trio.lowlevel.checkpoint()
    return b"flytower_up 1\n"


VIEWS = Views(
    version=lambda: "1.2.3",
    metrics=metrics,
    serving=lambda: True,
    tree=lambda: TREE,
    connectors=lambda: [ConnectorView("Shell", ["shell (0)"], is_sync=False)],
    tasks=lambda: {("shell", "RUNNING"): 3},
    task_rows=lambda most: [{"id": number} for number in range(min(most, 2))],
)


@asynccontextmanager
async def observing(views: Views = VIEWS) -> AsyncIterator[httpx.AsyncClient]:
    """Run an observer in a system of its own, and give a client of it."""
    heard: list[tuple[str, int]] = []

    def make() -> Observer:
        return Observer(views, ("127.0.0.1", 0), lambda _observer, address: heard.append(address))

    async with open_system([ChildSpec("observer", make)]):
        host, port = heard[-1]
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
            yield client


class TestPages:
    """Each page, for whom it is meant."""

    async def test_prometheus_reads_metrics(self) -> None:
        async with observing() as client:
            response = await client.get("/metrics")
        assert response.content == b"flytower_up 1\n"
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")

    @pytest.mark.parametrize(("serving", "status"), [(True, 200), (False, 503)])
    async def test_readiness_follows_the_node_and_liveness_does_not(self, serving: bool, status: int) -> None:  # noqa: FBT001
        async with observing(VIEWS._replace(serving=lambda: serving)) as client:
            assert (await client.get("/readyz")).status_code == status
            assert (await client.get("/healthz")).status_code == 200

    async def test_the_status_page_shows_connectors_tasks_and_actors(self) -> None:
        async with observing() as client:
            page = (await client.get("/")).text
        for text in ("1.2.3", "serving", "Shell", "shell (0)", "RUNNING", "ledger", "1 h 1 min"):
            assert text in page

    async def test_the_status_page_escapes_what_others_wrote(self) -> None:
        evil = "<script>alert('x')</script>"
        views = VIEWS._replace(
            connectors=lambda: [ConnectorView(evil, [evil], is_sync=True)],
            tasks=lambda: {(evil, evil): 1},
            tree=lambda: Node(f"/{evil}", evil, evil),
        )
        async with observing(views) as client:
            response = await client.get("/")
        assert "<script" not in response.text
        assert "&lt;script&gt;" in response.text
        assert "default-src 'none'" in response.headers["content-security-policy"]

    async def test_scripts_read_the_tree_and_the_tasks(self) -> None:
        async with observing() as client:
            tree = (await client.get("/tree.json")).json()
            tasks = (await client.get("/tasks.json?x=1")).json()
        assert tree["children"][0]["path"] == "/node/ledger"
        assert tree["children"][0]["mailbox"] == 7
        assert tasks == {"tasks": [{"id": 0}, {"id": 1}]}

    async def test_an_unknown_page_names_those_that_exist(self) -> None:
        async with observing() as client:
            response = await client.get("/nothing")
        assert response.status_code == 404
        assert "/metrics" in response.text

    async def test_a_page_that_fails_is_a_500_and_the_next_request_is_served(self) -> None:
        with structlog.testing.capture_logs() as logged:
            async with observing(VIEWS._replace(metrics=fail)) as client:
                response = await client.get("/metrics")
                assert response.status_code == 500
                assert "ZeroDivisionError" not in response.text
                assert (await client.get("/healthz")).status_code == 200
        assert {
            "event": "A page could not be made",
            "path": "/metrics",
            "exc_info": True,
            "log_level": "error",
        } in logged

    def test_a_tree_of_many_children_is_cut_and_says_so(self) -> None:
        wide = Node("/n", "Host", "x", children=tuple(Node(f"/n/{i}", "Task", "x") for i in range(MAX_CHILDREN + 5)))
        data = tree_data(wide)
        assert data["more"] == 5
        assert isinstance(data["children"], list)
        assert len(data["children"]) == MAX_CHILDREN

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0.26, "0.3 s"), (62, "1 min 2 s"), (7260, "2 h 1 min"), (2 * 86400 + 3600, "2 d 1 h")]
    )
    def test_an_age_is_readable(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text


class TestChildOfANode:
    """Its life in the tree."""

    async def test_it_is_a_child_and_describes_itself(self) -> None:
        observer = Observer(VIEWS, ("127.0.0.1", 0))
        assert isinstance(observer, Child)
        now = trio.current_time() + 5
        assert observer.inspect("/node/observer", now).state == "closed"
        assert observer.inspect("/node/observer", now).age == pytest.approx(5, abs=1)

    async def test_its_state_counts_connections(self) -> None:
        observers: list[Observer] = []

        def make() -> Observer:
            observers.append(Observer(VIEWS, ("127.0.0.1", 0)))
            return observers[-1]

        async with open_system([ChildSpec("observer", make)]) as system:
            stream = await trio.open_tcp_stream(*observers[0].address)
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            await stream.receive_some()
            node = system.tree().find("/node/observer")
            assert node is not None
            assert node.state == "serving 1 connections"
            await stream.aclose()

    async def test_it_stops_although_a_client_stays_connected(self) -> None:
        async with observing() as client:
            await client.get("/healthz")  # kept alive by the client
        # The system's own grace is 5 s: had the observer waited, the system would have counted it as late.

    async def test_a_taken_port_is_an_error_of_the_node(self) -> None:
        async with open_http_server(answer, "127.0.0.1", 0) as server:
            with pytest.raises(OSError, match="in use"):
                async with open_http_server(answer, *server.address):
                    pass


async def fail() -> bytes:
    raise ZeroDivisionError


async def answer(path: str) -> Reply:
    return text_reply(200, path)


async def exchange(address: tuple[str, int], request: bytes) -> bytes:
    """Send bytes, and return all that comes until the server closes."""
    stream = await trio.open_tcp_stream(*address)
    async with stream:
        await stream.send_all(request)
        return b"".join([chunk async for chunk in stream])


class TestHostileClients:
    """Bytes that no browser sends."""

    @pytest.mark.parametrize(
        ("request_bytes", "status"),
        [
            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", b"405"),
            (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # without a host
            (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),  # TLS
            (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
            (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: wat\r\n\r\n", b"501"),
        ],
    )
    async def test_they_are_told_so_and_the_connection_ends(self, request_bytes: bytes, status: bytes) -> None:
        async with open_http_server(answer, "127.0.0.1", 0) as server:
            assert (await exchange(server.address, request_bytes)).startswith(b"HTTP/1.1 " + status)

    @given(st.binary(max_size=200))
    async def test_no_bytes_end_the_server(self, rubbish: bytes) -> None:
        client, theirs = trio.testing.memory_stream_pair()
        server = HttpServer(answer, ("memory", 0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, theirs)
            await client.send_all(rubbish)
            await client.aclose()
        assert server.connections == 0

    async def test_head_has_the_length_and_no_body(self) -> None:
        async with open_http_server(answer, "127.0.0.1", 0) as server:
            request = b"HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            response = await exchange(server.address, request)
        assert b"Content-Length: 3\r\n" in response
        assert response.endswith(b"\r\n\r\n")

    async def test_requests_that_arrive_together_are_all_answered(self) -> None:
        request = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        async with open_http_server(answer, "127.0.0.1", 0) as server:
            response = await exchange(server.address, request)
        assert b"/a\n" in response
        assert response.endswith(b"/b\n")
        assert repr(server).endswith("2 requests>")

    async def test_one_connection_too_many_is_told_to_come_back(self) -> None:
        async with open_http_server(answer, "127.0.0.1", 0) as server:
            streams = [await trio.open_tcp_stream(*server.address) for _ in range(MAX_CONNECTIONS)]
            for stream in streams:  # the answer proves that the server has accepted it
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await stream.receive_some()
            assert (await exchange(server.address, b"")).startswith(b"HTTP/1.1 503")
            for stream in streams:
                await stream.aclose()


class TestSlowClients:
    """Time limits, exact to the second because the clock is virtual."""

    async def served(self, sent: bytes) -> tuple[bytes, float]:
        """Send bytes and nothing more; return what came, and after how many seconds the server closed."""
        client, theirs = trio.testing.memory_stream_pair()
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(HttpServer(answer, ("memory", 0)).serve, theirs)
            await client.send_all(sent)
            received = b"".join([chunk async for chunk in client])
        return received, trio.current_time() - started

    async def test_a_request_that_drips_is_dropped(self, autojump_clock: trio.testing.MockClock) -> None:
        received, seconds = await self.served(b"GET / HT")
        assert received == b""
        assert seconds == pytest.approx(HEAD_SECONDS)

    async def test_a_connection_without_a_request_is_closed(self, autojump_clock: trio.testing.MockClock) -> None:
        received, seconds = await self.served(b"")
        assert received == b""
        assert seconds == pytest.approx(IDLE_SECONDS)

    async def test_a_kept_connection_may_idle(self, autojump_clock: trio.testing.MockClock) -> None:
        received, seconds = await self.served(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert received.endswith(b"/x\n")
        assert seconds == pytest.approx(IDLE_SECONDS)

    async def test_a_client_that_does_not_read_is_dropped(self, autojump_clock: trio.testing.MockClock) -> None:
        client, theirs = trio.testing.lockstep_stream_pair()  # a send waits for the receive
        started = trio.current_time()
        server = HttpServer(answer, ("memory", 0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, theirs)
            await client.send_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert trio.current_time() - started == pytest.approx(WRITE_SECONDS)
        assert server.connections == 0


async def test_an_answer_that_is_under_way_still_leaves_when_the_server_stops() -> None:
    async def big(_path: str) -> Reply:
        return Reply(200, b"x" * 8_000_000)

    async with trio.open_nursery() as nursery, open_http_server(big, "127.0.0.1", 0) as server:
        stream = await trio.open_tcp_stream(*server.address)
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = bytearray(await stream.receive_some())

        async def read_on() -> None:
            async with stream:
                async for chunk in stream:
                    received.extend(chunk)

        nursery.start_soon(read_on)
    assert len(received) > 8_000_000
    assert received.startswith(b"HTTP/1.1 200")
