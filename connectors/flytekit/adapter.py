"""One of flytekit's connectors, as one of ours. Imports flytekit.

It is given exactly what flytekit's server would give it (flytekit/extend/backend/connector_service.py): flytekit's own
models, by the same names. Coroutines run on the asyncio loop, plain functions in threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import trio
from flytekit.extend.backend import base_connector as flytekit

from flytower.connectors.base import AsyncConnectorBase, SyncConnectorBase
from flytower.connectors.errors import ConnectorContractError, ConnectorMethodNotImplemented
from flytower.connectors.flavour import Flavour, Method, flavour_of
from flytower.connectors.flytekit import convert
from flytower.connectors.flytekit.meta import meta_class
from flytower.connectors.policy import Policy
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from flytower.connectors.flytekit.meta import FlytekitMeta
    from flytower.connectors.flytekit.own_loop import OwnLoop
    from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskTemplate

POLICY = Policy(create_timeout=600.0)
"""flytekit gives a create no deadline of its own, and one that is given up leaves a job that nobody can find again."""

UNRECOGNIZED = "Unrecognized state: "
"""How flytekit's `convert_to_flyte_phase` says that it does not know a state (flytekit/extend/backend/utils.py)."""


OutputTypes: TypeAlias = "Callable[[str], Mapping[str, Any] | None]"
"""Given an output prefix, the Python types of the outputs of its task, by name."""


def no_types(_prefix: str) -> None:
    """Know no types, as a server."""


def adapt(
    connector: flytekit.AsyncConnectorBase | flytekit.SyncConnectorBase,
    loop: OwnLoop | None,
    *,
    pickled: bool,
    types: OutputTypes = no_types,
) -> AsyncConnectorBase | SyncConnectorBase:
    """Return a connector of ours that does what one of flytekit's does.

    Args:
        connector: flytekit's.
        loop: The event loop for its coroutines; None for the common one.
        pickled: Whether its metadata may be unpickled, by itself.
        types: Knows the types of a task's outputs, as flytekit's own local runs of sync tasks do; a server does not.

    Raises:
        PickledMetadata: Its metadata is pickled, and nobody has allowed that.
    """
    methods = Methods(connector, loop)
    if isinstance(connector, flytekit.SyncConnectorBase):
        return FlytekitSyncConnector(connector, methods, types)
    return FlytekitAsyncConnector(connector, methods, meta_class(connector.metadata_type, allowed=pickled))


class Methods:
    """The methods of a connector of flytekit's, callable from trio, whichever way each is written.

    Args:
        connector: Whose they are.
        loop: The event loop for its coroutines; None for the common one.
    """

    def __init__(self, connector: Any, loop: OwnLoop | None) -> None:
        self._connector = connector
        self._loop = loop
        self._limiter = trio.CapacityLimiter(POLICY.thread_limit)
        self._bound: dict[str, Method] = {}  # what was called before, by name

    def has(self, name: str) -> bool:
        """Whether the connector has a method that its base leaves open."""
        return getattr(type(self._connector), name) is not getattr(flytekit.AsyncConnectorBase, name)

    async def call(self, name: str, **arguments: Any) -> Any:
        """Call one."""
        method = self._bound.get(name)
        if method is None:
            method = self._bound[name] = self._bind(name)
        return await method(**arguments)

    def _bind(self, name: str) -> Method:
        function: Callable[..., Any] = getattr(self._connector, name)
        flavour = flavour_of(function, Flavour.ASYNCIO)
        if flavour is Flavour.ASYNCIO and self._loop is not None:
            function, flavour = self._loop.on_loop(function), Flavour.TRIO
        # What a plain function returns may have to be awaited: on asyncio, like everything of flytekit's.
        declared = Flavour.ASYNCIO if flavour is Flavour.THREAD else flavour
        return Method(self._label(name), function, flavour, declared, self._limiter)

    async def resource(self, name: str, answer: Any, types: Mapping[str, Any] | None = None) -> admin.Resource:
        """Convert what get or do returned. The type engine may move whole tables: it works in a thread."""
        if not isinstance(answer, flytekit.Resource):
            raise ConnectorContractError(f"{self._label(name)} returned a {type(answer).__name__}, not a Resource")
        if not isinstance(answer.outputs, dict):
            return convert.resource_at_once(answer)
        convert_it = Method(
            self._label(name), convert.resource_in_thread, Flavour.THREAD, Flavour.ASYNCIO, self._limiter
        )
        converted: admin.Resource = await convert_it(answer, types)
        return converted

    def _label(self, name: str) -> str:
        # With the task type, which is what the settings go by: several may have one connector's name.
        return f"{name} of {self._connector.name} ({self._connector.task_category.name})"


