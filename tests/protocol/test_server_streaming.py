"""Calls where a side streams, over real sockets."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
import trio
from hyperframe.frame import RstStreamFrame

from flytower.protocol.generated.grpc.health.v1 import HealthCheckRequest
from flytower.protocol.limits import Limits
from flytower.protocol.messages import MessageReader
from flytower.protocol.status import RpcError, Status


async def test_the_official_client_gets_every_message_of_a_stream(desk: Any, serving: Any, with_grpcio: Any) -> None:
    async with serving(desk) as server:
        stream = await with_grpcio(server, lambda channel: list(channel.unary_stream("/t.T/Count")(b"\n\x03200")))
    assert stream == [bytes(HealthCheckRequest(service=str(number))) for number in range(200)]
    assert desk.statuses() == [Status.OK]


async def test_the_official_client_can_talk_both_ways(desk: Any, serving: Any, with_grpcio: Any) -> None:
    said = [bytes(HealthCheckRequest(service=text)) for text in ("a", "b", "c")]
    async with serving(desk) as server:
        assert await with_grpcio(server, lambda channel: list(channel.stream_stream("/t.T/Chat")(iter(said)))) == said


async def test_hang_up_cancels_exactly_its_own_handler_and_lets_it_clean_up(
    desk: Any, serving: Any, connected: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer:
        for stream_id, name in ((1, "one"), (3, "two")):
            await peer.call(stream_id, "/t.T/Follow", name)
        await desk.until(lambda: len(desk.calls) == 2)
        await peer.send(RstStreamFrame(3, error_code=8))
        await desk.until(lambda: bool(desk.finished))
        assert desk.cleaned == ["two"]
        assert desk.statuses() == [Status.CANCELLED]
        assert server.statistics().calls == 1


async def test_a_passed_deadline_cancels_the_handler_and_is_answered(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Follow", "late", ("grpc-timeout", "3S"))
        await desk.until(lambda: bool(desk.calls))
        mock_clock.jump(3)
        assert (await peer.response(1)).status is Status.DEADLINE_EXCEEDED
    assert desk.cleaned == ["late"]
    assert [seconds for _, _, seconds in desk.finished] == [3.0]


async def test_a_handler_still_counts_while_it_cleans_up(desk: Any, serving: Any, connected: Any) -> None:
    """Else a client could have any number of them running, by resetting each call that it begins."""
    release = trio.Event()

    async def slow_to_go(call: Any, stream: Any) -> None:
        try:
            desk.calls.append(call)
            desk.tell()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await release.wait()

    desk.streams["SlowToGo"] = slow_to_go
    async with serving(desk, limits=Limits(max_calls=1)) as server, connected(server) as peer:
        await peer.call(1, "/t.T/SlowToGo")
        await desk.until(lambda: bool(desk.calls))
        await peer.send(RstStreamFrame(1, error_code=8))
        await peer.call(3, "/t.T/Echo")
        assert (await peer.response(3)).status is Status.RESOURCE_EXHAUSTED
        release.set()
        await desk.until(lambda: len(desk.finished) == 2)
        await peer.call(5, "/t.T/Echo")
        assert (await peer.response(5)).status is Status.OK


async def test_a_refusal_raised_inside_a_nursery_is_that_refusal(desk: Any, serving: Any, with_grpcio: Any) -> None:
    async def nested(call: Any, stream: Any) -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            outer.start_soon(trio.sleep_forever)
            inner.start_soon(_refuse)

    def ask(channel: Any) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            list(channel.unary_stream("/t.T/Nested")(b""))
        return caught.value.code(), caught.value.details()

    desk.streams["Nested"] = nested
    async with serving(desk) as server:
        assert await with_grpcio(server, ask) == (grpc.StatusCode.NOT_FOUND, "no such job")


async def _refuse() -> None:
    await trio.lowlevel.checkpoint()
    raise RpcError(Status.NOT_FOUND, "no such job")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("secret")])
async def test_whatever_a_handler_raises_is_internal_and_the_server_goes_on(
    desk: Any, serving: Any, connected: Any, error: Any
) -> None:
    async def failing(call: Any, stream: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_raise, error)

    desk.streams["Fail"] = failing
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Fail")
        response = await peer.response(1)
        assert response.status is Status.INTERNAL
        assert b"secret" not in response.headers[b"grpc-message"]
        await peer.call(3, "/t.T/Count", "1")
        assert (await peer.response(3)).status is Status.OK


async def _raise(error: Any) -> None:
    await trio.lowlevel.checkpoint()
    raise error


async def test_an_error_after_the_first_message_arrives_in_the_trailers(
    desk: Any, serving: Any, with_grpcio: Any
) -> None:
    async def half(call: Any, stream: Any) -> None:
        await stream.send(HealthCheckRequest(service="first"))
        raise RpcError(Status.ABORTED, "enough")

    def ask(channel: Any) -> Any:
        got = []
        with pytest.raises(grpc.RpcError) as caught:
            got.extend(iter(channel.unary_stream("/t.T/Half")(b"")))
        return caught.value.code()

    desk.streams["Half"] = half
    async with serving(desk) as server:
        assert await with_grpcio(server, ask) is grpc.StatusCode.ABORTED


async def test_sending_waits_while_the_client_does_not_read(desk: Any, serving: Any, connected: Any) -> None:
    sent = []

    async def flood(call: Any, stream: Any) -> None:
        await stream.receive()
        for number in range(10):
            await stream.send(HealthCheckRequest(service="x" * 20_000))
            sent.append(number)

    desk.streams["Flood"] = flood
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Flood")
        await peer.data(1, 65_535)
        assert len(sent) == 3
        await peer.write(_window_update(0, 1 << 20) + _window_update(1, 1 << 20))
        assert (await peer.response(1)).status is Status.OK
        assert len(sent) == 10


async def test_a_deadline_while_sending_waits_resets_the_stream(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async def flood(call: Any, stream: Any) -> None:
        await stream.send(HealthCheckRequest(service="x" * 200_000))

    desk.streams["Flood"] = flood
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Flood", "", ("grpc-timeout", "1S"))
        await peer.data(1, 65_535)
        mock_clock.jump(1)
        assert (await peer.response(1)).reset == 8
    assert desk.statuses() == [Status.DEADLINE_EXCEEDED]


def _window_update(stream_id: Any, size: Any) -> Any:
    return b"\0\0\x04\x08\0" + stream_id.to_bytes(4, "big") + size.to_bytes(4, "big")


async def test_two_tasks_of_a_handler_may_send_at_once(desk: Any, serving: Any, connected: Any) -> None:
    async def both(call: Any, stream: Any) -> None:
        async with trio.open_nursery() as nursery:
            for letter in "ab":
                nursery.start_soon(stream.send, HealthCheckRequest(service=letter * 100_000))

    desk.streams["Both"] = both
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Both")
        await peer.data(1, 65_535)
        await peer.write(_window_update(0, 1 << 20) + _window_update(1, 1 << 20))
        data = (await peer.response(1)).data
    messages = MessageReader(limit=200_000).feed_untrusted(data)
    assert [set(message[4:].decode()) for message in messages] in ([{"a"}, {"b"}], [{"b"}, {"a"}])


async def test_requests_beyond_the_window_wait_for_the_handler(desk: Any, serving: Any, with_grpcio: Any) -> None:
    """A client may stream more than the server would hold: the window opens as the handler reads."""

    async def total(call: Any, stream: Any) -> None:
        size = 0
        while (request := await stream.receive()) is not None:
            size += len(request.service)
        await stream.send(HealthCheckRequest(service=str(size)))

    desk.streams["Total"] = total
    parts = [bytes(HealthCheckRequest(service="x" * 60_000))] * 40
    async with serving(desk, limits=Limits(max_message_bytes=70_000, max_buffered_bytes=300_000)) as server:
        got = await with_grpcio(server, lambda channel: list(channel.stream_stream("/t.T/Total")(iter(parts))))
        assert server.statistics().buffered_bytes == 0
    assert got == [bytes(HealthCheckRequest(service="2400000"))]


async def test_undecodable_messages_are_invalid_arguments_unless_the_handler_cares(
    desk: Any, serving: Any, connected: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/t.T/Chat"), peer.body(1, b"\0\0\0\0\x0c" + b"\xff" * 12))
        assert (await peer.response(1)).status is Status.INVALID_ARGUMENT


async def test_a_cancelled_server_cancels_its_streams_and_reports_them(desk: Any, serving: Any, connected: Any) -> None:
    with trio.CancelScope() as scope:
        async with serving(desk) as server, connected(server) as peer:
            await peer.call(1, "/t.T/Follow", "x")
            await desk.until(lambda: bool(desk.calls))
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert desk.cleaned == ["x"]
    assert desk.statuses() in ([Status.UNAVAILABLE], [Status.CANCELLED])  # whichever is first, handler or connection


async def test_a_client_that_resets_between_two_messages_ends_a_handler_that_sends(
    desk: Any, serving: Any, connected: Any
) -> None:
    async def ignoring(call: Any, stream: Any) -> None:
        await stream.receive()
        with trio.CancelScope(shield=True):
            desk.calls.append(call)
            desk.tell()
            await desk.until(lambda: bool(desk.promises))
            await stream.send(HealthCheckRequest(service="too late"))

    desk.streams["Ignoring"] = ignoring
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Ignoring")
        await desk.until(lambda: bool(desk.calls))
        await peer.send(RstStreamFrame(1, error_code=8))
        await peer.settle()
        await peer.call(3, "/t.T/Wait")
        await desk.until(lambda: bool(desk.finished))
    assert desk.statuses()[0] is Status.CANCELLED
