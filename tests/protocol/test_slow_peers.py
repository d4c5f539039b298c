"""Clients that are slow on purpose: each wait for them has an end, and it is exactly the one that the limits say."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from flytower.protocol.limits import Limits
from flytower.protocol.status import Status

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def test_a_client_that_never_speaks_is_cut(desk: Any, serving: Any, connected: Any, mock_clock: Any) -> None:
    async with serving(desk, limits=Limits(handshake_seconds=5)) as server, connected(server, greet=False) as peer:
        await peer.read()
        mock_clock.jump(4.9)
        await trio.testing.wait_all_tasks_blocked()
        assert server.statistics().connections == 1
        mock_clock.jump(0.1)
        await peer.closed()
        assert server.statistics().connections == 0


async def test_dribbling_the_preface_does_not_help(desk: Any, serving: Any, connected: Any, mock_clock: Any) -> None:
    async with serving(desk, limits=Limits(handshake_seconds=5)) as server, connected(server, greet=False) as peer:
        await peer.read()
        for number in range(5):
            await peer.write(PREFACE[number : number + 1])
            mock_clock.jump(1)
        await peer.closed()


async def test_dribbling_a_frame_does_not_help(desk: Any, serving: Any, connected: Any, mock_clock: Any) -> None:
    async with serving(desk, limits=Limits(frame_seconds=5)) as server, connected(server) as peer:
        await peer.settle()
        data = peer.head(1, "/t.T/Echo").serialize()
        for number in range(5):
            await peer.write(data[number : number + 1])
            await trio.testing.wait_all_tasks_blocked(0.01)
            mock_clock.jump(1)
        await peer.closed()


async def test_header_blocks_that_never_end_do_not_help(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async with serving(desk, limits=Limits(frame_seconds=5)) as server, connected(server) as peer:
        await peer.settle()
        block = peer.head(1, "/t.T/Echo").data
        await peer.write(_frame(1, 0, block[:2]))  # HEADERS without END_HEADERS
        for number in range(2, 7):
            await trio.testing.wait_all_tasks_blocked(0.01)
            mock_clock.jump(1)
            await peer.write(_frame(9, 0, block[number : number + 1]))  # CONTINUATION
        await peer.closed()


def _frame(kind: Any, flags: Any, data: Any) -> Any:
    return len(data).to_bytes(3, "big") + bytes([kind, flags]) + (1).to_bytes(4, "big") + data


async def test_a_frame_that_arrives_late_but_whole_is_served(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async with serving(desk, limits=Limits(frame_seconds=5)) as server, connected(server) as peer:
        await peer.settle()
        data = peer.head(1, "/t.T/Echo").serialize() + peer.body(1, peer.message()).serialize()
        await peer.write(data[:20])
        await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(4)
        await peer.write(data[20:])
        assert (await peer.response(1)).status is Status.OK
        mock_clock.jump(4)
        await peer.settle()


async def test_a_unary_request_has_a_bounded_time_to_arrive(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async with serving(desk, limits=Limits(body_seconds=30)) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/t.T/Echo"), peer.body(1, peer.message("x"), end=False))
        await peer.settle()
        mock_clock.jump(30)
        response = await peer.response(1)
        assert response.status is Status.DEADLINE_EXCEEDED
        assert b"30 s" in response.headers[b"grpc-message"]
        await peer.call(3, "/t.T/Echo")
        assert (await peer.response(3)).status is Status.OK


async def test_the_callers_own_deadline_comes_first(desk: Any, serving: Any, connected: Any, mock_clock: Any) -> None:
    async with serving(desk, limits=Limits(body_seconds=30)) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/t.T/Echo", grpc_timeout="3S"))
        await peer.settle()
        mock_clock.jump(3)
        assert (await peer.response(1)).status is Status.DEADLINE_EXCEEDED


async def test_a_handler_may_take_longer_than_the_request(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async with serving(desk, limits=Limits(body_seconds=30)) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Wait")
        await desk.until(lambda: bool(desk.promises))
        mock_clock.jump(31)
        await peer.settle()
        desk.promises[0].resolve(b"at last")
        assert (await peer.response(1)).message == b"at last"


async def test_the_first_message_of_a_stream_has_a_bounded_time(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async with serving(desk, limits=Limits(body_seconds=30)) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/t.T/Chat"))
        await peer.settle()
        mock_clock.jump(30)
        assert (await peer.response(1)).status is Status.DEADLINE_EXCEEDED


async def test_a_begun_message_of_a_stream_has_a_bounded_time(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async with serving(desk, limits=Limits(body_seconds=30)) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Chat", "first", end=False)
        await peer.data(1, 1)
        mock_clock.jump(1000)  # between messages a stream may rest as long as it likes
        await peer.settle()
        await peer.send(peer.body(1, peer.message("second")[:3], end=False))
        await peer.settle()
        mock_clock.jump(30)
        assert (await peer.response(1)).status is Status.DEADLINE_EXCEEDED


async def test_a_client_that_reads_nothing_is_cut_and_costs_a_bounded_buffer(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    desk.handlers["Big"] = lambda request, call: b"x" * 1_000_000
    limits = Limits(write_seconds=30, write_buffer_bytes=100_000)
    async with serving(desk, limits=limits) as server, connected(server, greet=False) as peer:
        await peer.greet({4: 2**31 - 1})  # all the window that there is
        await peer.write(b"\0\0\x04\x08\0\0\0\0\0" + (2**31 - 1 - 65_535).to_bytes(4, "big"))
        for stream_id in range(1, 100, 2):
            await peer.call(stream_id, "/t.T/Big")
        await trio.testing.wait_all_tasks_blocked(0.05)
        connection = next(iter(server._connections))
        assert not connection.outbound.writable
        assert not connection.transport.is_reading()  # what it asks for from now on stays in the kernel
        assert connection.transport.get_write_buffer_size() < 300_000
        mock_clock.jump(30)
        await desk.until(lambda: server.statistics().calls == 0)
        assert server.statistics().buffered_bytes == 0


async def test_a_client_that_catches_up_gets_everything(desk: Any, serving: Any, connected: Any) -> None:
    desk.handlers["Big"] = lambda request, call: b"x" * 1_000_000
    async with (
        serving(desk, limits=Limits(write_buffer_bytes=100_000)) as server,
        connected(server, greet=False) as peer,
    ):
        await peer.greet({4: 2**31 - 1})
        await peer.write(b"\0\0\x04\x08\0\0\0\0\0" + (2**31 - 1 - 65_535).to_bytes(4, "big"))
        for stream_id in range(1, 40, 2):
            await peer.call(stream_id, "/t.T/Big")
        await trio.testing.wait_all_tasks_blocked(0.05)
        for stream_id in range(1, 40, 2):
            assert len((await peer.response(stream_id)).message) == 1_000_000
    assert desk.statuses() == [Status.OK] * 20
