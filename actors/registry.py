"""The registry actor: which connector serves a task category.

It is the only writer of the routing table; everybody else reads the table that it published last, without a message
and without waiting. ListAgents and GetAgent are therefore answered from memory, whatever connectors do.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from flytower.protocol.encode import encoded
from flytower.protocol.generated.flyteidl.admin import GetAgentResponse, ListAgentsResponse
from flytower.protocol.status import RpcError, Status
from flytower.runtime.errors import Refusal
from flytower.runtime.ref import Request
from flytower.runtime.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flytower.connectors.bound import Bound
    from flytower.connectors.category import TaskCategory
    from flytower.connectors.registry import Registry


class Routes(NamedTuple):
    """The routing table: immutable, replaced as a whole.

    Args:
        connectors: What serves each category.
        agents: The encoded GetAgentResponse of each connector name.
        listing: The encoded ListAgentsResponse.
    """

    connectors: Mapping[TaskCategory, Bound] = MappingProxyType({})
    agents: Mapping[str, bytes] = MappingProxyType({})
    listing: bytes = b""

    def lookup(self, category: TaskCategory) -> Bound:
        """Return what serves a category.

        Raises:
            RpcError: NOT_FOUND, the caller's fault (or that of whoever deployed this server).
        """
        connector = self.connectors.get(category)
        if connector is None:
            raise RpcError(Status.NOT_FOUND, self._unknown(category))
        return connector

    def agent(self, name: str) -> bytes:
        """Return the encoded GetAgentResponse of a connector.

        Raises:
            RpcError: NOT_FOUND, no connector of that name is served.
        """
        found = self.agents.get(name)
        if found is None:
            raise RpcError(Status.NOT_FOUND, f"Cannot find connector for name: {name}.")
        return found

    def _unknown(self, category: TaskCategory) -> str:
        versions = sorted(known.version for known in self.connectors if known.name == category.name)
        text = f"Cannot find connector for task category: {category}."
        if versions:
            served = ", ".join(str(version) for version in versions)
            text += f" This server has version {served} of that task type; set task_type_version accordingly."
        return text


class Lookup(Request["Bound"]):
    """Ask for what serves a category; fails with NOT_FOUND."""

    __slots__ = ("category",)

    def __init__(self, category: TaskCategory) -> None:
        self.category = category


class Refresh(Request[int]):
    """Read the connectors again; answers how many categories are served. For connectors registered at run time."""


RegistryMessage = Lookup | Refresh


class RegistryActor(Service[RegistryMessage]):
    """Routes task categories to connectors.

    Args:
        registry: What authors have registered.
        publish: Takes each new routing table.
    """

    def __init__(self, registry: Registry, publish: Callable[[Routes], object]) -> None:
        super().__init__()
        self._registry = registry
        self._publish = publish
        self._routes = Routes()

    async def started(self) -> None:
        """Publish the first routing table before anybody who depends on it starts."""
        self._refresh()

    async def handle(self, message: RegistryMessage) -> object:
        """Answer."""
        if isinstance(message, Lookup):
            try:
                return self._routes.lookup(message.category)
            except RpcError as error:
                raise Refusal(error) from error
        return self._refresh()

    def _refresh(self) -> int:
        self._routes = routes_of(self._registry)
        self._publish(self._routes)
        return len(self._routes.connectors)


def routes_of(registry: Registry) -> Routes:
    """Build the routing table of what is registered."""
    agents = registry.list_connectors()
    return Routes(
        connectors={connector.category: connector for connector in registry.list_bound()},
        agents={agent.name: bytes(GetAgentResponse(agent=agent)) for agent in agents},
        listing=encoded(ListAgentsResponse(agents=agents)),
    )
