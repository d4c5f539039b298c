"""grpc.health.v1: what load balancers and readiness probes ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from flytower.protocol.calls import Call, Method, Stream, Streaming, Unary
from flytower.protocol.generated.grpc.health.v1 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
)
from flytower.protocol.status import RpcError, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

SERVER: Final = ""
"""The name under which the server as a whole is asked for."""

SERVING = HealthCheckResponseServingStatus.SERVING
NOT_SERVING = HealthCheckResponseServingStatus.NOT_SERVING
SERVICE_UNKNOWN = HealthCheckResponseServingStatus.SERVICE_UNKNOWN


class Health:
    """Says whether the server, and each of its services, takes calls. Begins as serving.

    Args:
        services: The full names of the services; the empty name, the server as a whole, comes by itself.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._states = dict.fromkeys([SERVER, *services], SERVING)
        self._changed = trio.Event()  # set and replaced with every change

    def set_serving(self, serving: bool, service: str | None = None) -> None:  # noqa: FBT001 - the name says it
        """Set the state of one service, or of all and the server.

        Raises:
            KeyError: There is no such service.
        """
        names = self._states if service is None else [service]
        for name in names:
            if name not in self._states:
                raise KeyError(name)
        self._states.update(dict.fromkeys(names, SERVING if serving else NOT_SERVING))
        self._changed.set()
        self._changed = trio.Event()

    def methods(self) -> tuple[Method, ...]:
        """Return the two methods of the service."""
        return (
            Unary("/grpc.health.v1.Health/Check", HealthCheckRequest, self._check),
            Streaming("/grpc.health.v1.Health/Watch", HealthCheckRequest, self._watch),
        )

    def _check(self, request: HealthCheckRequest, _call: Call) -> HealthCheckResponse:
        state = self._states.get(request.service)
        if state is None:
            raise RpcError(Status.NOT_FOUND, f"There is no service {request.service!r} here.")
        return HealthCheckResponse(status=state)

    async def _watch(self, _call: Call, stream: Stream) -> None:
        """Send the state, and then each change. An unknown service is a state too: health.proto says so."""
        request: HealthCheckRequest | None = await stream.receive()
        if request is None:
            raise RpcError(Status.INVALID_ARGUMENT, "The request message is missing.")
        told: HealthCheckResponseServingStatus | None = None
        while True:
            changed = self._changed
            state = self._states.get(request.service, SERVICE_UNKNOWN)
            if state is not told:
                await stream.send(HealthCheckResponse(status=state))
                told = state
            await changed.wait()
