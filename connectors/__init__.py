"""What the author of a connector writes against.

    from flytower.connectors import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta, TaskExecution

The connectors that ship are in `flytower.connectors.shell` and `flytower.connectors.webhook`.
"""

from __future__ import annotations

from flytower.connectors.base import AsyncConnectorBase, ConnectorBase, SyncConnectorBase
from flytower.connectors.bound import Bound, Capabilities
from flytower.connectors.category import TaskCategory
from flytower.connectors.errors import (
    ConnectorContractError,
    ConnectorError,
    ConnectorExited,
    ConnectorMethodNotImplemented,
    FlyteConnectorNotFound,
    InvalidRequest,
    InvalidResource,
    JobNotFound,
    PermanentFailure,
    PolicyError,
    ResourceMetaError,
    RetryLater,
    WrongFlavour,
)
from flytower.connectors.flavour import Flavour
from flytower.connectors.loading import LoadFailure, load_entry_points, load_modules
from flytower.connectors.logs import LogPage
from flytower.connectors.policy import Policy, Recovery
from flytower.connectors.registry import ConnectorRegistry, Registry
from flytower.connectors.resource import TERMINAL_PHASES, Resource, TaskExecution, is_terminal
from flytower.connectors.resource_meta import ResourceMeta
from flytower.connectors.states import StateMap, convert_to_flyte_phase
from flytower.protocol.generated.flyteidl.admin import Agent, LogLine, TaskExecutionMetadata
from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskLog, TaskTemplate

__all__ = [
    "TERMINAL_PHASES",
    "Agent",
    "AsyncConnectorBase",
    "Bound",
    "Capabilities",
    "ConnectorBase",
    "ConnectorContractError",
    "ConnectorError",
    "ConnectorExited",
    "ConnectorMethodNotImplemented",
    "ConnectorRegistry",
    "Flavour",
    "FlyteConnectorNotFound",
    "InvalidRequest",
    "InvalidResource",
    "JobNotFound",
    "LiteralMap",
    "LoadFailure",
    "LogLine",
    "LogPage",
    "PermanentFailure",
    "Policy",
    "PolicyError",
    "Recovery",
    "Registry",
    "Resource",
    "ResourceMeta",
    "ResourceMetaError",
    "RetryLater",
    "StateMap",
    "SyncConnectorBase",
    "TaskCategory",
    "TaskExecution",
    "TaskExecutionMetadata",
    "TaskLog",
    "TaskTemplate",
    "WrongFlavour",
    "convert_to_flyte_phase",
    "is_terminal",
    "load_entry_points",
    "load_modules",
]
