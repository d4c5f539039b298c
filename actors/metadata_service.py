"""AgentMetadataService: what this server can run, always answered from memory.

Flyte asks every ten seconds and drops the task types of a server that does not answer: nothing may be in the way here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.actors.async_service import About
from flytower.protocol.calls import Unary
from flytower.protocol.routes import AGENT_METADATA_SERVICE, service_methods

if TYPE_CHECKING:
    from collections.abc import Callable

    from flytower.actors.registry import Routes
    from flytower.protocol.calls import Call, Method
    from flytower.protocol.generated.flyteidl.admin import GetAgentRequest, ListAgentsRequest


class ConnectorMetadataService:
    """The handlers of GetAgent and ListAgents.

    Args:
        routes: Returns the routing table as it is now.
    """

    def __init__(self, routes: Callable[[], Routes]) -> None:
        self._routes = routes

    def methods(self) -> list[Method]:
        """Return the methods for the server."""
        return [
            Unary(method.path, method.request_type, getattr(self, method.name))
            for method in service_methods(AGENT_METADATA_SERVICE)
        ]

    def GetAgent(self, request: GetAgentRequest, call: Call) -> bytes:  # noqa: N802 - the service's name for it
        """Describe one connector."""
        call.about = About("", "get_agent")
        return self._routes().agent(request.name)

    def ListAgents(self, _request: ListAgentsRequest, call: Call) -> bytes:  # noqa: N802
        """Describe all connectors."""
        call.about = About("", "list_agents")
        return self._routes().listing
