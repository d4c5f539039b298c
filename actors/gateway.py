"""The gateway actor: the gRPC server, whose handlers turn RPCs into messages to actors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from flytower.actors.async_service import About, AsyncConnectorService
from flytower.actors.metadata_service import ConnectorMetadataService
from flytower.actors.sync_service import SyncConnectorService
from flytower.protocol.server import open_server
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flytower.actors.metrics import Metrics
    from flytower.protocol.calls import Call, Method
    from flytower.protocol.health import Health
    from flytower.protocol.limits import Limits
    from flytower.protocol.server import Server
    from flytower.protocol.status import Status
    from flytower.runtime.context import Context
    from flytower.runtime.foreground import Foreground

__all__ = ["AsyncConnectorService", "ConnectorMetadataService", "Gateway", "SyncConnectorService"]


class Gateway:
    """Runs the gRPC server; a child of the node.

    Args:
        methods: What is served, beside the health service.
        health: Says SERVING while the gateway runs, until it drains.
        metrics: Where finished calls are counted.
        address: The host and port to listen on; port 0 picks one.
        limits: What a client may do.
        grace: Seconds that calls in flight get when the gateway stops.
        listening: Takes the address that it listens on, so that a restarted gateway comes up on the same port.
        foreground: Is told of each call that is over, so that what nobody waits for keeps out of the way.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        health: Health,
        metrics: Metrics,
        address: tuple[str, int],
        limits: Limits,
        grace: float,
        listening: Callable[[Gateway, tuple[str, int]], object],
        foreground: Foreground,
    ) -> None:
        self._methods = methods
        self._health = health
        self._metrics = metrics
        self._address = address
        self._limits = limits
        self._grace = grace
        self._listening = listening
        self._foreground = foreground
        self._server: Server | None = None
        self.serving = False  # what the health service says too; changed in `_serve` only
        self._started = trio.current_time()

    async def run(self, context: Context) -> None:
        """Serve until the stop, then let calls in flight finish."""
        host, port = self._address
        async with open_server(
            self._methods, host=host, port=port, limits=self._limits, health=self._health, finished=self._finished
        ) as server:
            self._server = server
            self._listening(self, server.address)
            self._serve(serving=True)
            try:
                context.ready()
                await context.stop_requested.wait()
                await self.drain(self._grace)
            finally:
                self._serve(serving=False)
                self._server = None

    async def drain(self, grace: float) -> None:
        """Take no new calls, and wait for those in flight, `grace` seconds at most."""
        self._serve(serving=False)
        if self._server is not None:
            await self._server.drain(grace)

    @property
    def connections(self) -> int:
        """Open connections."""
        return self._server.statistics().connections if self._server is not None else 0

    @property
    def calls_in_flight(self) -> int:
        """Calls without an answer yet."""
        return self._server.statistics().calls if self._server is not None else 0

    def inspect(self, path: str, now: float) -> Node:
        """Describe itself."""
        state = "closed" if self._server is None else f"serving {self.connections} connections"
        return Node(path, "Gateway", state, mailbox=self.calls_in_flight, age=now - self._started)

    def _serve(self, *, serving: bool) -> None:
        self.serving = serving
        self._health.set_serving(serving)

    def _finished(self, call: Call, status: Status, seconds: float) -> None:
        self._foreground.answered(call.started + seconds)
        if isinstance(call.about, About) and call.about.task_type:
            self._metrics.request_finished(call.about.task_type, call.about.operation, status, seconds)