class FlytekitAsyncConnector(AsyncConnectorBase):
    """An async connector of flytekit's.

    Args:
        connector: It.
        methods: Its methods.
        metadata_type: The class that stands for its metadata here.
    """

    policy = POLICY
    shares_templates = True  # flytekit's model is made of its bytes

    def __init__(
        self, connector: flytekit.AsyncConnectorBase, methods: Methods, metadata_type: type[FlytekitMeta]
    ) -> None:
        self.name = connector.name
        category = connector.task_category
        super().__init__(task_type_name=category.name, task_type_version=category.version, metadata_type=metadata_type)
        self._methods = methods
        self._meta = metadata_type

    async def create(
        self,
        task_template: TaskTemplate,
        output_prefix: str,
        inputs: LiteralMap | None,
        task_execution_metadata: admin.TaskExecutionMetadata | None,
        **_: Any,
    ) -> FlytekitMeta:
        """Create the job."""
        meta = await self._methods.call(
            "create",
            task_template=convert.template_of(task_template),
            inputs=convert.inputs_of(inputs),
            output_prefix=output_prefix,
            task_execution_metadata=convert.metadata_of(task_execution_metadata),
        )
        return self._meta(meta)

    async def get(self, resource_meta: FlytekitMeta, **_: Any) -> admin.Resource:  # type: ignore[override]  # a message is taken too
        """Ask for the job's state. One that flytekit does not know is no failure of the job: it still runs."""
        try:
            answer = await self._methods.call("get", resource_meta=resource_meta.object)
        except ValueError as error:
            if not str(error).startswith(UNRECOGNIZED):
                raise
            return admin.Resource(phase=Phase.RUNNING, message=f"{error} (the job counts as running)")
        return await self._methods.resource("get", answer)

    async def delete(self, resource_meta: FlytekitMeta, **_: Any) -> None:
        """Delete the job."""
        await self._methods.call("delete", resource_meta=resource_meta.object)

    async def get_metrics(self, resource_meta: FlytekitMeta, **_: Any) -> admin.GetTaskMetricsResponse:
        """Return the job's metrics."""
        return convert.metrics_of(await self._optional("get_metrics", resource_meta))

    async def get_logs(self, resource_meta: FlytekitMeta, **_: Any) -> AsyncGenerator[admin.GetTaskLogsResponse, None]:
        """Yield the job's log."""
        for message in convert.logs_of(await self._optional("get_logs", resource_meta)):
            yield message

    async def _optional(self, name: str, meta: FlytekitMeta) -> Any:
        if not self._methods.has(name):
            raise ConnectorMethodNotImplemented(f"{self.name} has no {name}")
        return await self._methods.call(name, resource_meta=meta.object)


class FlytekitSyncConnector(SyncConnectorBase):
    """A sync connector of flytekit's.

    Args:
        connector: It.
        methods: Its methods.
        types: Knows the types of a task's outputs.
    """

    policy = POLICY

    def __init__(self, connector: flytekit.SyncConnectorBase, methods: Methods, types: OutputTypes) -> None:
        self.name = connector.name
        category = connector.task_category
        super().__init__(task_type_name=category.name, task_type_version=category.version)
        self._methods = methods
        self._types = types

    async def do(  # type: ignore[override]  # likewise
        self, task_template: TaskTemplate, output_prefix: str, inputs: LiteralMap | None = None, **_: Any
    ) -> admin.Resource:
        """Execute the task."""
        answer = await self._methods.call(
            "do",
            task_template=convert.template_of(task_template),
            inputs=convert.inputs_of(inputs),
            output_prefix=output_prefix,
        )
        return await self._methods.resource("do", answer, self._types(output_prefix))
