"""Flytower: a supervised actor runtime on trio that serves Flyte connectors.

All public names are here, whichever room they live in:

    from flytower import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta, TaskExecution

A name's module is imported when the name is first used, so that `import flytower` itself costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flytower.actors.gateway import AsyncConnectorService as AsyncConnectorService
    from flytower.actors.gateway import ConnectorMetadataService as ConnectorMetadataService
    from flytower.actors.gateway import SyncConnectorService as SyncConnectorService
    from flytower.actors.local import AsyncConnectorExecutorMixin as AsyncConnectorExecutorMixin
    from flytower.actors.local import LocalExecutionFailed as LocalExecutionFailed
    from flytower.actors.local import SyncConnectorExecutorMixin as SyncConnectorExecutorMixin
    from flytower.actors.local_takeover import run_flytekit_locally as run_flytekit_locally
    from flytower.actors.node import Node as Node
    from flytower.actors.node import NodeConfig as NodeConfig
    from flytower.actors.node import open_node as open_node
    from flytower.connectors.base import AsyncConnectorBase as AsyncConnectorBase
    from flytower.connectors.base import ConnectorBase as ConnectorBase
    from flytower.connectors.base import SyncConnectorBase as SyncConnectorBase
    from flytower.connectors.category import TaskCategory as TaskCategory
    from flytower.connectors.errors import ConnectorContractError as ConnectorContractError
    from flytower.connectors.errors import ConnectorError as ConnectorError
    from flytower.connectors.errors import ConnectorMethodNotImplemented as ConnectorMethodNotImplemented
    from flytower.connectors.errors import FlyteConnectorNotFound as FlyteConnectorNotFound
    from flytower.connectors.errors import InvalidRequest as InvalidRequest
    from flytower.connectors.errors import InvalidResource as InvalidResource
    from flytower.connectors.errors import JobNotFound as JobNotFound
    from flytower.connectors.errors import OutcomeUnknown as OutcomeUnknown
    from flytower.connectors.errors import PermanentFailure as PermanentFailure
    from flytower.connectors.errors import ResourceMetaError as ResourceMetaError
    from flytower.connectors.errors import RetryLater as RetryLater
    from flytower.connectors.flavour import Flavour as Flavour
    from flytower.connectors.logs import LogPage as LogPage
    from flytower.connectors.policy import Policy as Policy
    from flytower.connectors.policy import Recovery as Recovery
    from flytower.connectors.registry import ConnectorRegistry as ConnectorRegistry
    from flytower.connectors.registry import Registry as Registry
    from flytower.connectors.resource import Resource as Resource
    from flytower.connectors.resource import TaskExecution as TaskExecution
    from flytower.connectors.resource_meta import ResourceMeta as ResourceMeta
    from flytower.connectors.states import StateMap as StateMap
    from flytower.connectors.states import convert_to_flyte_phase as convert_to_flyte_phase
    from flytower.protocol.client import Client as Client
    from flytower.protocol.client import open_client as open_client
    from flytower.protocol.generated.flyteidl.admin import Agent as Agent
    from flytower.protocol.generated.flyteidl.admin import TaskExecutionMetadata as TaskExecutionMetadata
    from flytower.protocol.generated.flyteidl.core import LiteralMap as LiteralMap
    from flytower.protocol.generated.flyteidl.core import TaskLog as TaskLog
    from flytower.protocol.generated.flyteidl.core import TaskTemplate as TaskTemplate
    from flytower.protocol.limits import Limits as Limits
    from flytower.protocol.literals import Directory as Directory
    from flytower.protocol.literals import File as File
    from flytower.protocol.literals import StructuredDataset as StructuredDataset
    from flytower.protocol.literals import from_literal_map as from_literal_map
    from flytower.protocol.literals import to_literal_map as to_literal_map
    from flytower.protocol.status import RpcError as RpcError
    from flytower.protocol.status import Status as Status
    from flytower.settings import Settings as Settings

    __version__: str

_HOMES = {
    "flytower.actors.gateway": ("AsyncConnectorService", "ConnectorMetadataService", "SyncConnectorService"),
    "flytower.actors.local": ("AsyncConnectorExecutorMixin", "LocalExecutionFailed", "SyncConnectorExecutorMixin"),
    "flytower.actors.local_takeover": ("run_flytekit_locally",),
    "flytower.actors.node": ("Node", "NodeConfig", "open_node"),
    "flytower.connectors.base": ("AsyncConnectorBase", "ConnectorBase", "SyncConnectorBase"),
    "flytower.connectors.category": ("TaskCategory",),
    "flytower.connectors.errors": (
        "ConnectorContractError",
        "ConnectorError",
        "ConnectorMethodNotImplemented",
        "FlyteConnectorNotFound",
        "InvalidRequest",
        "InvalidResource",
        "JobNotFound",
        "OutcomeUnknown",
        "PermanentFailure",
        "ResourceMetaError",
        "RetryLater",
    ),
    "flytower.connectors.flavour": ("Flavour",),
    "flytower.connectors.logs": ("LogPage",),
    "flytower.connectors.policy": ("Policy", "Recovery"),
    "flytower.connectors.registry": ("ConnectorRegistry", "Registry"),
    "flytower.connectors.resource": ("Resource", "TaskExecution"),
    "flytower.connectors.resource_meta": ("ResourceMeta",),
    "flytower.connectors.states": ("StateMap", "convert_to_flyte_phase"),
    "flytower.protocol.client": ("Client", "open_client"),
    "flytower.protocol.generated.flyteidl.admin": ("Agent", "TaskExecutionMetadata"),
    "flytower.protocol.generated.flyteidl.core": ("LiteralMap", "TaskLog", "TaskTemplate"),
    "flytower.protocol.limits": ("Limits",),
    "flytower.protocol.literals": ("Directory", "File", "StructuredDataset", "from_literal_map", "to_literal_map"),
    "flytower.protocol.status": ("RpcError", "Status"),
    "flytower.settings": ("Settings",),
}
"""Which public names each module has."""

_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Agent",
    "AsyncConnectorBase",
    "AsyncConnectorExecutorMixin",
    "AsyncConnectorService",
    "Client",
    "ConnectorBase",
    "ConnectorContractError",
    "ConnectorError",
    "ConnectorMetadataService",
    "ConnectorMethodNotImplemented",
    "ConnectorRegistry",
    "Directory",
    "File",
    "Flavour",
    "FlyteConnectorNotFound",
    "InvalidRequest",
    "InvalidResource",
    "JobNotFound",
    "Limits",
    "LiteralMap",
    "LocalExecutionFailed",
    "LogPage",
    "Node",
    "NodeConfig",
    "OutcomeUnknown",
    "PermanentFailure",
    "Policy",
    "Recovery",
    "Registry",
    "Resource",
    "ResourceMeta",
    "ResourceMetaError",
    "RetryLater",
    "RpcError",
    "Settings",
    "StateMap",
    "Status",
    "StructuredDataset",
    "SyncConnectorBase",
    "SyncConnectorExecutorMixin",
    "SyncConnectorService",
    "TaskCategory",
    "TaskExecution",
    "TaskExecutionMetadata",
    "TaskLog",
    "TaskTemplate",
    "__version__",
    "convert_to_flyte_phase",
    "from_literal_map",
    "open_client",
    "open_node",
    "run_flytekit_locally",
    "to_literal_map",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - reads files; only who asks for it pays

        value: Any = version("flytower")
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'flytower' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
