"""Which methods the served services have, and which messages they take and give."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flytower.protocol.generated.methods import METHODS

if TYPE_CHECKING:
    from betterproto2 import Message

ASYNC_AGENT_SERVICE = "flyteidl.service.AsyncAgentService"
SYNC_AGENT_SERVICE = "flyteidl.service.SyncAgentService"
AGENT_METADATA_SERVICE = "flyteidl.service.AgentMetadataService"
HEALTH_SERVICE = "grpc.health.v1.Health"


class MethodDescription(NamedTuple):
    """A method as the protocol declares it.

    Args:
        path: What the client asks for, "/flyteidl.service.AsyncAgentService/GetTask".
        name: The last part of the path, "GetTask".
        request_type: The message that the client sends, or a stream of them.
        response_type: The message that the server sends, or a stream of them.
        client_streaming: Whether the client sends a stream.
        server_streaming: Whether the server sends a stream.
    """

    path: str
    name: str
    request_type: type[Message]
    response_type: type[Message]
    client_streaming: bool
    server_streaming: bool


def service_methods(service: str) -> tuple[MethodDescription, ...]:
    """Return the methods of a service in the order in which the protocol declares them.

    Args:
        service: The full name of the service, one of this module's constants.

    Raises:
        KeyError: No service of this name is served: the caller's mistake.
    """
    return _METHODS[service]


def _by_service() -> dict[str, tuple[MethodDescription, ...]]:
    found: dict[str, tuple[MethodDescription, ...]] = {}
    for service, name, request, response, client_streams, server_streams in METHODS:
        method = MethodDescription(f"/{service}/{name}", name, request, response, client_streams, server_streams)
        found[service] = (*found.get(service, ()), method)
    return found


_METHODS = _by_service()
