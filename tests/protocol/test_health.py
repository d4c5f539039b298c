"""grpc.health.v1, asked by the official client's own messages."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
import trio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from flytower.protocol.health import Health
from flytower.protocol.status import Status

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def check(channel: Any, service: Any = "") -> Any:
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status


async def test_the_server_and_each_service_begin_as_serving(desk: Any, serving: Any, with_grpcio: Any) -> None:
    async with serving(desk, health=Health(["a.A", "b.B"])) as server:
        names = ("", "a.A", "b.B")
        assert await with_grpcio(server, lambda channel: [check(channel, name) for name in names]) == [SERVING] * 3


async def test_all_or_one_can_be_set(desk: Any, serving: Any, with_grpcio: Any) -> None:
    health = Health(["a.A", "b.B"])
    async with serving(desk, health=health) as server:
        health.set_serving(False, "a.A")
        names = ("", "a.A", "b.B")
        states = await with_grpcio(server, lambda channel: [check(channel, name) for name in names])
        assert states == [SERVING, NOT_SERVING, SERVING]
        health.set_serving(False)
        assert await with_grpcio(server, lambda channel: [check(channel, name) for name in names]) == [NOT_SERVING] * 3


async def test_an_unknown_service_is_not_found(desk: Any, serving: Any, with_grpcio: Any) -> None:
    def ask(channel: Any) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            check(channel, "no.Such")
        return caught.value.code(), caught.value.details()

    async with serving(desk, health=Health([])) as server:
        assert await with_grpcio(server, ask) == (
            grpc.StatusCode.NOT_FOUND,
            "There is no service 'no.Such' here.",
        )


async def test_watch_tells_the_state_and_each_change_once(desk: Any, serving: Any, with_grpcio: Any) -> None:
    health = Health(["a.A", "b.B"])

    def watch(channel: Any) -> Any:
        stub = health_pb2_grpc.HealthStub(channel)
        states = stub.Watch(health_pb2.HealthCheckRequest(service="a.A"), timeout=20)
        seen = [next(states).status]
        trio.from_thread.run_sync(health.set_serving, False, "b.B")
        trio.from_thread.run_sync(health.set_serving, False)
        seen.append(next(states).status)
        trio.from_thread.run_sync(health.set_serving, False)
        trio.from_thread.run_sync(health.set_serving, True)
        seen.append(next(states).status)
        states.cancel()
        return seen

    async with serving(desk, health=health) as server:
        assert await with_grpcio(server, watch) == [SERVING, NOT_SERVING, SERVING]
        await desk.until(lambda: bool(desk.finished))
    assert desk.statuses() == [Status.CANCELLED]


async def test_watching_an_unknown_service_says_so_and_goes_on(desk: Any, serving: Any, with_grpcio: Any) -> None:
    def watch(channel: Any) -> Any:
        states = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="x"), timeout=20)
        seen = next(states).status
        states.cancel()
        return seen

    async with serving(desk, health=Health([])) as server:
        assert await with_grpcio(server, watch) == UNKNOWN


async def test_watching_without_saying_what_is_refused(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk, health=Health([])) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/grpc.health.v1.Health/Watch", end=True))
        assert (await peer.response(1)).status is Status.INVALID_ARGUMENT


def test_a_service_that_was_not_named_cannot_be_set() -> None:
    with pytest.raises(KeyError, match=r"no\.Such"):
        Health([]).set_serving(False, "no.Such")
