"""How a server ends: in good order when asked to drain, at once when its block is left, and never not at all."""

from __future__ import annotations

import contextlib
from typing import Any

import grpc
import pytest
import trio
from hyperframe.frame import GoAwayFrame, PingFrame

from flytower.protocol.limits import Limits
from flytower.protocol.status import Status


def goaways(peer: Any) -> Any:
    return [(frame.last_stream_id, frame.error_code) for frame in peer.frames if isinstance(frame, GoAwayFrame)]


async def acknowledge_drain(peer: Any) -> None:
    while not any(isinstance(frame, PingFrame) for frame in peer.frames):
        await peer.read()
    ping = PingFrame(0, b"draining")
    ping.flags.add("ACK")
    await peer.send(ping)


async def test_calls_in_flight_end_while_no_new_one_begins(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer, trio.open_nursery() as nursery:
        await peer.call(1, "/t.T/Wait")
        await peer.call(3, "/t.T/Follow", "x")
        await desk.until(lambda: len(desk.calls) == 2)
        nursery.start_soon(server.drain, 60)
        await acknowledge_drain(peer)
        while len(goaways(peer)) < 2:
            await peer.read()
        await peer.call(5, "/t.T/Echo")
        assert (await peer.response(5)).reset == 7  # REFUSED_STREAM: the client calls another server by itself
        assert goaways(peer) == [(2**31 - 1, 0), (3, 0)]
        desk.promises[0].resolve(b"in time")
        assert (await peer.response(1)).message == b"in time"
        assert not peer.eof
        nursery.cancel_scope.cancel()
    assert desk.statuses()[0] is Status.OK


async def test_drain_ends_as_soon_as_the_last_call_has(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer, trio.open_nursery() as nursery:
        await peer.call(1, "/t.T/Wait")
        await desk.until(lambda: bool(desk.promises))
        nursery.start_soon(server.drain, 60)
        await acknowledge_drain(peer)
        desk.promises[0].resolve(b"x")
        await peer.closed()
        assert peer.responses[1].message == b"x"
    assert trio.current_time() == 0


async def test_what_does_not_end_within_the_grace_is_cancelled_and_told_so(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer, trio.open_nursery() as nursery:
        await peer.call(1, "/t.T/Wait")
        await peer.call(3, "/t.T/Follow", "x")
        await desk.until(lambda: len(desk.calls) == 2)
        nursery.start_soon(server.drain, 5)
        await acknowledge_drain(peer)
        mock_clock.jump(5)
        assert (await peer.response(1)).status is Status.UNAVAILABLE
        assert (await peer.response(3)).status is Status.UNAVAILABLE
        await peer.closed()
    assert desk.promises[0].withdrawn
    assert desk.cleaned == ["x"]
    assert desk.statuses() == [Status.UNAVAILABLE] * 2


async def test_drain_ends_with_idle_clients_connected(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk, limits=Limits(linger_seconds=0.05)) as server, connected(server) as peer:
        await peer.settle()
        await server.drain(60)  # the PING is never acknowledged: a linger is waited for, not the grace
        await peer.closed()
        assert goaways(peer) == [(2**31 - 1, 0), (0, 0)]


async def test_a_drained_server_accepts_no_connection(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server:
        await server.drain(1)
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream(*server.address)
        assert repr(server).startswith(f"<Server 127.0.0.1:{server.address[1]}, closed")


async def test_the_official_client_sees_its_call_through_and_the_next_one_refused(
    desk: Any, serving: Any, with_grpcio: Any
) -> None:
    def use(channel: Any) -> Any:
        future = channel.unary_unary("/t.T/Wait").future(b"", timeout=30)
        trio.from_thread.run(desk.until, lambda: bool(desk.promises))
        trio.from_thread.run_sync(lambda: nursery.start_soon(server.drain, 30))
        trio.from_thread.run_sync(desk.promises[0].resolve, b"kept")
        return future.result(), _call_until_refused(channel)

    async with serving(desk) as server, trio.open_nursery() as nursery:
        assert await with_grpcio(server, use) == (b"kept", grpc.StatusCode.UNAVAILABLE)


def _call_until_refused(channel: Any) -> Any:
    while True:
        try:
            channel.unary_unary("/t.T/Echo")(b"", timeout=10)
        except grpc.RpcError as error:
            return error.code()


async def test_leaving_the_block_closes_at_once_with_clients_connected(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server:
        stream = await trio.open_tcp_stream(*server.address)
        await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        await stream.receive_some(1)
    async with stream:
        with contextlib.suppress(trio.BrokenResourceError):
            while await stream.receive_some(65536):
                pass


async def test_leaving_the_block_withdraws_what_was_waiting(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Wait")
        await desk.until(lambda: bool(desk.promises))
    assert desk.promises[0].withdrawn
    assert desk.statuses() == [Status.CANCELLED]
    desk.promises[0].resolve(b"after the end")


async def test_a_cancelled_drain_leaves_a_server_that_still_closes(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Wait")
        await desk.until(lambda: bool(desk.promises))
        with trio.move_on_after(0):
            await server.drain(60)
        await server.drain(0)
    assert desk.statuses() == [Status.UNAVAILABLE]


async def test_a_client_that_never_reads_its_goodbye_is_cut(desk: Any, serving: Any, connected: Any) -> None:
    desk.handlers["Big"] = lambda request, call: b"x" * 3_000_000
    async with serving(desk, limits=Limits(linger_seconds=0.05)) as server, connected(server, greet=False) as peer:
        await peer.greet({4: 2**31 - 1})
        await peer.write(b"\0\0\x04\x08\0\0\0\0\0" + (2**31 - 1 - 65_535).to_bytes(4, "big"))
        for stream_id in range(1, 20, 2):
            await peer.call(stream_id, "/t.T/Big")
        await desk.until(lambda: bool(desk.finished))
        await server.drain(0)
    assert server.statistics().connections == 0


async def test_an_idle_connection_is_closed_gracefully(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async with serving(desk, limits=Limits(idle_seconds=100)) as server, connected(server) as peer:
        await peer.settle()
        mock_clock.jump(90)
        await peer.call(1, "/t.T/Echo")
        await peer.response(1)
        mock_clock.jump(90)
        await peer.settle()
        assert goaways(peer) == []
        mock_clock.jump(100)
        await acknowledge_drain(peer)
        await peer.closed()
        assert goaways(peer) == [(2**31 - 1, 0), (1, 0)]


async def test_a_busy_connection_is_never_idle(desk: Any, serving: Any, connected: Any, mock_clock: Any) -> None:
    async with serving(desk, limits=Limits(idle_seconds=100)) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Wait")
        await desk.until(lambda: bool(desk.promises))
        mock_clock.jump(1000)
        await peer.settle()
        assert goaways(peer) == []
