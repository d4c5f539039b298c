"""What a connector is: the classes to subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from flytower.connectors.category import TaskCategory
from flytower.connectors.errors import ConnectorContractError, ConnectorMethodNotImplemented
from flytower.connectors.flavour import Flavour
from flytower.connectors.policy import Policy
from flytower.connectors.resource_meta import ResourceMeta, ensure_dataclass

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from flytower.connectors.resource import Resource
    from flytower.protocol.generated.flyteidl.admin import TaskExecutionMetadata
    from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskTemplate


class ConnectorBase(ABC):  # noqa: B024 - its two kinds have the abstract methods
    """What all connectors share. Subclass `AsyncConnectorBase` or `SyncConnectorBase`, not this.

    Every method may be a plain function, which then runs in a thread, or a coroutine function, which runs on trio,
    or on asyncio when the class says `flavour = Flavour.ASYNCIO`. A method is given what its signature has room for.

    Args:
        task_type_name: The task type that it serves.
        task_type_version: The version of that type.
    """

    name: str = "Base Connector"
    """What ListAgents calls it. Several connectors of one kind may share a name, and are then listed as one."""

    flavour: Flavour = Flavour.TRIO
    """Which event loop its coroutine methods await."""

    policy: Policy = Policy()
    """Timeouts, polling, recovery."""

    shares_templates: bool = False
    """Whether its methods leave a task template as it was given: then tasks share one, and each saves decoding it."""

    def __init__(self, task_type_name: str, task_type_version: int = 0, **_kwargs: Any) -> None:
        self._task_category = TaskCategory(name=task_type_name, version=task_type_version)

    @property
    def task_category(self) -> TaskCategory:
        """The task category that it serves."""
        return self._task_category


class AsyncConnectorBase(ConnectorBase):
    """A connector for jobs that go on after the call that created them.

    Args:
        metadata_type: The class of what `create` returns.

    Raises:
        ConnectorContractError: The metadata type is no subclass of ResourceMeta.
    """

    name: str = "Base Async Connector"

    def __init__(self, metadata_type: type[ResourceMeta], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not _is_metadata_type(metadata_type):
            raise ConnectorContractError(f"metadata_type must be a subclass of ResourceMeta, not {metadata_type!r}")
        ensure_dataclass(metadata_type)
        self._metadata_type = metadata_type

    @property
    def metadata_type(self) -> type[ResourceMeta]:
        """The class of what `create` returns."""
        return self._metadata_type

    @abstractmethod
    def create(
        self,
        task_template: TaskTemplate,
        output_prefix: str,
        inputs: LiteralMap | None,
        task_execution_metadata: TaskExecutionMetadata | None,
        **kwargs: Any,
    ) -> ResourceMeta | Awaitable[ResourceMeta]:
        """Start the external job, and return what names it.

        With a parameter `idempotency_key: str` it is also given a key: the same key always means the same job.
        """

    @abstractmethod
    def get(self, resource_meta: Any, **kwargs: Any) -> Resource | Awaitable[Resource]:
        """Ask the external system where the job stands.

        Raises:
            JobNotFound: It does not know the job.
            RetryLater: It asks for time.
        """

    @abstractmethod
    def delete(self, resource_meta: Any, **kwargs: Any) -> Awaitable[None] | None:
        """End the job, and clean up after it. Called more than once, and for jobs that are gone.

        Raises:
            JobNotFound: It is gone already; this is as good as success.
        """

    def get_metrics(self, resource_meta: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - what an override is given
        """Return the job's metrics: a GetTaskMetricsResponse, its results, or a dictionary name -> JSON-like data.

        Parameters that it may have: `queries`, `start_time`, `end_time`, `step`, as in Flyte's request.
        """
        raise ConnectorMethodNotImplemented(f"{self.name} has no metrics")

    def get_logs(self, resource_meta: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - what an override is given
        """Return the job's log: lines, a LogPage, a GetTaskLogsResponse; or yield any of these, as a generator.

        Parameters that it may have: `token` (where to go on, "" at the start) and `lines` (how many; 0 for all).
        """
        raise ConnectorMethodNotImplemented(f"{self.name} has no logs")

    def find(
        self,
        key: str,  # noqa: ARG002 - what an override is given
        **kwargs: Any,  # noqa: ARG002 - likewise
    ) -> ResourceMeta | Awaitable[ResourceMeta | None] | None:
        """Look up the job that `create` has started for an idempotency key; None when there is none.

        To be written by connectors with `Recovery.FIND`.
        """
        raise ConnectorMethodNotImplemented(f"{self.name} cannot find jobs by key")


class SyncConnectorBase(ConnectorBase):
    """A connector for tasks that are over in seconds, in a single call."""

    name: str = "Base Sync Connector"

    @abstractmethod
    def do(
        self,
        task_template: TaskTemplate,
        output_prefix: str,
        inputs: LiteralMap | None = None,
        **kwargs: Any,
    ) -> Resource | Awaitable[Resource]:
        """Execute the task, and return how it ended: the phase must be a terminal one."""


def _is_metadata_type(candidate: object) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, ResourceMeta)
