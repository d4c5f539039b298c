"""What a connector has to say of itself before it can be registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.connectors.base import AsyncConnectorBase, SyncConnectorBase
from flytower.connectors.errors import ConnectorContractError
from flytower.connectors.flavour import Flavour
from flytower.connectors.policy import Policy

if TYPE_CHECKING:
    from flytower.connectors.category import TaskCategory


def identity_of(connector: object) -> tuple[str, TaskCategory]:
    """Return a connector's name and the category of its tasks.

    Raises:
        ConnectorContractError: It is no connector, or one of its attributes is not what it has to be.
    """
    if not isinstance(connector, AsyncConnectorBase | SyncConnectorBase):
        raise ConnectorContractError(f"{connector!r} is no instance of AsyncConnectorBase or SyncConnectorBase")
    kind = type(connector).__name__
    if type(connector.name) is not str or not connector.name:
        raise ConnectorContractError(f"{kind}.name must be a non-empty string, not {connector.name!r}")
    if not isinstance(connector.policy, Policy):
        raise ConnectorContractError(f"{kind}.policy must be a Policy, not {connector.policy!r}")
    if connector.flavour not in (Flavour.TRIO, Flavour.ASYNCIO):
        raise ConnectorContractError(
            f"{kind}.flavour must be Flavour.TRIO or Flavour.ASYNCIO, not {connector.flavour!r}"
        )
    try:
        return connector.name, connector.task_category
    except AttributeError as error:
        raise ConnectorContractError(f"{kind}.__init__ must call super().__init__(task_type_name=...)") from error
