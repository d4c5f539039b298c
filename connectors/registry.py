"""Which connector serves which task category."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from flytower.connectors.bound import Bound
from flytower.connectors.errors import FlyteConnectorNotFound
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.admin import Agent

if TYPE_CHECKING:
    from flytower.connectors.base import AsyncConnectorBase, SyncConnectorBase
    from flytower.connectors.category import TaskCategory


class Registry:
    """Task categories and the connectors that serve them. A node or a test can have one of its own."""

    def __init__(self) -> None:
        self._bound: dict[TaskCategory, Bound] = {}  # in order of registration
        self._by_key: dict[tuple[str, int], Bound] = {}  # the same, for look-ups by what a request says
        self._agents: dict[str, Agent] = {}  # by connector name; always what _bound says

    def __repr__(self) -> str:
        return f"<Registry of {', '.join(map(str, self._bound)) or 'nothing'}>"

    def register(
        self,
        connector: AsyncConnectorBase | SyncConnectorBase,
        override: bool = False,  # noqa: FBT001, FBT002 - flytekit's signature
    ) -> None:
        """Have a connector serve its task category.

        Args:
            connector: An instance; everything about it is checked now.
            override: Whether it may take the place of another one.

        Raises:
            ValueError: The category has a connector, and `override` is not set; or another connector has the same
                name and is of the other kind, which Flyte's list of agents cannot say.
            ConnectorContractError: The connector is not what the interface asks for.
        """
        bound = Bound(connector)
        if bound.category in self._bound and not override:
            raise ValueError(f"Duplicate connector for task type: {bound.category}")
        self._replace({**self._bound, bound.category: bound})

    def get_connector(self, task_type_name: str, task_type_version: int = 0) -> AsyncConnectorBase | SyncConnectorBase:
        """Return the connector for a task type.

        Raises:
            FlyteConnectorNotFound: There is none.
        """
        return self.get_bound(task_type_name, task_type_version).connector

    def get_bound(self, task_type_name: str, task_type_version: int = 0) -> Bound:
        """Return the connector for a task type as the server calls it.

        Raises:
            FlyteConnectorNotFound: There is none.
        """
        bound = self._by_key.get((task_type_name, task_type_version))
        if bound is not None:
            return bound
        raise FlyteConnectorNotFound(f"Cannot find connector for task category: {task_type_name}_v{task_type_version}.")

    def list_connectors(self) -> list[Agent]:
        """Return what ListAgents answers: one Agent for each connector name."""
        return list(self._agents.values())

    def list_bound(self) -> list[Bound]:
        """Return all connectors as the server calls them, in order of registration."""
        return list(self._bound.values())

    def get_connector_metadata(self, name: str) -> Agent:
        """Return the Agent with this name.

        Raises:
            FlyteConnectorNotFound: There is none.
        """
        try:
            return self._agents[name]
        except KeyError:
            raise FlyteConnectorNotFound(f"Cannot find connector for name: {name}.") from None

    def include(self, other: Registry) -> None:
        """Take over from another registry what this one does not have."""
        new = {category: bound for category, bound in other._bound.items() if category not in self._bound}
        self._replace({**self._bound, **new})

    def copy(self) -> Registry:
        """Return a registry with the same connectors."""
        copied = Registry()
        copied.include(self)
        return copied

    def restore(self, earlier: Registry) -> None:
        """Go back to what a copy says."""
        self._replace(dict(earlier._bound))

    def _replace(self, bound: dict[TaskCategory, Bound]) -> None:
        """Change the connectors and what is said about them, together or not at all."""
        agents: dict[str, Agent] = {}
        for category, one in bound.items():
            agent = agents.setdefault(one.name, Agent(name=one.name, is_sync=one.is_sync))
            if agent.is_sync != one.is_sync:
                raise ValueError(f"Connector name {one.name!r} stands for a synchronous and an asynchronous connector")
            if category.name not in agent.supported_task_types:
                agent.supported_task_types.append(category.name)
            agent.supported_task_categories.append(admin.TaskCategory(name=category.name, version=category.version))
        self._bound, self._agents = bound, agents
        self._by_key = {(category.name, category.version): one for category, one in bound.items()}


class ConnectorRegistry:
    """The registry of this process, which modules with connectors register with when they are imported."""

    default: ClassVar[Registry] = Registry()

    @classmethod
    def register(
        cls,
        connector: AsyncConnectorBase | SyncConnectorBase,
        override: bool = False,  # noqa: FBT001, FBT002 - flytekit's signature
    ) -> None:
        """Have a connector serve its task category: see `Registry.register`."""
        cls.default.register(connector, override)

    @classmethod
    def get_connector(cls, task_type_name: str, task_type_version: int = 0) -> AsyncConnectorBase | SyncConnectorBase:
        """Return the connector for a task type, or raise FlyteConnectorNotFound."""
        return cls.default.get_connector(task_type_name, task_type_version)

    @classmethod
    def list_connectors(cls) -> list[Agent]:
        """Return all connectors and what they support: one Agent for each name."""
        return cls.default.list_connectors()

    @classmethod
    def get_connector_metadata(cls, name: str) -> Agent:
        """Return the Agent with this name, or raise FlyteConnectorNotFound."""
        return cls.default.get_connector_metadata(name)
