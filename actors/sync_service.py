"""SyncAgentService: one call, one terminal answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betterproto2 import which_one_of

from flytower.actors.async_service import About
from flytower.connectors.category import TaskCategory
from flytower.protocol.calls import Streaming
from flytower.protocol.routes import SYNC_AGENT_SERVICE, service_methods
from flytower.protocol.status import RpcError, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flytower.actors.connector_host import ConnectorHost
    from flytower.actors.metrics import Metrics
    from flytower.actors.registry import Routes
    from flytower.protocol.calls import Call, Method, Stream
    from flytower.protocol.generated.flyteidl.admin import CreateRequestHeader
    from flytower.protocol.generated.flyteidl.core import LiteralMap


class SyncConnectorService:
    """The handler of ExecuteTaskSync.

    Args:
        routes: Returns the routing table as it is now.
        hosts: The running host of each category.
        metrics: Where requests are measured.
    """

    def __init__(
        self, routes: Callable[[], Routes], hosts: Mapping[TaskCategory, ConnectorHost], metrics: Metrics
    ) -> None:
        self._routes = routes
        self._hosts = hosts
        self._metrics = metrics

    def methods(self) -> list[Method]:
        """Return the methods for the server."""
        return [
            Streaming(method.path, method.request_type, getattr(self, method.name))
            for method in service_methods(SYNC_AGENT_SERVICE)
        ]

    async def ExecuteTaskSync(self, call: Call, stream: Stream) -> None:  # noqa: N802 - the service's name for it
        """Run the task and answer with exactly one message, which carries the header: clients read no second one."""
        call.about = About("unknown", "do")
        header, inputs = await _read(stream)
        if header.template is None or not header.template.type:
            raise RpcError(Status.INVALID_ARGUMENT, "The header has no task template with a type; send one.")
        category = TaskCategory(header.template.type, header.template.task_type_version)
        connector = self._routes().lookup(category)
        call.about = About(category.name, "do")
        if not connector.is_sync:
            raise RpcError(Status.UNIMPLEMENTED, f"{category} is served by an async connector; call CreateTask.")
        host = self._hosts.get(category)
        if host is None:
            raise RpcError(Status.UNAVAILABLE, f"The connector of {category} is restarting; try again.")
        self._metrics.input_bytes(category.name, len(bytes(inputs)) if inputs is not None else 0)
        await stream.send(await host.passage.execute(header.template, header.output_prefix, inputs))


async def _read(stream: Stream) -> tuple[CreateRequestHeader, LiteralMap | None]:
    """Read until header and inputs are there, in whatever order, or the client has sent its last."""
    parts: dict[str, object] = {}
    while not {"header", "inputs"} <= parts.keys():
        message = await stream.receive()
        if message is None:
            break
        name, part = which_one_of(message, "part")
        if name in parts:
            raise RpcError(Status.INVALID_ARGUMENT, f"The request has two messages with {name}; send one of each.")
        parts[name] = part
    if "header" not in parts:
        raise RpcError(Status.INVALID_ARGUMENT, "The request ended without a header; send the header, then the inputs.")
    return parts["header"], parts.get("inputs")  # type: ignore[return-value]  # which_one_of knows no types
