"""Calls with one request and one response, over real sockets."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
import trio
import trio.testing
from h2.connection import H2Connection
from hyperframe.frame import HeadersFrame, RstStreamFrame
from structlog.testing import capture_logs

from flytower.protocol.calls import Unary
from flytower.protocol.generated.grpc.health.v1 import HealthCheckRequest
from flytower.protocol.limits import Limits
from flytower.protocol.loop import open_event_loop
from flytower.protocol.server import open_server
from flytower.protocol.status import RpcError, Status


async def test_the_official_client_gets_the_answer_of_the_handler(desk: Any, serving: Any, with_grpcio: Any) -> None:
    async with serving(desk) as server:
        answer = await with_grpcio(server, lambda channel: channel.unary_unary("/t.T/Echo")(b"\n\x02hi", timeout=10))
    assert answer == b"\n\x02hi"
    assert desk.statuses() == [Status.OK]


@pytest.mark.parametrize("fast", [True, False])
async def test_bytes_from_a_handler_are_sent_as_they_are(
    desk: Any, serving: Any, with_grpcio: Any, *, fast: bool
) -> None:
    desk.handlers["Raw"] = lambda request, call: b"already encoded"
    async with serving(desk, limits=Limits(fast_answers=fast, fast_requests=fast)) as server:
        answer = await with_grpcio(server, lambda channel: channel.unary_unary("/t.T/Raw")(b"", timeout=10))
    assert answer == b"already encoded"


@pytest.mark.parametrize("fast", [True, False])
async def test_a_limit_says_whether_answers_go_past_h2_whose_header_table_then_stays_empty(
    desk: Any, serving: Any, connected: Any, *, fast: bool
) -> None:
    async with serving(desk, limits=Limits(fast_answers=fast, fast_requests=fast)) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Echo")
        assert (await peer.response(1)).status is Status.OK
        (connection,) = server._connections
        assert (len(connection._h2.encoder.header_table.dynamic_entries) == 0) is fast


@pytest.mark.parametrize("fast", [True, False])
async def test_a_limit_says_whether_requests_are_taken_past_h2(
    desk: Any, serving: Any, connected: Any, monkeypatch: pytest.MonkeyPatch, *, fast: bool
) -> None:
    read = []
    receive = H2Connection._receive_frame

    def note(h2: H2Connection, frame: Any) -> Any:
        read.append(frame)
        return receive(h2, frame)

    monkeypatch.setattr(H2Connection, "_receive_frame", note)
    async with serving(desk, limits=Limits(fast_requests=fast)) as server, connected(server) as peer:
        for stream_id in (1, 3):
            await peer.call(stream_id, "/t.T/Echo")
            assert (await peer.response(stream_id)).status is Status.OK
    assert any(isinstance(frame, HeadersFrame) and frame.stream_id == 3 for frame in read) is not fast


async def test_a_pending_answer_is_sent_when_it_is_there(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Wait")
        await desk.until(lambda: bool(desk.promises))
        desk.promises[0].resolve(b"late")
        assert (await peer.response(1)).message == b"late"
        assert desk.statuses() == [Status.OK]
        assert not desk.promises[0].withdrawn


async def test_a_pending_answer_that_is_there_already_is_sent_at_once(desk: Any, serving: Any, connected: Any) -> None:
    def at_once(request: Any, call: Any) -> Any:
        promise = desk.wait(request, call)
        promise.resolve(b"now")
        return promise

    desk.handlers["AtOnce"] = at_once
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/AtOnce")
        assert (await peer.response(1)).message == b"now"


async def test_a_handler_learns_who_calls_and_how_long_the_client_waits(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Echo", "", ("grpc-timeout", "2500m"), ("x-run", "r1"), ("trace-bin", "AAE"))
        await peer.response(1)
        host, port = peer.stream.socket.getsockname()
    call = desk.calls[0]
    assert call.method == "/t.T/Echo"
    assert call.deadline == 2.5
    assert call.remaining() == 2.5
    assert call.peer == f"{host}:{port}"
    assert call.metadata == {"x-run": "r1", "trace-bin": b"\x00\x01"}


async def test_hang_up_withdraws_exactly_its_own_waiter(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        for stream_id in (1, 3, 5):
            await peer.call(stream_id, "/t.T/Wait")
        await desk.until(lambda: len(desk.promises) == 3)
        await peer.send(RstStreamFrame(3, error_code=8))
        await desk.until(lambda: bool(desk.finished))
        assert [promise.withdrawn for promise in desk.promises] == [False, True, False]
        desk.promises[1].resolve(b"nobody listens")
        desk.promises[0].resolve(b"one")
        desk.promises[2].resolve(b"three")
        assert (await peer.response(1)).message == b"one"
        assert (await peer.response(5)).message == b"three"
    assert desk.statuses() == [Status.CANCELLED, Status.OK, Status.OK]


async def test_a_lost_connection_withdraws_its_own_calls_and_no_others(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as other:
        await other.call(1, "/t.T/Wait")
        await desk.until(lambda: len(desk.promises) == 1)
        async with connected(server) as peer:
            await peer.call(1, "/t.T/Wait")
            await desk.until(lambda: len(desk.promises) == 2)
        await desk.until(lambda: bool(desk.finished))
        assert [promise.withdrawn for promise in desk.promises] == [False, True]
        desk.promises[0].resolve(b"still here")
        assert (await other.response(1)).message == b"still here"


async def test_the_official_clients_cancel_and_deadline_withdraw(desk: Any, serving: Any, with_grpcio: Any) -> None:
    def give_up(channel: Any) -> Any:
        with pytest.raises(grpc.RpcError) as late:
            channel.unary_unary("/t.T/Wait")(b"", timeout=0.2)
        future = channel.unary_unary("/t.T/Wait").future(b"")
        trio.from_thread.run(desk.until, lambda: len(desk.promises) == 2)
        future.cancel()
        return late.value.code()

    async with serving(desk) as server:
        assert await with_grpcio(server, give_up) is grpc.StatusCode.DEADLINE_EXCEEDED
        await desk.until(lambda: len(desk.finished) == 2)
    assert [promise.withdrawn for promise in desk.promises] == [True, True]


async def test_a_passed_deadline_answers_deadline_exceeded_and_withdraws(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Wait", "", ("grpc-timeout", "3S"))
        await peer.call(3, "/t.T/Wait", "", ("grpc-timeout", "4S"))
        await desk.until(lambda: len(desk.promises) == 2)
        mock_clock.jump(3)
        assert (await peer.response(1)).status is Status.DEADLINE_EXCEEDED
        assert [promise.withdrawn for promise in desk.promises] == [True, False]
        assert [(status, seconds) for _, status, seconds in desk.finished] == [(Status.DEADLINE_EXCEEDED, 3.0)]


async def test_a_deadline_that_has_passed_on_arrival_never_reaches_the_handler(
    desk: Any, serving: Any, connected: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Echo", "", ("grpc-timeout", "0n"))
        assert (await peer.response(1)).status is Status.DEADLINE_EXCEEDED
    assert desk.calls == []


async def test_finished_calls_leave_no_timers_behind(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.settle()
        before = server.statistics().timers
        for stream_id in range(1, 601, 2):
            await peer.call(stream_id, "/t.T/Echo", "", ("grpc-timeout", "60S"))
            await peer.response(stream_id)
        assert server.statistics().timers == before
        assert server.dispatcher.timers.shells <= 65  # swept, where trio-asyncio would keep 300 for a minute
        assert server.loop._timers == []


async def test_a_timeout_of_days_gets_no_timer(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.settle()
        before = server.statistics().timers
        await peer.call(1, "/t.T/Wait", "", ("grpc-timeout", "99999999H"))
        await desk.until(lambda: bool(desk.promises))
        assert server.statistics().timers == before
        assert desk.calls[0].deadline > 3e11


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("secret text"), GeneratorExit()])
async def test_whatever_a_handler_raises_is_internal_and_the_server_goes_on(
    desk: Any, serving: Any, connected: Any, error: Any
) -> None:
    def failing(request: Any, call: Any) -> None:
        raise error

    desk.handlers["Fail"] = failing
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Fail")
        response = await peer.response(1)
        assert response.status is Status.INTERNAL
        assert b"secret text" not in response.headers[b"grpc-message"]
        assert type(error).__name__.encode() in response.headers[b"grpc-message"]
        await peer.call(3, "/t.T/Echo", "well")
        assert (await peer.response(3)).status is Status.OK
    assert desk.statuses() == [Status.INTERNAL, Status.OK]


@pytest.mark.parametrize("error", [SystemExit(3), RpcError(Status.NOT_FOUND, "no such job")])
async def test_what_a_pending_answer_raises_is_what_the_handler_would_have_raised(
    desk: Any, serving: Any, connected: Any, error: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Wait")
        await desk.until(lambda: bool(desk.promises))
        desk.promises[0].fail(error)
        expected = error.status if isinstance(error, RpcError) else Status.INTERNAL
        assert (await peer.response(1)).status is expected


async def test_a_refusal_reaches_the_official_client_with_its_sentence(
    desk: Any, serving: Any, with_grpcio: Any
) -> None:
    def refuse(request: Any, call: Any) -> None:
        raise RpcError(Status.FAILED_PRECONDITION, "100 % größer: nein", details=b"\x08\x09")

    def ask(channel: Any) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/t.T/Refuse")(b"", timeout=10)
        return caught.value

    desk.handlers["Refuse"] = refuse
    async with serving(desk) as server:
        error = await with_grpcio(server, ask)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == "100 % größer: nein"
    assert ("grpc-status-details-bin", b"\x08\x09") in [tuple(item) for item in error.trailing_metadata()]


async def test_an_observer_that_fails_does_not_harm_the_call(desk: Any, connected: Any) -> None:
    def failing(call: Any, status: Any, seconds: Any) -> None:
        raise ValueError(call.method)

    async with open_event_loop(), open_server(desk.methods(), finished=failing) as server, connected(server) as peer:
        with capture_logs() as logs:
            await peer.call(1, "/t.T/Echo")
            assert (await peer.response(1)).status is Status.OK
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == [
        "The observer of finished calls failed"
    ]


async def test_an_answer_that_cannot_be_encoded_is_internal(desk: Any, serving: Any, connected: Any) -> None:
    desk.handlers["Odd"] = lambda request, call: object()
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Odd")
        assert (await peer.response(1)).status is Status.INTERNAL


async def test_a_withdraw_that_fails_does_not_harm_the_connection(desk: Any, serving: Any, connected: Any) -> None:
    class Stubborn:
        withdrawn = False

        def add_done_callback(self, callback: Any) -> None:
            desk.tell()
            self.callback = callback

        def withdraw(self) -> None:
            raise ValueError("no")

    desk.handlers["Stubborn"] = lambda request, call: Stubborn()
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Stubborn")
        await peer.settle()
        await peer.send(RstStreamFrame(1, error_code=8))
        await peer.call(3, "/t.T/Echo")
        assert (await peer.response(3)).status is Status.OK
    assert desk.statuses() == [Status.CANCELLED, Status.OK]


async def test_large_answers_wait_for_the_clients_window(desk: Any, serving: Any, connected: Any) -> None:
    desk.handlers["Big"] = lambda request, call: b"x" * 200_000
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Big")
        assert len(await peer.data(1, 65_535)) == 65_535
        assert server.statistics().calls == 1
        await peer.write(_window_update(0, 1 << 20) + _window_update(1, 1 << 20))
        assert len((await peer.response(1)).message) == 200_000
    assert desk.statuses() == [Status.OK]


def _window_update(stream_id: Any, size: Any) -> Any:
    return b"\0\0\x04\x08\0" + stream_id.to_bytes(4, "big") + size.to_bytes(4, "big")


async def test_an_answer_that_waits_for_the_window_ends_with_its_deadline(
    desk: Any, serving: Any, connected: Any, mock_clock: Any
) -> None:
    desk.handlers["Big"] = lambda request, call: b"x" * 200_000
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Big", "", ("grpc-timeout", "5S"))
        await peer.data(1, 65_535)
        mock_clock.jump(5)
        assert (await peer.response(1)).reset == 8  # CANCEL: half of a message is out, trailers would lie
    assert desk.statuses() == [Status.DEADLINE_EXCEEDED]


async def test_large_requests_are_decoded_beside_the_loop(desk: Any, serving: Any, with_grpcio: Any) -> None:
    limits = Limits(inline_decode_bytes=1000)
    async with serving(desk, limits=limits) as server:

        def ask(channel: Any) -> Any:
            answer = channel.unary_unary("/t.T/Echo")(bytes(HealthCheckRequest(service="x" * 5000)), timeout=10)
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/t.T/Echo")(b"\xff" * 5000, timeout=10)
            return len(answer), caught.value.code()

        assert await with_grpcio(server, ask) == (5003, grpc.StatusCode.INVALID_ARGUMENT)
        assert server.statistics().buffered_bytes == 0


async def test_a_call_that_is_given_up_while_it_is_decoded_never_reaches_the_handler(
    desk: Any, serving: Any, connected: Any
) -> None:
    async with serving(desk, limits=Limits(inline_decode_bytes=10)) as server, connected(server) as peer:
        async with server.dispatcher.decoders:  # the decoding threads are all busy
            await peer.call(1, "/t.T/Echo", "x" * 100)
            await peer.settle()
            await peer.send(RstStreamFrame(1, error_code=8))
            await desk.until(lambda: bool(desk.finished))
        await trio.testing.wait_all_tasks_blocked()
        await peer.call(3, "/t.T/Echo", "y" * 100)
        await peer.response(3)
        assert len(desk.calls) == 1
    assert desk.statuses() == [Status.CANCELLED, Status.OK]


async def test_a_task_of_a_call_that_fails_is_logged_and_ends_no_other(desk: Any, serving: Any, connected: Any) -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError

    async with serving(desk) as server, connected(server) as peer:
        with capture_logs() as logs:
            server.dispatcher.start(fail)
            await peer.call(1, "/t.T/Echo")
            assert (await peer.response(1)).status is Status.OK
            await trio.testing.wait_all_tasks_blocked()
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["The task of a call failed"]


async def test_two_methods_with_one_path_are_refused_at_start(desk: Any) -> None:
    twice = [Unary("/t.T/A", HealthCheckRequest, desk.echo)] * 1 + [Unary("/t.T/A", HealthCheckRequest, desk.wait)]
    async with open_event_loop():
        with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="Two methods have the path '/t.T/A'")):
            async with open_server(twice):
                pass


async def test_a_server_outside_of_the_event_loop_is_refused_with_what_to_do(desk: Any) -> None:
    with pytest.raises(RuntimeError, match="open_event_loop"):
        async with open_server(desk.methods()):
            pass


async def test_the_server_and_its_connections_say_what_they_do(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Wait")
        await desk.until(lambda: bool(desk.promises))
        assert repr(server) == f"<Server 127.0.0.1:{server.address[1]}, listening, 1 connections, 1 calls>"
        connection = next(iter(server._connections))
        assert repr(connection) == f"<ServerConnection {desk.calls[0].peer}, open, calls: 1>"
