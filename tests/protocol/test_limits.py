"""What clients are granted, and what happens at the edge of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import grpc
import pytest
import trio

from flytower.protocol.generated.grpc.health.v1 import HealthCheckRequest
from flytower.protocol.limits import Limits
from flytower.protocol.status import Status


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits) if field.type != "bool"])
def test_a_limit_that_is_not_positive_is_refused_by_its_name(name: Any) -> None:
    with pytest.raises(ValueError, match=f"The limit {name} must be positive, not 0"):
        Limits(**{name: 0})  # type: ignore[arg-type]


def test_a_message_limit_that_no_window_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="below 2 GiB"):
        Limits(max_message_bytes=2**31 - 1)


def test_responses_stay_below_what_grpc_go_accepts() -> None:
    assert Limits().max_response_bytes < 4 * 1024 * 1024


async def test_a_request_of_exactly_the_limit_is_served_and_one_byte_more_is_not(
    desk: Any, serving: Any, with_grpcio: Any
) -> None:
    async with serving(desk, limits=Limits(max_message_bytes=1000)) as server:

        def ask(channel: Any) -> Any:
            fits = bytes(HealthCheckRequest(service="x" * 997))
            assert len(fits) == 1000
            channel.unary_unary("/t.T/Echo")(fits, timeout=10)
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/t.T/Echo")(bytes(HealthCheckRequest(service="x" * 998)), timeout=10)
            return caught.value

        error = await with_grpcio(server, ask)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == "The request message has 1001 bytes; at most 1000 are accepted."


async def test_the_largest_request_of_the_default_passes(desk: Any, serving: Any, with_grpcio: Any) -> None:
    async with serving(desk) as server:
        request = bytes(HealthCheckRequest(service="x" * (4 * 1024 * 1024 - 16 * 1024 - 5)))
        options = {"timeout": 30}
        answer = await with_grpcio(server, lambda channel: channel.unary_unary("/t.T/Echo")(request, **options))
    assert answer == request


async def test_an_answer_over_the_limit_is_refused_where_its_author_sees_it(
    desk: Any, serving: Any, with_grpcio: Any
) -> None:
    desk.handlers["Big"] = lambda request, call: b"x" * 1001

    def ask(channel: Any) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/t.T/Big")(b"", timeout=10)
        return caught.value

    async with serving(desk, limits=Limits(max_response_bytes=1000)) as server:
        error = await with_grpcio(server, ask)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == "The response message has 1001 bytes; at most 1000 are sent."


async def test_too_many_calls_in_flight_are_refused_at_once(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk, limits=Limits(max_calls=2)) as server, connected(server) as peer:
        for stream_id in (1, 3, 5):
            await peer.call(stream_id, "/t.T/Wait")
        response = await peer.response(5)
        assert response.status is Status.RESOURCE_EXHAUSTED
        assert b"try again later" in response.headers[b"grpc-message"]
        desk.promises[0].resolve(b"done")
        await peer.response(1)
        await peer.call(7, "/t.T/Echo")
        assert (await peer.response(7)).status is Status.OK
        assert server.statistics().calls_refused == 1


async def test_of_too_many_connections_the_newest_is_closed_at_once(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk, limits=Limits(max_connections=1)) as server, connected(server) as first:
        await first.settle()
        async with connected(server, greet=False) as second:
            await second.closed()
        await first.call(1, "/t.T/Echo")
        assert (await first.response(1)).status is Status.OK
        assert server.statistics().connections_refused == 1
        assert server.statistics().connections_total == 1


async def test_a_place_that_becomes_free_is_given_away_again(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk, limits=Limits(max_connections=1)) as server:
        for _ in range(3):
            async with connected(server) as peer:
                await peer.call(1, "/t.T/Echo")
                assert (await peer.response(1)).status is Status.OK
            while server.statistics().connections:
                await trio.lowlevel.checkpoint()


async def test_300_open_streams_do_not_block_a_delete_on_the_same_connection(
    desk: Any, serving: Any, with_grpcio: Any
) -> None:
    """h2 grants 100; a client with 100 followed logs could then call nothing else."""

    def use(channel: Any) -> Any:
        follow = channel.unary_stream("/t.T/Follow")
        open_streams = [follow(b"") for _ in range(300)]
        for stream in open_streams:
            next(stream)
        answer = channel.unary_unary("/t.T/Echo")(b"\n\x01x", timeout=10)
        for stream in open_streams:
            stream.cancel()
        return answer

    async with serving(desk) as server:
        assert await with_grpcio(server, use) == b"\n\x01x"
        await desk.until(lambda: len(desk.finished) == 301)
        assert server.statistics().calls == 0


async def test_more_streams_than_granted_end_the_connection_of_a_client_that_was_told(
    desk: Any, serving: Any, connected: Any
) -> None:
    async with serving(desk, limits=Limits(max_concurrent_streams=3)) as server, connected(server) as peer:
        await peer.write(b"\0\0\0\x04\x01\0\0\0\0" * 3)  # the ACKs of the three SETTINGS that the server sends
        for stream_id in (1, 3, 5, 7):
            await peer.call(stream_id, "/t.T/Wait")
        await peer.closed()
        assert len(desk.promises) <= 3


async def test_request_bytes_are_bounded_in_total_and_given_back(desk: Any, serving: Any, connected: Any) -> None:
    limits = Limits(max_buffered_bytes=50_000)
    async with serving(desk, limits=limits) as server, connected(server) as peer:
        head = b"\0" + (40_000).to_bytes(4, "big")
        for stream_id in (1, 3):
            begin = peer.body(stream_id, head + b"x" * 15_000, end=False)
            await peer.send(peer.head(stream_id, "/t.T/Echo"), begin)
        await peer.settle()
        assert server.statistics().buffered_bytes == 30_010
        begin = peer.body(5, head + b"x" * 15_000, end=False)
        await peer.send(peer.head(5, "/t.T/Echo"), begin, peer.body(5, b"x" * 15_000, end=False))
        assert (await peer.response(5)).status is Status.RESOURCE_EXHAUSTED
        assert server.statistics().buffered_bytes == 30_010
    assert server.statistics().buffered_bytes == 0
